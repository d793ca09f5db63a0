//! What signalling may ask for and this version does not have: the call works without it, and the log says so.

use crate::negotiate::signal::Signal;

/// Says what will have no effect.
pub fn warn(signal: &Signal) {
    for what in without_effect(signal) {
        tracing::warn!(
            call_id = signal.identity.call_id.as_deref(),
            "{what}: not implemented yet, no effect"
        );
    }
}

fn without_effect(signal: &Signal) -> impl Iterator<Item = &'static str> {
    let recording = &signal.recording;
    [
        (recording.recording_vsc, "recording-vsc"),
        (recording.recording_announcement, "recording-announcement"),
    ]
    .into_iter()
    .filter_map(|(asked, what)| asked.then_some(what))
}
