//! What happens to calls by itself: time-outs and pending deletions, looked at once a second.

use std::time::{Duration, Instant, SystemTime};

use super::model::{Call, PartyId};
use super::store::unix_us;
use crate::config::Config;

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
    /// The daemon stops.
    Shutdown,
}

/// Looks at one call.
pub fn check(call: &Call, config: &Config, now: Instant, wall: SystemTime) -> Due {
    if config.final_timeout.is_some_and(|limit| now.saturating_duration_since(call.created_at) >= limit) {
        return Due::Call(EndReason::FinalTimeout);
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
    match media_timeout(call, config, unix_us(wall)) {
        Some(reason) => Due::Call(reason),
        None => Due::Nothing,
    }
}

/// One stream that is still good keeps the call; streams that are expected to carry media outrank silent ones.
fn media_timeout(call: &Call, config: &Config, now_us: u64) -> Option<EndReason> {
    let mut receiving = Verdict::default();
    let mut silent = Verdict::default();
    for media in call.parties.iter().filter(|p| !p.closed).flat_map(|party| &party.media) {
        let expected = media.may_send() && media.ports.current().is_some();
        for stream in &media.streams {
            let known = media.remote.as_ref().is_some_and(|remote| !remote.rejected);
            let (verdict, limit, reason) = if !expected {
                (&mut silent, config.silent_timeout, EndReason::SilentTimeout)
            } else if !known {
                (&mut receiving, config.offer_timeout, EndReason::OfferTimeout)
            } else {
                (&mut receiving, config.timeout, EndReason::Timeout)
            };
            let last = stream.shared.last_packet_us.get().max(stream.since_us);
            let age = Duration::from_micros(now_us.saturating_sub(last));
            verdict.good |= age < limit;
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
