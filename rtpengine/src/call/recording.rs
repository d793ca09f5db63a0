//! What a call has to do with recording: switches, numbering, and what is told to the recorder.

use std::sync::Arc;
use std::time::SystemTime;

use smol_str::SmolStr;

use super::coding;
use super::model::{Call, PartyId};
use crate::negotiate::signal::{PlaybackOptions, RecordCall, RecordingOptions, Signal};
use crate::record::{
    CallDescription, RecordedMedia, RecordedSdp, RecordedStream, RecordedTag, Recorder, Recording,
    RecordingDetails, RecordingEnd, RecordingFlags, RecordingStart,
};

/// The recording side of a call.
#[derive(Default)]
pub struct CallRecording {
    /// Wanted by signalling or command; false while paused.
    pub on: bool,
    pub forwarding: bool,
    /// What everybody hears when recording begins (`recording-announcement`).
    pub announcement: Option<Arc<PlaybackOptions>>,
    announced: Announced,
    details: RecordingDetails,
    active: Option<Recording>,
    /// Name of a recording that another instance has begun and this one may have to go on with.
    interrupted: Option<String>,
}

/// How far the announcement of the present recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Announced {
    #[default]
    NotYet,
    /// To be played as soon as there is somebody to hear it.
    Due,
    Done,
}

/// What a command does to the recording of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingCommand {
    Start,
    /// `record-call=on` in signalling: starts, but does not resume what is paused.
    StartUnlessPaused,
    Stop,
    Pause,
    Discard,
    StartForwarding,
    StopForwarding,
}

impl CallRecording {
    /// What the data plane copies: `None` while nothing is recorded.
    pub fn tap_id(&self) -> Option<u64> {
        if self.on || self.forwarding { self.active.as_ref().map(Recording::id) } else { None }
    }

    /// The announcement is to be played.
    pub fn is_announcement_due(&self) -> bool {
        self.announced == Announced::Due
    }

    /// The announcement, which is played now.
    pub fn take_announcement(&mut self) -> Option<Arc<PlaybackOptions>> {
        self.is_announcement_due().then(|| self.announced = Announced::Done)?;
        self.announcement.clone()
    }

    /// A recording exists, maybe paused (shown in `query`).
    pub fn exists(&self) -> bool {
        self.on || self.forwarding || self.active.is_some()
    }

    /// Paths for `recordings` in replies.
    pub fn pcap_path(&self) -> Option<SmolStr> {
        Some(self.active.as_ref()?.pcap_path()?.to_string_lossy().into_owned().into())
    }

    /// As another instance left it; not begun here.
    pub fn restored(
        on: bool,
        forwarding: bool,
        details: RecordingDetails,
        interrupted: Option<String>,
    ) -> Self {
        // Parties have been told already.
        let announced = if on { Announced::Done } else { Announced::default() };
        Self { on, forwarding, details, interrupted, announced, ..Self::default() }
    }

    /// Texts of messages.
    pub fn details(&self) -> &RecordingDetails {
        &self.details
    }

    /// What its files are called.
    pub fn prefix(&self) -> Option<&str> {
        self.active.as_ref().map(Recording::prefix).or(self.interrupted.as_deref())
    }

    /// Takes over the texts of a message.
    pub fn note(&mut self, options: &RecordingOptions, metadata: Option<&str>) {
        let set = |slot: &mut Option<String>, value: Option<&str>| {
            if let Some(value) = value {
                *slot = Some(value.to_owned());
            }
        };
        set(&mut self.details.metadata, metadata);
        set(&mut self.details.file, options.file.as_deref());
        set(&mut self.details.path, options.path.as_deref());
        set(&mut self.details.pattern, options.pattern.as_deref());
        self.details.skip_database |= options.skip_database;
    }
}

/// The command that a signalling message carries, if any.
pub fn signalled_command(signal: &Signal) -> Option<RecordingCommand> {
    Some(match signal.recording.record_call? {
        RecordCall::Start => RecordingCommand::StartUnlessPaused,
        RecordCall::Stop => RecordingCommand::Stop,
        RecordCall::Discard => RecordingCommand::Discard,
    })
}

/// Applies a command; the caller installs the call's plan afterwards.
pub fn apply(call: &mut Call, recorder: &Recorder, command: RecordingCommand) {
    let recording = &mut call.recording;
    match command {
        RecordingCommand::Start => recording.on = true,
        RecordingCommand::StartUnlessPaused => {
            recording.on |= recording.active.is_none() || recording.forwarding
        }
        RecordingCommand::Stop | RecordingCommand::Pause | RecordingCommand::Discard => recording.on = false,
        RecordingCommand::StartForwarding => recording.forwarding = true,
        RecordingCommand::StopForwarding => recording.forwarding = false,
    }
    let wanted = recording.on || recording.forwarding;
    if wanted && recording.active.is_none() {
        recording.active = recorder.begin(RecordingStart {
            call_id: call.id.to_string(),
            created: call.created,
            prefix: recording.interrupted.take(),
            flags: flags(recording),
            details: recording.details.clone(),
        });
        describe(call);
    } else {
        match command {
            RecordingCommand::Stop if !call.recording.forwarding => end(call, RecordingEnd::Keep),
            RecordingCommand::Discard => end(call, RecordingEnd::Discard),
            RecordingCommand::StopForwarding if !call.recording.on => end(call, RecordingEnd::Keep),
            _ => update(call),
        }
    }
    let recording = &mut call.recording;
    let begins = recording.on && recording.active.is_some() && recording.announced == Announced::NotYet;
    if begins && recording.announcement.is_some() {
        recording.announced = Announced::Due;
    }
}

