//! How calls begin, go on by events and time, and end.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::connection::{self, ConnectionReport};
use super::delete::{self, Deletion};
use super::dtmf::DtmfReport;
use super::engine::Engine;
use super::error::CommandError;
use super::model::{Call, Party, PartyId};
use super::operate;
use super::playback::PlaybackReport;
use super::recording::{self, CallRecording};
use super::store::{CallHandle, lock, next_id, unix_us};
use super::switches::Switches;
use super::timers::{self, Due, EndReason};
use crate::media::Work;
use crate::media::event::{IceNews, MediaEvent};
use crate::media::plan::CallKey;
use crate::media::stats::StreamShared;
use crate::negotiate::signal::Signal;
use crate::proto::ice::Component;
use crate::record::RecordingEnd;
use crate::statistics::MediaActivity;

/// Something to tell others about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Digit(DtmfReport),
    PlaybackEnd(PlaybackReport),
    Connection(ConnectionReport),
}

/// What a call will need, by what its first message asks for.
fn work(signal: &Signal) -> Work {
    let codecs = &signal.codecs;
    let converts = !codecs.transcode.is_empty()
        || codecs.always_transcode
        || codecs.force_transcoding
        || codecs.ptime_ms.is_some()
        || codecs.ptime_reverse_ms.is_some();
    if converts { Work::Transcoding } else { Work::Forwarding }
}

impl Engine {
    pub(super) fn fresh(&self, call_id: &str, signal: &Signal) -> CallHandle {
        Arc::new(Mutex::new(self.new_call(call_id, signal)))
    }

    /// Makes a new call known. `false`: somebody else created it meanwhile; theirs stands, and the message has to be done again on it.
    pub(super) fn register(&self, call: &mut Call, handle: &CallHandle) -> bool {
        lock(&self.by_key).insert(call.key.0, Arc::downgrade(handle));
        if self.store.insert(&call.id, handle.clone()).is_err() {
            lock(&self.by_key).remove(&call.key.0);
            recording::end(call, RecordingEnd::Discard);
            return false;
        }
        self.relays.take(call, handle);
        tell!(call.foreign, call_id = %call.id, "new call");
        true
    }

