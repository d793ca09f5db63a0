//! `a=fingerprint:<hash> <hex octets>` (RFC 8122).

use crate::proto::sdp::model::Fingerprint;

/// Hash functions and their digest lengths.
const HASHES: [(&str, usize); 5] =
    [("sha-1", 20), ("sha-224", 28), ("sha-256", 32), ("sha-384", 48), ("sha-512", 64)];

/// `None` for an unknown hash, bad hexadecimal or a digest of the wrong length.
pub(super) fn parse(text: &str) -> Option<Fingerprint> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next()?;
    let (hash, length) = HASHES.into_iter().find(|(hash, _)| hash.eq_ignore_ascii_case(name))?;
    let hex = words.next()?;
    // Two digits and a colon an octet: reject long junk before decoding it.
    if hex.len() != length * 3 - 1 {
        return None;
    }
    let digest: Vec<u8> = hex.split(':').map(octet).collect::<Option<_>>()?;
    (digest.len() == length).then(|| Fingerprint { hash: hash.to_owned(), digest })
}

fn octet(pair: &str) -> Option<u8> {
    let is_hex = pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(pair, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_fit_the_hash() {
        let hex = vec!["aB"; 20].join(":");
        let parsed = parse(&format!("SHA-1 {hex}")).unwrap();
        assert_eq!((parsed.hash.as_str(), parsed.digest), ("sha-1", vec![0xab; 20]));
        assert_eq!(parse(&format!("sha-256 {hex}")), None);
        assert_eq!(parse(&format!("md5 {hex}")), None);
        assert_eq!(parse(&format!("sha-1 {}", hex.replace("aB", "+B"))), None);
        assert_eq!(parse(&format!("sha-1 {hex}:ab")), None);
    }
}
