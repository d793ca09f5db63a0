//! Digits through the codec graph: events to tones, tones to events, and tones taken out or replaced.

use std::time::{Duration, Instant};

use codec::dtmf::{Detector, Found, Sines};
use codec::graph::{DtmfPlan, Instead, OutPacket, TonePlan, TranscodePlan, Transcoder};
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat, new_decoder, new_encoder};

const EVENT: u8 = 101;

/// A packet that left: (payload type, marker, timestamp, payload).
type Sent = (u8, bool, u32, Vec<u8>);

struct Call {
    transcoder: Transcoder,
    source: PayloadFormat,
    sink: PayloadFormat,
    now: Instant,
    sequence: u16,
    timestamp: u32,
    sent: Vec<Sent>,
    sequences: Vec<u16>,
}

impl Call {
    fn new(source: (u8, &str), sink: (u8, &str), plan: &DtmfPlan) -> Self {
        let format = |(pt, name): (u8, &str)| {
            PayloadFormat::new(
                pt,
                name,
                if name == "opus" { 48_000 } else { 8000 },
                if name == "opus" { 2 } else { 1 },
            )
        };
        let (source, sink) = (format(source), format(sink));
        let options = EncoderOptions { ptime_ms: Some(20), ..Default::default() };
        let transcode = TranscodePlan::new(source.clone(), sink.clone(), options);
        let mut transcoder = Transcoder::new(&transcode, 1, 100).unwrap();
        let event = PayloadFormat::new(EVENT, "telephone-event", source.clock_rate, 1);
        transcoder.set_companions([(&event, &event)].into_iter());
        transcoder.set_dtmf(plan);
        Self {
            transcoder,
            source,
            sink,
            now: Instant::now(),
            sequence: 0,
            timestamp: 5000,
            sent: Vec::new(),
            sequences: Vec::new(),
        }
    }

    fn packet(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0; 12];
        write_header(packet.first_chunk_mut().unwrap(), marker, payload_type, self.sequence, timestamp, 7);
        packet.extend(payload);
        self.sequence += 1;
        let (sent, sequences) = (&mut self.sent, &mut self.sequences);
        self.transcoder.push(self.now, RtpPacket::parse(&packet).unwrap(), &mut |out: OutPacket<'_>| {
            sent.push((out.payload_type, out.marker, out.timestamp, out.payload.to_vec()));
            sequences.push(out.sequence_number);
        });
        self.now += Duration::from_millis(20);
    }

    /// Audio in packets of 20 ms; what does not fill the last one is left out.
    fn audio(&mut self, samples: &[i16]) {
        let mut encoder = new_encoder(&self.source, &EncoderOptions::default()).unwrap();
        let length = encoder.sample_rate() as usize / 50;
        for packet in samples.chunks_exact(length) {
            let mut payload = Vec::new();
            for frame in packet.chunks_exact(encoder.frame_samples()) {
                encoder.encode(frame, &mut payload).unwrap();
            }
            self.packet(self.source.payload_type, false, self.timestamp, &payload);
            self.timestamp += self.source.clock_rate / 50;
        }
    }

    fn silence(&mut self, ms: usize) {
        self.audio(&vec![0; ms * 8]);
    }

    /// A digit as event packets, the timestamps of audio going on behind it.
    fn event(&mut self, code: u8, volume: u8, ms: u32) {
        let clock = self.source.clock_rate / 1000;
        let begin = self.timestamp;
        let payload = |duration: u32, end: bool| {
            [code, u8::from(end) << 7 | volume, (duration >> 8) as u8, duration as u8]
        };
        for step in 0..ms.div_ceil(20) {
            let lasted = ((step + 1) * 20).min(ms);
            let is_end = lasted == ms;
            for _ in 0..if is_end { 3 } else { 1 } {
                let payload = payload(lasted * clock, is_end);
                self.packet(EVENT, step == 0, begin, &payload);
            }
        }
        self.timestamp += ms * clock;
    }

    /// What the sink hears, at its decoder's rate, at the places that the timestamps say.
    fn heard(&self) -> Vec<i16> {
        let mut decoder = new_decoder(&self.sink).unwrap();
        let mut audio = Vec::new();
        for (pt, _, timestamp, payload) in &self.sent {
            if *pt == self.sink.payload_type {
                let at = timestamp.wrapping_sub(5000) as usize * decoder.sample_rate() as usize
                    / self.sink.clock_rate as usize;
                audio.resize(at.max(audio.len()), 0);
                decoder.decode(payload, &mut audio).unwrap();
            }
        }
        audio
    }

    /// (code, volume, duration in ms) of the events that left, each checked for its form.
    fn events(&self) -> Vec<(u8, u8, u32)> {
        let mut events: Vec<(u32, Vec<&Sent>)> = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.0 == EVENT) {
            match events.iter_mut().find(|(timestamp, _)| *timestamp == sent.2) {
                Some((_, packets)) => packets.push(sent),
                None => events.push((sent.2, vec![sent])),
            }
        }
        let duration = |sent: &Sent| u32::from(u16::from_be_bytes([sent.3[2], sent.3[3]]));
        events
            .into_iter()
            .map(|(_, packets)| {
                let marked: Vec<bool> = packets.iter().map(|sent| sent.1).collect();
                assert!(marked[0] && !marked[1..].contains(&true), "marker on the first only: {marked:?}");
                let ends: Vec<bool> = packets.iter().map(|sent| sent.3[1] & 0x80 != 0).collect();
                let first_end = ends.iter().position(|&end| end).expect("an end");
                assert_eq!(ends.len() - first_end, 3, "three end packets");
                assert!(packets.windows(2).all(|p| duration(p[0]) <= duration(p[1])), "durations grow");
                assert!(packets[first_end..].windows(2).all(|p| p[0].3 == p[1].3), "end packets are alike");
                let last = packets.last().unwrap();
                assert!(packets.iter().all(|sent| sent.3[0] == last.3[0]), "one code");
                (last.3[0], last.3[1] & 0x3f, duration(last) / (self.source.clock_rate / 1000))
            })
            .collect()
    }
}

