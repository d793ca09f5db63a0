//! The commands: what the doors call.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use smol_str::SmolStr;
use tokio::sync::mpsc;

use super::alarms::Alarms;
use super::audio_player;
use super::away::AwayRequest;
use super::changes::Changes;
use super::compile::{PlanOptions, TapDirections, plan};
use super::delete::{self, Deletion};
use super::dialogue::Participant;
use super::ended::EndedReport;
use super::error::CommandError;
use super::fragments::EarlyFragments;
use super::identities::Identities;
use super::interfaces::Interfaces;
use super::model::{Call, Party, PartyId};
use super::playback::{self, PartyPlayer};
use super::recording::{self, RecordingCommand};
use super::relay::RelayTable;
use super::snapshot::CallSnapshot;
use super::store::{CallHandle, CallStore, lock};
use super::timers::EndReason;
use crate::config::{Config, Live, Setting};
use crate::media::MediaPlane;
use crate::media::plan::CallKey;
use crate::media::port_pool::PortPool;
use crate::negotiate::signal::{CodecSpec, Signal};
use crate::play::{PlayError, Sources};
use crate::proto::dtls::Identity;
use crate::record::Recorder;
use crate::statistics::Statistics;

/// A selected party's player, and what it would play to; a party that cannot hear anything has no target.
type SelectedPlayer = (Arc<PartyPlayer>, Option<playback::PlayTarget>);

/// What the commands work with.
pub struct Services {
    pub config: Arc<Config>,
    pub pool: Arc<PortPool>,
    pub plane: MediaPlane,
    pub recorder: Recorder,
    /// Where announcements come from.
    pub sources: Sources,
    /// Who we are in DTLS.
    pub identity: Identity,
    /// Gets a report of each call that ends.
    pub ended: Option<mpsc::Sender<Box<EndedReport>>>,
    /// Gets what other instances are to be asked for; without, all is transcoded here.
    pub away: Option<mpsc::Sender<AwayRequest>>,
    /// Calls are stored by somebody.
    pub stored: bool,
}

/// All calls and the commands on them. Shared by the doors.
pub struct Engine {
    pub(super) config: Arc<Config>,
    pub(super) live: Live,
    pub(super) statistics: Statistics,
    pub(super) pool: Arc<PortPool>,
    pub(super) plane: MediaPlane,
    pub(crate) recorder: Recorder,
    pub(super) sources: Sources,
    /// Ours, in DTLS.
    pub identities: Identities,
    pub(super) interfaces: Interfaces,
    pub(super) store: CallStore,
    /// Calls of another instance among those in the store.
    pub(super) foreign: AtomicUsize,
    pub(super) by_key: Mutex<HashMap<u64, Weak<Mutex<Call>>>>,
    pub(super) plan_options: PlanOptions,
    pub(super) ended: Option<mpsc::Sender<Box<EndedReport>>>,
    pub(super) away: Option<mpsc::Sender<AwayRequest>>,
    /// Some party has music on hold to play.
    pub(super) music_known: AtomicBool,
    /// Some party had a player.
    pub(super) announced: AtomicBool,
    /// 12 hexadecimal digits, random per process (loop protection).
    pub(super) instance: SmolStr,
    pub(super) fragments: EarlyFragments,
    /// Calls that are to be stored.
    pub(super) changes: Option<Changes>,
    /// Held while a foreign call is made anew, and while all calls change hands.
    pub(super) turnover: Mutex<()>,
    /// When something about a call is due.
    pub alarms: Alarms,
    /// Sessions by the ports that the signalling proxy has chosen.
    pub(super) relays: RelayTable,
}

/// Reply of `delete`.
#[derive(Clone, Debug, PartialEq)]
pub enum Deleted {
    /// The state at the end, unless `fast`.
    Statistics(Option<Box<CallSnapshot>>),
    /// Nothing matched, and the client did not ask for an error then.
    Warning,
}

impl Engine {
    pub fn new(services: Services) -> Self {
        let Services { config, pool, plane, recorder, sources, identity, ended, away, stored } = services;
        Self {
            interfaces: Interfaces::new(&config),
            plan_options: PlanOptions {
                tap: TapDirections::new(config.recording.direction),
                keeps_audio_beside_digits: config.dtmf.keeps_audio,
                player: config.audio_player,
            },
            instance: format!("{:012x}", rand::random::<u64>() & 0xffff_ffff_ffff).into(),
            store: CallStore::default(),
            fragments: EarlyFragments::default(),
            music_known: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            foreign: AtomicUsize::new(0),
            live: Live::new(&config),
            ended,
            away,
            statistics: Statistics::default(),
            by_key: Mutex::default(),
            changes: stored.then(Changes::default),
            turnover: Mutex::default(),
            alarms: Alarms::default(),
            relays: RelayTable::default(),
            identities: Identities::new(identity, config.dtls.clone(), Instant::now()),
            config,
            pool,
            plane,
            recorder,
            sources,
        }
    }

