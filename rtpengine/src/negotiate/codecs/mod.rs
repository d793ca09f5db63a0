//! Which payload types each side sees, and what has to be done between them.
//!
//! One [`CodecState`] stands for one media of one offer/answer pair. [`offer`] makes it, [`answer`] completes it; the caller keeps it
//! as a value. Sides are called *offerer* and *answerer* of the present exchange; a re-offer from the other side starts with
//! [`offer`] again (codecs are negotiated from scratch, numbers of codecs shown before are kept).
//!
//! ```text
//! offerer's list ──strip, mask, offer, transcode──▶ offered ──▶ answerer
//! towards_offerer ◀──targets of what the answerer sends── answerer's list ◀──
//! ```

mod answering;
mod compare;
pub mod explain;
mod handler;
mod offering;
mod proposal;
mod registry;

use serde::{Deserialize, Serialize};

pub use answering::{AnsweredCodecs, answer};
pub use compare::compatible;
pub use handler::{Handler, PacketTimes, PayloadHandler, configure, formats_sent};
pub use offering::{OfferedCodecs, offer};
pub use proposal::{choose, propose, without_stripped};
pub use registry::Registry;

use std::sync::Arc;

use super::signal::CodecSpec;
use crate::config::TranscodePreference;
use crate::proto::sdp::model::MediaFormat;

/// What is known about the codecs of one media between two parties.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodecState {
    /// What the offerer sent, without the ignored ones.
    pub offerer: Vec<OffererFormat>,
    /// What the answerer was shown.
    pub offered: Vec<MediaFormat>,
    /// What the answerer answered, restricted to what it was offered; empty before the answer.
    pub answerer: Vec<MediaFormat>,
    /// What the offerer was shown; empty before the answer.
    pub towards_offerer: Vec<MediaFormat>,
    /// Encoder settings by `set` and by `transcode` with parameters; the first match counts.
    pub encoder_specs: Vec<CodecSpec>,
    /// Flag `force-transcoding` of either message.
    pub force_transcoding: bool,
    /// Which codecs are best transcoded into each other.
    pub preferences: Arc<[TranscodePreference]>,
}

impl CodecState {
    /// The answerer's list as the next exchange starts from it: what it answered, before that what it was offered.
    pub fn receiver_list(&self) -> &[MediaFormat] {
        if self.answerer.is_empty() { &self.offered } else { &self.answerer }
    }

    /// The offerer's list, when the answerer makes the next offer: what it was shown, before that what it sent.
    pub fn offerer_list(&self) -> Vec<MediaFormat> {
        if self.towards_offerer.is_empty() {
            self.offerer.iter().map(|f| f.format.clone()).collect()
        } else {
            self.towards_offerer.clone()
        }
    }

    /// What the offerer takes: what it was shown, under the numbers that it gave these codecs itself.
    pub fn taken_by_offerer(&self) -> Vec<MediaFormat> {
        let own = |shown: &MediaFormat| {
            let own = || self.offerer.iter().map(|f| &f.format);
            let is_same = |f: &&MediaFormat| compatible(&f.format, &shown.format);
            let same_number =
                own().find(|f| is_same(f) && f.format.payload_type == shown.format.payload_type);
            let mut taken = shown.clone();
            if let Some(own) = same_number.or_else(|| own().find(is_same)) {
                taken.format.payload_type = own.format.payload_type;
            }
            taken
        };
        self.offerer_list().iter().map(own).collect()
    }
}

/// A payload type of the offerer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffererFormat {
    /// As received.
    pub format: MediaFormat,
    /// accept, consume or always-transcode: the offerer gets it even if the answerer does not want it.
    pub accepted: bool,
}

#[cfg(test)]
mod tests;
