//! What is played (section 10 of the flag reference).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::read::{set_int, set_text};
use super::{Key, ignored};

pub(super) const KEYS: &[Key] = &[
    (&["file"], |d, v| set_text(&mut d.signal.playback.file, v)),
    (&["blob"], |d, v| {
        if let Some(blob) = v.as_bytes() {
            d.signal.playback.blob = Some(blob.to_vec());
        }
    }),
    (&["blob64"], |d, v| {
        let Some(text) = v.as_bytes() else { return };
        // Encoders break long lines.
        let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        match STANDARD.decode(text) {
            Ok(blob) => d.signal.playback.blob = Some(blob),
            Err(_) => ignored("blob64", "not base64"),
        }
    }),
    (&["db-id"], |d, v| set_int(&mut d.signal.playback.db_id, v)),
    (&["start-pos", "start pos"], |d, v| set_int(&mut d.signal.playback.start_pos, v)),
    (&["repeat-times", "repeat times"], |d, v| set_int(&mut d.signal.playback.repeat_times, v)),
    (&["repeat-duration", "repeat duration"], |d, v| set_int(&mut d.signal.playback.repeat_duration_ms, v)),
];
