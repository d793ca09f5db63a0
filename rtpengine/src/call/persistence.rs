//! Calls in a store: what is written there, what comes from there, and whose calls they are.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use smol_str::SmolStr;

use super::changes::{Change, Changes};
use super::coding;
use super::engine::Engine;
use super::model::{Call, Party};
use super::music_on_hold;
use super::recording;
use super::store::{lock, unix_us};
use super::stored::{self, ReadCall, Reader, RestoreError, Writer};
use super::timers::EndReason;
use crate::media::Work;
use crate::negotiate::security::Keying;
use crate::proto::value::Dict;

/// How long a worker may take to say how far its keys were used.
const PROGRESS: Duration = Duration::from_millis(500);
/// Own calls with SRTP are written this often at least.
const REFRESH: Duration = Duration::from_secs(300);
/// An index of SRTP may have gone on by this many packets (a power of two) before it is written: half a cycle would be too many.
const STEP_BITS: u32 = 14;

/// Whose a call from the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours from now on.
    Us,
    /// Another instance's, which writes to this database.
    Other { keyspace: i64 },
}

/// What came of a stored call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// There is a new call.
    New,
    /// There was one of that name.
    Known,
}

impl Engine {
    /// What waits to be stored; `None` without a store.
    pub fn changes(&self) -> Option<&Changes> {
        self.changes.as_ref()
    }

    /// The stored form of a call is out of date.
    pub(super) fn changed(&self, call: &Call) {
        if let Some(changes) = &self.changes
            && !call.foreign
            && !call.ended
        {
            changes.note(call.id.clone(), Change::Write);
        }
    }

    /// The stored forms of all calls are out of date.
    pub fn all_changed(&self) {
        self.for_each_call(|handle| self.changed(&lock(handle)));
    }

    /// The stored form of a call is to go.
    pub(super) fn forget(&self, id: &str) {
        if let Some(changes) = &self.changes {
            changes.note(id.into(), Change::Delete);
        }
    }

    /// The present form of a call for the store; `None` if there is none to be stored.
    pub async fn stored_form(&self, id: &str, hosted_db: i64) -> Option<Dict> {
        let handle = self.store.get(id)?;
        let (asked, steps) = {
            let call = lock(&handle);
            if call.ended || call.foreign || call.id != id {
                return None;
            }
            (is_secure(&call).then(|| self.plane.srtp_progress(call.worker, call.key)), steps(&call))
        };
        let progress = match asked {
            Some(answer) => tokio::time::timeout(PROGRESS, answer).await.ok()?.ok()?,
            None => Vec::new(),
        };
        let mut call = lock(&handle);
        if call.ended || call.foreign {
            return None;
        }
        call.stored_us = unix_us(SystemTime::now());
        // Of packets that have passed since then the progress does not know.
        call.stored_steps = steps;
        call.keyspace = Some(hosted_db);
        Some(Writer { interfaces: &self.interfaces, hosted_db }.write(&call, &progress))
    }

    /// Writes a call again whose roll-over counters could otherwise no longer be guessed from what is stored.
    pub(super) fn refresh_stored(&self, call: &Call, now_us: u64) {
        if self.changes.is_none() || call.foreign || !is_secure(call) {
            return;
        }
        let due = call.stored_us.saturating_add(REFRESH.as_micros() as u64) <= now_us;
        if due || steps(call) != call.stored_steps {
            self.changed(call);
        }
    }

    /// A media packet makes a foreign call ours (`active-switchover`).
    pub(super) fn claim_active(&self, call: &mut Call) {
        let Some(since) = call.foreign_since_us.filter(|_| call.foreign && self.config.active_switchover)
        else {
            return;
        };
        let streams = call.parties.iter().flat_map(|party| &party.media).flat_map(|media| &media.streams);
        if streams.into_iter().any(|stream| stream.shared.last_packet_us() > since) {
            self.claim(call);
        }
    }

    /// A signalling command makes a foreign call ours (`active-switchover`).
    pub(super) fn claim_signalled(&self, call: &mut Call) {
        if call.foreign && self.config.active_switchover {
            self.claim(call);
        }
    }

    /// Makes a call of another instance ours.
    pub(super) fn claim(&self, call: &mut Call) {
        if !std::mem::take(&mut call.foreign) {
            return;
        }
        tracing::info!(call_id = %call.id, "call is taken over from another instance");
        self.foreign.fetch_sub(1, Relaxed);
        call.foreign_since_us = None;
        let now = SystemTime::now();
        call.grace_since_us = Some(unix_us(now));
        // Of two versions of a call the one with the later signal counts.
        call.last_signal = Some(now);
        recording::resume(call, &self.recorder);
        self.install(call);
    }

    /// Leaves a call to another instance.
    pub(super) fn disclaim(&self, call: &mut Call) {
        if !std::mem::replace(&mut call.foreign, true) {
            self.foreign.fetch_add(1, Relaxed);
            call.grace_since_us = None;
            call.foreign_since_us = Some(unix_us(SystemTime::now()));
            if call.recording.is_active() {
                call.recording.leave();
                self.install(call);
            }
        }
    }