fn found(rate: u32, audio: &[i16]) -> Vec<(u8, u8, u32)> {
    let mut detector = Detector::new(rate);
    let mut digits = Vec::new();
    for part in audio.chunks(160).chain([&[0; 8000][..]]) {
        detector.push(part.iter().copied());
        while let Some(found) = detector.next_found() {
            if let Found::Ended { code, level, samples, .. } = found {
                digits.push((code, level, samples as u32 * 1000 / rate));
            }
        }
    }
    digits
}

fn tone(code: u8, level: u8, ms: usize) -> Vec<i16> {
    let mut sines = Sines::digit(8000, code, level);
    (0..ms * 8).map(|_| sines.sample()).collect()
}

fn power(audio: &[i16]) -> f64 {
    audio.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / audio.len().max(1) as f64
}

fn to_events() -> DtmfPlan {
    plan(Instead::Same, Some((EVENT, 8000)))
}

fn plan(instead: Instead, events: Option<(u8, u32)>) -> DtmfPlan {
    DtmfPlan { events_become_tones: false, tones: Some(TonePlan { instead, events, keeps_audio: false }) }
}

fn matches(got: &[(u8, u8, u32)], code: u8, level: u8, ms: u32, name: &str) {
    assert_eq!(got.len(), 1, "{name}: {got:?}");
    let (c, l, d) = got[0];
    assert!(c == code && l.abs_diff(level) <= 1 && d.abs_diff(ms) <= 6, "{name}: {got:?}");
}

/// Volumes and durations that every digit is tried with.
const DIGITS: [(u8, u32); 6] = [(3, 40), (10, 45), (10, 100), (20, 253), (30, 70), (10, 1000)];

#[test]
fn events_pass_as_they_are() {
    for (level, ms) in DIGITS.into_iter().chain([(0, 60), (63, 200), (36, 3000)]) {
        for code in 0..16 {
            let mut call = Call::new((0, "PCMU"), (8, "PCMA"), &DtmfPlan::default());
            call.silence(100);
            call.event(code, level, ms);
            call.silence(100);
            assert_eq!(call.events(), [(code, level, ms)]);
            assert_eq!(found(8000, &call.heard()), []);
        }
    }
}

#[test]
fn tones_pass_as_they_are() {
    let cases = [((0, "PCMU"), (8, "PCMA"), 8000), ((8, "PCMA"), (9, "G722"), 16_000)];
    for (source, sink, rate) in cases {
        for (level, ms) in DIGITS {
            for code in 0..16 {
                let mut call = Call::new(source, sink, &DtmfPlan::default());
                call.silence(100);
                let mut audio = tone(code, level, ms as usize);
                audio.resize(audio.len().next_multiple_of(160), 0);
                call.audio(&audio);
                call.silence(200);
                let name = format!("{source:?} to {sink:?}: digit {code} at -{level} dBm0 for {ms} ms");
                assert_eq!(call.events(), [], "{name}");
                matches(&found(rate, &call.heard()), code, level, ms, &name);
            }
        }
    }
}

