//! `pierce-NAT`: packets without payload to a party that has not been heard yet, so that its NAT or firewall lets us in.

use std::time::{Duration, Instant};

use codec::rtp;
use rand::Rng;

use super::plan::Expect;
use super::security::Kind;
use super::send::Destination;
use super::stream::Stream;
use super::worker::Worker;

/// Dummy packets in the beginning, so close together that one lost costs little …
const EAGER: u32 = 50;
const EAGER_INTERVAL: Duration = Duration::from_millis(100);
/// … and those after them, which keep the way open.
const INTERVAL: Duration = Duration::from_secs(1);

/// The dummy packets of one stream: an SSRC of their own.
pub struct Pierce {
    payload_type: u8,
    ssrc: u32,
    sequence_number: u16,
    timestamp: u32,
    sent: u32,
}

impl Pierce {
    /// RTP goes out as this payload type.
    pub fn new(payload_type: u8) -> Self {
        let mut rng = rand::rng();
        Self {
            payload_type,
            ssrc: rng.random_range(1..=u32::MAX),
            sequence_number: rng.random(),
            timestamp: rng.random(),
            sent: 0,
        }
    }

    /// The next packet.
    fn packet(&mut self, kind: Kind) -> ([u8; 12], usize) {
        let mut packet = [0; 12];
        self.sent = self.sent.saturating_add(1);
        if kind == Kind::Rtcp {
            // A receiver report about nobody.
            packet[..4].copy_from_slice(&[0x80, 201, 0, 1]);
            packet[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
            return (packet, 8);
        }
        let (number, timestamp) = (self.sequence_number, self.timestamp);
        rtp::write_header(&mut packet, false, self.payload_type, number, timestamp, self.ssrc);
        self.sequence_number = number.wrapping_add(1);
        self.timestamp = timestamp.wrapping_add(160);
        (packet, 12)
    }

    fn interval(&self) -> Duration {
        if self.sent < EAGER { EAGER_INTERVAL } else { INTERVAL }
    }
}

impl Worker {
    /// Begins or goes on with the dummy packets of a stream, if it has any to send.
    pub(super) fn start_piercing(&mut self, slot: u32) {
        let token = self.streams.token(slot);
        let stream = self.streams.get_mut(slot);
        if stream
            .is_some_and(|stream| stream.pierce.is_some() && !std::mem::replace(&mut stream.piercing, true))
        {
            self.output.schedule.pierce(self.output.now.instant, token);
        }
    }

    /// Sends a dummy packet, unless the party has been heard.
    pub(super) fn pierce_turn(&mut self, token: u64, at: Instant) {
        let Some(stream) = self.streams.resolve(token).and_then(|slot| self.streams.get_mut(slot)) else {
            return;
        };
        let Some(mut pierce) = stream.pierce.take() else {
            stream.piercing = false;
            return;
        };
        if let Some(peer) = stream.learner.peer() {
            let kind = if stream.expect == Expect::Rtcp { Kind::Rtcp } else { Kind::Rtp };
            let (packet, length) = pierce.packet(kind);
            // Dummy packets are what a party that is waited for may get.
            let destination = stream.destination.replace(Destination::new(peer));
            // What cannot be sent is counted with the stream's errors.
            let _ = match kind {
                Kind::Rtp => self.output.send_unmuted(stream, &packet[..length]),
                Kind::Rtcp => self.output.send_rtcp(stream, &packet[..length]),
            };
            stream.destination = destination;
        }
        let next = at + pierce.interval();
        stream.pierce = Some(pierce);
        self.output.schedule.pierce(next, token);
    }
}

impl Stream {
    /// A packet of the party has come: nothing is pierced or waited for any more.
    pub fn heard(&mut self) {
        self.is_heard = true;
        self.awaits_peer = false;
        self.pierce = None;
    }
}
