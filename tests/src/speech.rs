//! Speech for the parties: spoken by espeak-ng when it is installed, else from the samples in `tests/data`.

use std::path::Path;
use std::process::Command;

use crate::{signal, wav};

/// One of the speakers that the samples have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Calls.
    Caller,
    /// Is called.
    Callee,
    /// Announces.
    Announcer,
}

impl Speaker {
    fn voice(self) -> (&'static str, &'static str) {
        match self {
            Speaker::Caller => ("en-us+m3", "data/caller.wav"),
            Speaker::Callee => ("en-gb+f4", "data/callee.wav"),
            Speaker::Announcer => ("en-gb+f2", "data/announcer.wav"),
        }
    }

    /// What this speaker says.
    pub fn sentence(self) -> &'static str {
        match self {
            Speaker::Caller => "Good morning. This is the caller, speaking with plain telephone quality.",
            Speaker::Callee => "Hello caller, the other side hears you well and answers in wide band.",
            Speaker::Announcer => "Please note that this call is being recorded.",
        }
    }
}

/// The speaker's sentence, mono at this rate.
pub fn speak(speaker: Speaker, rate: u32) -> Vec<i16> {
    let (voice, sample) = speaker.voice();
    let audio = espeak(voice, speaker.sentence()).unwrap_or_else(|| {
        wav::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(sample)).expect("samples are there")
    });
    signal::resample(&audio.mono(), audio.rate, rate)
}

fn espeak(voice: &str, text: &str) -> Option<wav::Wav> {
    let folder = tempfile::tempdir().ok()?;
    let file = folder.path().join("speech.wav");
    let status = Command::new("espeak-ng")
        .args(["-v", voice, "-s", "165", "-w"])
        .arg(&file)
        .arg(text)
        .status()
        .ok()?;
    status.success().then(|| wav::read(&file).ok()).flatten()
}

/// Encodes audio into payloads of 20 ms, and says by how many ticks the time stamp advances each.
///
/// # Panics
/// When the codec has no encoder.
pub fn encode(audio: &[i16], rate: u32, format: &codec::PayloadFormat) -> (Vec<Vec<u8>>, u32) {
    let options =
        codec::EncoderOptions { source_channels: Some(1), source_rate: Some(rate), ..Default::default() };
    let mut encoder = codec::new_encoder(format, &options).expect("the codec has an encoder");
    let audio = signal::resample(audio, rate, encoder.sample_rate());
    let channels = usize::from(encoder.channels());
    let per_frame = encoder.frame_samples();
    let per_packet = encoder.sample_rate() as usize / 50;
    let mut payloads = Vec::new();
    for packet in audio.chunks(per_packet) {
        let mut payload = Vec::new();
        for frame in packet.chunks(per_frame) {
            let mut frame: Vec<i16> = frame.iter().flat_map(|&s| std::iter::repeat_n(s, channels)).collect();
            frame.resize(per_frame * channels, 0);
            encoder.encode(&frame, &mut payload).expect("encoding");
        }
        payloads.push(payload);
    }
    (payloads, format.clock_rate / 50)
}