#[test]
fn events_become_tones() {
    let plan = DtmfPlan { events_become_tones: true, tones: None };
    for (source, sink, rate) in [
        ((0, "PCMU"), (0, "PCMU"), 8000),
        ((0, "PCMU"), (9, "G722"), 16_000),
        ((96, "opus"), (8, "PCMA"), 8000),
    ] {
        for (level, ms) in DIGITS {
            for code in 0..16 {
                let mut call = Call::new(source, sink, &plan);
                let lead = if source.1 == "opus" { 0 } else { 100 };
                call.silence(lead);
                call.event(code, level, ms);
                if source.1 == "opus" {
                    // Something behind it, so that the last packet is full.
                    call.timestamp += 48 * 20;
                    call.event((code + 1) % 16, 63, 60);
                } else {
                    call.silence(200);
                }
                let name = format!("{source:?} to {sink:?}: digit {code} at -{level} dBm0 for {ms} ms");
                assert_eq!(call.events(), [], "{name}");
                matches(&found(rate, &call.heard()), code, level, ms, &name);
                assert!(call.sequences.windows(2).all(|s| s[1] == s[0] + 1), "{name}: no gap");
                if lead > 0 {
                    // Time does not shift: the audio behind it is where it was.
                    let expected = u64::from(lead as u32 + ms + 200) * u64::from(rate) / 1000;
                    let got = call.heard().len() as u64;
                    assert!(got.abs_diff(expected) <= u64::from(rate) / 40, "{name}: {got} for {expected}");
                }
            }
        }
    }
}

#[test]
fn audio_beside_events_is_not_heard_twice() {
    let plan = DtmfPlan { events_become_tones: true, tones: None };
    let mut call = Call::new((0, "PCMU"), (8, "PCMA"), &plan);
    call.silence(100);
    let begin = call.timestamp;
    for step in 1..=10u16 {
        call.audio(&[9000; 160]);
        let [high, low] = (step * 160).to_be_bytes();
        call.packet(EVENT, step == 1, begin, &[4, if step == 10 { 0x8a } else { 0x0a }, high, low]);
    }
    call.silence(200);
    let heard = call.heard();
    matches(&found(8000, &heard), 4, 10, 200, "beside audio");
    // The first packet of audio came before the first event packet.
    assert_eq!(heard.len() / 160, 5 + 1 + 10 + 10);
}

#[test]
fn tones_become_events_and_leave_no_remnant() {
    let mut worst = f64::NEG_INFINITY;
    for (sink, pt) in [((0, "PCMU"), 0), ((8, "PCMA"), 8), ((9, "G722"), 9)] {
        for (level, ms) in DIGITS {
            for code in 0..16 {
                let mut call = Call::new((0, "PCMU"), sink, &to_events());
                let lead = 3 + usize::from(code) * 8;
                let digit = tone(code, level, ms as usize);
                let mut audio = vec![0; lead * 8 + 1600];
                audio.extend(&digit);
                audio.resize(audio.len() + 4000, 0);
                audio.truncate(audio.len() / 160 * 160);
                call.audio(&audio);
                let name = format!("to {sink:?}: digit {code} at -{level} dBm0 for {ms} ms");
                matches(&call.events(), code, level, ms, &name);
                assert!(call.sequences.windows(2).all(|s| s[1] == s[0] + 1), "{name}: no gap");
                assert!(call.sent.iter().any(|sent| sent.0 == pt));
                // All energy that is left, over the duration of the digit.
                let heard = call.heard();
                // The smallest value of A-law stands for silence.
                let heard: Vec<i16> = heard.iter().map(|&s| if s.abs() <= 8 { 0 } else { s }).collect();
                let energy = power(&heard) * heard.len() as f64 / (f64::from(ms) * 8.0);
                let remnant = 10.0 * (energy.max(1e-3) / power(&digit)).log10();
                worst = worst.max(remnant);
                assert!(remnant <= -40.0, "{name}: {remnant:.1} dB");
            }
        }
    }
    println!("worst remnant {worst:.1} dB");
}