/// Goes on with the recording of a call that another instance had, under the same name.
pub fn resume(call: &mut Call, recorder: &Recorder) {
    let recording = &mut call.recording;
    let prefix = recording.interrupted.take();
    if recording.active.is_none() && (recording.on || recording.forwarding || prefix.is_some()) {
        recording.active = recorder.begin(RecordingStart {
            call_id: call.id.to_string(),
            created: call.created,
            prefix,
            flags: flags(recording),
            details: recording.details.clone(),
        });
        describe(call);
    }
}

impl CallRecording {
    /// The recorder has it.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Leaves the recording as it is, for another instance to go on with, once [`Recorder::suspend`] has been called.
    pub fn hand_out(&mut self) {
        // Dropping it would finish it.
        std::mem::forget(self.active.take());
    }

    /// Leaves the recording to another instance.
    pub fn leave(&mut self) {
        if let Some(active) = self.active.take() {
            self.interrupted = Some(active.prefix().to_owned());
            active.leave();
        }
    }
}

/// Tells the recorder about changed switches or texts.
pub fn update(call: &Call) {
    if let Some(active) = &call.recording.active {
        active.update(flags(&call.recording), call.recording.details.clone());
    }
}

/// Ends the recording, when the call ends or recording is switched off.
pub fn end(call: &mut Call, end: RecordingEnd) {
    call.recording.announced = Announced::NotYet;
    if let Some(active) = call.recording.active.take() {
        active.finish(end, SystemTime::now());
    }
}

/// Tells the recorder who takes part and which streams there are.
pub fn describe(call: &Call) {
    let Some(active) = &call.recording.active else { return };
    let mut description = CallDescription::default();
    for (number, party) in call.parties.iter().enumerate() {
        if party.excluded_from_recording {
            continue;
        }
        let number = number as u32;
        description.tags.push(RecordedTag {
            number,
            tag: party.tag.clone().unwrap_or_default().to_string(),
            label: party.label.as_deref().map(str::to_owned),
            metadata: party.metadata.as_deref().map(str::to_owned),
        });
        let (slot, slots) = slots(party.recording_slots);
        for media in &party.media {
            // Whoever has not described itself yet may be heard all the same (early media).
            description.media.push(RecordedMedia {
                number: media.number,
                ptime_ms: media.remote.as_ref().and_then(|remote| remote.ptime_ms).unwrap_or(20),
                formats: coding::formats_sent(media).to_vec(),
            });
            if !media.is_rtp() || media.is_carried() || media.ports.current().is_none() {
                continue;
            }
            for (component, stream) in media.streams.iter().enumerate() {
                if component == 1 && media.rtcp_mux.active {
                    continue;
                }
                description.streams.push(RecordedStream {
                    number: (media.number - 1) * 2 + component as u32,
                    stream: stream.id.0,
                    tag: number,
                    media: media.number,
                    media_index: media.index.unwrap_or_default() as u32,
                    component: component as u8 + 1,
                    rtcp_only: component == 1,
                    flags: 0,
                    slot,
                    slots,
                });
            }
        }
    }
    active.describe(description);
}

/// Tells the recorder about an SDP that went through.
pub fn signalled(call: &Call, sender: PartyId, mode: &'static str, before: &[u8], after: &str) {
    let Some(active) = &call.recording.active else { return };
    let party = call.party(sender);
    if party.excluded_from_recording {
        return;
    }
    active.signalled(RecordedSdp {
        mode,
        tag: sender.0 as u32,
        label: party.label.as_deref().map(str::to_owned),
        party_started: party.created,
        before: before.to_vec(),
        after: after.as_bytes().to_vec(),
    });
}

fn flags(recording: &CallRecording) -> RecordingFlags {
    RecordingFlags { recording: recording.on, forwarding: recording.forwarding }
}

/// Without valid (≥ 1) options both are 1; a slot beyond the slots is clamped.
fn slots(given: Option<(i64, i64)>) -> (u32, u32) {
    match given {
        Some((slot, slots)) if slot >= 1 && slots >= 1 => {
            let slots = u32::try_from(slots).unwrap_or(u32::MAX);
            (u32::try_from(slot).unwrap_or(u32::MAX).min(slots), slots)
        }
        _ => (1, 1),
    }
}