    /// Something happened in the data plane; what there is to tell about it.
    pub fn on_event(&self, event: &MediaEvent) -> Option<News> {
        match event {
            MediaEvent::EndpointLearned { call, stream, peer } => {
                let handle = self.by_key(call)?;
                let mut call = lock(&handle);
                if let Some(stream) = call.stream_mut(*stream) {
                    stream.learned = Some(*peer);
                }
                self.changed(&call);
                None
            }
            MediaEvent::Ice { call, stream, generation, news } => {
                let handle = self.by_key(call)?;
                let mut call = lock(&handle);
                super::ice::learn(&mut call, *stream, *generation, *news);
                self.changed(&call);
                let is_path = matches!(news, IceNews::Selected { component: Component::Rtp, .. });
                is_path.then(|| connection::up(&call, *stream)).flatten().map(News::Connection)
            }
            MediaEvent::DtmfEnded { call, stream, digit, injected } => {
                self.on_digit(&self.by_key(call)?, *stream, digit, *injected).map(News::Digit)
            }
            MediaEvent::Keyed { call, stream } => {
                let handle = self.by_key(call)?;
                let call = lock(&handle);
                self.changed(&call);
                connection::up(&call, *stream).map(News::Connection)
            }
            MediaEvent::MediaArrived { call, stream, section } => {
                let handle = self.by_key(call)?;
                let call = lock(&handle);
                connection::arrived(&call, *stream, *section).map(News::Connection)
            }
            // Reported by whoever follows the events.
            MediaEvent::Rtcp { .. } => None,
            MediaEvent::PlayerFinished { call, player, frames_played, next_sequence, next_timestamp } => {
                let handle = self.by_key(call)?;
                // Players have locks of their own, which may be waited for.
                let (call_id, players) = {
                    let call = lock(&handle);
                    let player_of = |party: &Party| {
                        Some((
                            party.tag.clone().unwrap_or_default(),
                            party.label.clone(),
                            party.player.clone()?,
                        ))
                    };
                    (call.id.clone(), call.parties.iter().filter_map(player_of).collect::<Vec<_>>())
                };
                players.into_iter().find_map(|(tag, label, candidate)| {
                    let end =
                        candidate.finished(*player, *frames_played, (*next_sequence, *next_timestamp))?;
                    let time = SystemTime::now();
                    Some(News::PlaybackEnd(PlaybackReport {
                        call_id: call_id.clone(),
                        tag,
                        label,
                        end,
                        time,
                    }))
                })
            }
        }
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
            self.claim_active(&mut call);
            self.refresh_stored(&call, unix_us(wall));
            self.watch_others(&call);
            match timers::check(&mut call, &self.live, now, wall) {
                Due::Nothing => {}
                Due::Parties(parties) => {
                    for party in parties {
                        call.party_mut(party).delete_at = None;
                        self.end_party(&mut call, handle, party);
                    }
                }
                Due::Call(reason) => {
                    tell!(call.foreign, call_id = %call.id, ?reason, "closing call");
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

    fn new_call(&self, call_id: &str, signal: &Signal) -> Call {
        let now = SystemTime::now();
        Call {
            id: call_id.into(),
            merged: Vec::new(),
            key: CallKey(next_id()),
            worker: self.plane.assign(work(signal)),
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
            created_from: signal.identity.client,
            xmlrpc_callback: signal.identity.xmlrpc_callback,
            foreign: false,
            grace_since_us: None,
            ended: false,
            drop_traffic: false,
            recording: CallRecording::default(),
            away: RefCell::default(),
            keyspace: None,
            stored_us: 0,
            stored_steps: 0,
            foreign_since_us: None,
            next_media_number: 1,
            relay: None,
            tells_connections: false,
        }
    }

    /// Refuses a new call when a limit is reached.
    pub(super) fn check_limits(&self) -> Result<(), CommandError> {
        Ok(self.statistics.admit(&self.live, || self.sessions().own)?)
    }

    pub(super) fn end_party(&self, call: &mut Call, handle: &CallHandle, party: PartyId) {
        match delete::close_party(call, party) {
            Deletion::WholeCall => self.end(call, handle, EndReason::Deleted),
            _ => self.install(call),
        }
    }

    /// Makes counters of streams and announcements that the kernel sends on its own those of this moment; costs nothing where there are none.
    pub(super) fn refresh(&self, call: &Call) {
        let mut streams = call.parties.iter().flat_map(|party| &party.media).flat_map(|media| &media.streams);
        let is_below = |shared: &StreamShared| shared.place().is_kernel() || shared.kernel_players.get() > 0;
        if streams.any(|stream| is_below(&stream.shared)) {
            self.plane.refresh(call.worker, call.key);
        }
    }

    pub(super) fn end(&self, call: &mut Call, handle: &CallHandle, reason: EndReason) {
        call.ended = true;
        self.refresh(call);
        self.count_ended(call, reason);
        self.tell_ended(call, reason);
        self.relays.release(call);
        // First, so that it is the worker who closes the sockets and need not take them out of its epoll one by one.
        delete::close_all(call);
        call.away.get_mut().clear();
        self.plane.remove(call.worker, call.key);
        if reason == EndReason::Shutdown && self.changes.is_some() {
            call.recording.leave();
        } else {
            recording::end(call, RecordingEnd::Keep);
        }
        // Whoever starts next goes on with what is left when a daemon stops.
        if !call.foreign && reason != EndReason::Shutdown {
            self.forget(&call.id);
        }
        self.store.remove(&call.id, handle);
        let mut by_key = lock(&self.by_key);
        by_key.remove(&call.key.0);
        for merged in &call.merged {
            self.store.remove_alias(&merged.id, handle);
            by_key.remove(&merged.key.0);
        }
        tell!(call.foreign, call_id = %call.id, ?reason, "call ended");
    }
}
