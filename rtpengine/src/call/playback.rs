//! `play media` and `stop media`: which party hears what.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use smol_str::SmolStr;

use super::model::{Call, Media, Party, PartyId, PlayerNumbering};
use super::store::lock;
use crate::config::AudioPlayerConfig;
use crate::media::plan::{MixerPlan, PlayerId, StreamId};
use crate::media::{MediaPlane, WorkerId};
use crate::negotiate::signal::{AllSelector, CodecSpec, PlaybackOptions, Signal};
use crate::play::{Form, Found, Listener, OpenedSource, PlayError, Playback, Sources};

use super::audio_player;
use super::coding;
use super::error::CommandError;
use super::live::LivePlayer;

/// How long a new announcement waits for the worker to say where the old one stopped.
const HANDOVER: Duration = Duration::from_millis(200);

/// The player of one party; exists from its first announcement on.
#[derive(Default)]
pub struct PartyPlayer {
    state: Mutex<PlayerState>,
    finished: Condvar,
}

#[derive(Default)]
struct PlayerState {
    playback: Option<Playback>,
    numbering: Option<PlayerNumbering>,
    /// What `playback` plays, unless it is music on hold.
    piece: Option<Piece>,
    /// What goes on in another form as soon as the data plane has said how far it came, and that.
    leaving: Option<(Playback, Option<u64>)>,
    /// Started in the data plane and not yet reported as finished.
    running: Option<PlayerId>,
    kind: Kind,
    /// How far the one came that was stopped last.
    stopped_at_ms: u64,
}

/// An announcement as it would be opened again.
#[derive(Clone)]
struct Piece {
    found: Found,
    form: Form,
    target: PlayTarget,
    block_egress: bool,
    began: Instant,
}

/// An announcement that has to go on in another codec, or on another stream.
pub struct Move {
    player: Arc<PartyPlayer>,
    target: PlayTarget,
}

/// Why something plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Announcement,
    MusicOnHold,
}

/// The end of an announcement as those who want to know are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaybackReport {
    pub call_id: SmolStr,
    /// Of whom it was for.
    pub tag: SmolStr,
    pub label: Option<SmolStr>,
    pub end: PlaybackEnd,
    pub time: SystemTime,
}

/// Why an announcement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaybackCause {
    /// It was played to its end, or as long as was asked for.
    End,
    /// By a command, by another announcement, or because the hold or the stream ended.
    Stopped,
}

/// What a player knows about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaybackEnd {
    pub is_music_on_hold: bool,
    pub cause: PlaybackCause,
    /// Position of the last frame in the source.
    pub position_ms: u64,
}

/// Where an announcement goes.
#[derive(Clone, PartialEq)]
pub struct PlayTarget {
    pub stream: StreamId,
    pub worker: WorkerId,
    pub call: crate::media::plan::CallKey,
    pub format: codec::PayloadFormat,
    /// Packet time, bit rate and the like.
    pub options: codec::EncoderOptions,
    /// Entries of `codec-set` that had a part in it.
    specs: Vec<CodecSpec>,
}

/// The parties that a command selects (`all`, label, address, from-tag).
pub fn select(call: &Call, signal: &Signal) -> Result<Vec<PartyId>, CommandError> {
    if matches!(signal.flags.all, AllSelector::All | AllSelector::OfferAnswer) {
        return Ok(partners(call));
    }
    select_one(call, signal).map(|party| vec![party])
}

/// The party that a label, an address or a from-tag names.
pub fn select_one(call: &Call, signal: &Signal) -> Result<PartyId, CommandError> {
    let identity = &signal.identity;
    if let Some(label) = &identity.label {
        return call.by_label(label).ok_or(CommandError::NoSuchLabel);
    }
    if let Some(address) = &signal.selection.address {
        let address: std::net::IpAddr = address.parse().map_err(|_| CommandError::BadAddress)?;
        let advertises =
            |media: &Media| media.remote.as_ref().is_some_and(|remote| remote.rtp.ip() == address);
        return everybody(call)
            .find(|&id| call.party(id).media.iter().any(advertises))
            .ok_or(CommandError::NoSuchAddress);
    }
    match &identity.from_tag {
        Some(tag) => call.by_tag(tag).ok_or(CommandError::NoSuchFromTag),
        None => Err(CommandError::NoParty),
    }
}