#[test]
fn remnant_next_to_speech_is_inaudible() {
    // A sustained vowel-like sound that stops 5 ms before the digit and goes on 5 ms behind it.
    let voice = |n: usize| {
        let t = n as f64 / 8000.0;
        ((1..12)
            .map(|h| (t * 137.0 * std::f64::consts::TAU * f64::from(h)).sin() / f64::from(h))
            .sum::<f64>()
            * 2500.0) as i16
    };
    for code in 0..16 {
        let mut audio: Vec<i16> = (0..2000).map(voice).collect();
        audio.extend([0; 40]);
        let begin = audio.len();
        audio.extend(tone(code, 10, 90));
        let end = audio.len();
        audio.extend([0; 40]);
        audio.extend((0..4000).map(voice));
        audio.truncate(audio.len() / 160 * 160);
        let mut call = Call::new((0, "PCMU"), (0, "PCMU"), &plan(Instead::Silence, None));
        call.audio(&audio);
        let heard = call.heard();
        let remnant = 10.0 * (power(&heard[begin..end]).max(1e-3) / power(&audio[begin..end])).log10();
        assert!(remnant <= -40.0, "{code}: {remnant:.1} dB");
        assert_eq!(found(8000, &heard), [], "{code}");
        // The voice is still there, but for 10 ms on either side.
        let kept = power(&heard[..begin - 120]) / power(&audio[..begin - 120]);
        assert!((0.98..1.02).contains(&kept), "{code}: {kept}");
    }
}

#[test]
fn tones_are_replaced_as_asked() {
    let cases = [(Instead::Silence, None), (Instead::Digit(0), Some(0)), (Instead::Digit(11), Some(11))];
    for code in 0..16 {
        for (instead, expected) in &cases {
            let mut call = Call::new((8, "PCMA"), (0, "PCMU"), &plan(instead.clone(), None));
            call.silence(60);
            call.audio(&tone(code, 12, 120));
            call.silence(200);
            let got = found(8000, &call.heard());
            match expected {
                None => assert_eq!(got, [], "{code} {instead:?}"),
                Some(other) => matches(&got, *other, 12, 120, &format!("{code} {instead:?}")),
            }
            assert_eq!(call.events(), []);
        }
        let mut call = Call::new((8, "PCMA"), (0, "PCMU"), &plan(Instead::Digit(5), Some((EVENT, 8000))));
        call.silence(60);
        call.audio(&tone(code, 12, 120));
        call.silence(200);
        matches(&call.events(), 5, 12, 120, "another digit, as event");
    }
    let mut codes = std::collections::BTreeSet::new();
    let mut call = Call::new((8, "PCMA"), (0, "PCMU"), &plan(Instead::Random, None));
    for _ in 0..40 {
        call.audio(&tone(5, 12, 60));
        call.silence(60);
    }
    call.silence(100);
    let got = found(8000, &call.heard());
    assert_eq!(got.len(), 40);
    codes.extend(got.iter().map(|digit| digit.0));
    assert!(codes.len() > 5, "{codes:?}");
    let mut call = Call::new((8, "PCMA"), (0, "PCMU"), &plan(Instead::Sine([400, 1000].into(), 10), None));
    for _ in 0..2 {
        call.audio(&tone(5, 12, 60));
        call.silence(60);
    }
    call.silence(100);
    let heard = call.heard();
    let share = |hertz: f64, part: &[i16]| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in part.iter().enumerate() {
            let (sin, cos) = (std::f64::consts::TAU * hertz * n as f64 / 8000.0).sin_cos();
            re += f64::from(sample) * cos;
            im += f64::from(sample) * sin;
        }
        2.0 * (re * re + im * im) / (power(part) * (part.len() as f64).powi(2))
    };
    assert!(share(400.0, &heard[80..400]) > 0.95 && share(1000.0, &heard[1040..1360]) > 0.95);
    assert_eq!(found(8000, &heard), []);
}

#[test]
fn audio_is_kept_beside_events_when_asked() {
    let plan = DtmfPlan {
        events_become_tones: false,
        tones: Some(TonePlan { instead: Instead::Same, events: Some((EVENT, 8000)), keeps_audio: true }),
    };
    let mut call = Call::new((0, "PCMU"), (0, "PCMU"), &plan);
    call.silence(60);
    call.audio(&tone(7, 10, 100));
    call.silence(200);
    matches(&call.events(), 7, 10, 100, "event");
    matches(&found(8000, &call.heard()), 7, 10, 100, "tone");
    assert!(call.sequences.windows(2).all(|s| s[1] == s[0] + 1));
}

