use proptest::prelude::*;

use super::*;

/// RFC 5769 §2.1.
const REQUEST: &str = "00 01 00 58 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae \
    80 22 00 10 53 54 55 4e 20 74 65 73 74 20 63 6c 69 65 6e 74 00 24 00 04 6e 00 01 ff \
    80 29 00 08 93 2f f9 b1 51 26 3b 36 00 06 00 09 65 76 74 6a 3a 68 36 76 59 20 20 20 \
    00 08 00 14 9a ea a7 0c bf d8 cb 56 78 1e f2 b5 b2 d3 f2 49 c1 b5 71 a2 80 28 00 04 e5 7a 3b cf";
/// RFC 5769 §2.2.
const RESPONSE_IPV4: &str = "01 01 00 3c 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae \
    80 22 00 0b 74 65 73 74 20 76 65 63 74 6f 72 20 00 20 00 08 00 01 a1 47 e1 12 a6 43 \
    00 08 00 14 2b 91 f5 99 fd 9e 90 c3 8c 74 89 f9 2a f9 ba 53 f0 6b e7 d7 80 28 00 04 c0 7d 4c 96";
/// RFC 5769 §2.3.
const RESPONSE_IPV6: &str = "01 01 00 48 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae \
    80 22 00 0b 74 65 73 74 20 76 65 63 74 6f 72 20 \
    00 20 00 14 00 02 a1 47 01 13 a9 fa a5 d3 f1 79 bc 25 f4 b5 be d2 b9 d9 \
    00 08 00 14 a3 82 95 4e 4b e6 7b f1 17 84 c9 7c 82 92 c2 75 bf e3 ed 41 80 28 00 04 c8 fb 0b 4c";
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

fn octets(hex: &str) -> Vec<u8> {
    hex.split_ascii_whitespace().map(|octet| u8::from_str_radix(octet, 16).expect("hex")).collect()
}

