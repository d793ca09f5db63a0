//! Every pair of codecs of this machine through the graph, in all packet times that are legal for them: payload type, sequence numbers,
//! timestamps, packet sizes, duration and level of what leaves.

use std::time::{Duration, Instant};

use codec::graph::{TranscodePlan, Transcoder};
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat, def, new_decoder, new_encoder};

/// Octets of a payload of so many milliseconds; `None`: they vary.
type Size = fn(usize) -> Option<usize>;

struct Codec {
    name: &'static str,
    clock_rate: u32,
    channels: u8,
    fmtp: &'static str,
    ptimes_ms: &'static [u16],
    size: Size,
}

const ANY: &[u16] = &[10, 20, 30, 40, 60];
const TWENTIES: &[u16] = &[20, 40, 60];
const FROM_20: &[u16] = &[20, 30, 40, 60];

const fn codec(
    name: &'static str,
    clock_rate: u32,
    channels: u8,
    fmtp: &'static str,
    ptimes_ms: &'static [u16],
    size: Size,
) -> Codec {
    Codec { name, clock_rate, channels, fmtp, ptimes_ms, size }
}

const CODECS: &[Codec] = &[
    codec("PCMU", 8000, 1, "", ANY, |ms| Some(ms * 8)),
    codec("PCMA", 8000, 1, "", ANY, |ms| Some(ms * 8)),
    codec("PCMA", 16_000, 1, "", ANY, |ms| Some(ms * 16)),
    codec("G722", 8000, 1, "", ANY, |ms| Some(ms * 8)),
    codec("L16", 44_100, 1, "", ANY, |ms| Some(ms * 441 / 10 * 2)),
    codec("L16", 16_000, 2, "", ANY, |ms| Some(ms * 16 * 4)),
    codec("G726-16", 8000, 1, "", FROM_20, |ms| Some(ms * 2)),
    codec("G726-24", 8000, 1, "", FROM_20, |ms| Some(ms * 3)),
    codec("G726-32", 8000, 1, "", FROM_20, |ms| Some(ms * 4)),
    codec("AAL2-G726-32", 8000, 1, "", FROM_20, |ms| Some(ms * 4)),
    codec("G726-40", 8000, 1, "", FROM_20, |ms| Some(ms * 5)),
    codec("GSM", 8000, 1, "", TWENTIES, |ms| Some(ms / 20 * 33)),
    codec("G723", 8000, 1, "", &[30, 60], |ms| Some(ms / 30 * 24)),
    codec("G729", 8000, 1, "annexb=no", FROM_20, Some),
    codec("G729a", 8000, 1, "", FROM_20, Some),
    codec("speex", 8000, 1, "", TWENTIES, |_| None),
    codec("speex", 16_000, 1, "", TWENTIES, |_| None),
    codec("speex", 32_000, 1, "", TWENTIES, |_| None),
    codec("AMR", 8000, 1, "octet-align=1", TWENTIES, |ms| Some(1 + ms / 20 * (1 + 17))),
    codec("AMR", 8000, 1, "mode-set=7", TWENTIES, |ms| Some((4 + ms / 20 * (6 + 244)).div_ceil(8))),
    codec("AMR", 8000, 1, "crc=1;robust-sorting=1", TWENTIES, |ms| Some(1 + ms / 20 * (2 + 17))),
    codec("AMR-WB", 16_000, 1, "octet-align=1", TWENTIES, |ms| Some(1 + ms / 20 * (1 + 36))),
    codec("AMR-WB", 16_000, 1, "", TWENTIES, |ms| Some((4 + ms / 20 * (6 + 285)).div_ceil(8))),
    codec("opus", 48_000, 2, "", ANY, |_| None),
    codec("opus", 48_000, 2, "stereo=1;sprop-stereo=1", ANY, |_| None),
];

impl Codec {
    fn is_there(&self) -> bool {
        def::by_name(self.name).is_some_and(|def| def.can_encode() && def.can_decode())
    }

    fn format(&self, payload_type: u8) -> PayloadFormat {
        PayloadFormat::new(payload_type, self.name, self.clock_rate, self.channels).with_fmtp(self.fmtp)
    }

    fn ticks(&self, ms: u16) -> u32 {
        self.clock_rate * u32::from(ms) / 1000
    }
}

