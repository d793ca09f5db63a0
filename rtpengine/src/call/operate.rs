//! What operators see of the calls and do to them as a whole.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use smol_str::SmolStr;

use super::coding;
use super::engine::Engine;
use super::model::{Call, Party, PartyId};
use super::store::{CallHandle, lock};
use super::timers::EndReason;
use crate::config::{Config, Live};
use crate::media::MediaPlane;
use crate::media::hold::MAX_DELAY;
use crate::media::port_pool::PortPool;
use crate::play::Sources;
use crate::statistics::{EndClass, EndedCall, MediaActivity, Statistics};

/// Which calls are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    All,
    Own,
    Foreign,
}

/// Calls at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    pub own: u64,
    /// Of another instance.
    pub foreign: u64,
}

/// What a look at every call gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub sessions: Sessions,
    /// Media sections of which something is decoded and encoded.
    pub transcoded: u64,
    /// Answered calls whose parties are all spoken to over IPv4.
    pub ipv4: u64,
    pub ipv6: u64,
    /// Calls with parties of both kinds.
    pub mixed: u64,
}

/// A call in a list of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLine {
    pub id: SmolStr,
    /// Deletion is pending.
    pub deleted: bool,
    pub created: SystemTime,
    pub created_from: Option<SocketAddr>,
    pub foreign: bool,
    pub recording: bool,
    /// Redis database; −1 = none.
    pub keyspace: i64,
}

impl Ownership {
    fn fits(self, call: &Call) -> bool {
        match self {
            Ownership::All => true,
            Ownership::Own => !call.foreign,
            Ownership::Foreign => call.foreign,
        }
    }
}

impl Engine {
    /// The configuration that the daemon was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Values that may change while the daemon runs.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Sums and rates.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub fn plane(&self) -> &MediaPlane {
        &self.plane
    }

    /// Media that are played.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Nothing is forwarded or played by the kernel any more: another instance has it. Waits for the workers.
    pub fn give_up_kernel(&self) {
        if !self.plane.give_up_rung() {
            tracing::warn!("a media worker is slow to take its streams up from the kernel");
        }
    }

    pub fn ports(&self) -> &PortPool {
        &self.pool
    }

    /// Number of calls, by whose they are.
    pub fn sessions(&self) -> Sessions {
        let (all, foreign) = (self.calls() as u64, self.foreign.load(Relaxed) as u64);
        Sessions { own: all.saturating_sub(foreign), foreign }
    }

    /// Looks at every call; for reports, not for commands.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges { sessions: self.sessions(), ..Gauges::default() };
        self.for_each_call(|handle| {
            let call = lock(handle);
            if !call.ended {
                gauges.add(&call);
            }
        });
        gauges
    }

    /// All calls, the oldest first.
    pub fn overview(&self) -> Vec<CallLine> {
        let mut lines = Vec::new();
        self.for_each_call(|handle| {
            let call = lock(handle);
            if !call.ended {
                lines.push(CallLine {
                    id: call.id.clone(),
                    deleted: call.delete_at.is_some(),
                    created: call.created,
                    created_from: call.created_from,
                    foreign: call.foreign,
                    recording: call.recording.on,
                    keyspace: call.keyspace.unwrap_or(-1),
                });
            }
        });
        lines
    }

    /// Ends a call on the operator's behalf; whether there was one.
    pub fn terminate(&self, call_id: &str) -> bool {
        let Some(handle) = self.store.get(call_id) else { return false };
        self.terminate_call(&handle)
    }

    /// Ends all calls of a kind.
    pub fn terminate_all(&self, which: Ownership) {
        self.for_each_call(|handle| {
            if which.fits(&lock(handle)) {
                self.terminate_call(handle);
            }
        });
    }

    fn terminate_call(&self, handle: &CallHandle) -> bool {
        let mut call = lock(handle);
        if call.ended {
            return false;
        }
        // What signalling had deleted already counts as deleted by signalling.
        let reason = if call.deleted_at.is_some() { EndReason::Deleted } else { EndReason::Forced };
        self.end(&mut call, handle, reason);
        true
    }

    /// Delays the audio that a party sends, bounded, from now on; how long then, or `None` when there is no such party.
    pub fn delay_audio(&self, call_id: &str, tag: &str, delay: Duration) -> Option<Duration> {
        let handle = self.store.get(call_id)?;
        let mut call = lock(&handle);
        let party = call.by_tag(tag)?;
        let delay = delay.min(MAX_DELAY);
        call.party_mut(party).media.iter_mut().for_each(|media| media.hold.delay = delay);
        if !call.ended {
            self.install(&call);
            self.changed(&call);
        }
        Some(delay)
    }

    /// Takes all calls over from another instance.
    pub fn take_over(&self) {
        let _turn = lock(&self.turnover);
        self.for_each_call(|handle| {
            let mut call = lock(handle);
            if !call.ended {
                self.claim(&mut call);
                self.changed(&call);
            }
        });
    }

    /// Leaves all calls to another instance.
    pub fn hand_over(&self) {
        self.for_each_call(|handle| {
            let mut call = lock(handle);
            if !call.ended {
                self.disclaim(&mut call);
            }
        });
    }

    /// Adds a call that ends to the statistics.
    pub(super) fn count_ended(&self, call: &Call, reason: EndReason) {
        if call.foreign {
            self.foreign.fetch_sub(1, Relaxed);
        }
        let until = call.deleted_at.unwrap_or_else(Instant::now);
        let (one_way, no_way) = silent_ways(call);
        self.statistics.call_ended(&EndedCall {
            class: match reason {
                EndReason::Deleted => EndClass::Regular,
                EndReason::FinalTimeout => EndClass::FinalTimeout,
                EndReason::Timeout => EndClass::Timeout,
                EndReason::SilentTimeout => EndClass::SilentTimeout,
                EndReason::OfferTimeout => EndClass::OfferTimeout,
                EndReason::Forced | EndReason::Shutdown => EndClass::Forced,
            },
            foreign: call.foreign,
            duration: until.saturating_duration_since(call.created_at),
            one_way,
            no_way,
        });
    }
}

