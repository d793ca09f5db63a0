//! Recording keys (section 10 of the flag reference).

use super::read::{choose_value, set_text, text};
use super::{Decoder, Key, ignored};
use crate::negotiate::signal::RecordCall;
use crate::proto::value::Value;

pub(super) const KEYS: &[Key] = &[
    (&["record-call", "record call"], |d, v| {
        if let Some(record_call) = choose_value("record-call", v, RECORD_CALL) {
            d.signal.recording.record_call = Some(record_call);
        }
    }),
    (
        &[
            "output-destination",
            "output-dest",
            "output-file",
            "output destination",
            "output dest",
            "output file",
            "recording-destination",
            "recording-dest",
            "recording-file",
            "recording destination",
            "recording dest",
            "recording file",
        ],
        |d, v| set_text(&mut d.signal.recording.file, v),
    ),
    (
        &[
            "output-path",
            "output-dir",
            "output-directory",
            "output-folder",
            "output path",
            "output dir",
            "output directory",
            "output folder",
            "recording-path",
            "recording-dir",
            "recording-directory",
            "recording-folder",
            "recording path",
            "recording dir",
            "recording directory",
            "recording folder",
        ],
        |d, v| set_text(&mut d.signal.recording.path, v),
    ),
    (&["output-pattern", "output pattern", "recording-pattern", "recording pattern"], |d, v| {
        set_text(&mut d.signal.recording.pattern, v)
    }),
    (&["recording-media-slot-offer"], |d, v| set_slot(&mut d.signal.recording.media_slot_offer, v)),
    (&["recording-media-slot-answer"], |d, v| set_slot(&mut d.signal.recording.media_slot_answer, v)),
    (&["recording-media-slots"], |d, v| set_slot(&mut d.signal.recording.media_slots, v)),
    // Also a duration in `play DTMF`.
    (&["pause"], |d, v| match v.as_int() {
        Some(pause) => d.signal.dtmf.pause_ms = Some(pause),
        None => d.signal.recording.pause |= matches!(v.as_bytes(), Some(b"yes" | b"on" | b"true")),
    }),
    (&["vsc-start-rec", "vsc-start-recording", "VSC-start-rec", "VSC-start-recording"], |d, v| {
        star_code(d, "start-rec", v)
    }),
    (&["vsc-stop-rec", "vsc-stop-recording", "VSC-stop-rec", "VSC-stop-recording"], |d, v| {
        star_code(d, "stop-rec", v)
    }),
    (&["vsc-pause-rec", "vsc-pause-recording", "VSC-pause-rec", "VSC-pause-recording"], |d, v| {
        star_code(d, "pause-rec", v)
    }),
    (
        &["vsc-start-stop-rec", "vsc-start-stop-recording", "VSC-start-stop-rec", "VSC-start-stop-recording"],
        |d, v| star_code(d, "start-stop-rec", v),
    ),
    (
        &[
            "vsc-pause-resume-rec",
            "vsc-pause-resume-recording",
            "VSC-pause-resume-rec",
            "VSC-pause-resume-recording",
        ],
        |d, v| star_code(d, "pause-resume-rec", v),
    ),
    (
        &[
            "vsc-start-pause-resume-rec",
            "vsc-start-pause-resume-recording",
            "VSC-start-pause-resume-rec",
            "VSC-start-pause-resume-recording",
        ],
        |d, v| star_code(d, "start-pause-resume-rec", v),
    ),
];

pub(super) const RECORD_CALL: &[(&[&str], RecordCall)] =
    &[(&["yes", "on"], RecordCall::Start), (&["no", "off"], RecordCall::Stop)];

fn set_slot(target: &mut Option<i64>, value: &Value) {
    match value.as_int().filter(|&slot| slot > 0) {
        Some(slot) => *target = Some(slot),
        None => ignored("recording-media-slot", "not a positive number"),
    }
}

/// The last code given for a purpose counts.
fn star_code(decoder: &mut Decoder<'_>, purpose: &str, value: &Value) {
    // Digits alone may have been written as a number.
    let digits = match value {
        Value::Int(number) => number.to_string(),
        value => match text(value) {
            Some(digits) => digits,
            None => return,
        }
        .to_string(),
    };
    let codes = &mut decoder.signal.recording.vsc;
    codes.retain(|(known, _)| known != purpose);
    codes.push((purpose.into(), digits.into()));
}