/// Those who take part by offer and answer.
pub fn partners(call: &Call) -> Vec<PartyId> {
    everybody(call).filter(|&id| call.party(id).partner.is_some()).collect()
}

fn everybody(call: &Call) -> impl Iterator<Item = PartyId> {
    (0..call.parties.len()).map(PartyId).filter(|&id| !call.party(id).closed)
}

/// What a party would hear an announcement on, and how.
pub fn target(
    call: &Call,
    party: PartyId,
    specs: &[CodecSpec],
    config: &AudioPlayerConfig,
) -> Option<PlayTarget> {
    let party = call.party(party);
    let (position, media) = audible(party)?;
    let opposite = party.partner.and_then(|partner| call.party(partner).media.get(position));
    let mixer = audio_player::plan(call, media, opposite, config);
    target_on(call, media, specs, mixer.as_ref())
}

/// The first audio section of a party that may receive and has a port, with its position.
pub fn audible(party: &Party) -> Option<(usize, &Media)> {
    party.media.iter().enumerate().find(|(_, media)| {
        media.media_type == "audio"
            && media.may_receive()
            && media.ports.current().is_some()
            && media.is_rtp()
    })
}

/// A section of a party of the call, with the codec that it is to hear; `specs` are the entries of `codec-set`. What a
/// mixer takes is not encoded.
pub fn target_on(
    call: &Call,
    media: &Media,
    specs: &[CodecSpec],
    mixer: Option<&MixerPlan>,
) -> Option<PlayTarget> {
    let (format, options) = match mixer {
        Some(mixer) => (mixer.linear(), audio_player::announcement_options()),
        None => {
            let mut format = coding::player_format(media)?;
            let options = coding::player_options(media, &mut format, specs);
            (format, options)
        }
    };
    let (stream, specs) = (media.streams[0].id, specs.to_vec());
    Some(PlayTarget { stream, worker: call.worker, call: call.key, format, options, specs })
}

/// Announcements that began in another form than the one they would begin in now.
pub fn moves(call: &Call, config: &AudioPlayerConfig) -> Vec<Move> {
    let moved = |id: PartyId| {
        let player = call.party(id).player.as_ref()?;
        let former = player.target()?;
        let target = target(call, id, &former.specs, config).filter(|target| *target != former)?;
        Some(Move { player: player.clone(), target })
    };
    everybody(call).filter_map(moved).collect()
}

impl Move {
    /// Carries it out; the call is not locked, and it blocks while the source is opened. What cannot be opened goes on as it was.
    pub fn carry_out(self, plane: &MediaPlane, sources: &Sources) {
        if let Err(error) = self.player.go_on(plane, sources, &self.target) {
            tracing::error!(%error, "the announcement goes on in its former codec");
        }
    }
}

impl PlayTarget {
    /// How a source is heard here.
    pub fn form(&self, repeat_times: u32, repeat_duration: Option<Duration>) -> Form {
        Form {
            format: self.format.clone(),
            options: self.options.clone(),
            repeat_times,
            repeat_duration,
            start_pos: Duration::ZERO,
        }
    }
}