impl Gauges {
    fn add(&mut self, call: &Call) {
        let (mut ipv4, mut ipv6) = (false, false);
        for party in &call.parties {
            let opposite = party.partner.map(|partner| call.party(partner));
            for (position, media) in party.media.iter().enumerate() {
                let address = media.attachment.as_ref().map(|attachment| attachment.local.address);
                ipv4 |= address.is_some_and(|address| address.is_ipv4());
                ipv6 |= address.is_some_and(|address| address.is_ipv6());
                let opposite = opposite.and_then(|opposite| opposite.media.get(position));
                let transcoded = opposite.is_some_and(|opposite| coding::is_transcoded(media, opposite));
                self.transcoded += u64::from(transcoded && !party.closed);
            }
        }
        // What counts is what was offered and answered.
        let has_spoken = |party: &&Party| party.media.iter().any(|media| media.remote.is_some());
        if call.parties.iter().filter(has_spoken).count() < 2 {
            return;
        }
        match (ipv4, ipv6) {
            (true, false) => self.ipv4 += 1,
            (false, true) => self.ipv6 += 1,
            (true, true) => self.mixed += 1,
            (false, false) => {}
        }
    }
}

/// Adds the media sections of a call that had packets within the second before `now_us`.
pub(super) fn count_active(call: &Call, now_us: u64, activity: &mut MediaActivity) {
    let since = now_us.saturating_sub(1_000_000);
    // What the kernel counts is asked for once a second.
    let kernel_since = now_us.saturating_sub(2_000_000);
    for media in call.parties.iter().flat_map(|party| &party.media) {
        let mut shared = media.streams.iter().map(|stream| &stream.shared);
        let by_user = shared.clone().any(|shared| shared.last_user_packet_us.get() > since);
        let by_kernel = shared.any(|shared| shared.last_kernel_packet_us.get() > kernel_since);
        match (by_user, by_kernel) {
            (true, true) => activity.mixed += 1,
            (true, false) => activity.user += 1,
            (false, true) => activity.kernel += 1,
            (false, false) => {}
        }
    }
}

/// Streams whose opposite direction had packets and that had none; pairs in which neither had any.
///
/// A party's first RTP stream stands for the party.
fn silent_ways(call: &Call) -> (u64, u64) {
    let received = |party: PartyId| {
        let media = call.party(party).media.first().filter(|media| media.is_rtp())?;
        Some(media.streams[0].shared.ingress.packets.get())
    };
    let (mut one_way, mut silent) = (0, 0);
    for party in (0..call.parties.len()).map(PartyId) {
        let opposite = call.party(party).partner;
        match (received(party), opposite.and_then(received)) {
            (Some(0), Some(0)) => silent += 1,
            (Some(_), Some(0)) => one_way += 1,
            _ => {}
        }
    }
    // Both directions of a pair see it.
    (one_way, silent / 2)
}
