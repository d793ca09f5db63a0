//! What can be seen of DTLS records without keys (RFC 6347 §4.1, §4.2.2).

/// A record of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it carries.
    pub content: u8,
    /// 0 before the ChangeCipherSpec: neither encrypted nor authentic.
    pub epoch: u16,
    /// The record with its header.
    pub octets: &'a [u8],
}

/// Content type of alerts.
pub const ALERT: u8 = 21;
/// Content type of handshake messages.
pub const HANDSHAKE: u8 = 22;
/// Content type of application data.
pub const APPLICATION_DATA: u8 = 23;

/// Octets of a record header.
const HEADER: usize = 13;
/// Octets of a handshake message header.
const MESSAGE_HEADER: usize = 12;
const CLIENT_HELLO: u8 = 1;

/// The random value of a ClientHello, which tells one attempt of a client from the next.
pub type ClientRandom = [u8; 32];

/// The records of a datagram, as far as they are complete.
pub fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (header, body) = rest.split_first_chunk::<HEADER>()?;
        let [content, major, _, epoch @ .., _, _, _, _, _, _, high, low] = header;
        if *major != 254 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if body.len() < length {
            return None;
        }
        let (octets, after) = rest.split_at(HEADER + length);
        rest = after;
        Some(Record { content: *content, epoch: u16::from_be_bytes(*epoch), octets })
    })
}

impl Record<'_> {
    /// Anybody could have made it, and nobody needs it: an alert or application data in the clear.
    pub fn is_untrustworthy(&self) -> bool {
        self.epoch == 0 && matches!(self.content, ALERT | APPLICATION_DATA)
    }

    /// The random value, if this is the (first fragment of a) ClientHello of a new association.
    pub fn client_random(&self) -> Option<ClientRandom> {
        if self.epoch != 0 || self.content != HANDSHAKE {
            return None;
        }
        let message = self.octets.get(HEADER..)?;
        let (&kind, offset) = (message.first()?, message.get(6..9)?);
        if kind != CLIENT_HELLO || offset != [0; 3] {
            return None;
        }
        // Behind the version.
        message.get(MESSAGE_HEADER + 2..MESSAGE_HEADER + 34)?.try_into().ok()
    }
}

/// The random value of the ClientHello with which a datagram begins, if it does.
pub fn client_random(datagram: &[u8]) -> Option<ClientRandom> {
    records(datagram).next()?.client_random()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(content: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut octets = vec![content, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 7];
        octets.extend((body.len() as u16).to_be_bytes());
        octets.extend(body);
        octets
    }

    fn hello(offset: u8) -> Vec<u8> {
        let mut message = vec![CLIENT_HELLO, 0, 0, 60, 0, 0, 0, 0, offset, 0, 0, 60, 254, 253];
        message.extend([0xa5; 32]);
        message.extend([0; 26]);
        record(HANDSHAKE, 0, &message)
    }

    #[test]
    fn records_of_a_datagram_are_told_apart() {
        let datagram =
            [record(20, 0, &[1]), record(HANDSHAKE, 1, &[9; 40]), record(ALERT, 0, &[2, 40])].concat();
        let found: Vec<_> = records(&datagram)
            .map(|record| (record.content, record.epoch, record.octets.len(), record.is_untrustworthy()))
            .collect();
        assert_eq!(found, [(20, 0, 14, false), (HANDSHAKE, 1, 53, false), (ALERT, 0, 15, true)]);
        assert_eq!(records(&datagram[..datagram.len() - 1]).count(), 2, "cut off");
        assert_eq!(records(&[22, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0, "TLS");
    }

    #[test]
    fn attempts_of_a_client_differ_in_their_random_value() {
        assert_eq!(client_random(&hello(0)), Some([0xa5; 32]));
        assert_eq!(client_random(&hello(5)), None, "a later fragment");
        assert_eq!(client_random(&record(HANDSHAKE, 1, &hello(0)[13..])), None, "a renegotiation");
        assert_eq!(client_random(&hello(0)[..40]), None, "cut off");
    }

    proptest! {
        #[test]
        fn any_octets_are_taken(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = records(&octets).map(|record| record.octets.len()).sum();
            prop_assert!(total <= octets.len());
            let _ = client_random(&octets);
        }
    }
}
