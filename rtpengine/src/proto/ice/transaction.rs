//! One connectivity check: a STUN transaction with its retransmissions (RFC 8489 §6.2.1, RFC 8445 §14.3).

use std::time::{Duration, Instant};

/// Ta: checks that are new start so far apart (RFC 8445 §14.2).
pub const PACE: Duration = Duration::from_millis(50);
/// Shortest first wait for a response.
const MIN_RTO: Duration = Duration::from_millis(500);
/// Rc: transmissions of one request.
const TRANSMISSIONS: u8 = 7;
/// Rm: the last wait, in units of the first.
const LAST_WAIT: u32 = 16;

/// What a success means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The pair is valid.
    Check,
    /// And it is the selected one.
    Nominate,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub purpose: Purpose,
    sent: u8,
    rto: Duration,
    next_at: Instant,
}

impl Check {
    /// To be sent at once. `outstanding`: checks of the list that are not finished.
    pub fn new(now: Instant, purpose: Purpose, outstanding: usize) -> Self {
        let rto = MIN_RTO.max(PACE * u32::try_from(outstanding).unwrap_or(u32::MAX));
        Self { purpose, sent: 0, rto, next_at: now }
    }

    /// When it is sent again, or has failed.
    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// It is to be sent now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next_at <= now && self.sent < TRANSMISSIONS
    }

    /// Nobody has answered in all the time.
    pub fn has_failed(&self, now: Instant) -> bool {
        self.next_at <= now && self.sent >= TRANSMISSIONS
    }

    /// Counts a transmission.
    pub fn sent(&mut self, now: Instant) {
        self.sent += 1;
        let units = if self.sent < TRANSMISSIONS { 1 << (self.sent - 1) } else { LAST_WAIT };
        self.next_at = now + self.rto * units;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_seven_times_and_fails_after_39_and_a_half_seconds() {
        let start = Instant::now();
        let mut check = Check::new(start, Purpose::Check, 1);
        let mut sent_at = Vec::new();
        let mut now = start;
        while !check.has_failed(now) {
            if check.is_due(now) {
                sent_at.push((now - start).as_millis());
                check.sent(now);
            }
            now = check.next_at();
        }
        assert_eq!(sent_at, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!((now - start).as_millis(), 39_500);
    }
}
