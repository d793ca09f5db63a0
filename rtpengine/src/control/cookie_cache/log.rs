//! Replies one behind the other, found by the hash of their cookie.

use std::collections::HashMap;

use super::Hashed;

/// Octets of a piece. A reply that is longer has one of its own. So large that the allocator gives each its own pages: several
/// smaller ones it puts together, and one that is kept would keep the memory of the others.
const PIECE: usize = 1 << 20;
/// Pieces that are kept for the next generation.
const SPARE: usize = 2;
/// Before each entry: lengths of cookie and reply, 32 bits each.
const HEADER: usize = 8;

/// Replies of one generation.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Piece and offset by hash. Of two cookies with one hash the later one counts.
    places: HashMap<u64, (u32, u32), Hashed>,
    pieces: Vec<Vec<u8>>,
    octets: usize,
}

/// Pieces that wait for a generation.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Log {
    /// Replies.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Octets of cookies and replies.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Adds a reply.
    pub fn add(&mut self, hash: u64, cookie: &[u8], reply: &[u8], spare: &mut Spare) {
        let needed = HEADER + cookie.len() + reply.len();
        let (Ok(cookie_length), Ok(reply_length)) = (u32::try_from(cookie.len()), u32::try_from(reply.len()))
        else {
            return;
        };
        if self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < needed) {
            let piece = if needed > PIECE { None } else { spare.0.pop() };
            self.pieces.push(piece.unwrap_or_else(|| Vec::with_capacity(needed.max(PIECE))));
        }
        let Some(piece) = self.pieces.last_mut() else { return };
        // No piece is longer than the longest message.
        let offset = piece.len() as u32;
        piece.extend_from_slice(&cookie_length.to_ne_bytes());
        piece.extend_from_slice(&reply_length.to_ne_bytes());
        piece.extend_from_slice(cookie);
        piece.extend_from_slice(reply);
        self.places.insert(hash, (self.pieces.len() as u32 - 1, offset));
        self.octets += cookie.len() + reply.len();
    }

    /// The reply to a cookie.
    pub fn find(&self, hash: u64, cookie: &[u8]) -> Option<&[u8]> {
        let (piece, offset) = *self.places.get(&hash)?;
        let entry = self.pieces.get(piece as usize)?.get(offset as usize..)?;
        let (cookie_length, rest) = length(entry)?;
        let (reply_length, rest) = length(rest)?;
        let (known, rest) = rest.split_at_checked(cookie_length)?;
        if known != cookie {
            return None;
        }
        rest.get(..reply_length)
    }

    /// Gives up pieces that the next generation can use.
    pub fn recycle(&mut self, spare: &mut Spare) {
        while spare.0.len() < SPARE {
            let Some(mut piece) = self.pieces.pop() else { return };
            if piece.capacity() == PIECE {
                piece.clear();
                spare.0.push(piece);
            }
        }
    }
}

fn length(octets: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = octets.split_first_chunk()?;
    Some((u32::from_ne_bytes(*length) as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_any_length_are_found_under_their_cookie_only() {
        let mut spare = Spare::default();
        for _generation in 0..2 {
            let mut log = Log::default();
            let lengths =
                [0, 1, 4000, PIECE - HEADER - 2, PIECE - HEADER - 1, 3 * PIECE, 100_000, 200_000, 5];
            let entries: Vec<_> =
                lengths.iter().zip(0u8..).map(|(length, n)| ([n, n], vec![n; *length])).collect();
            for ((cookie, reply), hash) in entries.iter().zip(0..) {
                log.add(hash, cookie, reply, &mut spare);
            }
            for ((cookie, reply), hash) in entries.iter().zip(0..) {
                assert_eq!(log.find(hash, cookie), Some(&reply[..]));
                assert_eq!(log.find(hash, b"other"), None);
            }
            assert_eq!((log.len(), log.find(99, b"")), (lengths.len(), None));
            assert_eq!(log.octets(), lengths.iter().sum::<usize>() + 2 * lengths.len());
            log.recycle(&mut spare);
            assert!(
                !spare.0.is_empty()
                    && spare.0.iter().all(|piece| piece.is_empty() && piece.capacity() == PIECE)
            );
        }
    }

    #[test]
    fn the_later_of_two_cookies_with_one_hash_counts() {
        let (mut log, mut spare) = (Log::default(), Spare::default());
        log.add(1, b"a", b"first", &mut spare);
        log.add(1, b"b", b"second", &mut spare);
        assert_eq!((log.find(1, b"a"), log.find(1, b"b")), (None, Some(&b"second"[..])));
    }
}
