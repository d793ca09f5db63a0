//! The announcement that everybody hears when recording begins (`recording-announcement`).

use std::time::Instant;

use super::engine::Engine;
use super::model::Call;
use super::playback;
use super::recording::{self, RecordingCommand};
use super::store::lock;
use crate::media::plan::CallKey;

impl Engine {
    /// Switches the recording of a call. An announcement that goes with its beginning is played soon, by [`Self::announce_recording`].
    pub(super) fn switch_recording(&self, call: &mut Call, command: RecordingCommand) {
        recording::apply(call, &self.recorder, command);
        self.remember_announcement(call);
    }

    /// Somebody may be there to hear it now.
    pub(super) fn remember_announcement(&self, call: &Call) {
        if call.recording.is_announcement_due() {
            self.alarms.set(Instant::now(), call.key);
        }
    }

    /// An announcement is to be played, and somebody can hear it.
    pub fn has_announcement(&self, key: CallKey) -> bool {
        self.by_key(&key).is_some_and(|handle| {
            let call = lock(&handle);
            call.recording.is_announcement_due() && is_established(&call)
        })
    }

    /// Plays it to all parties. Blocks while the source is opened.
    pub fn announce_recording(&self, key: CallKey) {
        let Some(handle) = self.by_key(&key) else { return };
        let (options, listeners, call_id) = {
            let mut call = lock(&handle);
            if call.ended || !is_established(&call) {
                return;
            }
            let Some(options) = call.recording.take_announcement() else { return };
            let everybody = playback::partners(&call);
            (options, self.players_of(&mut call, &everybody, &[]), call.id.clone())
        };
        let played = options.source().map(|source| {
            let found = self.sources.find(&source)?;
            for (player, target) in
                listeners.iter().filter_map(|(player, target)| Some((player, target.as_ref()?)))
            {
                player.play(&self.plane, (&self.sources, &found), target, &options, false)?;
            }
            Ok::<_, super::error::CommandError>(())
        });
        match played {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%call_id, %error, "the recording is not announced"),
            None => {
                tracing::warn!(%call_id, "recording-announcement without file, blob or db-id: nothing to play")
            }
        }
    }
}

/// Everybody who takes part has been heard of.
fn is_established(call: &Call) -> bool {
    let everybody = playback::partners(call);
    let has_spoken = |&id| call.party(id).media.iter().any(|media| media.remote.is_some());
    !everybody.is_empty() && everybody.iter().all(has_spoken)
}