#[test]
fn the_request_of_rfc_5769_is_understood() {
    let octets = octets(REQUEST);
    let message = Message::parse(&octets).expect("message");
    assert_eq!(message.class(), Class::Request);
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.tiebreaker(), Some(Tiebreaker::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate());
    assert_eq!(message.unknown_attributes().count(), 0);
    assert!(message.verify(&IntegrityKey::new(PASSWORD)));
    assert!(!message.verify(&IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBu")));
}

#[test]
fn the_responses_of_rfc_5769_are_understood() {
    for (hex, address) in
        [(RESPONSE_IPV4, "192.0.2.1:32853"), (RESPONSE_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let octets = octets(hex);
        let message = Message::parse(&octets).expect("message");
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.mapped_address(), address.parse().ok());
        assert!(message.verify(&IntegrityKey::new(PASSWORD)), "{address}");
    }
}

#[test]
fn what_is_written_can_be_read() {
    let mut buffer = Vec::new();
    let transaction = TransactionId(*b"transaction1");
    let key = IntegrityKey::new(PASSWORD);
    Builder::new(&mut buffer, Class::Request, transaction)
        .username("peer", "ours")
        .priority(7)
        .use_candidate()
        .tiebreaker(Tiebreaker::Controlling(9))
        .finish(Some(&key));
    let message = Message::parse(&buffer).expect("message");
    assert_eq!(message.transaction(), transaction);
    assert_eq!(message.username(), Some("peer:ours"));
    assert_eq!(message.priority(), Some(7));
    assert!(message.use_candidate());
    assert_eq!(message.tiebreaker(), Some(Tiebreaker::Controlling(9)));
    assert!(message.verify(&key));

    Builder::new(&mut buffer, Class::Error, transaction)
        .error_code(ErrorCode::UnknownAttribute)
        .unknown_attributes([0x7fff, 0x0002].into_iter())
        .finish(None);
    let message = Message::parse(&buffer).expect("message");
    assert_eq!(message.class(), Class::Error);
    assert_eq!(message.error_code(), Some(ErrorCode::UnknownAttribute));
    assert!(!message.has_integrity() && !message.verify(&key));
    let listed = message.attributes().find(|attribute| attribute.kind == 0x000a).expect("list");
    assert_eq!(listed.value, [0x7f, 0xff, 0, 2]);
}

/// A message of these attributes without integrity and fingerprint.
fn plain(attributes: &[u8]) -> Vec<u8> {
    let mut message = octets("00 01 00 00 21 12 a4 42 00 00 00 00 00 00 00 00 00 00 00 00");
    message[3] = attributes.len() as u8;
    message.extend_from_slice(attributes);
    message
}

#[test]
fn malformed_datagrams_are_refused_with_their_reason() {
    let good = octets(REQUEST);
    let change = |at: usize, octet: u8| {
        let mut message = good.clone();
        message[at] = octet;
        message
    };
    let cases = [
        ("short", good[..19].to_vec(), StunError::NotStun),
        ("RTP", change(0, 0x80), StunError::NotStun),
        ("no cookie", change(4, 0), StunError::NotStun),
        ("length", change(3, 0x54), StunError::Length),
        ("allocate", change(1, 3), StunError::Method),
        ("changed", change(30, 0), StunError::Fingerprint),
        ("cut prefix", plain(&[0, 6]).into_iter().chain([0, 0]).collect(), StunError::Length),
        ("attribute too long", plain(&[0, 6, 0, 1]), StunError::Attribute),
        ("tag too short", plain(&[0, 8, 0, 4, 1, 2, 3, 4]), StunError::Attribute),
        ("fingerprint too short", plain(&[0x80, 0x28, 0, 0]), StunError::Fingerprint),
    ];
    for (name, datagram, reason) in cases {
        assert_eq!(Message::parse(&datagram).err(), Some(reason), "{name}");
    }
}

#[test]
fn attributes_behind_the_integrity_do_not_count() {
    let mut buffer = Vec::new();
    let key = IntegrityKey::new(PASSWORD);
    let transaction = TransactionId([1; 12]);
    Builder::new(&mut buffer, Class::Request, transaction).priority(5).finish(Some(&key));
    // Something is put behind MESSAGE-INTEGRITY, in place of the fingerprint.
    buffer.truncate(buffer.len() - 8);
    buffer.extend_from_slice(&[0, 0x25, 0, 0]);
    let length = (buffer.len() - 20) as u16;
    buffer[2..4].copy_from_slice(&length.to_be_bytes());
    let message = Message::parse(&buffer).expect("message");
    assert!(message.verify(&key));
    assert!(!message.use_candidate());
}

#[test]
fn what_must_be_understood_is_reported() {
    let datagram = plain(&[0x7f, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 6, 0, 0]);
    let message = Message::parse(&datagram).expect("message");
    assert_eq!(message.unknown_attributes().collect::<Vec<_>>(), [0x7fff]);
}

fn address() -> impl Strategy<Value = std::net::SocketAddr> {
    let ip = prop_oneof![
        any::<u32>().prop_map(|ip| std::net::IpAddr::from(ip.to_be_bytes())),
        any::<u128>().prop_map(|ip| std::net::IpAddr::from(ip.to_be_bytes())),
    ];
    (ip, any::<u16>()).prop_map(std::net::SocketAddr::from)
}

proptest! {
    #[test]
    fn parsing_never_panics(mut datagram in prop::collection::vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        if framed && datagram.len() >= 20 {
            // Past the header checks.
            let length = (datagram.len() - 20) as u16;
            datagram[..2].copy_from_slice(&[0, 1]);
            datagram[2..4].copy_from_slice(&length.to_be_bytes());
            datagram[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        }
        if let Ok(message) = Message::parse(&datagram) {
            let _ = (message.username(), message.priority(), message.tiebreaker(), message.error_code());
            let _ = (message.mapped_address(), message.unknown_attributes().count());
            prop_assert!(!message.verify(&IntegrityKey::new("x")));
        }
    }

    #[test]
    fn addresses_come_back(address in address(), id in any::<[u8; 12]>()) {
        let mut buffer = Vec::new();
        let key = IntegrityKey::new(PASSWORD);
        Builder::new(&mut buffer, Class::Success, TransactionId(id)).mapped_address(address).finish(Some(&key));
        let message = Message::parse(&buffer).expect("message");
        prop_assert_eq!(message.mapped_address(), Some(address));
        prop_assert!(message.verify(&key));
    }

    #[test]
    fn a_changed_bit_is_noticed(at in (0usize..100).prop_union(104..108), bit in 0u8..8) {
        // In between stands the type of FINGERPRINT: behind the integrity an unknown attribute does no harm.
        let mut datagram = octets(REQUEST);
        datagram[at] ^= 1 << bit;
        let authentic = Message::parse(&datagram)
            .is_ok_and(|message| message.verify(&IntegrityKey::new(PASSWORD)));
        prop_assert!(!authentic);
    }
}