impl PartyPlayer {
    /// Starts an announcement; one that runs is replaced, also by one that cannot be played, but for music on hold, which goes on.
    /// Blocks while the source is opened.
    pub fn play(
        &self,
        plane: &MediaPlane,
        (sources, found): (&Sources, &Found),
        target: &PlayTarget,
        options: &PlaybackOptions,
        block_egress: bool,
    ) -> Result<Option<Duration>, CommandError> {
        if lock(&self.state).plays_music() {
            return Ok(None);
        }
        let whole = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
        let repeat_times =
            whole(options.repeat_times).map_or(1, |times| u32::try_from(times).unwrap_or(u32::MAX).max(1));
        let repeat_duration =
            whole(options.repeat_duration_ms).filter(|&ms| ms > 0).map(Duration::from_millis);
        let start_pos = Duration::from_millis(whole(options.start_pos).unwrap_or(0));
        let form = Form { start_pos, ..target.form(repeat_times, repeat_duration) };
        let opened = sources.open(found, &form);
        // A broken source leaves silence and not the former announcement.
        let mut state = self.end_running();
        let opened = opened?;
        let duration = start(&mut state, plane, target, opened, block_egress, Kind::Announcement)?;
        let (found, target, began) = (found.clone(), target.clone(), Instant::now());
        state.piece = Some(Piece { found, form, target, block_egress, began });
        Ok(duration)
    }

    /// What an announcement plays to.
    fn target(&self) -> Option<PlayTarget> {
        let state = lock(&self.state);
        state.piece.as_ref().filter(|_| state.playback.is_some()).map(|piece| piece.target.clone())
    }

    /// An announcement plays.
    pub fn is_playing(&self) -> bool {
        lock(&self.state).playback.is_some()
    }

    /// Goes on with the announcement in another form where it is, for the rest of its plays and time.
    fn go_on(&self, plane: &MediaPlane, sources: &Sources, target: &PlayTarget) -> Result<(), PlayError> {
        let (id, piece, place) = {
            let state = lock(&self.state);
            let (Some(playback), Some(piece)) = (&state.playback, &state.piece) else { return Ok(()) };
            (playback.id(), piece.clone(), playback.place_after(playback.handed_out()))
        };
        // The former goes on while this is opened.
        let (format, options) = (target.format.clone(), target.options.clone());
        let form = Form { format, options, ..piece.form.clone() };
        let Some(rest) = form.rest(place, piece.began.elapsed()) else { return Ok(()) };
        let mut opened = sources.open(&piece.found, &rest)?;
        let mut state = lock(&self.state);
        let Some(playback) = state.playback.take_if(|playback| playback.id() == id) else { return Ok(()) };
        playback.halt();
        state.leaving = Some((playback, None));
        let mut state = self.until_finished(state);
        // Stopped or replaced meanwhile.
        let Some((former, frames)) = state.leaving.take() else { return Ok(()) };
        let frames = frames.unwrap_or_else(|| former.handed_out());
        opened.skip_to(former.place_after(frames).position_ms);
        start(&mut state, plane, target, opened, piece.block_egress, Kind::Announcement)?;
        let form = Form { repeat_times: rest.repeat_times, ..form };
        state.piece = Some(Piece { form, target: target.clone(), ..piece });
        Ok(())
    }

    /// Ends an announcement, but no music on hold.
    pub fn silence(&self) {
        if !lock(&self.state).plays_music() {
            drop(self.end_running());
        }
    }

    /// Plays music on hold instead of whatever plays.
    pub fn start_music(&self, plane: &MediaPlane, target: &PlayTarget, source: OpenedSource) {
        let mut state = self.end_running();
        if let Err(error) = start(&mut state, plane, target, source, false, Kind::MusicOnHold) {
            tracing::error!(%error, "no music on hold");
        }
    }

    /// Ends music on hold, but no announcement.
    pub fn end_music(&self) {
        let mut state = lock(&self.state);
        if state.plays_music() {
            state.stop();
        }
    }

