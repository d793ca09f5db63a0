//! Where a stream's peer is: the signalled address, and what the sources of its packets teach about it.
//!
//! Pure: packets' sources and the time go in, verdicts come out. What an unauthenticated packet can change:
//! during the learning window a candidate (and, when no address was signalled, where we send meanwhile); at the
//! end of the window the peer, once. After that only with `media_handover`. A peer that is confirmed is the only
//! source whose packets are accepted; a stranger can neither redirect nor inject.
//!
//! ```text
//! Fixed (learning off)          any source is accepted (asymmetric), with `strict_source` the signalled one only
//! Waiting → Window{until, best} → Confirmed
//!         ↘ (immediate, or the exact signalled source in heuristic mode) ↗
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::EndpointLearning;

/// How long candidates are collected (3.3.1 of the option reference).
pub const WINDOW: Duration = Duration::from_secs(3);

/// What a plan says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRules {
    pub mode: EndpointLearning,
    pub signalled: Option<SocketAddr>,
    pub strict_source: bool,
    pub media_handover: bool,
    pub epoch: u32,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// Accepted, and [`Learner::peer`] or [`Learner::is_confirmed`] changed.
    Changed,
    /// Comes from where it may not.
    WrongSource,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Fixed,
    Waiting,
    Window { until: Instant, best: SocketAddr },
    Confirmed,
}

/// The peer of one stream.
#[derive(Clone, Debug)]
pub struct Learner {
    peer: Option<SocketAddr>,
    phase: Phase,
    rules: PeerRules,
    /// In the `Fixed` phase a packet was accepted.
    heard: bool,
}

impl Learner {
    pub fn new(rules: PeerRules) -> Self {
        let phase = match rules.mode {
            EndpointLearning::Off => Phase::Fixed,
            _ => Phase::Waiting,
        };
        Self { peer: rules.signalled, phase, rules, heard: false }
    }

    /// Takes the rules of a new plan. What was learned stays unless the signalled peer, the mode or the epoch
    /// changed. Returns whether it started anew.
    pub fn update(&mut self, rules: PeerRules) -> bool {
        let anew = rules.signalled != self.rules.signalled
            || rules.epoch != self.rules.epoch
            || rules.mode != self.rules.mode;
        if anew {
            *self = Self::new(rules);
        } else {
            self.rules = rules;
        }
        anew
    }