const SOURCE_TYPE: u8 = 96;
const SINK_TYPE: u8 = 111;
const SSRC: u32 = 0xfeed_beef;
/// All packet times divide it.
const LENGTH_MS: u16 = 480;
/// What codecs need to settle is not measured.
const MEASURED_FROM_MS: usize = 200;

/// A steady vowel: harmonics of 220 Hz with a formant at 660 Hz.
fn vowel(rate: u32, channels: u8, frames: usize) -> Vec<i16> {
    let value = |n: usize| {
        let t = n as f64 / f64::from(rate) * std::f64::consts::TAU * 220.0;
        let harmonic = |k: u32| {
            (t * f64::from(k) + f64::from(k * k)).sin() / (1.0 + ((f64::from(k) - 3.0) / 1.5).powi(2))
        };
        ((1..=10).map(harmonic).sum::<f64>() * 4500.0) as i16
    };
    (0..frames).flat_map(|n| std::iter::repeat_n(value(n), usize::from(channels))).collect()
}

fn level_db(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    10.0 * (energy / samples.len().max(1) as f64).max(1.0).log10()
}

/// Packets of the vowel as the source sends them.
fn spoken(source: &Codec, ptime_ms: u16) -> Vec<Vec<u8>> {
    let options = EncoderOptions { ptime_ms: Some(ptime_ms), ..Default::default() };
    let mut encoder = new_encoder(&source.format(SOURCE_TYPE), &options).expect(source.name);
    let (rate, channels) = (encoder.sample_rate(), encoder.channels());
    let per_packet = (u64::from(rate) * u64::from(ptime_ms) / 1000) as usize * usize::from(channels);
    let samples = vowel(rate, channels, (u64::from(rate) * u64::from(LENGTH_MS) / 1000) as usize);
    let packet = |samples: &[i16]| {
        let mut payload = Vec::new();
        for frame in samples.chunks_exact(encoder.frame_samples() * usize::from(channels)) {
            encoder.encode(frame, &mut payload).expect(source.name);
        }
        payload
    };
    samples.chunks_exact(per_packet).map(packet).collect()
}

struct Sent {
    sequence_number: u16,
    timestamp: u32,
    marker: bool,
    after: Duration,
    payload: Vec<u8>,
}

fn transcoded(plan: &TranscodePlan, packets: &[Vec<u8>], ticks: u32, ptime_ms: u16) -> Vec<Sent> {
    let mut transcoder = Transcoder::new(plan, SSRC, 7).expect("codecs are there");
    let start = Instant::now();
    let mut sent = Vec::new();
    for (n, payload) in packets.iter().enumerate() {
        let mut octets = vec![0; 12];
        let header = octets.first_chunk_mut().expect("12 octets");
        write_header(header, n == 0, SOURCE_TYPE, 65_530_u16.wrapping_add(n as u16), n as u32 * ticks, 1);
        octets.extend_from_slice(payload);
        let now = start + Duration::from_millis(n as u64 * u64::from(ptime_ms));
        transcoder.push(now, RtpPacket::parse(&octets).expect("RTP"), &mut |out| {
            assert_eq!((out.payload_type, out.ssrc), (SINK_TYPE, SSRC));
            sent.push(Sent {
                sequence_number: out.sequence_number,
                timestamp: out.timestamp,
                marker: out.marker,
                after: out.send_at - start,
                payload: out.payload.to_vec(),
            });
        });
    }
    let counters = transcoder.counters();
    assert_eq!((counters.lost, counters.decode_errors, counters.encode_errors), (0, 0, 0));
    sent
}

