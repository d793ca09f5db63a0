//! Named telephone events (RFC 4733 §2.3) and the sixteen of them that are DTMF digits.

use smol_str::SmolStr;

/// The payload of an event packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedEvent {
    /// Event code; 0–15 are DTMF digits.
    pub code: u8,
    /// The event is over.
    pub end: bool,
    /// Level in −dBm0, 0–63.
    pub volume: u8,
    /// How long it has lasted so far, in units of the RTP clock.
    pub duration: u16,
}

impl NamedEvent {
    /// Length of the payload.
    pub const OCTETS: usize = 4;

    /// The first event of a payload; `None` when it is too short. Further events (RFC 4733 §2.5.1.5) are not looked at.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [code, flags, high, low] = *payload.first_chunk()?;
        Some(Self {
            code,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The payload.
    pub fn to_octets(self) -> [u8; Self::OCTETS] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }

    /// One of 0–9, `*`, `#`, A–D.
    pub fn is_digit(self) -> bool {
        usize::from(self.code) < DIGITS.len()
    }
}

/// The digits in the order of their codes.
const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// The code of a digit; letters in either case.
pub fn code(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    DIGITS.iter().position(|&d| d == digit).map(|code| code as u8)
}

/// The digit of a code.
pub fn digit(code: u8) -> Option<char> {
    DIGITS.get(usize::from(code)).copied()
}

/// Digits as text, in upper case; `None` if something is no digit, or there are more than [`MAX_DIGITS`].
pub fn digits(text: &str) -> Option<SmolStr> {
    let upper = text.to_ascii_uppercase();
    (upper.len() <= MAX_DIGITS && upper.chars().all(|c| DIGITS.contains(&c))).then(|| upper.into())
}

/// Digits of a text that is waited for.
pub const MAX_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_have_codes_and_tones() {
        const CASES: &[(char, u8, [u32; 2])] = &[
            ('0', 0, [941, 1336]),
            ('1', 1, [697, 1209]),
            ('5', 5, [770, 1336]),
            ('9', 9, [852, 1477]),
            ('*', 10, [941, 1209]),
            ('#', 11, [941, 1477]),
            ('a', 12, [697, 1633]),
            ('D', 15, [941, 1633]),
        ];
        for (letter, number, tones) in CASES {
            assert_eq!(code(*letter), Some(*number), "{letter}");
            assert_eq!(digit(*number), Some(letter.to_ascii_uppercase()));
            assert_eq!(codec::dtmf::frequencies(*number), Some(*tones), "{letter}");
        }
        assert_eq!((code('E'), code('x'), digit(16)), (None, None, None));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_rendering_is_its_inverse(payload in prop::collection::vec(any::<u8>(), 0..12)) {
            match NamedEvent::parse(&payload) {
                None => prop_assert!(payload.len() < NamedEvent::OCTETS),
                Some(event) => {
                    let octets = event.to_octets();
                    // The reserved bit is not kept.
                    prop_assert_eq!(octets, [payload[0], payload[1] & 0xbf, payload[2], payload[3]]);
                    prop_assert_eq!(NamedEvent::parse(&octets), Some(event));
                }
            }
        }
    }
}
