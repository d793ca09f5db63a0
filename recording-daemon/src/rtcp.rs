//! Sender reports in RTCP (RFC 3550 §6.4.1): the only thing of it that recording needs.

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
const SENDER_REPORT: u8 = 200;

/// What a sender says about its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Its wall clock, nanoseconds since 1970.
    pub ntp_ns: i64,
    /// RTP timestamp of the same moment.
    pub timestamp: u32,
}

/// All sender reports of a compound packet; nothing behind something that is not RTCP.
pub fn sender_reports(mut octets: &[u8]) -> impl Iterator<Item = SenderReport> {
    std::iter::from_fn(move || {
        loop {
            let &[version, kind, high, low, ..] = octets else { return None };
            let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
            let packet = octets.get(..length).filter(|_| version >> 6 == 2)?;
            octets = octets.get(length..).unwrap_or_default();
            if kind != SENDER_REPORT {
                continue;
            }
            let word = |at: usize| {
                let octets = packet.get(at..at + 4)?;
                Some(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]))
            };
            let (Some(ssrc), Some(seconds), Some(fraction), Some(timestamp)) =
                (word(4), word(8), word(12), word(16))
            else {
                continue;
            };
            // Clocks that were never set count from 1900, or from when the phone was switched on: only differences matter.
            let seconds = i64::from(seconds) - NTP_TO_UNIX.cast_signed();
            let nanoseconds = ((u64::from(fraction) * 1_000_000_000) >> 32).cast_signed();
            return Some(SenderReport { ssrc, ntp_ns: seconds * 1_000_000_000 + nanoseconds, timestamp });
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reports_are_found_in_compound_packets() {
        let mut octets = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        octets.extend([0x80, 200, 0, 6, 0, 0, 0, 7]);
        octets.extend((2_208_988_801_u32).to_be_bytes());
        octets.extend(0x8000_0000_u32.to_be_bytes());
        octets.extend([0, 0, 0x1f, 0x40, 0, 0, 0, 1, 0, 0, 0, 2]);
        let found: Vec<_> = sender_reports(&octets).collect();
        assert_eq!(found, [SenderReport { ssrc: 7, ntp_ns: 1_500_000_000, timestamp: 8000 }]);
    }

    proptest! {
        #[test]
        fn octets_of_any_kind_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(sender_reports(&octets).count() <= 25);
        }
    }
}
