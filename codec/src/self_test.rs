//! What a codec has to show before it is advertised: a tone that is encoded and decoded comes out with its length, its level and its
//! frequency; a decoder without an encoder makes the right number of samples of payloads that are given.
//!
//! A library that is missing is not an error; one that is there and fails is, and its codec is not offered to anybody.

use crate::coder::{CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Origin};
use crate::def::{self, CodecDef};
use crate::format::PayloadFormat;
use crate::packet_time_ms;

/// What a codec can do here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ability {
    pub(crate) encode: bool,
    pub(crate) decode: bool,
}

/// Tests every codec and gives the names of those that have no implementation on this machine, or a broken one.
///
/// Takes some ten milliseconds; whoever asks earlier what a codec can do waits for the test of that one only.
pub fn run() -> Vec<&'static str> {
    let lacks = |def: &&CodecDef| !def.can_encode() && !def.can_decode() && def.origin() != Origin::NONE;
    def::all().iter().filter(lacks).map(|def| def.name).collect()
}

/// Tries a codec out.
pub(crate) fn examine(def: &CodecDef) -> Ability {
    let family = def.family;
    let there = Ability { encode: family.can_encode(), decode: family.can_decode() };
    if def.kind.is_supplemental() || there == Ability::default() {
        return there;
    }
    match try_out(def, there) {
        Ok(()) => there,
        Err(reason) => {
            tracing::error!(codec = def.name, "codec fails its self-test and is not used: {reason}");
            Ability::default()
        }
    }
}

/// A format of the codec that it can be tried out with.
pub(crate) fn sample_format(def: &CodecDef) -> PayloadFormat {
    let clock_rate = match (def.clock_rate, def.name) {
        (0, "EVRC") => 8000,
        (0, _) => 48_000,
        (clock_rate, _) => clock_rate,
    };
    PayloadFormat::new(96, def.name, clock_rate, def.channels.max(1)).with_fmtp(def.default_fmtp)
}

/// Why a codec is not used.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("{got} samples came out of a payload of {expected}")]
    Length { got: usize, expected: usize },
    #[error("a tone comes out {change_db:.1} dB louder, {in_tone:.0} % of it in its frequency")]
    Tone { change_db: f64, in_tone: f64 },
}

fn try_out(def: &CodecDef, there: Ability) -> Result<(), Failure> {
    let format = sample_format(def);
    for &(payload, expected) in def.family.samples_of_payloads() {
        let mut decoder = def.family.new_decoder(&format, &DecoderOptions::default())?;
        let mut samples = Vec::new();
        decoder.decode(payload, &mut samples)?;
        if samples.len() != expected {
            return Err(Failure::Length { got: samples.len(), expected });
        }
    }
    if !(there.encode && there.decode) {
        return Ok(());
    }
    let options = EncoderOptions::default();
    let mut encoder = def.family.new_encoder(&format, &options)?;
    let mut decoder = def.family.new_decoder(&format, &DecoderOptions::default())?;
    let heard = round_trip(encoder.as_mut(), decoder.as_mut(), packet_time_ms(&format, &options))?;
    check_tone(&heard, decoder.sample_rate())
}

const FREQUENCY: f64 = 400.0;
const AMPLITUDE: f64 = 8000.0;
/// Codecs begin softly, and look ahead.
const SETTLING_MS: usize = 120;
const LISTENING_MS: usize = 120;

/// The tone after coder and decoder; of several channels, the first.
fn round_trip(
    encoder: &mut dyn Encoder,
    decoder: &mut dyn Decoder,
    ptime_ms: u16,
) -> Result<Vec<i16>, Failure> {
    let rate = encoder.sample_rate() as usize;
    let channels = usize::from(encoder.channels());
    let frames = (rate * usize::from(ptime_ms) / 1000 / encoder.frame_samples().max(1)).max(1);
    let step = std::f64::consts::TAU * FREQUENCY / rate as f64;
    let wanted = decoder.sample_rate() as usize * (SETTLING_MS + LISTENING_MS) / 1000;
    let most = rate * (SETTLING_MS + LISTENING_MS) / 500;
    let (mut position, mut heard, mut payload) = (0, Vec::new(), Vec::new());
    let mut tone = Vec::new();
    while heard.len() < wanted * usize::from(decoder.channels()) && position < most {
        payload.clear();
        for _ in 0..frames {
            tone.clear();
            for n in position..position + encoder.frame_samples() {
                let sample = (AMPLITUDE * (n as f64 * step).sin()) as i16;
                tone.extend(std::iter::repeat_n(sample, channels));
            }
            position += encoder.frame_samples();
            encoder.encode(&tone, &mut payload)?;
        }
        if !payload.is_empty() {
            decoder.decode(&payload, &mut heard)?;
        }
    }
    Ok(heard.iter().step_by(usize::from(decoder.channels())).copied().collect())
}

fn check_tone(heard: &[i16], rate: u32) -> Result<(), Failure> {
    let rate = rate as usize;
    let expected = rate * (SETTLING_MS + LISTENING_MS) / 1000;
    let Some(part) = heard.get(rate * SETTLING_MS / 1000..expected) else {
        return Err(Failure::Length { got: heard.len(), expected });
    };
    let step = std::f64::consts::TAU * FREQUENCY / rate as f64;
    let (mut energy, mut real, mut imaginary) = (0.0, 0.0, 0.0);
    for (n, &sample) in part.iter().enumerate() {
        let (sample, (sin, cos)) = (f64::from(sample), (n as f64 * step).sin_cos());
        energy += sample * sample;
        real += sample * cos;
        imaginary += sample * sin;
    }
    let length = part.len() as f64;
    let in_tone = 100.0 * 2.0 * (real * real + imaginary * imaginary) / (length * energy.max(1.0));
    let change_db = 10.0 * (energy.max(1.0) / length / (AMPLITUDE * AMPLITUDE / 2.0)).log10();
    if change_db.abs() > 3.0 || in_tone < 70.0 {
        return Err(Failure::Tone { change_db, in_tone });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_of_this_machine_passes() {
        for def in def::all().iter().filter(|def| !def.kind.is_supplemental()) {
            let there = Ability { encode: def.family.can_encode(), decode: def.family.can_decode() };
            let result = try_out(def, there);
            assert!(there == Ability::default() || result.is_ok(), "{}: {}", def.name, result.unwrap_err());
            assert_eq!((def.can_encode(), def.can_decode()), (there.encode, there.decode), "{}", def.name);
        }
    }

    #[test]
    fn what_is_not_the_tone_is_noticed() {
        let tone = |frequency: f64, amplitude: f64| -> Vec<i16> {
            let step = std::f64::consts::TAU * frequency / 8000.0;
            (0..2000).map(|n| (amplitude * (f64::from(n) * step).sin()) as i16).collect()
        };
        assert!(check_tone(&tone(400.0, 8000.0), 8000).is_ok());
        for wrong in
            [tone(400.0, 4000.0), tone(800.0, 8000.0), vec![0; 2000], tone(400.0, 8000.0)[..1000].to_vec()]
        {
            assert!(check_tone(&wrong, 8000).is_err());
        }
    }
}