    /// `delete`
    pub fn delete(&self, signal: &Signal) -> Result<Deleted, CommandError> {
        let call_id =
            signal.identity.call_id.as_deref().filter(|id| !id.is_empty()).ok_or(CommandError::NoCallId)?;
        let nothing = || {
            if signal.flags.fatal { Err(CommandError::NothingToDelete) } else { Ok(Deleted::Warning) }
        };
        let Some(handle) = self.store.get(call_id) else { return nothing() };
        let mut call = lock(&handle);
        if call.ended {
            return nothing();
        }
        if let Some(metadata) = &signal.identity.metadata {
            call.metadata = Some(metadata.clone());
            call.recording.note(&signal.recording, Some(metadata));
            recording::update(&call);
        }
        if signal.recording.discard {
            self.switch_recording(&mut call, RecordingCommand::Discard);
        }
        let due = delete::due(signal, self.live.duration(Setting::DeleteDelay), Instant::now());
        let target = delete::target(&call, signal);
        // Of a call that is deleted as a whole the state before counts, of a party the state after.
        self.refresh(&call);
        let before = (target == Deletion::WholeCall && !signal.flags.fast)
            .then(|| Box::new(CallSnapshot::take(&call, None)));
        match (target, due) {
            (Deletion::Nothing, _) => return nothing(),
            (Deletion::WholeCall, None) => self.end(&mut call, &handle, EndReason::Deleted),
            (Deletion::WholeCall, Some(due)) => {
                call.delete_at = Some(due);
                call.deleted_at.get_or_insert_with(Instant::now);
                self.changed(&call);
            }
            (Deletion::Party(party) | Deletion::Branch(party), due) => {
                call.party_mut(party).deleted_as_branch = matches!(target, Deletion::Branch(_));
                match due {
                    None => self.end_party(&mut call, &handle, party),
                    Some(due) => {
                        call.party_mut(party).delete_at = Some(due);
                        self.changed(&call);
                    }
                }
            }
        }
        let selected = signal.identity.from_tag.as_deref().filter(|_| !call.ended);
        let after = || (!signal.flags.fast).then(|| Box::new(CallSnapshot::take(&call, selected)));
        Ok(Deleted::Statistics(before.or_else(after)))
    }

    /// Ends one party with its subscriptions; everybody else stays, even without anybody to talk to. For rooms, whose calls wait for the
    /// next party.
    pub fn remove_party(&self, call_id: &str, tag: &str) {
        let Some(handle) = self.store.get(call_id) else { return };
        let mut call = lock(&handle);
        let Some(party) = call.by_tag(tag).filter(|_| !call.ended) else { return };
        delete::remove(&mut call, &[party]);
        self.install(&call);
    }

