//! A player at work: encoded frames out of a ring, one packet per frame duration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::offload::{Announcement, PlayedBelow, PlayerNumbers};
use super::plan::{CallKey, LINEAR, PlayerFrame, PlayerId, PlayerPlan};

/// How often a player that ran dry looks for new frames.
pub const RETRY: Duration = Duration::from_millis(5);

/// State of one player.
pub struct Player {
    pub id: PlayerId,
    pub call: CallKey,
    /// Token of the stream whose peer hears it.
    pub sink: u64,
    pub block_egress: bool,
    plan: PlayerPlan,
    /// Once every frame is encoded: the ring is of no use any more.
    announcement: Option<Announcement>,
    /// How far the announcement is: frames that were handed out.
    taken: u64,
    /// Where the kernel sends it.
    pub below: Option<Box<PlayedBelow>>,
    /// Not before then it is looked at whether the kernel could send it.
    pub look_at: Instant,
    /// The turn that counts.
    pub turn_at: Instant,
    sequence_number: u16,
    timestamp: u32,
    /// When `timestamp` is played.
    position: Instant,
    marker: bool,
    pub frames_played: u64,
    /// When the next sender report is due.
    pub report_at: Instant,
}

/// What a player does when its turn comes.
pub enum Turn {
    /// A packet was written; come again at this instant.
    Packet { length: usize, next: Instant },
    /// Samples for the mixer of the stream; come again at this instant.
    Samples { payload: Arc<[u8]>, timestamp: u32, next: Instant },
    /// No frame is ready.
    Wait { next: Instant },
    /// End of media.
    Finished,
}

impl Player {
    pub fn new(plan: PlayerPlan, call: CallKey, sink: u64, now: Instant) -> Self {
        Self {
            id: plan.id,
            call,
            sink,
            block_egress: plan.block_egress,
            announcement: None,
            taken: 0,
            below: None,
            look_at: now,
            turn_at: now,
            sequence_number: plan.first_sequence,
            timestamp: plan.first_timestamp,
            position: now,
            marker: true,
            frames_played: 0,
            report_at: now + report_interval(),
            plan,
        }
    }

    /// Writes the next packet into `out`. `now` must not be before the instant the last turn asked for.
    pub fn turn(&mut self, now: Instant, out: &mut [u8]) -> Turn {
        // Asked before the ring is looked at: frames pushed before the producer went are not missed.
        let ended = self.announcement.is_some() || self.plan.frames.is_abandoned();
        let Some(frame) = self.next_frame() else {
            return if ended { Turn::Finished } else { Turn::Wait { next: now + RETRY } };
        };
        self.catch_up(now);
        if self.plan.payload_type == LINEAR {
            let timestamp = self.timestamp;
            self.timestamp = timestamp.wrapping_add(frame.duration);
            self.position += self.duration(frame.duration);
            self.frames_played += 1;
            return Turn::Samples { payload: frame.payload, timestamp, next: self.position };
        }
        let length = 12 + frame.payload.len();
        let mut header = [0; 12];
        codec::rtp::write_header(
            &mut header,
            self.marker,
            self.plan.payload_type,
            self.sequence_number,
            self.timestamp,
            self.plan.ssrc,
        );
        self.timestamp = self.timestamp.wrapping_add(frame.duration);
        self.position += self.duration(frame.duration);
        let Some(packet) = out.get_mut(..length) else {
            // Longer than any datagram we handle: time goes on without it.
            return Turn::Wait { next: self.position };
        };
        packet[..12].copy_from_slice(&header);
        packet[12..].copy_from_slice(&frame.payload);
        self.marker = false;
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.frames_played += 1;
        Turn::Packet { length, next: self.position }
    }

    fn next_frame(&mut self) -> Option<PlayerFrame> {
        let frame = match &self.announcement {
            None => self.plan.frames.pop().ok()?,
            Some(announcement) => announcement.frame(self.taken)?.clone(),
        };
        self.taken += 1;
        if let Some(announcement) = &self.announcement {
            announcement.progress.handed_out(self.taken);
        }
        Some(frame)
    }

    /// From here on frames come from an announcement that is there as a whole. Those in the ring are the same ones.
    pub fn take_announcement(&mut self, announcement: Announcement) {
        announcement.progress.handed_out(self.taken);
        self.announcement = Some(announcement);
        // Whoever fills the ring stops when it is abandoned.
        self.plan.frames = rtrb::RingBuffer::new(1).1;
    }