/// What a pair changes in level; everything else is asserted.
fn check_pair(
    source: &Codec,
    sink: &Codec,
    from_ms: u16,
    to_ms: u16,
    packets: &[Vec<u8>],
    spoken_db: f64,
) -> f64 {
    let case = format!(
        "{}/{} {} {from_ms} ms → {}/{} {} {to_ms} ms",
        source.name, source.clock_rate, source.fmtp, sink.name, sink.clock_rate, sink.fmtp
    );
    let options = EncoderOptions { ptime_ms: Some(to_ms), ..Default::default() };
    let plan = TranscodePlan::new(source.format(SOURCE_TYPE), sink.format(SINK_TYPE), options);
    let sent = transcoded(&plan, packets, source.ticks(from_ms), from_ms);
    // A decoder with a filter of its own may begin with less than a packet.
    let expected = usize::from(LENGTH_MS / to_ms);
    assert!(
        sent.len() == expected || sent.len() + 1 == expected,
        "{case}: {} packets of {expected}",
        sent.len()
    );
    let mut decoder = new_decoder(&plan.sink).expect(sink.name);
    let mut heard = Vec::new();
    for (n, packet) in sent.iter().enumerate() {
        assert_eq!(packet.sequence_number, 7 + n as u16, "{case}");
        assert_eq!(packet.timestamp, n as u32 * sink.ticks(to_ms), "{case}");
        assert_eq!(packet.marker, n == 0, "{case}");
        if let Some(size) = (sink.size)(usize::from(to_ms)) {
            assert_eq!(packet.payload.len(), size, "{case}");
        }
        let before = heard.len();
        decoder.decode(&packet.payload, &mut heard).unwrap_or_else(|error| panic!("{case}: {error}"));
        let samples =
            decoder.sample_rate() as usize * usize::from(to_ms) / 1000 * usize::from(decoder.channels());
        assert!(n == 0 || heard.len() - before == samples, "{case}: {} samples", heard.len() - before);
    }
    for pair in sent.windows(2) {
        assert!(pair[1].after >= pair[0].after, "{case}: order");
    }
    let last = sent.last().expect("packets");
    let latest = Duration::from_millis(u64::from(LENGTH_MS) + u64::from(from_ms.max(to_ms)));
    assert!(last.after <= latest, "{case}: {:?} late", last.after);
    let settled = decoder.sample_rate() as usize * MEASURED_FROM_MS / 1000 * usize::from(decoder.channels());
    level_db(&heard[settled..]) - spoken_db
}

/// Speech models change a vowel somewhat, two of them in a row more.
fn tolerance_db(source: &Codec, sink: &Codec) -> f64 {
    let is_model = |c: &Codec| ["G72", "AM", "GS", "sp", "op"].iter().any(|name| c.name.starts_with(name));
    let is_model = |c: &Codec| is_model(c) && c.name != "G722" && !c.name.starts_with("G726");
    if is_model(source) && is_model(sink) || sink.name == "opus" { 1.5 } else { 1.0 }
}

/// One source codec with every sink; the packet times are those of the sink, and of the source in turn.
fn check_source(source: &Codec) {
    if !source.is_there() {
        println!("{}: not on this machine", source.name);
        return;
    }
    let spoken_db = level_db(&vowel(8000, 1, 3840)[1600..]);
    let sources: Vec<(u16, Vec<Vec<u8>>)> =
        source.ptimes_ms.iter().map(|&ptime_ms| (ptime_ms, spoken(source, ptime_ms))).collect();
    let mut turn = 0;
    let mut wrong = Vec::new();
    for sink in CODECS.iter().filter(|sink| sink.is_there()) {
        for &to_ms in sink.ptimes_ms {
            let (from_ms, packets) = &sources[turn % sources.len()];
            turn += 1;
            let change_db = check_pair(source, sink, *from_ms, to_ms, packets, spoken_db);
            if change_db.abs() > tolerance_db(source, sink) {
                wrong.push(format!(
                    "{} {from_ms} → {} {} {to_ms}: {change_db:.2} dB",
                    source.name, sink.name, sink.fmtp
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

macro_rules! sources {
    ($($test:ident: $index:expr,)*) => {
        $(#[test]
        fn $test() {
            check_source(&CODECS[$index]);
        })*

        #[test]
        fn no_codec_is_left_out() {
            assert_eq!([$($index,)*], std::array::from_fn(|n| n));
            assert_eq!([$($index,)*].len(), CODECS.len());
        }
    };
}

sources! {
    from_pcmu: 0,
    from_pcma: 1,
    from_pcma_wideband: 2,
    from_g722: 3,
    from_l16: 4,
    from_l16_stereo: 5,
    from_g726_16: 6,
    from_g726_24: 7,
    from_g726_32: 8,
    from_g726_32_aal2: 9,
    from_g726_40: 10,
    from_gsm: 11,
    from_g723: 12,
    from_g729: 13,
    from_g729a: 14,
    from_speex_8: 15,
    from_speex_16: 16,
    from_speex_32: 17,
    from_amr: 18,
    from_amr_bandwidth_efficient: 19,
    from_amr_robust: 20,
    from_amr_wb: 21,
    from_amr_wb_bandwidth_efficient: 22,
    from_opus: 23,
    from_opus_stereo: 24,
}
