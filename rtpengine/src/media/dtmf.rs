//! Finding DTMF digits among the event packets of a stream, and in its audio.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::PayloadFormat;
use codec::def::Kind;
use codec::rtp::RtpPacket;

use super::inband::ToneListener;
use super::ssrc::Seen;
use crate::proto::dtmf::NamedEvent;

/// A digit that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// 0–15
    pub code: u8,
    /// How long it was.
    pub duration: Duration,
    /// Level in −dBm0.
    pub volume: u8,
    /// Where its packets came from.
    pub source: SocketAddr,
}

/// Follows the events of one stream, and its audio where that is wanted. A digit is told once, at its first packet with the end bit, or when the next one begins and all
/// end packets were lost.
///
/// What a stranger can make expensive is telling: [`BURST`] digits at once and [`PER_SECOND`] after that, further ones are left out.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Detector {
    // The first two are looked at for every packet.
    formats: EventFormats,
    /// At most [`BURST`] that wait to be asked for, the next one last; has no memory before the first digit.
    told: Vec<Digit>,
    current: Option<Current>,
    tones: Option<Box<ToneListener>>,
    /// The event packet that came last: its digit, and when.
    last_event: Option<(u8, Instant)>,
    /// Digits told since `since`.
    spent: u32,
    since: Option<Instant>,
}

/// Payload types that carry events.
#[derive(Clone, Debug, Default)]
pub struct EventFormats {
    /// Bit by payload type.
    types: u128,
    clock_rates: Vec<(u8, u32)>,
}

#[derive(Clone, Copy)]
struct Current {
    ssrc: u32,
    timestamp: u32,
    digit: Digit,
    /// Longest duration seen, in units of the clock.
    ticks: u16,
    is_told: bool,
}

/// A tone and an event of the same digit that are no further apart are the same key.
const BESIDE: Duration = Duration::from_millis(150);
/// Digits that are told in a row.
const BURST: u32 = 8;
/// Nobody presses more keys: RFC 4733 digits are 40 ms and as much apart at the least.
const PER_SECOND: u32 = 12;

impl Detector {
    /// Cache lines that a packet touches which is none of its.
    pub const HOT_LINES: [usize; 2] = [0, 1];
}

impl EventFormats {
    pub fn of(formats: &[PayloadFormat]) -> Self {
        let mut events = Self::default();
        for format in formats.iter().filter(|f| f.kind() == Kind::TelephoneEvent && f.payload_type < 128) {
            events.types |= 1 << format.payload_type;
            events.clock_rates.push((format.payload_type, format.clock_rate));
        }
        events
    }

    /// No payload type carries events.
    pub fn is_empty(&self) -> bool {
        self.types == 0
    }

    /// The payload type carries events.
    #[inline]
    pub fn contains(&self, payload_type: u8) -> bool {
        self.types >> (payload_type & 0x7f) & 1 == 1
    }

    /// Clock of an event payload type in Hz.
    pub fn clock_rate(&self, payload_type: u8) -> u32 {
        let known = self.clock_rates.iter().find(|(pt, _)| *pt == payload_type);
        known.map_or(8000, |(_, rate)| (*rate).max(1))
    }
}

impl Detector {
    /// Takes over what the party sends from now on; with `audio`, digits are looked for in that, too.
    pub fn update(&mut self, formats: EventFormats, audio: Option<&Arc<[PayloadFormat]>>) {
        self.formats = formats;
        match (audio, &mut self.tones) {
            (None, tones) => *tones = None,
            (Some(formats), Some(tones)) => tones.update(formats),
            (Some(formats), tones) => *tones = Some(Box::new(ToneListener::new(formats))),
        }
    }

    /// Packets of this payload type are to be given to [`Detector::received`].
    #[inline]
    pub fn listens_to(&self, payload_type: u8) -> bool {
        self.tones.is_some() || self.formats.contains(payload_type)
    }

    /// A packet of such a payload type arrived.
    pub fn received(&mut self, now: Instant, seen: &Seen, datagram: &[u8], source: SocketAddr) {
        if !self.formats.contains(seen.payload_type) {
            self.audio(now, seen, datagram, source);
            return;
        }
        let Some(event) =
            RtpPacket::parse(datagram).ok().and_then(|packet| NamedEvent::parse(packet.payload()))
        else {
            return;
        };
        if !event.is_digit() {
            return;
        }
        self.last_event = Some((event.code, now));
        let same = |current: &Current| current.ssrc == seen.ssrc && current.timestamp == seen.timestamp;
        if let Some(before) = self.current.filter(|current| !same(current)) {
            if before.ssrc == seen.ssrc && before.timestamp.wrapping_sub(seen.timestamp) < 0x8000_0000 {
                // A late packet of an event that is over.
                return;
            }
            self.tell(now);
            self.current = None;
        }
        let clock_rate = self.formats.clock_rate(seen.payload_type);
        let current = self.current.get_or_insert(Current {
            ssrc: seen.ssrc,
            timestamp: seen.timestamp,
            digit: Digit { code: event.code, duration: Duration::ZERO, volume: event.volume, source },
            ticks: 0,
            is_told: false,
        });
        current.ticks = current.ticks.max(event.duration);
        let microseconds = u64::from(current.ticks) * (1_000_000 / u64::from(clock_rate));
        current.digit.duration = Duration::from_micros(microseconds);
        if event.end {
            self.tell(now);
        }
    }

