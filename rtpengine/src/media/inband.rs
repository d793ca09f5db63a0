//! Finding DTMF digits in the audio that a party sends, whatever becomes of that audio.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::dtmf::{Detector, Found};
use codec::rtp::RtpPacket;
use codec::{Decoder, PayloadFormat, new_decoder};

use super::dtmf::Digit;
use super::ssrc::Seen;

/// Listens to one stream: packets in the order of their arrival, late ones are left out.
///
/// Allocates when a codec begins. What a stranger can make expensive is changing codecs: that is followed once in [`REOPEN`].
pub struct ToneListener {
    formats: Arc<[PayloadFormat]>,
    ear: Option<Ear>,
    opened: Option<Instant>,
    samples: Vec<i16>,
}

/// A decoder and what it is at.
struct Ear {
    payload_type: u8,
    clock_rate: u32,
    decoder: Box<dyn Decoder>,
    detector: Detector,
    ssrc: u32,
    sequence_number: u16,
    /// The timestamp behind the last sample.
    expected: u32,
}

const REOPEN: Duration = Duration::from_millis(500);
/// A packet that is older than this many has not been delayed: numbers have begun anew.
const LATE: u16 = 100;

impl ToneListener {
    /// For a party that sends these formats.
    pub fn new(formats: &Arc<[PayloadFormat]>) -> Self {
        Self { formats: formats.clone(), ear: None, opened: None, samples: Vec::new() }
    }

    /// The party sends others from now on.
    pub fn update(&mut self, formats: &Arc<[PayloadFormat]>) {
        if self.formats != *formats {
            *self = Self::new(formats);
        }
    }

    /// Takes a packet. Ask again, with the same packet, until there is no digit; its source is not known here.
    pub fn received(&mut self, now: Instant, seen: &Seen, datagram: &[u8]) -> Option<Digit> {
        if let Some(digit) = self.ear.as_mut().and_then(Ear::digit) {
            return Some(digit);
        }
        if self.ear.as_ref().is_none_or(|ear| ear.payload_type != seen.payload_type) {
            self.open(now, seen)?;
        }
        let ear = self.ear.as_mut()?;
        ear.follow(seen)?;
        let packet = RtpPacket::parse(datagram).ok()?;
        self.samples.clear();
        // What cannot be decoded is a gap.
        let _ = ear.decoder.decode(packet.payload(), &mut self.samples);
        ear.listen(&self.samples);
        ear.digit()
    }

    fn open(&mut self, now: Instant, seen: &Seen) -> Option<()> {
        let format = self.formats.iter().find(|f| f.payload_type == seen.payload_type)?;
        if format.is_supplemental()
            || self.opened.is_some_and(|at| now.saturating_duration_since(at) < REOPEN)
        {
            return None;
        }
        self.opened = Some(now);
        let decoder = new_decoder(format).ok()?;
        self.ear = Some(Ear {
            payload_type: seen.payload_type,
            clock_rate: format.clock_rate.max(1),
            detector: Detector::new(decoder.sample_rate()),
            decoder,
            ssrc: seen.ssrc,
            sequence_number: seen.sequence_number.wrapping_sub(1),
            expected: seen.timestamp,
        });
        Some(())
    }
}

impl Ear {
    /// Makes time go on to a packet; `None` for one that comes too late.
    fn follow(&mut self, seen: &Seen) -> Option<()> {
        if seen.ssrc != self.ssrc {
            // Another source: what went on is over.
            self.detector.skip(u64::from(self.decoder.sample_rate()));
            (self.ssrc, self.expected) = (seen.ssrc, seen.timestamp);
        } else {
            let late = self.sequence_number.wrapping_sub(seen.sequence_number);
            if late < LATE {
                return None;
            }
            let ahead = seen.timestamp.wrapping_sub(self.expected);
            if ahead > 0 && ahead < 0x8000_0000 {
                let samples =
                    u64::from(ahead) * u64::from(self.decoder.sample_rate()) / u64::from(self.clock_rate);
                self.detector.skip(samples);
            }
            self.expected = seen.timestamp;
        }
        self.sequence_number = seen.sequence_number;
        Some(())
    }

    fn listen(&mut self, samples: &[i16]) {
        let channels = usize::from(self.decoder.channels().max(1));
        let frames = samples.chunks_exact(channels);
        let ticks =
            frames.len() as u64 * u64::from(self.clock_rate) / u64::from(self.decoder.sample_rate().max(1));
        self.expected = self.expected.wrapping_add(ticks as u32);
        self.detector
            .push(frames.map(|f| (f.iter().map(|&s| i32::from(s)).sum::<i32>() / channels as i32) as i16));
    }

    fn digit(&mut self) -> Option<Digit> {
        loop {
            if let Found::Ended { code, samples, level, .. } = self.detector.next_found()? {
                let microseconds = samples * 1_000_000 / u64::from(self.decoder.sample_rate().max(1));
                return Some(Digit {
                    code,
                    duration: Duration::from_micros(microseconds),
                    volume: level,
                    source: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                });
            }
        }
    }
}
