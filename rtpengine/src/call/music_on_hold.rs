//! Music on hold: who put the other on hold, what that one hears, and what both are told.
//!
//! ```text
//! offer with hold ─▶ update (opens the source; the offer fails if that fails) ─▶ Output (direction, address, attribute)
//!                          └─▶ Change, carried out when the new routes stand
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::audio_player;
use super::dialogue::Role;
use super::error::CommandError;
use super::model::{Call, Media, Party, PartyId};
use super::playback::{self, PartyPlayer, PlayTarget};
use super::store::{CallHandle, lock};
use crate::config::{Config, MusicOnHoldConfig};
use crate::media::MediaPlane;
use crate::negotiate::signal::{MediaSource, MohMode, MusicOnHold, Signal};
use crate::play::{Found, OpenedSource, PlayError, Sources};
use crate::proto::sdp::model::{Direction, MediaDescription, SessionDescription};

/// What a party hears while the other one holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldParty {
    /// Position of the media on which it hears it.
    pub position: usize,
    /// What plays, and how it is announced.
    music: Arc<MusicOnHold>,
    format: codec::PayloadFormat,
    options: codec::EncoderOptions,
    local_port: u16,
}

/// Where the music comes from. A database or a web server is asked before the call is locked, since it may take its time.
pub struct Desk<'s> {
    sources: &'s Sources,
    fetched: Vec<(MediaSource, Result<Found, PlayError>)>,
}

impl<'s> Desk<'s> {
    /// Fetches what a message may need: the music of anybody in the call, and what the message brings, if it holds somebody.
    pub fn prepare(
        sources: &'s Sources,
        call: Option<&CallHandle>,
        signal: &Signal,
        sdp: &SessionDescription,
    ) -> Self {
        let mut desk = Self { sources, fetched: Vec::new() };
        let mut music: Vec<Arc<MusicOnHold>> = signal.output.moh.iter().cloned().map(Arc::new).collect();
        if let Some(call) = call {
            let call = lock(call);
            let parties = call.parties.iter().filter(|party| !party.closed);
            music.extend(parties.flat_map(|party| {
                let held = party.held.as_ref().map(|held| &held.music);
                party.music_on_hold.iter().chain(held).cloned().collect::<Vec<_>>()
            }));
        }
        let plays = call.is_some() && is_hold(sdp);
        for source in music.iter().filter_map(|music| music.source.as_ref()).filter(|_| plays) {
            if source.is_remote() && desk.fetched.iter().all(|(other, _)| other != source) {
                desk.fetched.push((source.clone(), sources.find(source)));
            }
        }
        desk
    }

    fn find(&self, source: &MediaSource) -> Result<Found, PlayError> {
        let fetched = self.fetched.iter().find(|(other, _)| other == source).map(|(_, found)| found.clone());
        fetched.unwrap_or_else(|| self.sources.find(source))
    }
}

/// All audio of a description is sendonly or inactive.
fn is_hold(sdp: &SessionDescription) -> bool {
    let mut audio =
        sdp.media.iter().filter(|media| media.media_type == "audio" && media.port != 0).peekable();
    let direction = |media: &MediaDescription| media.attributes.direction.or(sdp.attributes.direction);
    audio.peek().is_some()
        && audio.all(|media| matches!(direction(media), Some(Direction::SendOnly | Direction::Inactive)))
}

/// What is to happen to a party's player.
pub enum Change {
    Nothing,
    Start { target: PlayTarget, source: Box<OpenedSource>, player: Arc<PartyPlayer> },
    Stop(Arc<PartyPlayer>),
}

impl HeldParty {
    /// What the section at `position` says to the held party instead of the holder's direction.
    pub fn direction(&self, position: usize) -> Option<Direction> {
        (self.position == position && self.music.mode == MohMode::SendRecv).then_some(Direction::SendRecv)
    }

    /// The section at `position` has the unspecified address.
    pub fn has_zero_address(&self, position: usize) -> bool {
        self.position == position && self.music.zero_connection
    }

    /// What the holder is told when the held party, thinking that it may talk, answers; `hold` is how the holder put it on hold.
    pub fn answered_direction(&self, position: usize, hold: Direction) -> Option<Direction> {
        self.direction(position)?;
        Some(if hold == Direction::SendOnly { Direction::RecvOnly } else { Direction::Inactive })
    }
}

/// The session attribute for `receiver`: music plays to it, or was announced by whoever plays it.
pub fn attribute<'c>(
    receiver: &Party,
    sdp: &SessionDescription,
    config: &'c MusicOnHoldConfig,
) -> Option<&'c str> {
    let name = config.attribute.as_deref()?;
    (receiver.held.is_some() || config.prevent_double && is_announced(sdp, config)).then_some(name)
}