    /// What is played, once it is there as a whole, and how many of its frames were handed out.
    pub fn announcement(&self) -> Option<(&Announcement, u64)> {
        self.announcement.as_ref().map(|announcement| (announcement, self.taken))
    }

    /// Numbers of the next packet.
    pub fn numbers(&self, now: Instant) -> PlayerNumbers {
        PlayerNumbers {
            sequence_number: self.sequence_number,
            timestamp: self.timestamp,
            marker: self.marker,
            due: self.position.saturating_duration_since(now),
        }
    }

    /// Somebody else has handed out so many frames by now, of which `sent` became packets; the next packet has these numbers.
    pub fn went_on(&mut self, (taken, sent): (u64, u64), next: PlayerNumbers, now: Instant) {
        self.taken = taken;
        self.frames_played += sent;
        self.sequence_number = next.sequence_number;
        self.timestamp = next.timestamp;
        self.marker = next.marker;
        self.position = now + next.due;
    }

    pub fn payload_type(&self) -> u8 {
        self.plan.payload_type
    }

    /// After an under-run: media time has gone on meanwhile.
    fn catch_up(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.position);
        if late < UNDER_RUN {
            return;
        }
        let units = late.as_micros() * u128::from(self.plan.clock_rate) / 1_000_000;
        self.timestamp = self.timestamp.wrapping_add(units as u32);
        self.position = now;
        self.marker = true;
    }

    fn duration(&self, units: u32) -> Duration {
        Duration::from_nanos(u64::from(units) * 1_000_000_000 / u64::from(self.plan.clock_rate.max(1)))
    }

    pub fn ssrc(&self) -> u32 {
        self.plan.ssrc
    }

    /// What the RTP clock shows at `now`, which is at most a few frames from the present position.
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        let units =
            |duration: Duration| (duration.as_micros() * u128::from(self.plan.clock_rate) / 1_000_000) as u32;
        let ahead = units(self.position.saturating_duration_since(now));
        let behind = units(now.saturating_duration_since(self.position));
        self.timestamp.wrapping_sub(ahead).wrapping_add(behind)
    }

    pub fn next_sequence(&self) -> u16 {
        self.sequence_number
    }

    pub fn next_timestamp(&self) -> u32 {
        self.timestamp
    }
}

/// Time between two sender reports: 5–7 s, varied so that reports of many players do not coincide.
pub fn report_interval() -> Duration {
    Duration::from_millis(rand::rng().random_range(5000..=7000))
}

/// Lateness up to this is a slow worker, whose packets follow each other faster until it has caught up.
const UNDER_RUN: Duration = Duration::from_millis(60);

#[cfg(test)]
mod tests {
    use super::super::plan::{PlayerFrame, StreamId};
    use super::*;
    use codec::rtp::RtpPacket;

    #[test]
    fn frames_are_numbered_paced_and_survive_an_under_run() {
        let (mut producer, consumer) = rtrb::RingBuffer::new(8);
        let plan = PlayerPlan {
            id: PlayerId(1),
            target: StreamId(1),
            payload_type: 8,
            ssrc: 77,
            first_sequence: 65_535,
            first_timestamp: 1000,
            clock_rate: 8000,
            frames: consumer,
            block_egress: false,
        };
        let start = Instant::now();
        let mut player = Player::new(plan, CallKey(1), 0, start);
        let frame = || PlayerFrame { payload: Arc::from([0xd5; 160]), duration: 160 };
        for _ in 0..2 {
            producer.push(frame()).unwrap();
        }
        let mut out = [0; 2048];
        let mut packets = Vec::new();
        let mut now = start;
        let mut turns = 0;
        assert_eq!(player.timestamp_at(start + Duration::from_millis(10)), 1080);
        loop {
            match player.turn(now, &mut out) {
                Turn::Packet { length, next } => {
                    let p = RtpPacket::parse(&out[..length]).unwrap();
                    packets.push((p.sequence_number(), p.timestamp(), p.marker(), (now - start).as_millis()));
                    now = next;
                }
                Turn::Wait { next } => now = next,
                Turn::Samples { .. } => panic!("nobody mixes"),
                Turn::Finished => break,
            }
            turns += 1;
            if turns == 22 {
                producer.push(frame()).unwrap();
                producer = rtrb::RingBuffer::new(1).0;
            }
        }
        assert_eq!(packets, [(65_535, 1000, true, 0), (0, 1160, false, 20), (1, 1000 + 140 * 8, true, 140),]);
        assert_eq!(player.timestamp_at(start + Duration::from_millis(150)), 1000 + 150 * 8);
        assert_eq!((player.frames_played, player.next_sequence()), (3, 2));
    }
}
