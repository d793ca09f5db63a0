//! `audio-player`: which party hears one continuous stream of our own instead of the streams of others, and of what it is made.
//!
//! ```text
//! key or flag, option, inject, play media ─▶ plan of a section ─▶ stream: mixer; edges to it: linear samples; announcements: the same
//! ```

use std::sync::Arc;

use codec::graph::TranscodePlan;
use codec::{EncoderOptions, PayloadFormat};

use super::coding;
use super::fax;
use super::model::{Call, Media, Party};
use super::subscription::Purpose;
use crate::config::{AudioPlayerConfig, AudioPlayerMode};
use crate::media::plan::{DropReason, Handling, MixerPlan};
use crate::negotiate::codecs::Registry;
use crate::negotiate::ice::Passthrough;
use crate::negotiate::signal::{AudioPlayer, Signal};

/// Packets of samples that edges make for a mixer: short ones wait for less.
const SAMPLES_MS: u16 = 10;

/// Takes note of what a message says about two sections that belong together.
pub fn note(signal: &Signal, from: &mut Media, to: &mut Media) {
    if let Some(wanted) = signal.network.audio_player {
        from.audio_player = wanted;
        to.audio_player = wanted;
    }
    // The answerer's side has nobody to listen before it answers.
    from.early_media |= signal.flags.early_media;
}

/// Takes note of what a message without description says about a party.
pub fn note_party(signal: &Signal, party: &mut Party) {
    if let Some(wanted) = signal.network.audio_player {
        party.media.iter_mut().for_each(|media| media.audio_player = wanted);
    }
}

/// Somebody is about to hear an announcement; whether that may change the plan of the section.
pub fn note_announcement(media: &mut Media, config: &AudioPlayerConfig) -> bool {
    config.mode >= AudioPlayerMode::PlayMedia && !std::mem::replace(&mut media.has_announcements, true)
}

/// The mixer of a section, if it has one. `opposite` is the section of its partner.
pub fn plan(
    call: &Call,
    media: &Media,
    opposite: Option<&Media>,
    config: &AudioPlayerConfig,
) -> Option<MixerPlan> {
    if !is_active(call, media, opposite, config) {
        return None;
    }
    let mut format = coding::player_format(media)?;
    let mut options = coding::player_options(media, &mut format, &[]);
    let rate = format.clock_rate.checked_mul(format.def()?.sample_rate_factor.max(1))?;
    options.source_rate = Some(rate);
    options.source_channels = Some(1);
    let spoken = |media: &Media| media.remote.is_some();
    let answered = spoken(media) && (media.early_media || opposite.is_none_or(spoken));
    Some(MixerPlan {
        format,
        options,
        rate,
        length: config.length,
        delay: config.delay,
        runs: answered && media.may_receive(),
    })
}

fn is_active(call: &Call, media: &Media, opposite: Option<&Media>, config: &AudioPlayerConfig) -> bool {
    // What most calls say: nothing.
    if media.audio_player == AudioPlayer::Default
        && config.mode == AudioPlayerMode::OnDemand
        && call.subscriptions.is_empty()
    {
        return false;
    }
    // A shared port carries other sections, which the mixer knows nothing of.
    if media.media_type != "audio"
        || !media.is_rtp()
        || media.t38.is_some()
        || media.bundling.is_shared()
        || media.ice.passthrough() != Passthrough::Off
    {
        return false;
    }
    // The audio is what a modem says.
    if opposite.is_some_and(|opposite| fax::is_gateway(opposite, media)) {
        return false;
    }
    let transcodes = || opposite.is_some_and(|opposite| coding::is_decoded(opposite, media));
    let wanted = match media.audio_player {
        AudioPlayer::Force => true,
        AudioPlayer::Off => false,
        AudioPlayer::Transcoding => transcodes(),
        AudioPlayer::Default => match config.mode {
            AudioPlayerMode::OnDemand => false,
            AudioPlayerMode::PlayMedia => media.has_announcements,
            AudioPlayerMode::Transcoding => media.has_announcements || transcodes(),
            AudioPlayerMode::Always => true,
        },
    };
    wanted || is_injected(call, media)
}

/// `inject start`: somebody is to be heard beside the partner.
fn is_injected(call: &Call, media: &Media) -> bool {
    let id = media.streams[0].id;
    let mut injections = call.subscriptions.iter().filter(|s| s.purpose == Purpose::Inject);
    injections.any(|s| call.media(s.sink).is_some_and(|sink| sink.streams[0].id == id))
}

/// What happens to each payload type that `from` may send: samples for the mixer of `to`.
pub fn handling(from: &Media, to: &Media, plan: &MixerPlan) -> (Handling, Vec<(u8, Handling)>) {
    let nothing = Handling::Drop(DropReason::PayloadType);
    let sent = coding::sent_formats(from);
    let own = from.remote.iter().flat_map(|remote| remote.formats.iter());
    let mut listed: Vec<(u8, Handling)> = Vec::new();
    for format in sent.iter().map(|f| &f.format).chain(own) {
        if listed.iter().any(|(payload_type, _)| *payload_type == format.payload_type) {
            continue;
        }
        if let Some(handling) = samples(format, to, plan) {
            listed.push((format.payload_type, handling));
        }
    }
    (nothing, listed)
}

fn samples(format: &PayloadFormat, to: &Media, plan: &MixerPlan) -> Option<Handling> {
    if format.is_supplemental() {
        let event = coding::event_format(to).filter(|event| event.kind() == format.kind())?;
        return Some(Handling::Forward { payload_type: Some(event.payload_type) });
    }
    Registry::BUILD.decodes(format).then(|| {
        Handling::Transcode(Arc::new(TranscodePlan::new(format.clone(), plan.linear(), samples_options())))
    })
}

/// How samples for a mixer are packed.
fn samples_options() -> EncoderOptions {
    EncoderOptions { ptime_ms: Some(SAMPLES_MS), ..EncoderOptions::default() }
}

/// How announcements for a mixer are packed.
pub fn announcement_options() -> EncoderOptions {
    EncoderOptions { ptime_ms: Some(20), ..EncoderOptions::default() }
}