    /// Makes a call of its stored form. Blocks while music on hold is opened.
    ///
    /// # Errors
    /// [`RestoreError`] says why it cannot be; nothing is left of it then.
    pub fn restore(&self, id: &str, dict: &Dict, owner: Owner) -> Result<Restored, RestoreError> {
        if let Some(present) = self.store.get(id) {
            let mut call = lock(&present);
            let stored = stored::last_signal_us(dict).unwrap_or_default();
            if !call.ended && stored > call.last_signal.map_or(0, unix_us) {
                match owner {
                    Owner::Us => self.claim(&mut call),
                    Owner::Other { .. } => self.disclaim(&mut call),
                }
                call.last_signal = Some(SystemTime::UNIX_EPOCH + Duration::from_micros(stored));
            }
            return Ok(Restored::Known);
        }
        let reader = Reader { interfaces: &self.interfaces, pool: &self.pool, identities: &self.identities };
        let ReadCall { mut call } = reader.read(id, dict)?;
        call.worker = self.plane.assign(work(&call));
        let music = music_on_hold::resume(&mut call, &self.config, &self.sources);
        if let Owner::Other { keyspace } = owner {
            call.foreign = true;
            call.foreign_since_us = Some(unix_us(SystemTime::now()));
            call.keyspace = Some(keyspace);
        } else {
            // Nobody has heard of its media here yet.
            call.grace_since_us = Some(unix_us(SystemTime::now()));
        }
        let handle = Arc::new(Mutex::new(call));
        let mut call = lock(&handle);
        if !self.register(&mut call, &handle) {
            return Ok(Restored::Known);
        }
        for merged in call.merged.iter().filter(|merged| self.store.get(&merged.id).is_none()) {
            self.store.rename(&merged.id, &handle);
            lock(&self.by_key).insert(merged.key.0, Arc::downgrade(&handle));
        }
        match owner {
            Owner::Us => recording::resume(&mut call, &self.recorder),
            Owner::Other { .. } => {
                self.foreign.fetch_add(1, Relaxed);
            }
        }
        self.restore_tos(&call);
        self.install(&call);
        for party in &mut call.parties {
            let sections = party.media.iter_mut().chain(party.offered.iter_mut().map(|(_, media)| media));
            sections.flat_map(|media| &mut media.streams).for_each(|stream| stream.resumed = None);
        }
        drop(call);
        music.into_iter().for_each(|change| change.carry_out(&self.plane));
        Ok(Restored::New)
    }

    /// The same for a call of another instance that has changed: the former one goes first. One that is ours by now stays.
    ///
    /// # Errors
    /// See [`Self::restore`].
    pub fn follow(&self, id: &str, dict: &Dict, keyspace: i64) -> Result<Restored, RestoreError> {
        // Who takes all calls over meanwhile would miss this one.
        let _turn = lock(&self.turnover);
        if self.is_foreign(id) == Some(true) {
            self.drop_foreign(id);
        }
        self.restore(id, dict, Owner::Other { keyspace })
    }

    /// Whose the call of this name is.
    pub fn is_foreign(&self, id: &str) -> Option<bool> {
        let handle = self.store.get(id)?;
        let call = lock(&handle);
        (!call.ended).then_some(call.foreign)
    }

    /// Ends a call of another instance, because that one has or because a newer form of it has come. Waits until its ports are free.
    pub fn drop_foreign(&self, id: &str) {
        let Some(handle) = self.store.get(id) else { return };
        let (worker, key) = {
            let mut call = lock(&handle);
            if call.ended || !call.foreign {
                return;
            }
            self.end(&mut call, &handle, EndReason::Deleted);
            (call.worker, call.key)
        };
        self.plane.release(worker, key);
    }

    /// Calls that came from a database of another instance.
    pub fn foreign_calls(&self, keyspace: i64) -> Vec<SmolStr> {
        let mut calls = Vec::new();
        self.for_each_call(|handle| {
            let call = lock(handle);
            if !call.ended && call.foreign && call.keyspace == Some(keyspace) {
                calls.push(call.id.clone());
            }
        });
        calls
    }

    /// Ends all calls that came from a database of another instance.
    pub fn drop_keyspace(&self, keyspace: i64) {
        self.for_each_call(|handle| {
            let mut call = lock(handle);
            if !call.ended && call.foreign && call.keyspace == Some(keyspace) {
                self.end(&mut call, handle, EndReason::Forced);
            }
        });
    }
}

/// What its worker will have to do for it.
fn work(call: &Call) -> Work {
    let converts = |party: &Party| {
        let Some(partner) = party.partner.map(|partner| call.party(partner)) else { return false };
        party.media.iter().zip(&partner.media).any(|(media, opposite)| coding::is_transcoded(media, opposite))
    };
    if call.parties.iter().any(converts) { Work::Transcoding } else { Work::Forwarding }
}

fn is_secure(call: &Call) -> bool {
    let media = call.parties.iter().filter(|party| !party.closed).flat_map(|party| &party.media);
    media.into_iter().any(|media| !matches!(media.keying(), Keying::Plain | Keying::Blocked))
}

/// Changes whenever some SSRC has gone on by [`STEP_BITS`].
fn steps(call: &Call) -> u64 {
    let streams = call.parties.iter().flat_map(|party| &party.media).flat_map(|media| &media.streams);
    let ssrcs =
        streams.flat_map(|stream| stream.shared.ingress_ssrc.iter().chain(stream.shared.egress_ssrc.iter()));
    ssrcs.map(|ssrc| (ssrc.last_sequence.get() >> STEP_BITS) + u64::from(ssrc.packets.get() > 0)).sum()
}
