//! What happens to calls by itself: time-outs and pending deletions, looked at once a second.

use std::time::{Duration, Instant, SystemTime};

use super::model::{Call, PartyId};
use super::store::unix_us;
use crate::config::{Live, Setting};

/// What is to be done with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// These parties' delayed deletion is due.
    Parties(Vec<PartyId>),
    /// The call ends.
    Call(EndReason),
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Deleted by command, at once or after the delay.
    Deleted,
    /// `final-timeout`
    FinalTimeout,
    /// `timeout`: nobody sends any more.
    Timeout,
    /// `silent-timeout`: on hold for too long.
    SilentTimeout,
    /// `offer-timeout`: nobody answered.
    OfferTimeout,
    /// By the operator.
    Forced,
    /// The daemon stops.
    Shutdown,
}

/// Looks at one call.
pub fn check(call: &mut Call, live: &Live, now: Instant, wall: SystemTime) -> Due {
    let final_timeout = live.duration(Setting::FinalTimeout);
    if !final_timeout.is_zero() && now.saturating_duration_since(call.created_at) >= final_timeout {
        return Due::Call(EndReason::FinalTimeout);
    }
    if call.foreign {
        return Due::Nothing;
    }
    if call.delete_at.is_some_and(|due| due <= now) {
        return Due::Call(EndReason::Deleted);
    }
    let due: Vec<PartyId> = (0..call.parties.len())
        .map(PartyId)
        .filter(|&id| call.party(id).delete_at.is_some_and(|due| due <= now))
        .collect();
    if !due.is_empty() {
        return Due::Parties(due);
    }
    if let Some(since) = call.grace_since_us {
        let streams = call.parties.iter().flat_map(|party| &party.media).flat_map(|media| &media.streams);
        if !streams.into_iter().any(|stream| stream.shared.last_packet_us() > since) {
            return Due::Nothing;
        }
        call.grace_since_us = None;
    }
    match media_timeout(call, live, unix_us(wall)) {
        Some(reason) => Due::Call(reason),
        None => Due::Nothing,
    }
}

/// One stream that is still good keeps the call; streams that are expected to carry media outrank silent ones.
fn media_timeout(call: &Call, live: &Live, now_us: u64) -> Option<EndReason> {
    let own_limit = call.relay.as_ref().and_then(|relay| relay.idle);
    let mut receiving = Verdict::default();
    let mut silent = Verdict::default();
    for media in call.parties.iter().filter(|p| !p.closed).flat_map(|party| &party.media) {
        let expected = media.may_send() && media.ports.current().is_some();
        for stream in &media.streams {
            let known = media.remote.as_ref().is_some_and(|remote| !remote.rejected);
            let (verdict, limit, reason) = if !expected {
                (&mut silent, Setting::SilentTimeout, EndReason::SilentTimeout)
            } else if !known {
                (&mut receiving, Setting::OfferTimeout, EndReason::OfferTimeout)
            } else {
                (&mut receiving, Setting::Timeout, EndReason::Timeout)
            };
            let shared = &stream.shared;
            let last = shared.last_packet_us().max(shared.ice_activity_us.get()).max(stream.since_us);
            let age = Duration::from_micros(now_us.saturating_sub(last));
            verdict.good |= age < own_limit.unwrap_or_else(|| live.duration(limit));
            verdict.reason = Some(reason);
        }
    }
    let decisive = if receiving.reason.is_some() { receiving } else { silent };
    decisive.reason.filter(|_| !decisive.good)
}

#[derive(Default)]
struct Verdict {
    good: bool,
    reason: Option<EndReason>,
}
