//! The commands: what the doors call.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::alarms::Alarms;
use super::compile::{TapDirections, plan};
use super::delete::{self, Deletion};
use super::dialogue::{self, Dialogue, Participant, Role};
use super::dtmf::DtmfReport;
use super::echo;
use super::error::CommandError;
use super::exchange::{Exchange, OwnSide};
use super::fragments::{self, EarlyFragments};
use super::interfaces::Interfaces;
use super::model::{Call, Party, PartyId};
use super::music_on_hold;
use super::operate;
use super::output::Output;
use super::pairing::{answer_order, offer_order};
use super::playback::{self, PartyPlayer};
use super::recording::{self, CallRecording, RecordingCommand};
use super::snapshot::CallSnapshot;
use super::store::{CallHandle, CallStore, lock, next_id, unix_us};
use super::switches::Switches;
use super::timers::{self, Due, EndReason};
use super::unbuilt;
use crate::config::{Config, Live, Setting};
use crate::media::MediaPlane;
use crate::media::event::MediaEvent;
use crate::media::plan::CallKey;
use crate::media::port_pool::PortPool;
use crate::negotiate::security;
use crate::negotiate::signal::{DropTraffic, Signal};
use crate::proto::dtls::Certificate;
use crate::proto::sdp::model::SessionDescription;
use crate::proto::sdp::parse::{ParseOptions, parse};
use crate::proto::sdp::text;
use crate::record::{Recorder, RecordingEnd};
use crate::statistics::{MediaActivity, Statistics};

/// A selected party's player, and what it would play to; a party that cannot hear anything has no target.
type SelectedPlayer = (Arc<PartyPlayer>, Option<playback::PlayTarget>);

/// What the commands work with.
pub struct Services {
    pub config: Arc<Config>,
    pub pool: Arc<PortPool>,
    pub plane: MediaPlane,
    pub recorder: Recorder,
    pub certificate: Certificate,
}

/// All calls and the commands on them. Shared by the doors.
pub struct Engine {
    pub(super) config: Arc<Config>,
    pub(super) live: Live,
    pub(super) statistics: Statistics,
    pub(super) pool: Arc<PortPool>,
    pub(super) plane: MediaPlane,
    pub(super) recorder: Recorder,
    /// Ours, in all DTLS associations.
    pub(super) certificate: Certificate,
    pub(super) interfaces: Interfaces,
    pub(super) store: CallStore,
    /// Calls of another instance among those in the store.
    pub(super) foreign: AtomicUsize,
    pub(super) by_key: Mutex<HashMap<u64, Weak<Mutex<Call>>>>,
    tap: TapDirections,
    /// Some party has music on hold to play.
    music_known: AtomicBool,
    /// 12 hexadecimal digits, random per process (loop protection).
    pub(super) instance: String,
    fragments: EarlyFragments,
    /// When something about a call is due.
    pub alarms: Alarms,
}

