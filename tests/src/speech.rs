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

/// So many pieces of speech of so many seconds, mono at 16 kHz, of all voices that are there: recorded prompts in G.722 of Debian's packages
/// `asterisk-core-sounds-*-g722`, else [`speak`].
///
/// # Panics
/// When there are fewer recordings than that of a voice whose package is installed.
pub fn pieces(count: usize, seconds: usize) -> Vec<Vec<i16>> {
    let length = 16_000 * seconds;
    let mut folders: Vec<_> = std::fs::read_dir("/usr/share/asterisk/sounds")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| prompts(&entry.path()))
        .filter(|files| !files.is_empty())
        .collect();
    folders.sort();
    if folders.is_empty() {
        let speakers = [Speaker::Caller, Speaker::Callee, Speaker::Announcer];
        let said = speakers.map(|speaker| {
            let sentence = [speak(speaker, 16_000), vec![0; 8000]].concat();
            sentence.repeat(length / sentence.len() + 1)[..length].to_vec()
        });
        return (0..count).map(|piece| said[piece % said.len()].clone()).collect();
    }
    let voices: Vec<Vec<i16>> = folders
        .iter()
        .map(|files| {
            let mut audio = Vec::new();
            for file in files {
                if audio.len() > length * count.div_ceil(folders.len()) {
                    break;
                }
                let format = codec::PayloadFormat::new(9, "G722", 8000, 1);
                let mut decoder = codec::new_decoder(&format).expect("G.722 is built in");
                let octets = std::fs::read(file).expect("a recording can be read");
                decoder.decode(&octets, &mut audio).expect("all octets are G.722");
            }
            audio
        })
        .collect();
    let piece = |number: usize| {
        let (voice, piece) = (&voices[number % voices.len()], number / voices.len());
        voice.get(piece * length..(piece + 1) * length).expect("recordings are long enough").to_vec()
    };
    (0..count).map(piece).collect()
}

/// Recordings in a folder, the longest first.
fn prompts(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "g722"))
        .filter_map(|file| Some((std::cmp::Reverse(file.metadata().ok()?.len()), file.path())))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
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