#[test]
fn tones_beside_events_are_taken_out_and_order_is_kept() {
    let mut call = Call::new((0, "PCMU"), (8, "PCMA"), &plan(Instead::Silence, None));
    call.silence(200);
    let begin = call.timestamp;
    for (step, packet) in (1..=6u16).zip(tone(5, 10, 120).chunks(160)) {
        call.audio(packet);
        let [high, low] = (step * 160).to_be_bytes();
        call.packet(EVENT, step == 1, begin, &[5, if step == 6 { 0x8a } else { 0x0a }, high, low]);
    }
    call.silence(300);
    assert_eq!(found(8000, &call.heard()), []);
    assert!(power(&call.heard()) <= 64.0, "nothing is left of the tone");
    let times: Vec<u32> = call.sent.iter().filter(|sent| sent.0 == 8).map(|sent| sent.2).collect();
    assert!(times.is_sorted(), "{times:?}");
    let event = call.sent.iter().position(|sent| sent.0 == EVENT).unwrap();
    assert!(call.sent[..event].iter().all(|sent| sent.2 <= begin), "audio leaves before the event");
}

#[test]
fn audio_that_waited_for_digits_stays_in_front_of_what_passes_then() {
    let mut call = Call::new((0, "PCMU"), (8, "PCMA"), &to_events());
    call.silence(200);
    let waited = 10 - call.sent.len();
    assert!(waited > 0);
    // Now the codec passes, and nobody looks for digits any more.
    let pcmu = PayloadFormat::new(0, "PCMU", 8000, 1);
    call.transcoder.set_dtmf(&DtmfPlan { events_become_tones: false, tones: None });
    call.transcoder.set_companions([(&pcmu, &pcmu)].into_iter());
    call.silence(40);
    let types: Vec<_> = call.sent.iter().map(|(pt, ..)| *pt).collect();
    assert_eq!(types, [&[8; 10][..], &[0; 2]].concat());
    assert!(call.sent.windows(2).all(|pair| pair[1].2 == pair[0].2 + 160));
}

#[test]
fn lost_packets_do_not_double_a_digit() {
    for lost in 0..12 {
        let mut call = Call::new((0, "PCMU"), (0, "PCMU"), &to_events());
        call.silence(100);
        let digit = tone(3, 10, 200);
        for (number, packet) in digit.chunks(160).enumerate() {
            if number == lost {
                call.sequence += 1;
                call.timestamp += 160;
            } else {
                call.audio(packet);
            }
        }
        call.silence(300);
        let events = call.events();
        assert_eq!(events.len(), 1, "packet {lost} lost: {events:?}");
        assert_eq!(events[0].0, 3);
    }
}

#[test]
fn digits_in_quick_succession_keep_their_order() {
    let mut call = Call::new((0, "PCMU"), (0, "PCMU"), &to_events());
    for code in 0..16 {
        call.audio(&tone(code, 10, 60));
        call.silence(40);
    }
    call.silence(200);
    let codes: Vec<u8> = call.events().iter().map(|event| event.0).collect();
    assert_eq!(codes, (0..16).collect::<Vec<u8>>());
}

/// Talk-off on recordings: `DTMF_RECORDINGS=folder cargo test -p codec --test dtmf -- --ignored` reads its WAV files (PCM, 16 bit).
#[test]
#[ignore = "needs recordings"]
fn recordings_have_no_digit() {
    let folder = std::env::var("DTMF_RECORDINGS").expect("a folder");
    let mut seconds = 0.0;
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let octets = std::fs::read(entry.path()).expect("readable");
        let word = |at: usize| u16::from_le_bytes([octets[at], octets[at + 1]]);
        let (channels, rate) = (usize::from(word(22)), u32::from(word(24)));
        let samples: Vec<i16> =
            octets[44..].chunks_exact(2 * channels).map(|s| i16::from_le_bytes([s[0], s[1]])).collect();
        seconds += samples.len() as f64 / f64::from(rate);
        assert_eq!(found(rate, &samples), [], "{:?}", entry.path());
    }
    println!("{seconds:.0} s");
}
