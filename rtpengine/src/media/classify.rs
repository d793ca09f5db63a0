//! What a datagram is, from its first octets (RFC 7983 §7, RFC 5761 §4).

use codec::rtp;

/// Kind of a datagram that arrived on a media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// RTP or SRTP with a complete fixed header.
    Rtp,
    /// RTCP or SRTCP with a complete first header and sender SSRC.
    Rtcp,
    Stun,
    Dtls,
    /// Anything else, or too short for what it claims to be.
    Other,
}

/// Looks at the length and the first two octets only.
pub fn classify(datagram: &[u8]) -> PacketKind {
    match datagram.first() {
        Some(0..=3) if datagram.len() >= 20 => PacketKind::Stun,
        Some(20..=63) if datagram.len() >= 13 => PacketKind::Dtls,
        Some(128..=191) if rtp::is_rtcp(datagram) => PacketKind::Rtcp,
        Some(128..=191) if datagram.len() >= 12 => PacketKind::Rtp,
        _ => PacketKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_octets_decide() {
        const CASES: &[(&str, &[u8], usize, PacketKind)] = &[
            ("STUN binding request", &[0, 1], 20, PacketKind::Stun),
            ("STUN cut off", &[0, 1], 19, PacketKind::Other),
            ("ZRTP", &[16, 0], 40, PacketKind::Other),
            ("DTLS client hello", &[22, 254], 100, PacketKind::Dtls),
            ("TURN channel", &[64, 0], 100, PacketKind::Other),
            ("PCMU", &[0x80, 0], 172, PacketKind::Rtp),
            ("PCMU with marker", &[0x80, 0x80], 172, PacketKind::Rtp),
            ("dynamic payload type with marker", &[0x90, 0xe0], 172, PacketKind::Rtp),
            ("RTP cut off", &[0x80, 0], 11, PacketKind::Other),
            ("sender report", &[0x80, 200], 28, PacketKind::Rtcp),
            ("receiver report", &[0x81, 201], 32, PacketKind::Rtcp),
            ("payload feedback", &[0x81, 206], 12, PacketKind::Rtcp),
            ("RTCP cut off", &[0x80, 201], 7, PacketKind::Other),
            ("version 1", &[0x40, 0], 100, PacketKind::Other),
            ("empty", &[], 0, PacketKind::Other),
        ];
        for (name, head, length, kind) in CASES {
            let mut datagram = head.to_vec();
            datagram.resize(*length, 0);
            assert_eq!(classify(&datagram), *kind, "{name}");
        }
    }
}