    /// The next digit that has ended.
    #[inline]
    pub fn next_digit(&mut self) -> Option<Digit> {
        self.told.pop()
    }

    /// A packet of audio arrived.
    fn audio(&mut self, now: Instant, seen: &Seen, datagram: &[u8], source: SocketAddr) {
        while let Some(found) = self.tones.as_mut().and_then(|tones| tones.received(now, seen, datagram)) {
            // Some telephones send tones beside their events: that is one digit.
            let begin = now.checked_sub(found.duration + BESIDE);
            let beside =
                self.last_event.is_some_and(|(code, at)| code == found.code && begin.is_none_or(|b| at >= b));
            if !beside {
                self.count(now, Digit { source, ..found });
            }
        }
    }

    fn tell(&mut self, now: Instant) {
        let Some(current) = self.current.as_mut().filter(|current| !current.is_told) else { return };
        current.is_told = true;
        let digit = current.digit;
        self.count(now, digit);
    }

    /// Tells a digit, if there have not been too many.
    fn count(&mut self, now: Instant, digit: Digit) {
        let since = *self.since.get_or_insert(now);
        let seconds = now.saturating_duration_since(since).as_secs();
        if seconds > 0 {
            self.since = Some(since + Duration::from_secs(seconds));
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_SECOND);
            self.spent = self.spent.saturating_sub(more);
        }
        if self.spent < BURST && self.told.len() < BURST as usize {
            self.spent += 1;
            self.told.insert(0, digit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SocketAddr =
        SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 4000));

    fn feed(detector: &mut Detector, now: Instant, timestamp: u32, event: NamedEvent) {
        let mut datagram = [0; 16];
        codec::rtp::write_header(datagram.first_chunk_mut().unwrap(), false, 101, 1, timestamp, 7);
        datagram[12..].copy_from_slice(&event.to_octets());
        let seen =
            Seen { ssrc: 7, payload_type: 101, sequence_number: 1, timestamp, octets: 16, section: None };
        detector.received(now, &seen, &datagram, SOURCE);
    }

    fn detector() -> Detector {
        let mut detector = Detector::default();
        detector.update(EventFormats::of(&[PayloadFormat::new(101, "telephone-event", 8000, 1)]), None);
        detector
    }

    fn event(code: u8, end: bool, duration: u16) -> NamedEvent {
        NamedEvent { code, end, volume: 10, duration }
    }

    #[test]
    fn digit_is_told_once_when_it_ends() {
        let (mut detector, now) = (detector(), Instant::now());
        assert!(detector.listens_to(101) && !detector.listens_to(0));
        for duration in [160, 320, 480] {
            feed(&mut detector, now, 1000, event(5, false, duration));
            assert_eq!(detector.next_digit(), None);
        }
        for _ in 0..3 {
            feed(&mut detector, now, 1000, event(5, true, 800));
        }
        let told = detector.next_digit().expect("the digit");
        assert_eq!(
            (told.code, told.duration, told.volume, told.source),
            (5, Duration::from_millis(100), 10, SOURCE)
        );
        assert_eq!(detector.next_digit(), None);
        feed(&mut detector, now, 3000, event(5, true, 800));
        assert!(detector.next_digit().is_some(), "the same key again");
    }

    #[test]
    fn digit_without_end_is_told_when_the_next_begins() {
        let (mut detector, now) = (detector(), Instant::now());
        feed(&mut detector, now, u32::MAX - 100, event(1, false, 400));
        feed(&mut detector, now, 1500, event(2, false, 160));
        assert_eq!(
            detector.next_digit().map(|digit| (digit.code, digit.duration.as_millis())),
            Some((1, 50))
        );
        feed(&mut detector, now, u32::MAX - 100, event(1, true, 400));
        assert_eq!(detector.next_digit(), None, "late packets are not another digit");
        feed(&mut detector, now, 1500, event(16, true, 160));
        assert_eq!(detector.next_digit(), None, "flash is no digit");
    }

    #[test]
    fn flood_of_digits_is_bounded() {
        let (mut detector, start) = (detector(), Instant::now());
        let mut told = 0;
        for number in 0..1000u32 {
            let now = start + Duration::from_millis(u64::from(number));
            feed(&mut detector, now, number * 10, event(1, true, 5));
            told += u32::from(detector.next_digit().is_some());
        }
        assert_eq!(told, BURST);
        feed(&mut detector, start + Duration::from_secs(2), 20_000, event(1, true, 5));
        assert!(detector.next_digit().is_some());
    }
}
