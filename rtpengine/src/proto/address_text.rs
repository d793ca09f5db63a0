//! The usual text of an IP address, without the cost of formatting: each call set-up prints a dozen.

use std::io::Write;
use std::net::IpAddr;

/// Room for the text of any address.
pub struct AddressText {
    octets: [u8; 45],
}

impl AddressText {
    /// Room without text.
    pub fn new() -> Self {
        Self { octets: [0; 45] }
    }

    /// The text of an address.
    pub fn format(&mut self, address: IpAddr) -> &str {
        let mut rest = &mut self.octets[..];
        match address {
            IpAddr::V4(four) => {
                for (index, octet) in four.octets().into_iter().enumerate() {
                    if index > 0 {
                        put(&mut rest, b".");
                    }
                    put(&mut rest, itoa::Buffer::new().format(octet).as_bytes());
                }
            }
            // There is always room.
            IpAddr::V6(six) => drop(write!(rest, "{six}")),
        }
        let length = 45 - rest.len();
        std::str::from_utf8(&self.octets[..length]).unwrap_or_default()
    }
}

impl Default for AddressText {
    fn default() -> Self {
        Self::new()
    }
}

fn put(rest: &mut &mut [u8], text: &[u8]) {
    if let Some((head, tail)) = std::mem::take(rest).split_at_mut_checked(text.len()) {
        head.copy_from_slice(text);
        *rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_the_usual_one(address in any::<IpAddr>()) {
            let mut text = AddressText::new();
            prop_assert_eq!(text.format(address), address.to_string());
        }
    }

    #[test]
    fn the_longest_address_has_room() {
        let longest: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(AddressText::new().format(longest), longest.to_string());
        let mapped: IpAddr = "::ffff:255.255.255.255".parse().unwrap();
        assert_eq!(AddressText::new().format(mapped), mapped.to_string());
    }
}
