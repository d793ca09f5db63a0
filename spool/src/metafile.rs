//! The metafile of a recorded call: a sequence of labelled chunks, each appended with one write.
//!
//! `<label>LF<decimal length>:LF<content>LFLF`

/// One chunk as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// `CALL-ID`, `TAG 0`, `STREAM 3 details` …
    pub label: &'a str,
    /// Anything but NUL.
    pub content: &'a [u8],
}

/// What the reader finds at some offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A chunk and the number of octets it takes.
    Chunk(Chunk<'a>, usize),
    /// The rest of a chunk has not been written yet.
    Incomplete,
    /// The file is damaged from here on.
    Broken,
}

/// Longest label and content that are believed.
pub const MAX_LABEL: usize = 4096;
/// See [`MAX_LABEL`].
pub const MAX_CONTENT: usize = 16 << 20;

/// Appends one chunk to a buffer. Several chunks may be written with one `write`. NUL octets in the content are
/// left out, since the format cannot carry them.
pub fn append(out: &mut Vec<u8>, label: &str, content: &[u8]) {
    debug_assert!(!label.contains(['\n', '\0']));
    let without_nul;
    let content = if content.contains(&0) {
        without_nul = content.iter().copied().filter(|&b| b != 0).collect::<Vec<_>>();
        &without_nul
    } else {
        content
    };
    out.extend_from_slice(format!("{label}\n{}:\n", content.len()).as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\n\n");
}

/// Reads the chunk at the beginning of `octets`.
pub fn parse(octets: &[u8]) -> Parsed<'_> {
    let Some(label_end) = octets.iter().take(MAX_LABEL).position(|&b| b == b'\n') else {
        return if octets.len() >= MAX_LABEL { Parsed::Broken } else { Parsed::Incomplete };
    };
    let Ok(label) = std::str::from_utf8(&octets[..label_end]) else { return Parsed::Broken };
    if label.is_empty() || label.contains('\0') {
        return Parsed::Broken;
    }
    let rest = &octets[label_end + 1..];
    let Some(length_end) = rest.iter().take(12).position(|&b| b == b'\n') else {
        return if rest.len() >= 12 { Parsed::Broken } else { Parsed::Incomplete };
    };
    let length = std::str::from_utf8(&rest[..length_end])
        .ok()
        .and_then(|text| text.strip_suffix(':'))
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse::<usize>().ok())
        .filter(|&length| length <= MAX_CONTENT);
    let Some(length) = length else { return Parsed::Broken };
    let body = &rest[length_end + 1..];
    let Some(content) = body.get(..length) else { return Parsed::Incomplete };
    match body.get(length..length + 2) {
        Some(b"\n\n") => {}
        Some(_) => return Parsed::Broken,
        None => {
            let so_far = &body[length..];
            return if so_far.iter().all(|&b| b == b'\n') { Parsed::Incomplete } else { Parsed::Broken };
        }
    }
    if content.contains(&0) {
        return Parsed::Broken;
    }
    Parsed::Chunk(Chunk { label, content }, label_end + 1 + length_end + 1 + length + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunk_has_the_documented_layout() {
        let mut out = Vec::new();
        append(&mut out, "CALL-ID", b"call-9@host");
        append(&mut out, "RECORDING 1", b"");
        assert_eq!(out, b"CALL-ID\n11:\ncall-9@host\n\nRECORDING 1\n0:\n\n\n");
    }

    proptest! {
        #[test]
        fn written_chunks_parse_back_and_prefixes_are_incomplete(
                label in "[A-Z][A-Za-z0-9 -]{0,40}", content in proptest::collection::vec(1u8..=255, 0..200)) {
            let mut out = Vec::new();
            append(&mut out, &label, &content);
            let expected = Parsed::Chunk(Chunk { label: &label, content: &content }, out.len());
            prop_assert_eq!(parse(&out), expected);
            for end in 0..out.len() {
                prop_assert_eq!(parse(&out[..end]), Parsed::Incomplete);
            }
        }

        #[test]
        fn no_octets_make_the_parser_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&octets);
        }
    }
}