    /// Where packets to this party go.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// A packet has confirmed the peer.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.phase, Phase::Confirmed) || self.heard
    }

    /// Whether a packet from `source` would be refused whatever it holds; changes nothing.
    pub fn refuses(&self, source: SocketAddr) -> bool {
        self.peer != Some(source)
            && match self.phase {
                Phase::Confirmed => !self.rules.media_handover,
                Phase::Fixed => self.rules.strict_source,
                Phase::Waiting | Phase::Window { .. } => false,
            }
    }

    /// Only one source will do, whatever comes.
    pub fn is_pinned(&self) -> bool {
        matches!(self.phase, Phase::Fixed) && self.rules.strict_source
    }

    /// The party has shown its certificate from `source`. Returns what [`Self::observe`] would.
    pub fn authenticated(&mut self, source: SocketAddr) -> Verdict {
        match self.phase {
            Phase::Fixed => {
                self.heard = true;
                Verdict::Changed
            }
            _ => self.commit(source),
        }
    }

    /// A valid packet came from `source`. The confirmed source is one comparison.
    #[inline]
    pub fn observe(&mut self, now: Instant, source: SocketAddr) -> Verdict {
        if matches!(self.phase, Phase::Confirmed) && self.peer == Some(source) {
            return Verdict::Accept;
        }
        self.consider(now, source)
    }

    fn consider(&mut self, now: Instant, source: SocketAddr) -> Verdict {
        match self.phase {
            Phase::Fixed => {
                if self.rules.strict_source && self.peer != Some(source) {
                    return Verdict::WrongSource;
                }
                if self.heard {
                    return Verdict::Accept;
                }
                self.heard = true;
                Verdict::Changed
            }
            Phase::Confirmed if self.rules.media_handover => self.commit(source),
            Phase::Confirmed => Verdict::WrongSource,
            Phase::Waiting => match self.rules.mode {
                EndpointLearning::Immediate => self.commit(source),
                EndpointLearning::Heuristic if self.rules.signalled == Some(source) => self.commit(source),
                _ => {
                    self.phase = Phase::Window { until: now + WINDOW, best: source };
                    self.candidate_is_used(source)
                }
            },
            Phase::Window { until, best } => match self.rules.mode {
                EndpointLearning::Heuristic => self.rank_candidate(now, until, best, source),
                // Delayed: whoever sends the first packet after the window.
                _ if now >= until => self.commit(source),
                _ => Verdict::Accept,
            },
        }
    }

    fn rank_candidate(
        &mut self,
        now: Instant,
        until: Instant,
        best: SocketAddr,
        source: SocketAddr,
    ) -> Verdict {
        if self.rules.signalled == Some(source) {
            return self.commit(source);
        }
        if now >= until {
            let verdict = self.commit(best);
            return if source == best { verdict } else { Verdict::WrongSource };
        }
        // On equal rank the earlier one stays: who floods later gains nothing.
        if source != best && self.rank(source) < self.rank(best) {
            self.phase = Phase::Window { until, best: source };
            return self.candidate_is_used(source);
        }
        if self.rules.strict_source && source != best {
            return Verdict::WrongSource;
        }
        Verdict::Accept
    }

    /// While nothing was signalled the best candidate is better than silence.
    fn candidate_is_used(&mut self, source: SocketAddr) -> Verdict {
        if self.rules.signalled.is_none() && self.peer != Some(source) {
            self.peer = Some(source);
            return Verdict::Changed;
        }
        Verdict::Accept
    }

    fn commit(&mut self, peer: SocketAddr) -> Verdict {
        self.peer = Some(peer);
        self.phase = Phase::Confirmed;
        Verdict::Changed
    }

    /// 0 is best: exact, same address, same port, anything.
    fn rank(&self, source: SocketAddr) -> u8 {
        match self.rules.signalled {
            Some(s) if s == source => 0,
            Some(s) if s.ip() == source.ip() => 1,
            Some(s) if s.port() == source.port() => 2,
            _ => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndpointLearning::*;
    use Verdict::*;

    const SIGNALLED: &str = "192.0.2.1:4000";
    const OTHER_PORT: &str = "192.0.2.1:4444";
    const SAME_PORT: &str = "198.51.100.9:4000";
    const STRANGER: &str = "203.0.113.5:6666";

    struct Case {
        name: &'static str,
        mode: EndpointLearning,
        signalled: Option<&'static str>,
        flags: (bool, bool),
        /// (milliseconds, source, verdict, peer afterwards)
        packets: &'static [(u64, &'static str, Verdict, &'static str)],
    }

    const CASES: &[Case] = &[
        Case {
            name: "off never learns but accepts asymmetric senders",
            mode: Off,
            signalled: Some(SIGNALLED),
            flags: (false, false),
            packets: &[(0, STRANGER, Changed, SIGNALLED), (9000, OTHER_PORT, Accept, SIGNALLED)],
        },
        Case {
            name: "off with strict source accepts the signalled one only",
            mode: Off,
            signalled: Some(SIGNALLED),
            flags: (true, false),
            packets: &[(0, STRANGER, WrongSource, SIGNALLED), (1, SIGNALLED, Changed, SIGNALLED)],
        },
        Case {
            name: "immediate takes the first and keeps it",
            mode: Immediate,
            signalled: Some(SIGNALLED),
            flags: (false, false),
            packets: &[
                (0, STRANGER, Changed, STRANGER),
                (1, SIGNALLED, WrongSource, STRANGER),
                (9000, STRANGER, Accept, STRANGER),
            ],
        },
        Case {
            name: "delayed uses the signalled one for three seconds, then the next packet's",
            mode: Delayed,
            signalled: Some(SIGNALLED),
            flags: (false, false),
            packets: &[
                (0, OTHER_PORT, Accept, SIGNALLED),
                (2999, STRANGER, Accept, SIGNALLED),
                (3000, OTHER_PORT, Changed, OTHER_PORT),
                (3001, STRANGER, WrongSource, OTHER_PORT),
            ],
        },
        Case {
            name: "heuristic confirms the exact source at once",
            mode: Heuristic,
            signalled: Some(SIGNALLED),
            flags: (false, false),
            packets: &[
                (0, STRANGER, Accept, SIGNALLED),
                (10, SIGNALLED, Changed, SIGNALLED),
                (20, STRANGER, WrongSource, SIGNALLED),
            ],
        },
        Case {
            name: "heuristic prefers same address to same port to anything",
            mode: Heuristic,
            signalled: Some(SIGNALLED),
            flags: (false, false),
            packets: &[
                (0, STRANGER, Accept, SIGNALLED),
                (10, SAME_PORT, Accept, SIGNALLED),
                (20, OTHER_PORT, Accept, SIGNALLED),
                (30, SAME_PORT, Accept, SIGNALLED),
                (3000, SAME_PORT, WrongSource, OTHER_PORT),
                (3001, OTHER_PORT, Accept, OTHER_PORT),
            ],
        },
        Case {
            name: "heuristic takes any source when the signalled one is silent",
            mode: Heuristic,
            signalled: Some(SIGNALLED),
            flags: (false, false),
            packets: &[(0, STRANGER, Accept, SIGNALLED), (3020, STRANGER, Changed, STRANGER)],
        },
        Case {
            name: "unknown peer is answered at once",
            mode: Heuristic,
            signalled: None,
            flags: (false, false),
            packets: &[(0, STRANGER, Changed, STRANGER), (3020, STRANGER, Changed, STRANGER)],
        },
        Case {
            name: "strict source refuses worse candidates inside the window",
            mode: Heuristic,
            signalled: Some(SIGNALLED),
            flags: (true, false),
            packets: &[
                (0, OTHER_PORT, Accept, SIGNALLED),
                (10, STRANGER, WrongSource, SIGNALLED),
                (3000, OTHER_PORT, Changed, OTHER_PORT),
            ],
        },
        Case {
            name: "media handover follows at any time",
            mode: Immediate,
            signalled: None,
            flags: (false, true),
            packets: &[(0, SIGNALLED, Changed, SIGNALLED), (9000, STRANGER, Changed, STRANGER)],
        },
    ];

    #[test]
    fn modes_learn_as_documented() {
        let start = Instant::now();
        for case in CASES {
            let mut learner = Learner::new(PeerRules {
                mode: case.mode,
                signalled: case.signalled.map(|s| s.parse().unwrap()),
                strict_source: case.flags.0,
                media_handover: case.flags.1,
                epoch: 0,
            });
            for (at, source, verdict, peer) in case.packets {
                let got = learner.observe(start + Duration::from_millis(*at), source.parse().unwrap());
                assert_eq!(got, *verdict, "{} at {at} ms", case.name);
                assert_eq!(learner.peer(), Some(peer.parse().unwrap()), "{} at {at} ms", case.name);
            }
            assert!(learner.is_confirmed(), "{}", case.name);
        }
    }

    #[test]
    fn learned_peer_survives_a_plan_with_the_same_peer_and_epoch() {
        let rules = PeerRules {
            mode: Immediate,
            signalled: Some(SIGNALLED.parse().unwrap()),
            strict_source: false,
            media_handover: false,
            epoch: 1,
        };
        let mut learner = Learner::new(rules);
        learner.observe(Instant::now(), STRANGER.parse().unwrap());
        assert!(!learner.update(PeerRules { strict_source: true, ..rules }));
        assert_eq!(learner.peer(), Some(STRANGER.parse().unwrap()));
        assert!(learner.update(PeerRules { epoch: 2, ..rules }));
        assert_eq!(learner.peer(), rules.signalled);
        assert!(!learner.is_confirmed());
    }
}