    /// `query`; `selected` is the to-tag, else the from-tag of the request.
    pub fn query(&self, call_id: &str, selected: Option<&str>) -> Result<CallSnapshot, CommandError> {
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCall)?;
        let call = lock(&handle);
        self.refresh(&call);
        Ok(CallSnapshot::take(&call, selected))
    }

    /// `list`
    pub fn list(&self, limit: i64) -> Result<Vec<SmolStr>, CommandError> {
        let limit = usize::try_from(limit).map_err(|_| CommandError::InvalidLimit)?;
        Ok(self.store.ids(limit))
    }

    #[cfg(test)]
    pub(super) fn call(&self, call_id: &str) -> Option<CallHandle> {
        self.store.get(call_id)
    }

    /// Number of calls; merged ones count once.
    pub fn calls(&self) -> usize {
        self.store.len()
    }

    /// Calls `visit` with every call once, the oldest first; no table is locked meanwhile.
    pub(super) fn for_each_call(&self, visit: impl FnMut(&CallHandle)) {
        let mut calls: Vec<(u64, CallHandle)> =
            lock(&self.by_key).iter().filter_map(|(key, call)| Some((*key, call.upgrade()?))).collect();
        calls.sort_unstable_by_key(|(key, _)| *key);
        // A call into which others were merged has their keys too.
        let mut seen = HashSet::with_capacity(calls.len());
        calls.retain(|(_, call)| seen.insert(Arc::as_ptr(call)));
        calls.iter().map(|(_, call)| call).for_each(visit);
    }

    /// `start recording`, `stop recording`, `pause recording`.
    pub fn record(&self, signal: &Signal, command: RecordingCommand) -> Result<(), CommandError> {
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCall)?;
        let mut call = lock(&handle);
        let metadata = signal.identity.metadata.as_deref();
        call.recording.note(&signal.recording, metadata);
        if let Some(metadata) = metadata {
            call.metadata = Some(metadata.into());
            let party = signal.identity.from_tag.as_deref().and_then(|tag| call.by_tag(tag));
            if let Some(party) = party {
                call.party_mut(party).metadata = Some(metadata.into());
            }
        }
        self.switch_recording(&mut call, command);
        self.install(&call);
        Ok(())
    }

    /// `play media`; blocks while the source is opened. The duration is that of the first party.
    pub fn play_media(&self, signal: &Signal) -> Result<Option<Duration>, CommandError> {
        let targets = self.players(signal)?;
        let source = signal.playback.source().ok_or(CommandError::NoMediaFile)?;
        let targets: Vec<_> =
            targets.into_iter().filter_map(|(player, target)| Some((player, target?))).collect();
        if targets.is_empty() {
            return Err(CommandError::Play(PlayError::File));
        }
        // Neither call nor player is locked: a database may take its time.
        let found = self.sources.find(&source).inspect_err(|_| {
            targets.iter().for_each(|(player, _)| player.silence());
        })?;
        let mut duration = None;
        for (player, target) in targets {
            let source = (&self.sources, &found);
            let block_egress = signal.flags.block_egress;
            let length = player.play(&self.plane, source, &target, &signal.playback, block_egress)?;
            duration = duration.or(length);
        }
        Ok(duration)
    }

    /// `stop media`; the position of the last frame in ms.
    pub fn stop_media(&self, signal: &Signal) -> Result<u64, CommandError> {
        let handle = self.selected_call(signal)?;
        let mut call = lock(&handle);
        let mut position = None;
        let selected = playback::select(&call, signal)?;
        self.set_label(&mut call, signal, &selected);
        for party in selected {
            if let Some(player) = &call.party(party).player {
                let stopped = player.stop()?;
                position = position.or(Some(stopped));
            }
        }
        position.ok_or(CommandError::NotPlaying)
    }

    fn players(&self, signal: &Signal) -> Result<Vec<SelectedPlayer>, CommandError> {
        let handle = self.selected_call(signal)?;
        let mut call = lock(&handle);
        let selected = playback::select(&call, signal)?;
        self.set_label(&mut call, signal, &selected);
        Ok(self.players_of(&mut call, &selected, &signal.codecs.set))
    }

    /// The players of parties, and what they play to; `specs` are the entries of `codec-set`.
    pub(super) fn players_of(
        &self,
        call: &mut Call,
        selected: &[PartyId],
        specs: &[CodecSpec],
    ) -> Vec<SelectedPlayer> {
        self.announced.store(true, Relaxed);
        let mut players = Vec::with_capacity(selected.len());
        let mut changed = false;
        for &party in selected {
            if let Some(media) = playback::audible(call.party(party)).map(|(position, _)| position) {
                let media = &mut call.party_mut(party).media[media];
                changed |= audio_player::note_announcement(media, &self.config.audio_player);
            }
        }
        if changed {
            self.install(call);
        }
        for &party in selected {
            let target = playback::target(call, party, specs, &self.config.audio_player);
            players.push((call.party_mut(party).player.get_or_insert_default().clone(), target));
        }
        players
    }

    pub(super) fn selected_call(&self, signal: &Signal) -> Result<CallHandle, CommandError> {
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        self.store.get(call_id).ok_or(CommandError::UnknownCallSelecting)
    }

    /// `set-label`: the one party that a command selects has this label from now on.
    pub(super) fn set_label(&self, call: &mut Call, signal: &Signal, selected: &[PartyId]) {
        if let (Some(label), [only]) = (&signal.identity.set_label, selected) {
            call.party_mut(*only).label = Some(label.clone());
            self.changed(call);
        }
    }

    /// The call that the data plane knows by this key.
    pub(super) fn by_key(&self, key: &CallKey) -> Option<CallHandle> {
        lock(&self.by_key).get(&key.0).and_then(Weak::upgrade)
    }

    /// Shows another certificate to new parties.
    pub fn renew_identity(&self) {
        self.identities.renew(&self.config, Instant::now());
    }

    /// Carries a changed call out.
    pub(super) fn install(&self, call: &Call) {
        self.carry_out(call);
        self.changed(call);
    }

    /// The same after a message, which may ask for the stored form to stay as it is.
    pub(super) fn install_for(&self, call: &Call, signal: &Signal) {
        self.carry_out(call);
        if !signal.flags.no_redis_update {
            self.changed(call);
        }
    }

    fn carry_out(&self, call: &Call) {
        let mut plan = plan(call, self.plan_options);
        self.divert(call, &mut plan);
        plan.streams.iter().for_each(|stream| self.pool.let_in(&stream.socket, &call.id));
        if let Some(cores) = self.config.socket_cores {
            for stream in &plan.streams {
                if let Err(error) = stream.socket.set_core((call.key.0 % cores) as u16) {
                    tracing::info!(%error, "cannot bind a socket to a core (socket-cpu-affinity)");
                }
            }
        }
        self.plane.install(call.worker, plan);
        // A worker that forwards looks at commands before packets; the kernel does not. Once it is told, what is answered holds.
        self.refresh(call);
    }
}

pub(super) fn commit(call: &mut Call, participant: Participant, party: Party) -> PartyId {
    match participant {
        Participant::Existing(id) => {
            *call.party_mut(id) = party;
            id
        }
        Participant::New => {
            call.parties.push(party);
            PartyId(call.parties.len() - 1)
        }
    }
}
