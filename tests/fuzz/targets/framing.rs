#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::control::ng::framing::Framer;

/// Everything that comes out of a stream that arrives in pieces of this size, and how it ended.
fn cut(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut framer = Framer::new(4096);
    let mut messages = Vec::new();
    for octets in stream.chunks(piece) {
        framer.push(octets);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

// How a stream is cut must not change its messages; they are parts of it, in order.
fuzz_target!(|input: &[u8]| {
    let Some((first, stream)) = input.split_first() else { return };
    let (pieces, pieces_ended) = cut(stream, usize::from(*first) + 1);
    let (whole, whole_ended) = cut(stream, usize::MAX);
    assert_eq!(pieces, whole);
    assert_eq!(pieces_ended, whole_ended);
    assert!(stream.starts_with(&whole.concat()));
});
