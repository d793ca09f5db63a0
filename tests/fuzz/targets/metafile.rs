//! Metafiles of any content: chunks come out as they stand there, whatever pieces the file is read in, and what is written again
//! reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spool::metafile::{self, Parsed};

fuzz_target!(|input: &[u8]| {
    let (mut rest, mut written) = (input, Vec::new());
    let mut chunks = Vec::new();
    while let Parsed::Chunk(chunk, length) = metafile::parse(rest) {
        assert!(length <= rest.len());
        metafile::append(&mut written, chunk.label, chunk.content);
        chunks.push((chunk.label.to_owned(), chunk.content.to_owned()));
        // Cut anywhere, it is incomplete or broken, never another chunk.
        for cut in [length / 2, length - 1] {
            assert!(!matches!(metafile::parse(&rest[..cut]), Parsed::Chunk(..)));
        }
        rest = &rest[length..];
    }
    let mut again = &written[..];
    for (label, content) in &chunks {
        let Parsed::Chunk(chunk, length) = metafile::parse(again) else { panic!("{label} is lost") };
        assert_eq!((chunk.label, chunk.content), (label.as_str(), content.as_slice()));
        again = &again[length..];
    }
    assert!(again.is_empty());
});
