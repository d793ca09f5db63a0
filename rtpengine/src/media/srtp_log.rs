//! Details of SRTP in the log (`debug-srtp`): all RTCP, one RTP packet in [`ONE_IN`], and every packet that cannot be unprotected. Tags and
//! indices, never keys or what was encrypted.

use std::fmt;
use std::net::SocketAddr;

use super::plan::DropReason;
use super::security::Kind;
use super::stream::Stream;

/// RTP packets of a worker for each one that is shown.
const ONE_IN: u32 = 512;
/// Octets at the end of a packet that are shown: the longest tag of a suite without a cipher of its own, and the SRTCP index.
const TAIL: usize = 16;

/// What one worker shows.
#[derive(Debug, Default)]
pub struct SrtpLog {
    rtp: u32,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Passage {
    /// Came from there, and its clear form has so many octets.
    In(SocketAddr, Result<usize, DropReason>),
    /// Leaves; its clear form has so many octets.
    Out(usize),
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl SrtpLog {
    /// Whether the next packet is one that is shown.
    pub fn wants(&mut self, kind: Kind) -> bool {
        kind == Kind::Rtcp || {
            let shown = self.rtp == 0;
            self.rtp = (self.rtp + 1) % ONE_IN;
            shown
        }
    }

    /// Writes a line about a packet as it is on the wire.
    pub fn show(stream: &Stream, kind: Kind, wire: &[u8], passage: Passage) {
        let word = |at: usize| wire.get(at..)?.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets));
        let ssrc = word(if kind == Kind::Rtp { 8 } else { 4 }).unwrap_or(0);
        let sequence_number = word(0).filter(|_| kind == Kind::Rtp).map(|first| first as u16);
        let index = stream.present_keys().zip(sequence_number).and_then(|(keys, number)| match passage {
            Passage::In(..) => keys.received_index(ssrc, number),
            Passage::Out(_) => keys.next_index(ssrc, number),
        });
        let (direction, remote, clear) = match passage {
            Passage::In(from, clear) => ("in", Some(from), clear),
            Passage::Out(clear) => ("out", stream.learner.peer(), Ok(clear)),
        };
        let (local, octets, tail) =
            (stream.socket().local, wire.len(), Hex(&wire[octets_before_tail(wire)..]));
        let remote = remote.map(tracing::field::display);
        let rollover = index.map(|index| index >> 16);
        match clear {
            Ok(clear) => tracing::debug!(
                target: "srtp", %local, remote, direction, ?kind, ssrc, sequence_number, rollover, octets, clear, %tail,
                "SRTP packet"
            ),
            Err(reason) => tracing::debug!(
                target: "srtp", %local, remote, direction, ?kind, ssrc, sequence_number, rollover, octets, %tail,
                reason = reason.name(), "SRTP packet refused"
            ),
        }
    }
}

fn octets_before_tail(wire: &[u8]) -> usize {
    wire.len().saturating_sub(TAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rtcp_and_some_rtp_is_shown() {
        let mut log = SrtpLog::default();
        let rtp = (0..2 * ONE_IN).filter(|_| log.wants(Kind::Rtp)).count();
        let rtcp = (0..10).filter(|_| log.wants(Kind::Rtcp)).count();
        assert_eq!((rtp, rtcp), (2, 10));
    }
}
