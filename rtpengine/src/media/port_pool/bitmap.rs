//! Which of the 65 536 ports of an address are free.

use rand::Rng;

const WORDS: usize = 65_536 / 64;

/// One bit a port, set = free.
#[derive(Debug)]
pub(super) struct Bitmap {
    words: Box<[u64; WORDS]>,
}

impl Default for Bitmap {
    fn default() -> Self {
        Self { words: Box::new([0; WORDS]) }
    }
}

impl Bitmap {
    /// Whether nobody has the port.
    pub fn is_free(&self, port: u16) -> bool {
        self.words[usize::from(port / 64)] >> (port % 64) & 1 == 1
    }

    /// Gives back so many ports from this one on.
    pub fn release(&mut self, first: u16, count: usize) {
        for port in usize::from(first)..(usize::from(first) + count).min(65_536) {
            self.words[port / 64] |= 1 << (port % 64);
        }
    }

    /// Takes so many ports from this one on, wherever they are.
    pub fn take(&mut self, first: u16, count: usize) {
        for port in usize::from(first)..(usize::from(first) + count).min(65_536) {
            self.words[port / 64] &= !(1 << (port % 64));
        }
    }

    /// How many are free from the first to the last, both included.
    pub fn count_free(&self, first: u16, last: u16) -> usize {
        let words = usize::from(first / 64)..=usize::from(last / 64);
        words.map(|w| (self.words[w] & range_mask(w, first, last)).count_ones() as usize).sum()
    }

    /// A random even port of the range from which on `count` ports are free; takes them.
    pub fn take_even(&mut self, (first, last): (u16, u16), count: u16) -> Option<u16> {
        if count == 0 || first > last || count - 1 > last - first {
            return None;
        }
        let (first_word, last_word) = (usize::from(first / 64), usize::from(last / 64));
        let words = last_word - first_word + 1;
        let mut rng = rand::rng();
        let start = rng.random_range(0..words);
        let turn = rng.random_range(0..32) * 2;
        for step in 0..words {
            let word = first_word + (start + step) % words;
            // A start must leave room for `count` ports up to the end of the range.
            let mut starts = self.words[word] & EVEN & range_mask(word, first, last - (count - 1));
            if count >= 2 {
                // The odd neighbour lies in the same word.
                starts &= self.words[word] >> 1;
            }
            let mut candidates = starts.rotate_right(turn);
            while candidates != 0 {
                let bit = (candidates.trailing_zeros() + turn) % 64;
                let port = (word * 64) as u16 + bit as u16;
                if (2..count).all(|offset| self.is_free(port + offset)) {
                    self.take(port, usize::from(count));
                    return Some(port);
                }
                candidates &= candidates - 1;
            }
        }
        None
    }
}

/// The bits of even ports.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// The bits of a word that lie in `first..=last`.
fn range_mask(word: usize, first: u16, last: u16) -> u64 {
    let low = word * 64;
    let (first, last) = (usize::from(first), usize::from(last));
    if last < low || first > low + 63 {
        return 0;
    }
    let from = first.saturating_sub(low);
    let to = (last - low).min(63);
    (u64::MAX << from) & (u64::MAX >> (63 - to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn taken_ports_are_free_even_consecutive_and_counted(
            first in 1u16..=65_535, length in 0u16..600, counts in prop::collection::vec(1u16..7, 1..80),
        ) {
            let last = first.saturating_add(length);
            let mut bitmap = Bitmap::default();
            bitmap.release(first, usize::from(last - first) + 1);
            let mut free = usize::from(last - first) + 1;
            for count in counts {
                let before: Vec<u16> = (first..=last).filter(|p| bitmap.is_free(*p)).collect();
                match bitmap.take_even((first, last), count) {
                    Some(port) => {
                        prop_assert!(port % 2 == 0);
                        for offset in 0..count {
                            prop_assert!(before.contains(&(port + offset)) && !bitmap.is_free(port + offset));
                        }
                        free -= usize::from(count);
                        prop_assert_eq!(bitmap.count_free(first, last), free);
                    }
                    None => {
                        let possible = before.iter().any(|p| {
                            p % 2 == 0 && (0..count).all(|o| p.checked_add(o).is_some_and(|p| before.contains(&p)))
                        });
                        prop_assert!(!possible);
                    }
                }
            }
        }
    }
}