/// Reply of `offer` and `answer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpReply {
    /// Octets, since the body may not be UTF-8.
    pub sdp: Vec<u8>,
    /// Paths of pcap files, when there are any.
    pub recordings: Vec<String>,
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
        let Services { config, pool, plane, recorder, certificate } = services;
        Self {
            interfaces: Interfaces::new(&config),
            tap: TapDirections::new(config.recording.direction),
            instance: format!("{:012x}", rand::random::<u64>() & 0xffff_ffff_ffff),
            store: CallStore::default(),
            fragments: EarlyFragments::default(),
            music_known: AtomicBool::new(false),
            foreign: AtomicUsize::new(0),
            live: Live::new(&config),
            statistics: Statistics::default(),
            by_key: Mutex::default(),
            alarms: Alarms::default(),
            config,
            pool,
            plane,
            recorder,
            certificate,
        }
    }

    /// `offer`
    pub fn offer(&self, signal: &Signal) -> Result<SdpReply, CommandError> {
        self.exchange(Role::Offer, signal)
    }

    /// A message may have to open a source of music on hold: it blocks for longer than others.
    pub fn may_open_music(&self, signal: &Signal) -> bool {
        let given = signal.output.moh.as_ref().is_some_and(|music| music.source.is_some());
        if given {
            self.music_known.store(true, Relaxed);
        }
        (given || self.music_known.load(Relaxed)) && signal.identity.to_tag.is_some()
    }

    /// `answer`
    pub fn answer(&self, signal: &Signal) -> Result<SdpReply, CommandError> {
        self.exchange(Role::Answer, signal)
    }

    fn exchange(&self, role: Role, signal: &Signal) -> Result<SdpReply, CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let identity = &signal.identity;
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        if identity.from_tag.is_none() {
            return Err(CommandError::NoFromTag);
        }
        if role == Role::Answer && identity.to_tag.is_none() {
            return Err(CommandError::NoToTag);
        }
        unbuilt::warn(signal);
        let present = self.store.get(call_id);
        match (&present, role) {
            (None, Role::Answer) => return Err(CommandError::UnknownCall),
            (None, Role::Offer) => self.check_limits()?,
            _ => {}
        }
        let mut sdp = self.parse(signal, body)?;
        let own = |instance: &Option<String>| instance.as_deref() == Some(self.instance.as_str());
        if signal.flags.loop_protect && !sdp.instances.is_empty() && sdp.instances.iter().all(own) {
            return Ok(SdpReply { sdp: body.to_vec(), recordings: Vec::new() });
        }

        let handle = present.clone().unwrap_or_else(|| self.fresh(call_id, signal));
        let mut call = lock(&handle);
        if call.ended {
            // Ended between the look-up and the lock.
            drop(call);
            return self.exchange(role, signal);
        }
        let Dialogue { sender, receiver, mut sender_copy, mut receiver_copy } =
            dialogue::resolve(&call, role, signal)?;
        let in_pairs = |index: usize| {
            let known = sender_copy.media.get(index).is_some_and(|media| media.security.expects_pair());
            known || signal.security.osrtp_accept_legacy
        };
        security::join_pairs(&mut sdp.media, in_pairs);
        let mut exchange = Exchange {
            config: &self.config,
            interfaces: &self.interfaces,
            pool: &self.pool,
            signal,
            sdp: &sdp,
            certificate: &self.certificate,
            next_media_number: call.next_media_number,
            own_side: OwnSide::Neither,
        };
        let order = match role {
            Role::Offer => {
                let order = offer_order(&sdp, &sender_copy);
                exchange.offer(&mut sender_copy, &mut receiver_copy, &order)?;
                order
            }
            Role::Answer => {
                let order = answer_order(&sdp, &sender_copy, &receiver_copy);
                exchange.answer(&mut sender_copy, &mut receiver_copy, &order)?;
                order
            }
        };
        let next_media_number = exchange.next_media_number;
        if let Some(wanted) = signal.network.media_echo {
            echo::apply(wanted, &mut sender_copy, &mut receiver_copy);
        }
        self.fragments.apply(call_id, &mut sender_copy);
        let music = music_on_hold::update(
            &call,
            (&mut sender_copy, &mut receiver_copy),
            role,
            signal,
            &sdp,
            &self.config,
        )?;
        let output = Output {
            config: &self.config,
            role,
            signal,
            sdp: &sdp,
            instance: &self.instance,
            source: &sender_copy,
            order: &order,
        };
        let printed = output.print(&mut receiver_copy)?;
        sender_copy.description = Some(body.into());

        // Nothing can fail from here on.
        call.next_media_number = next_media_number;
        let sender = commit(&mut call, sender, sender_copy);
        let receiver = commit(&mut call, receiver, receiver_copy);
        associate(&mut call, sender, receiver);
        call.last_signal = Some(SystemTime::now());
        call.delete_at = None;
        call.deleted_at = None;
        match signal.network.drop_traffic {
            Some(DropTraffic::Start) => call.drop_traffic = true,
            Some(DropTraffic::Stop) => call.drop_traffic = false,
            None => {}
        }
        self.apply_tos(&mut call, role, signal);
        if let Some(metadata) = &identity.metadata {
            call.metadata = Some(metadata.clone());
            call.party_mut(sender).metadata = Some(metadata.clone());
        }
        self.apply_recording(&mut call, sender, receiver, role, signal);
        self.apply_dtmf(&mut call, sender, signal);
        recording::describe(&call);
        recording::signalled(&call, sender, mode(role), body, &printed);
        let recordings = call.recording.pcap_path().into_iter().collect();
        if present.is_none() && !self.register(&mut call, &handle) {
            drop(call);
            return self.exchange(role, signal);
        }
        self.install(&call);
        drop(call);
        music.into_iter().for_each(|change| change.carry_out(&self.plane));
        Ok(SdpReply { sdp: text::encode(&printed), recordings })
    }

    /// Reads a description as a message of this kind has it.
    pub(super) fn parse(&self, signal: &Signal, body: &[u8]) -> Result<SessionDescription, CommandError> {
        let decoded = text::decode(body);
        let options = ParseOptions {
            reject_empty_line: self.config.reject_invalid_sdp,
            fragment: signal.flags.fragment,
        };
        parse(&decoded, options).map_err(|error| {
            tracing::warn!(call_id = signal.identity.call_id, %error, "SDP refused");
            if error.is_incomplete() { CommandError::IncompleteSdp } else { CommandError::ParseSdp }
        })
    }

    pub(super) fn fresh(&self, call_id: &str, signal: &Signal) -> CallHandle {
        Arc::new(Mutex::new(self.new_call(call_id, signal.identity.client)))
    }

    /// Makes a new call known. `false`: somebody else created it meanwhile; theirs stands, and the message has to be done again on it.
    pub(super) fn register(&self, call: &mut Call, handle: &CallHandle) -> bool {
        lock(&self.by_key).insert(call.key.0, Arc::downgrade(handle));
        if self.store.insert(&call.id, handle.clone()).is_err() {
            lock(&self.by_key).remove(&call.key.0);
            recording::end(call, RecordingEnd::Discard);
            return false;
        }
        tracing::info!(call_id = call.id, "new call");
        true
    }

    /// `offer` with flag `fragment`: candidates that come after the description (RFC 8840). One that overtook its description
    /// is kept for a moment.
    pub fn take_fragment(&self, signal: &Signal) -> Result<(), CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let from_tag = signal.identity.from_tag.as_deref().ok_or(CommandError::NoFromTag)?;
        let fragment = self.parse(signal, body)?;
        let handle = self.store.get(call_id);
        let mut call = handle.as_ref().map(|handle| lock(handle)).filter(|call| !call.ended);
        let known = call.as_mut().and_then(|call| call.by_tag(from_tag).map(|party| call.party_mut(party)));
        match known {
            Some(party) => fragments::apply(party, &fragment),
            None => self.fragments.keep(call_id, from_tag, fragment, Instant::now()),
        }
        Ok(())
    }

    /// `TOS` is for all streams of the call; an offer without it goes back to the configured value.
    fn apply_tos(&self, call: &mut Call, role: Role, signal: &Signal) {
        if role == Role::Offer {
            match signal.network.tos {
                Some(negative) if negative < 0 => {}
                wanted => call.tos = wanted.and_then(|tos| u8::try_from(tos).ok()).unwrap_or(self.config.tos),
            }
        }
        if call.tos == self.config.tos && !call.tos_set {
            return;
        }
        call.tos_set = call.tos != self.config.tos;
        for ports in
            call.parties.iter().flat_map(|party| &party.media).filter_map(|media| media.ports.current())
        {
            for port in [Some(&ports.rtp), ports.rtcp.as_ref()].into_iter().flatten() {
                if let Err(error) = port.set_tos(call.tos) {
                    tracing::warn!(call_id = call.id, %error, tos = call.tos, "cannot set the type of service");
                }
            }
        }
    }

    fn apply_recording(
        &self,
        call: &mut Call,
        sender: PartyId,
        receiver: PartyId,
        role: Role,
        signal: &Signal,
    ) {
        let options = &signal.recording;
        call.recording.note(options, signal.identity.metadata.as_deref());
        if options.exclude {
            call.party_mut(sender).excluded_from_recording = true;
            call.party_mut(receiver).excluded_from_recording = true;
        }
        let slots = options.media_slots;
        if let (Some(slots), Role::Offer) = (slots, role) {
            let pairs = [(sender, options.media_slot_offer), (receiver, options.media_slot_answer)];
            for (party, slot) in pairs {
                let party = call.party_mut(party);
                party.recording_slots = party.recording_slots.or(slot.map(|slot| (slot, slots)));
            }
        }
        match recording::signalled_command(signal) {
            Some(command) => recording::apply(call, &self.recorder, command),
            None => recording::update(call),
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
            recording::apply(&mut call, &self.recorder, RecordingCommand::Discard);
        }
        let due = delete::due(signal, self.live.duration(Setting::DeleteDelay), Instant::now());
        let target = delete::target(&call, signal);
        // Of a call that is deleted as a whole the state before counts, of a party the state after.
        let before = (target == Deletion::WholeCall && !signal.flags.fast)
            .then(|| Box::new(CallSnapshot::take(&call, None)));
        match (target, due) {
            (Deletion::Nothing, _) => return nothing(),
            (Deletion::WholeCall, None) => self.end(&mut call, &handle, EndReason::Deleted),
            (Deletion::WholeCall, Some(due)) => {
                call.delete_at = Some(due);
                call.deleted_at.get_or_insert_with(Instant::now);
            }
            (Deletion::Party(party), None) => self.end_party(&mut call, &handle, party),
            (Deletion::Party(party), Some(due)) => call.party_mut(party).delete_at = Some(due),
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
        Ok(CallSnapshot::take(&call, selected))
    }

    /// `list`
    pub fn list(&self, limit: i64) -> Result<Vec<String>, CommandError> {
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
            call.metadata = Some(metadata.to_owned());
            let party = signal.identity.from_tag.as_deref().and_then(|tag| call.by_tag(tag));
            if let Some(party) = party {
                call.party_mut(party).metadata = Some(metadata.to_owned());
            }
        }
        recording::apply(&mut call, &self.recorder, command);
        self.install(&call);
        Ok(())
    }

    /// `play media`; blocks while the source is opened. The duration is that of the first party.
    pub fn play_media(&self, signal: &Signal) -> Result<Option<Duration>, CommandError> {
        let targets = self.players(signal)?;
        if signal.playback.source().is_none() {
            return Err(CommandError::NoMediaFile);
        }
        let mut duration = None;
        let mut played = false;
        for (player, target) in targets {
            let Some(target) = target else { continue };
            let length = player.play(&self.plane, &target, signal)?;
            duration = duration.or(length);
            played = true;
        }
        if played { Ok(duration) } else { Err(CommandError::Play(crate::play::PlayError::File)) }
    }

    /// `stop media`; the position of the last frame in ms.
    pub fn stop_media(&self, signal: &Signal) -> Result<u64, CommandError> {
        let handle = self.selected_call(signal)?;
        let call = lock(&handle);
        let mut position = None;
        for party in playback::select(&call, signal)? {
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
        let mut players = Vec::with_capacity(selected.len());
        for party in selected {
            let target = playback::target(&call, party);
            players.push((call.party_mut(party).player.get_or_insert_default().clone(), target));
        }
        Ok(players)
    }

    pub(super) fn selected_call(&self, signal: &Signal) -> Result<CallHandle, CommandError> {
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        self.store.get(call_id).ok_or(CommandError::UnknownCallSelecting)
    }

    /// Something happened in the data plane; what there is to tell about it.
    pub fn on_event(&self, event: &MediaEvent) -> Option<DtmfReport> {
        match event {
            MediaEvent::EndpointLearned { call, stream, peer } => {
                let handle = self.by_key(call)?;
                let mut call = lock(&handle);
                if let Some(stream) = call.stream_mut(*stream) {
                    stream.learned = Some(*peer);
                }
                None
            }
            MediaEvent::DtmfEnded { call, stream, digit, injected } => {
                self.on_digit(&self.by_key(call)?, *stream, digit, *injected)
            }
            MediaEvent::PlayerFinished { call, player, next_sequence, next_timestamp, .. } => {
                let handle = self.by_key(call)?;
                let players: Vec<_> =
                    lock(&handle).parties.iter().filter_map(|party| party.player.clone()).collect();
                for candidate in players {
                    if candidate.finished(*player, *next_sequence, *next_timestamp) {
                        break;
                    }
                }
                None
            }
        }
    }

    /// The call that the data plane knows by this key.
    pub(super) fn by_key(&self, key: &CallKey) -> Option<CallHandle> {
        lock(&self.by_key).get(&key.0).and_then(Weak::upgrade)
    }

    /// Once a second: time-outs and deletions that are due.
    pub fn tick(&self) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut media = MediaActivity::default();
        self.for_each_call(|handle| {
            let mut call = lock(handle);
            if call.ended {
                return;
            }
            operate::count_active(&call, unix_us(wall), &mut media);
            match timers::check(&mut call, &self.live, now, wall) {
                Due::Nothing => {}
                Due::Parties(parties) => {
                    for party in parties {
                        call.party_mut(party).delete_at = None;
                        self.end_party(&mut call, handle, party);
                    }
                }
                Due::Call(reason) => {
                    tracing::info!(call_id = call.id, ?reason, "closing call");
                    self.end(&mut call, handle, reason);
                }
            }
        });
        self.statistics.tick(now, &self.plane.totals(), media, &self.live);
    }

    /// Ends all calls.
    pub fn shutdown(&self) {
        self.store.for_each(|handle| {
            let mut call = lock(handle);
            if !call.ended {
                self.end(&mut call, handle, EndReason::Shutdown);
            }
        });
    }

    fn new_call(&self, call_id: &str, created_from: Option<SocketAddr>) -> Call {
        let now = SystemTime::now();
        Call {
            id: call_id.to_owned(),
            merged: Vec::new(),
            key: CallKey(next_id()),
            worker: self.plane.assign(),
            created: now,
            created_at: Instant::now(),
            last_signal: None,
            parties: Vec::with_capacity(2),
            subscriptions: Vec::new(),
            switches: Switches::default(),
            flows: Vec::new(),
            dtmf_log: None,
            forwarding: false,
            metadata: None,
            tos: self.config.tos,
            tos_set: false,
            delete_at: None,
            deleted_at: None,
            created_from,
            foreign: false,
            grace_since_us: None,
            ended: false,
            drop_traffic: false,
            recording: CallRecording::default(),
            next_media_number: 1,
        }
    }

    /// Refuses a new call when a limit is reached.
    pub(super) fn check_limits(&self) -> Result<(), CommandError> {
        Ok(self.statistics.admit(&self.live, || self.sessions().own)?)
    }

    pub(super) fn install(&self, call: &Call) {
        self.plane.install(call.worker, plan(call, self.tap));
    }

    fn end_party(&self, call: &mut Call, handle: &CallHandle, party: PartyId) {
        match delete::close_party(call, party) {
            Deletion::WholeCall => self.end(call, handle, EndReason::Deleted),
            _ => self.install(call),
        }
    }

    pub(super) fn end(&self, call: &mut Call, handle: &CallHandle, reason: EndReason) {
        call.ended = true;
        self.count_ended(call, reason);
        // First, so that it is the worker who closes the sockets and need not take them out of its epoll one by one.
        delete::close_all(call);
        self.plane.remove(call.worker, call.key);
        recording::end(call, RecordingEnd::Keep);
        self.store.remove(&call.id, handle);
        let mut by_key = lock(&self.by_key);
        by_key.remove(&call.key.0);
        for merged in &call.merged {
            self.store.remove_alias(&merged.id, handle);
            by_key.remove(&merged.key.0);
        }
        tracing::info!(call_id = call.id, ?reason, "call ended");
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

/// Sender and receiver talk to each other from now on; whoever they talked to before is left alone.
pub(super) fn associate(call: &mut Call, sender: PartyId, receiver: PartyId) {
    for (id, other) in [(sender, receiver), (receiver, sender)] {
        if let Some(former) = call.party_mut(id).partner.replace(other)
            && former != other
            && call.party(former).partner == Some(id)
        {
            call.party_mut(former).partner = None;
        }
    }
}

fn mode(role: Role) -> &'static str {
    match role {
        Role::Offer => "offer",
        Role::Answer => "answer",
    }
}
