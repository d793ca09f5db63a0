//! What commands ask of an edge beside its codecs: media held back or silenced, DTMF digits held back or replaced, digits added.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::StreamId;

/// How an edge treats the packets of its source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Treatment {
    /// All RTP but telephone-event.
    pub media: MediaTreatment,
    /// telephone-event.
    pub dtmf: DtmfTreatment,
    /// Digits are held back and come later, by [`InjectionPlan`]s.
    pub dtmf_delayed: bool,
    /// Digits may be added: the source is followed from its first packet on.
    pub injectable: bool,
}

/// What becomes of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTreatment {
    /// It goes on.
    #[default]
    Pass,
    /// Decoded audio becomes silence; payloads that pass are filled with their codec's silent octet, or dropped if it has none.
    Silence,
    /// It is dropped.
    Block,
}

/// What becomes of digits in event packets.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum DtmfTreatment {
    /// They go on.
    #[default]
    Pass,
    /// They are dropped.
    Drop,
    /// Another code in their place.
    Digit(u8),
    /// A random code for each digit.
    Random,
    /// Audio of the same length in their place; the tones take turns.
    Tones(Arc<[Arc<ToneFrames>]>),
}

/// Encoded audio, one frame a packet; what comes after the last frame is the first one again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToneFrames {
    /// Payload type that the sink knows the codec by.
    pub payload_type: u8,
    /// RTP clock of the codec in Hz.
    pub clock_rate: u32,
    /// Duration of a frame in units of that clock.
    pub frame_ticks: u32,
    /// Never empty.
    pub frames: Vec<Box<[u8]>>,
}

/// A digit to be added to what goes over an edge.
#[derive(Clone, Debug)]
pub struct InjectionPlan {
    /// The stream whose packets it joins.
    pub from: StreamId,
    /// Whose peer hears it.
    pub to: StreamId,
    /// Begins then, or when what was queued before is over.
    pub not_before: Instant,
    /// 0–15
    pub code: u8,
    /// Level in −dBm0.
    pub volume: u8,
    /// Of the digit, and of the pause behind it.
    pub duration: Duration,
    pub pause: Duration,
    /// In what form.
    pub form: InjectionForm,
    /// The source's packets go on beside it.
    pub keeps_audio: bool,
    /// The edge's [`DtmfTreatment`] of the time when it begins applies to it.
    pub treated: bool,
    /// [`super::event::MediaEvent::DtmfEnded`] is told when it is over.
    pub reported: bool,
}

/// How a digit is sent.
#[derive(Clone, Debug)]
pub enum InjectionForm {
    /// As RFC 4733 event packets.
    Event {
        /// Payload type of telephone-event at the sink.
        payload_type: u8,
        /// Its clock in Hz.
        clock_rate: u32,
    },
    /// As audio.
    Tones(Arc<ToneFrames>),
}

impl ToneFrames {
    /// Frame number `index`, counted on over the end.
    pub fn frame(&self, index: u32) -> &[u8] {
        self.frames.get(index as usize % self.frames.len().max(1)).map_or(&[], |frame| frame)
    }

    /// Play time of a frame.
    pub fn frame_time(&self) -> Duration {
        Duration::from_micros(u64::from(self.frame_ticks) * 1_000_000 / u64::from(self.clock_rate.max(1)))
    }
}

impl Treatment {
    /// Packets go on as they would without it.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