    /// Stops what plays and waits until the data plane has said where its numbers ended.
    fn end_running(&self) -> MutexGuard<'_, PlayerState> {
        let mut state = lock(&self.state);
        state.stop();
        self.until_finished(state)
    }

    fn until_finished<'s>(&self, mut state: MutexGuard<'s, PlayerState>) -> MutexGuard<'s, PlayerState> {
        let deadline = Instant::now() + HANDOVER;
        while state.running.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.finished.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        state
    }

    /// Stops what plays; the position of the last frame, 0 when nothing played.
    ///
    /// # Errors
    /// `MusicOnHold`: that ends with the hold.
    pub fn stop(&self) -> Result<u64, CommandError> {
        let mut state = lock(&self.state);
        if state.plays_music() {
            return Err(CommandError::MusicOnHold);
        }
        Ok(state.stop())
    }

    /// What plays, if something does.
    pub fn live(&self) -> Option<LivePlayer> {
        let state = lock(&self.state);
        let (playback, numbering) = (state.playback.as_ref()?, state.numbering?);
        Some(LivePlayer {
            duration: playback.duration(),
            position_ms: playback.position_ms(),
            ssrc: numbering.ssrc,
        })
    }

    /// The data plane came to the end of an announcement, after so many frames; what ended if it was this player's.
    pub fn finished(
        &self,
        player: PlayerId,
        frames_played: u64,
        (next_sequence, next_timestamp): (u16, u32),
    ) -> Option<PlaybackEnd> {
        let mut state = lock(&self.state);
        if state.running != Some(player) {
            return None;
        }
        state.running = None;
        if let Some(numbering) = &mut state.numbering {
            *numbering =
                PlayerNumbering { next_sequence, next_timestamp, since: Instant::now(), ..*numbering };
        }
        if let Some((_, frames)) = &mut state.leaving {
            *frames = Some(frames_played);
            self.finished.notify_all();
            return None;
        }
        let is_music_on_hold = state.kind == Kind::MusicOnHold;
        let ended = state.playback.take_if(|playback| playback.id() == player);
        let (cause, position_ms) = match ended {
            Some(playback) => (PlaybackCause::End, playback.position_after_ms(frames_played)),
            None => (PlaybackCause::Stopped, state.stopped_at_ms),
        };
        self.finished.notify_all();
        Some(PlaybackEnd { is_music_on_hold, cause, position_ms })
    }
}

impl PlayerState {
    /// Stops what plays; the position of its last frame, 0 when nothing played.
    fn stop(&mut self) -> u64 {
        let leaving = self.leaving.take().map(|(playback, _)| playback);
        let position = self.playback.take().or(leaving).map(|playback| {
            let position = playback.position_ms();
            playback.stop();
            position
        });
        self.stopped_at_ms = position.unwrap_or(self.stopped_at_ms);
        position.unwrap_or(0)
    }

    fn plays_music(&self) -> bool {
        self.playback.is_some() && self.kind == Kind::MusicOnHold
    }
}

fn start(
    state: &mut PlayerState,
    plane: &MediaPlane,
    target: &PlayTarget,
    source: OpenedSource,
    block_egress: bool,
    kind: Kind,
) -> Result<Option<Duration>, PlayError> {
    let numbering = next_numbering(state.numbering, target.format.clock_rate);
    let listener = Listener {
        worker: target.worker,
        call: target.call,
        target: target.stream,
        ssrc: numbering.ssrc,
        first_sequence: numbering.next_sequence,
        first_timestamp: numbering.next_timestamp,
        block_egress,
    };
    let playback = Playback::start(plane, source, &listener)?;
    let duration = playback.duration();
    state.numbering = Some(numbering);
    state.running = Some(playback.id());
    state.playback = Some(playback);
    state.piece = None;
    state.kind = kind;
    Ok(duration)
}

/// Sequence numbers go on where they were, timestamps with the time that has passed.
fn next_numbering(previous: Option<PlayerNumbering>, clock_rate: u32) -> PlayerNumbering {
    let now = Instant::now();
    match previous {
        Some(previous) => {
            let elapsed = now.saturating_duration_since(previous.since).as_micros();
            let ticks = (elapsed * u128::from(clock_rate) / 1_000_000) as u32;
            PlayerNumbering {
                next_timestamp: previous.next_timestamp.wrapping_add(ticks),
                since: now,
                ..previous
            }
        }
        None => PlayerNumbering {
            ssrc: rand::random_range(1..=u32::MAX),
            next_sequence: rand::random(),
            next_timestamp: rand::random(),
            since: now,
        },
    }
}
