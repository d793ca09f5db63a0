//! Ends of announcements, as ng clients are told about them.

use std::time::UNIX_EPOCH;

use crate::call::{PlaybackCause, PlaybackReport};
use crate::proto::value::Dict;

/// The event's data.
pub fn event(report: &PlaybackReport) -> Dict {
    let mut dict = Dict::new();
    dict.push("callid", report.call_id.as_str()).push("tag", report.tag.as_str());
    if let Some(label) = &report.label {
        dict.push("label", label.as_str());
    }
    dict.push("type", if report.end.is_music_on_hold { "music-on-hold" } else { "announcement" });
    dict.push(
        "cause",
        match report.end.cause {
            PlaybackCause::End => "end",
            PlaybackCause::Stopped => "stopped",
        },
    );
    dict.push("last-frame-pos", report.end.position_ms);
    dict.push("timestamp", report.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    dict
}
