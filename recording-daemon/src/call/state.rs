//! What is kept on disk of a call that goes on, and how a later run takes it up.

use super::Call;
use crate::mix_output::MixOutput;
use crate::output::OutputFile;
use crate::recording::OutputMedium;
use crate::resume::{self, AnchorState, Progress, SavedState};
use crate::ssrc::{Source, SourceId};
use crate::timeline::Anchor;

/// Movements of an anchor below this are not worth saving.
const ANCHOR_TOLERANCE: i64 = 10_000_000;

impl Call {
    /// Goes on with outputs and places of an interrupted recording.
    pub(super) fn take_up(&mut self, progress: &Progress) {
        for anchor in &progress.anchors {
            let known = known_anchor(anchor);
            let id = SourceId { ssrc: anchor.ssrc, party: anchor.party };
            self.sources.insert(id, Source::new(anchor.ssrc, anchor.stream, Some(known)));
        }
        for single in &progress.singles {
            if let Some(file) = self.reopen(single.output) {
                let source = self.sources.entry(SourceId { ssrc: single.ssrc, party: single.party });
                source.or_insert_with(|| Source::new(single.ssrc, single.stream, None)).resume_single(file);
            }
        }
        if let Some(mixed) = &progress.mixed
            && let Some(file) = self.reopen(mixed.output)
        {
            self.mix = MixOutput::resume(&self.shared.output, mixed, file);
            if self.mix.is_none() {
                tracing::warn!("Cannot continue the mixed output: other mix options");
            }
        }
        self.recording.add_fault("the recording daemon was interrupted".into());
    }

    fn reopen(&mut self, index: usize) -> Option<OutputFile> {
        let output = self.recording.outputs.get(index)?;
        if output.medium != OutputMedium::File {
            return None;
        }
        OutputFile::reopen(&self.shared.output, &self.shared.budget, output, index)
            .inspect_err(|error| tracing::warn!("Cannot continue '{}': {error}", output.path.display()))
            .ok()
    }

    pub(super) fn save_state(&mut self) {
        if self.handle.is_none() {
            return;
        }
        let mut progress = Progress {
            epoch_unix_ns: self.clock.epoch_unix_ns(),
            mixed: self.mix.as_ref().and_then(MixOutput::state),
            singles: Vec::new(),
            anchors: Vec::new(),
        };
        for (id, source) in &self.sources {
            let (single, anchor) = source.state(id.party);
            progress.singles.extend(single);
            progress.anchors.extend(anchor);
        }
        if self.saved.as_ref().is_some_and(|saved| self.is_as_good(saved, &progress)) {
            return;
        }
        self.save(SavedState { recording: self.recording.clone(), progress: Some(progress) });
    }

    /// The call is over: what is left is to deliver.
    pub(super) fn save_ended(&mut self) {
        self.save(SavedState { recording: self.recording.clone(), progress: None });
    }

    fn save(&mut self, state: SavedState) {
        if let Err(error) = resume::save(&self.shared.output.directory, &state) {
            tracing::warn!(
                limit = true,
                "Cannot save the state of '{}', it could not be continued: {error}",
                self.recording.prefix
            );
        }
        self.saved = Some(state);
    }

    /// Whether the next run would find the same places with the saved state.
    fn is_as_good(&self, saved: &SavedState, now: &Progress) -> bool {
        let Some(then) = &saved.progress else { return false };
        let anchors_hold = then.anchors.len() == now.anchors.len()
            && then.anchors.iter().zip(&now.anchors).all(|(saved, now)| {
                let anchor = known_anchor(saved);
                saved.ssrc == now.ssrc
                    && saved.clock_rate == now.clock_rate
                    && (anchor.place(now.timestamp) - now.time).abs() < ANCHOR_TOLERANCE
            });
        let files = |outputs: &[crate::recording::Output]| {
            outputs.iter().map(|output| output.path.clone()).collect::<Vec<_>>()
        };
        anchors_hold
            && then.mixed == now.mixed
            && then.singles == now.singles
            && saved.recording.pauses == self.recording.pauses
            && saved.recording.faults == self.recording.faults
            && files(&saved.recording.outputs) == files(&self.recording.outputs)
    }
}

fn known_anchor(state: &AnchorState) -> Anchor {
    let &AnchorState { timestamp, clock_rate, time, drift_ppb, .. } = state;
    Anchor { timestamp, clock_rate, time, drift_ppb }
}