/// Takes note of the sender's music and finds out whether music begins, goes on or ends for the receiver, and for the sender if it is the
/// one that is held. `call` is as before the exchange; the copies are as after it. Blocks while a source is opened.
///
/// # Errors
/// `Play` when the music cannot be opened.
pub fn update(
    call: &Call,
    (sender, receiver): (&mut Party, &mut Party),
    role: Role,
    signal: &Signal,
    sdp: &SessionDescription,
    (config, desk): (&Config, &Desk<'_>),
) -> Result<[Change; 2], CommandError> {
    let given = signal.output.moh.as_ref();
    if let Some(music) = given.filter(|music| music.source.is_some()) {
        sender.music_on_hold = Some(Arc::new(music.clone()));
    }
    let limits = &config.music_on_hold;
    let held_itself = match sender.held.clone() {
        // It may have moved, or chosen another codec.
        Some(held) => {
            start(call, sender, held.music.clone(), (config, desk), receiver).unwrap_or_else(|error| {
                tracing::warn!(call_id = %call.id, %error, "music on hold ends");
                stop(sender)
            })
        }
        None => Change::Nothing,
    };
    let passed_on = limits.prevent_double && is_announced(sdp, limits);
    let reflected = given.is_some_and(|music| music.mode == MohMode::Reflect);
    let own = sender.music_on_hold.as_ref();
    let music = own.or_else(|| receiver.music_on_hold.as_ref().filter(|_| reflected));
    // An offer within the dialogue begins music; afterwards it goes on until the hold ends.
    let music = match (&receiver.held, music) {
        _ if passed_on || !holds(sender) => None,
        (Some(held), _) => Some(held.music.clone()),
        (None, music) => music.filter(|_| role == Role::Offer && has_spoken(receiver)).cloned(),
    };
    let held_by_sender = match music {
        Some(music) => start(call, receiver, music, (config, desk), sender)?,
        None => stop(receiver),
    };
    Ok([held_by_sender, held_itself])
}

/// The party has sent a description before.
fn has_spoken(party: &Party) -> bool {
    party.media.iter().any(|media| media.remote.is_some())
}

/// The incoming description says that its sender plays music already.
fn is_announced(sdp: &SessionDescription, config: &MusicOnHoldConfig) -> bool {
    config.attribute.as_ref().is_some_and(|name| sdp.attributes.unknown.iter().any(|line| line == name))
}

/// All audio of the party is sendonly or inactive.
fn holds(party: &Party) -> bool {
    let mut audio = party
        .media
        .iter()
        .filter(|media| media.media_type == "audio")
        .filter_map(|media| media.remote.as_ref().filter(|remote| !remote.rejected))
        .peekable();
    audio.peek().is_some()
        && audio.all(|remote| matches!(remote.direction, Direction::SendOnly | Direction::Inactive))
}

/// Begins again what held parties of a call heard that another instance had. What cannot be played any more is silent.
pub fn resume(call: &mut Call, config: &Config, sources: &Sources) -> Vec<Change> {
    let mut changes = Vec::new();
    for id in (0..call.parties.len()).map(PartyId) {
        let (Some(held), Some(partner)) = (call.party_mut(id).held.take(), call.party(id).partner) else {
            continue;
        };
        let (mut receiver, opposite) = (call.party(id).clone(), call.party(partner).clone());
        let desk = Desk { sources, fetched: Vec::new() };
        match start(call, &mut receiver, held.music.clone(), (config, &desk), &opposite) {
            Ok(change) => changes.push(change),
            Err(error) => tracing::warn!(call_id = %call.id, %error, "music on hold ends"),
        }
        *call.party_mut(id) = receiver;
    }
    changes
}

fn stop(receiver: &mut Party) -> Change {
    match (receiver.held.take(), &receiver.player) {
        (Some(_), Some(player)) => Change::Stop(player.clone()),
        _ => Change::Nothing,
    }
}

fn start(
    call: &Call,
    receiver: &mut Party,
    music: Arc<MusicOnHold>,
    (config, desk): (&Config, &Desk<'_>),
    opposite: &Party,
) -> Result<Change, CommandError> {
    let Some(position) = playback::audible(receiver).map(|(position, _)| position) else {
        return Ok(stop(receiver));
    };
    let Some(media) = receiver.media.get_mut(position) else { return Ok(stop(receiver)) };
    audio_player::note_announcement(media, &config.audio_player);
    let mixer = audio_player::plan(call, media, opposite.media.get(position), &config.audio_player);
    let Some(target) = playback::target_on(call, media, &[], mixer.as_ref()) else {
        return Ok(stop(receiver));
    };
    let held = HeldParty {
        position,
        music,
        format: target.format.clone(),
        options: target.options.clone(),
        local_port: local_port(media),
    };
    if receiver.held.as_deref() == Some(&held) {
        return Ok(Change::Nothing);
    }
    let Some(source) = &held.music.source else { return Ok(stop(receiver)) };
    let limits = &config.music_on_hold;
    let found = desk.find(source)?;
    let source = desk.sources.open(&found, &target.form(limits.max_repeats, limits.max_duration))?;
    receiver.held = Some(Arc::new(held));
    let player = receiver.player.get_or_insert_default().clone();
    Ok(Change::Start { target, source: Box::new(source), player })
}

fn local_port(media: &Media) -> u16 {
    media.ports.current().map_or(0, |ports| ports.rtp.local.port())
}

impl Change {
    /// Carries it out; the call is not locked, for a player that is replaced waits for the data plane.
    pub fn carry_out(self, plane: &MediaPlane) {
        match self {
            Self::Nothing => {}
            Self::Stop(player) => player.end_music(),
            Self::Start { target, source, player } => player.start_music(plane, &target, *source),
        }
    }
}
