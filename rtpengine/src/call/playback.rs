//! `play media` and `stop media`: which party hears what.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::model::{Call, Media, PartyId, PlayerNumbering};
use super::store::lock;
use crate::media::WorkerId;
use crate::media::plan::{PlayerId, StreamId};
use crate::negotiate::signal::{AllSelector, Signal};
use crate::play::{Playback, PlaybackRequest};

use super::coding;
use super::error::CommandError;

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
    /// Started in the data plane and not yet reported as finished.
    running: Option<PlayerId>,
    last_position_ms: u64,
}

/// Where an announcement goes.
pub struct PlayTarget {
    pub party: PartyId,
    pub stream: StreamId,
    pub worker: WorkerId,
    pub call: crate::media::plan::CallKey,
    pub format: codec::PayloadFormat,
    pub ptime_ms: u16,
}

/// The parties that a command selects (`all`, label, address, from-tag).
pub fn select(call: &Call, signal: &Signal) -> Result<Vec<PartyId>, CommandError> {
    let identity = &signal.identity;
    let everybody = || (0..call.parties.len()).map(PartyId).filter(|&id| !call.party(id).closed);
    if matches!(signal.flags.all, AllSelector::All | AllSelector::OfferAnswer) {
        return Ok(everybody().filter(|&id| call.party(id).partner.is_some()).collect());
    }
    if let Some(label) = &identity.label {
        return call.by_label(label).map(|id| vec![id]).ok_or(CommandError::NoSuchLabel);
    }
    if let Some(address) = &signal.selection.address {
        let address: std::net::IpAddr = address.parse().map_err(|_| CommandError::BadAddress)?;
        let advertises =
            |media: &Media| media.remote.as_ref().is_some_and(|remote| remote.rtp.ip() == address);
        return everybody()
            .find(|&id| call.party(id).media.iter().any(advertises))
            .map(|id| vec![id])
            .ok_or(CommandError::NoSuchAddress);
    }
    match &identity.from_tag {
        Some(tag) => call.by_tag(tag).map(|id| vec![id]).ok_or(CommandError::NoSuchFromTag),
        None => Err(CommandError::NoParty),
    }
}

/// The first audio section of a party that may receive and has a port, with the codec that it is to hear.
pub fn target(call: &Call, party: PartyId) -> Option<PlayTarget> {
    let media = call.party(party).media.iter().find(|media| {
        media.media_type == "audio"
            && media.may_receive()
            && media.ports.current().is_some()
            && media.is_rtp()
    })?;
    Some(PlayTarget {
        party,
        stream: media.streams[0].id,
        worker: call.worker,
        call: call.key,
        format: coding::player_format(media)?,
        ptime_ms: media.remote.as_ref().and_then(|remote| remote.ptime_ms).unwrap_or(20),
    })
}

impl PartyPlayer {
    /// Starts an announcement; one that runs is replaced. Blocks while the source is opened.
    pub fn play(
        &self,
        plane: &crate::media::MediaPlane,
        target: &PlayTarget,
        signal: &Signal,
    ) -> Result<Option<Duration>, CommandError> {
        let options = &signal.playback;
        let source = options.source().ok_or(CommandError::NoMediaFile)?;
        let mut state = lock(&self.state);
        if let Some(running) = state.playback.take() {
            running.stop();
            let deadline = Instant::now() + HANDOVER;
            while state.running.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let waited = self.finished.wait_timeout(state, left);
                state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            }
        }
        let numbering = next_numbering(state.numbering, target.format.clock_rate);
        let whole = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
        let playback = Playback::start(
            plane,
            PlaybackRequest {
                source,
                worker: target.worker,
                call: target.call,
                target: target.stream,
                format: target.format.clone(),
                ptime_ms: target.ptime_ms,
                ssrc: numbering.ssrc,
                first_sequence: numbering.next_sequence,
                first_timestamp: numbering.next_timestamp,
                repeat_times: whole(options.repeat_times)
                    .map_or(1, |times| u32::try_from(times).unwrap_or(u32::MAX).max(1)),
                repeat_duration: whole(options.repeat_duration_ms)
                    .filter(|&ms| ms > 0)
                    .map(Duration::from_millis),
                start_pos: Duration::from_millis(whole(options.start_pos).unwrap_or(0)),
                block_egress: signal.flags.block_egress,
            },
        )?;
        let duration = playback.duration();
        state.numbering = Some(numbering);
        state.running = Some(playback.id());
        state.playback = Some(playback);
        state.last_position_ms = 0;
        Ok(duration)
    }

    /// Stops what plays; the position of the last frame, 0 when nothing played.
    pub fn stop(&self) -> u64 {
        let mut state = lock(&self.state);
        match state.playback.take() {
            Some(playback) => {
                let position = playback.position_ms();
                playback.stop();
                position
            }
            None => 0,
        }
    }

    /// The data plane came to the end of an announcement; `true` if it was this player's.
    pub fn finished(&self, player: PlayerId, next_sequence: u16, next_timestamp: u32) -> bool {
        let mut state = lock(&self.state);
        if state.running != Some(player) {
            return false;
        }
        state.running = None;
        if let Some(numbering) = &mut state.numbering {
            *numbering =
                PlayerNumbering { next_sequence, next_timestamp, since: Instant::now(), ..*numbering };
        }
        if state.playback.as_ref().is_some_and(|playback| playback.id() == player) {
            state.playback = None;
        }
        self.finished.notify_all();
        true
    }
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
