//! Where a stream's peer is: the signalled address, and what the sources of its packets teach about it.
//!
//! Pure: packets' sources, what speaks for them and the time go in, verdicts come out. One source at a time is the party; packets of
//! others are refused. What an unauthenticated packet can change depends on its source ([`Rank`]): the signalled one is believed at
//! once and for good, hosts that signalling points at are believed until a better one shows up, a source that may be the party behind a
//! NAT after a short probation, and a stranger is at best heard, never sent to. Better evidence always replaces worse, so whoever came
//! early gains nothing; equal evidence never replaces what is confirmed.
//!
//! ```text
//! Fixed (learning off)      any source is accepted (asymmetric), with `strict_source` the signalled one only
//! Open ──► Candidate ──► Confirmed        heuristic: by rank; authentic packets and the signalled source: at once
//!      └─► Delay ──────► Confirmed        delayed: after three seconds whoever comes next
//!      └────────────────► Confirmed       immediate: whoever comes first
//! ```
//!
//! A confirmed party is followed to another source when its packets are authentic, or go on with its SSRC and sequence numbers, which
//! nobody off the path knows; with `media_handover` always, but not more often than [`HANDOVER_PAUSE`] while it is still heard where
//! it was; with `strict_source` never.

mod scope;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::config::EndpointLearning;
use scope::may_be_behind_nat;

/// How long a better source may replace a candidate of equal rank (3.3.1 of the option reference).
pub const WINDOW: Duration = Duration::from_secs(3);
/// Packets in a row that make a source credible for which nothing else speaks.
const PROBATION: u8 = 2;
/// Sequence numbers that a party may have lost while its address changed.
pub const MAX_GAP: u16 = 500;
/// A candidate that is silent for so long makes way for another one of the same rank.
const SILENCE: Duration = Duration::from_millis(500);
/// A party that goes on elsewhere has not been heard for so long where it was: longer than what lies between two packets of most
/// streams, so that nobody can cut in who knows its numbers.
const MOVED_SILENCE: Duration = Duration::from_millis(50);
/// Authentic packets move the peer at most this often.
const MOVE_PAUSE: Duration = Duration::from_millis(50);
/// While the present source is still heard, `media_handover` leaves it after so long at the earliest.
pub const HANDOVER_PAUSE: Duration = Duration::from_secs(1);
/// It is not heard any more.
const HANDOVER_SILENCE: Duration = Duration::from_millis(100);

/// What a plan says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRules {
    pub mode: EndpointLearning,
    pub signalled: Option<SocketAddr>,
    /// Where the party's signalling came from.
    pub signalling_host: Option<IpAddr>,
    /// Learned before, by another stream or worker.
    pub known: Option<SocketAddr>,
    /// The other side has answered. Before, nobody is listened to for whom nothing speaks.
    pub answered: bool,
    /// The party has described its media. Before, it may be heard (early media), but nobody is sent anything for whom nothing speaks.
    pub described: bool,
    pub strict_source: bool,
    pub media_handover: bool,
    /// Only the signalled host is believed (`Heuristic`).
    pub signalled_host_only: bool,
    pub epoch: u32,
}

impl PeerRules {
    /// The peer is known by other means than its packets' sources.
    pub fn verified(peer: Option<SocketAddr>) -> Self {
        Self {
            mode: EndpointLearning::Off,
            signalled: peer,
            signalling_host: None,
            known: None,
            answered: true,
            described: true,
            strict_source: false,
            media_handover: false,
            signalled_host_only: false,
            epoch: 0,
        }
    }
}

/// How much a source looks like one of two parties that share a socket, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Affinity {
    /// The party is there, or was signalled to be.
    There,
    /// It is a port of the signalled host, and the party may still turn out to be anywhere on it.
    Possible,
    /// It is a port of the signalled host, but the party was heard at another one.
    Doubtful,
    None,
}

/// What a packet says for its source.
#[derive(Clone, Copy, Debug)]
pub enum Evidence {
    Rtp {
        ssrc: u32,
        sequence_number: u16,
        /// Goes on where the last packets of the party ended: same SSRC, next numbers.
        continues: bool,
        /// Its payload type was negotiated.
        expected: bool,
    },
    Rtcp,
    Datagram,
    /// Its tag was verified. `newest`: no later one has come before.
    Authentic {
        newest: bool,
    },
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// Accepted, and [`Learner::peer`] or [`Learner::is_confirmed`] changed.
    Changed,
    /// Comes from where it may not.
    WrongSource,
    /// Comes from where the party may be, but not enough speaks for it yet.
    Unproven,
}

/// Whose packets are accepted, without a look into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Everybody's.
    Any,
    Only(SocketAddr),
    /// That depends on what comes.
    Undecided,
}

/// How much speaks for a source, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It was signalled, or has been authentic.
    Exact,
    /// Another stream or instance had found the party there.
    Known,
    /// The signalled address, another port.
    SameHost,
    /// The address that signalling, or the party's RTP, comes from.
    KnownHost,
    /// Packets from the signalled address cannot have this address without a NAT on the way, and it is none that is routed.
    BehindNat,
    /// Nothing.
    Stranger,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Fixed,
    Open,
    /// The best source so far.
    Candidate {
        source: SocketAddr,
        rank: Rank,
        until: Instant,
    },
    /// Any source is heard; the best so far is sent to.
    Delay {
        best: Rank,
        until: Instant,
    },
    Confirmed {
        rank: Rank,
    },
}

/// A source that has to show that it is more than a stray packet.
#[derive(Clone, Copy, Debug)]
struct Trial {
    source: SocketAddr,
    ssrc: u32,
    next: u16,
    count: u8,
    since: Instant,
    newest: Instant,
}

/// Several at a time: a stranger's packets must not keep the party from having two in a row. The one that was quiet for longest makes
/// way.
type Trials = [Option<Trial>; 4];

/// The peer of one stream.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Learner {
    /// The only source whose packets need no thought. In front, since nothing else is read of a stream that goes on as it did.
    settled: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    phase: Phase,
    rules: PeerRules,
    /// Where the party's RTP comes from, if this is its RTCP.
    companion: Option<(IpAddr, u16)>,
    /// Sources on trial; nothing while nobody is.
    trials: Option<Box<Trials>>,
    moved_at: Option<Instant>,
    /// In the `Fixed` phase a packet was accepted.
    heard: bool,
}

impl Learner {
    pub fn new(rules: PeerRules) -> Self {
        let phase = match rules.mode {
            EndpointLearning::Off => Phase::Fixed,
            _ => Phase::Open,
        };
        Self {
            settled: None,
            peer: rules.known.or(rules.signalled),
            phase,
            rules,
            companion: None,
            trials: None,
            moved_at: None,
            heard: false,
        }
    }

    /// Takes the rules of a new plan. What was learned stays unless the signalled peer, the mode or the epoch
    /// changed; a party on hold, whose address is not signalled, stays where it was. Returns whether it started anew.
    pub fn update(&mut self, rules: PeerRules) -> bool {
        let is_learning = rules.mode != EndpointLearning::Off;
        let signalled = rules.signalled.or(self.rules.signalled.filter(|_| is_learning));
        let rules = PeerRules { signalled, ..rules };
        let anew = rules.signalled != self.rules.signalled
            || rules.epoch != self.rules.epoch
            || rules.mode != self.rules.mode;
        if anew {
            *self = Self { companion: self.companion, ..Self::new(rules) };
        } else {
            self.rules = rules;
        }
        anew
    }

    /// Where packets to this party go.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Where the party said that it is.
    pub fn signalled(&self) -> Option<SocketAddr> {
        self.rules.signalled
    }

    /// A packet from `source` needs no thought: [`Self::observe`] would accept it and change nothing.
    #[inline]
    pub fn is_settled(&self, source: SocketAddr) -> bool {
        self.settled == Some(source)
    }

    /// A packet has confirmed the peer.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.phase, Phase::Confirmed { .. }) || self.heard
    }

    /// Where the party's packets come from, as far as that is known.
    pub fn source(&self) -> Option<SocketAddr> {
        match self.phase {
            Phase::Candidate { source, .. } => Some(source),
            Phase::Confirmed { .. } => self.peer,
            Phase::Fixed | Phase::Open | Phase::Delay { .. } => None,
        }
    }

    /// Where the party sends from. A stranger, who is heard for want of a better source, says nothing about it.
    pub fn home(&self) -> Option<SocketAddr> {
        match self.phase {
            Phase::Candidate { rank: Rank::Stranger, .. } => None,
            _ => self.source(),
        }
    }

    /// Whether a packet from `source` would be refused whatever it holds, unless its sender is authentic; changes nothing.
    pub fn refuses(&self, source: SocketAddr) -> bool {
        self.peer != Some(source)
            && match self.phase {
                Phase::Confirmed { .. } => !self.rules.media_handover,
                Phase::Fixed => self.rules.strict_source,
                Phase::Open | Phase::Candidate { .. } | Phase::Delay { .. } => false,
            }
    }

    /// The party is known to be elsewhere: what comes from `source` has to be authentic.
    pub fn is_elsewhere(&self, source: SocketAddr) -> bool {
        self.settled.is_some_and(|settled| settled != source) || self.is_pinned() && self.peer != Some(source)
    }

    /// Whose packets are accepted at present.
    pub fn accepts(&self) -> Accepts {
        match (self.phase, self.peer) {
            (Phase::Confirmed { .. }, Some(peer)) => Accepts::Only(peer),
            (Phase::Fixed, peer) if self.rules.strict_source => {
                peer.map_or(Accepts::Undecided, Accepts::Only)
            }
            (Phase::Fixed, _) => Accepts::Any,
            _ => Accepts::Undecided,
        }
    }

    /// Whoever comes first is the party.
    pub fn is_immediate(&self) -> bool {
        self.rules.mode == EndpointLearning::Immediate
    }

    /// Packets may teach another peer.
    pub fn may_move(&self) -> bool {
        !matches!(self.phase, Phase::Fixed)
    }

    /// Only one source will do, whatever comes.
    pub fn is_pinned(&self) -> bool {
        self.rules.strict_source && matches!(self.phase, Phase::Fixed | Phase::Confirmed { .. })
    }

    /// The party's RTP comes from there now: its RTCP may come from the same host, and may have moved with it. A NAT that has given the
    /// RTP another port has given one to the RTCP, too.
    pub fn companion_is_at(&mut self, rtp: SocketAddr) {
        let (host, port) = (rtp.ip(), rtp.port());
        let former = self.companion.replace((host, port));
        if former == Some((host, port)) {
            return;
        }
        let may_have_moved =
            |source: SocketAddr| source.ip() != host || former.is_none_or(|(before, _)| before == host);
        let is_free = !self.rules.strict_source && !matches!(self.phase, Phase::Fixed);
        if is_free && self.source().is_some_and(may_have_moved) {
            (self.phase, self.settled) = (Phase::Open, None);
        }
    }

    /// The party has shown its certificate from `source`. Returns what [`Self::observe`] would.
    pub fn authenticated(&mut self, source: SocketAddr) -> Verdict {
        match self.phase {
            Phase::Fixed => {
                self.heard = true;
                Verdict::Changed
            }
            _ => self.confirm(source, Rank::Exact),
        }
    }

    /// A well-formed packet came from `source`, and nothing was accepted on the stream for `silence` before. What it says for its source
    /// is asked for only if the source is not the confirmed one, which costs one comparison.
    pub fn observe(
        &mut self,
        now: Instant,
        source: SocketAddr,
        evidence: impl FnOnce() -> (Evidence, Duration),
    ) -> Verdict {
        if self.settled == Some(source) {
            return Verdict::Accept;
        }
        let (evidence, silence) = evidence();
        self.consider(now, source, evidence, silence)
    }

    fn consider(
        &mut self,
        now: Instant,
        source: SocketAddr,
        evidence: Evidence,
        silence: Duration,
    ) -> Verdict {
        if matches!(self.phase, Phase::Fixed) {
            return self.fixed(source);
        }
        if let Evidence::Authentic { newest } = evidence {
            return self.authentic(now, source, newest);
        }
        match (self.source(), self.phase) {
            (Some(current), phase) if current != source => {
                self.challenged(now, source, phase, evidence, silence)
            }
            (_, Phase::Candidate { rank, until, .. }) => {
                if rank == Rank::Stranger || now < until {
                    return Verdict::Accept;
                }
                self.confirm(source, rank)
            }
            (_, Phase::Delay { best, until }) => self.delayed(now, source, best, until),
            (_, Phase::Open) => match self.rules.mode {
                EndpointLearning::Immediate => self.confirm(source, Rank::Exact),
                EndpointLearning::Delayed => self.delayed(now, source, Rank::Stranger, now + WINDOW),
                _ => self.candidate(now, source, evidence),
            },
            (_, Phase::Fixed | Phase::Confirmed { .. }) => Verdict::Accept,
        }
    }

    fn fixed(&mut self, source: SocketAddr) -> Verdict {
        if self.rules.strict_source && self.peer != Some(source) {
            return Verdict::WrongSource;
        }
        if std::mem::replace(&mut self.heard, true) { Verdict::Accept } else { Verdict::Changed }
    }

    /// A packet whose tag was right. What it holds is accepted from anywhere; the peer follows the newest.
    fn authentic(&mut self, now: Instant, source: SocketAddr, newest: bool) -> Verdict {
        if self.source().is_none() || !self.is_confirmed() {
            return self.confirm(source, Rank::Exact);
        }
        if self.rules.strict_source {
            return Verdict::WrongSource;
        }
        if !newest || self.has_moved_within(now, MOVE_PAUSE) {
            return Verdict::Accept;
        }
        self.moved_at = Some(now);
        self.confirm(source, Rank::Exact)
    }

    /// Somebody else than the present source.
    fn challenged(
        &mut self,
        now: Instant,
        source: SocketAddr,
        phase: Phase,
        evidence: Evidence,
        silence: Duration,
    ) -> Verdict {
        let (present, is_confirmed) = match phase {
            Phase::Candidate { rank, .. } => (rank, false),
            Phase::Confirmed { rank } => (rank, true),
            _ => return Verdict::WrongSource,
        };
        if self.rules.media_handover {
            if self.has_moved_within(now, HANDOVER_PAUSE) && silence < HANDOVER_SILENCE {
                return Verdict::Unproven;
            }
            self.moved_at = Some(now);
            return self.confirm(source, Rank::Exact);
        }
        let rank = self.rank(source);
        let makes_way = !is_confirmed && rank == present && silence >= SILENCE;
        if rank < present || makes_way {
            // Strict or not: what comes now is more credible than what came before.
            return match self.candidate(now, source, evidence) {
                Verdict::Changed if is_confirmed => self.confirm(source, rank),
                verdict => verdict,
            };
        }
        if self.rules.strict_source || !matches!(evidence, Evidence::Rtp { continues: true, .. }) {
            return Verdict::WrongSource;
        }
        // The party goes on elsewhere, and nothing more comes from where it was.
        let since = self.trial(source).map(|trial| trial.since);
        let is_alone = since.is_some_and(|since| silence >= MOVED_SILENCE.max(now - since));
        if !self.passes_trial(now, source, evidence) || !is_alone {
            return Verdict::Unproven;
        }
        self.moved_at = Some(now);
        match phase {
            Phase::Candidate { rank, until, .. } => {
                self.phase = Phase::Candidate { source, rank, until };
                self.send_to(source, rank);
                Verdict::Changed
            }
            _ => self.confirm(source, present),
        }
    }

    /// The best source so far, if it is credible.
    fn candidate(&mut self, now: Instant, source: SocketAddr, evidence: Evidence) -> Verdict {
        let rank = match self.rank(source) {
            Rank::Stranger if self.rules.media_handover => Rank::BehindNat,
            rank => rank,
        };
        match rank {
            Rank::Exact | Rank::Known => return self.confirm(source, rank),
            Rank::KnownHost | Rank::BehindNat | Rank::Stranger if self.rules.signalled_host_only => {
                return Verdict::WrongSource;
            }
            Rank::SameHost | Rank::KnownHost => {}
            Rank::Stranger if self.rules.strict_source => return Verdict::WrongSource,
            Rank::BehindNat | Rank::Stranger if !self.rules.answered => return Verdict::Unproven,
            Rank::BehindNat | Rank::Stranger => {
                if !self.passes_trial(now, source, evidence) {
                    return Verdict::Unproven;
                }
            }
        }
        let until = match self.phase {
            Phase::Candidate { rank: before, until, .. } if before > rank => until.max(now),
            _ => now + WINDOW,
        };
        self.phase = Phase::Candidate { source, rank, until };
        self.send_to(source, rank);
        Verdict::Changed
    }

    /// Until the window ends any source is heard, and the best is sent to; then the next one is it.
    fn delayed(&mut self, now: Instant, source: SocketAddr, best: Rank, until: Instant) -> Verdict {
        let rank = self.rank(source);
        if rank == Rank::Stranger && self.rules.strict_source {
            return Verdict::WrongSource;
        }
        if now >= until {
            return self.confirm(source, Rank::Exact);
        }
        self.phase = Phase::Delay { best: best.min(rank), until };
        let before = self.peer;
        if rank <= best {
            self.send_to(source, rank);
        }
        if self.peer == before { Verdict::Accept } else { Verdict::Changed }
    }

    /// A stranger is not sent to while there is an address that was signalled.
    fn send_to(&mut self, source: SocketAddr, rank: Rank) {
        if rank < Rank::Stranger {
            self.peer = Some(source);
        }
    }

    /// Whether a source has sent enough in a row to be more than a stray packet.
    fn passes_trial(&mut self, now: Instant, source: SocketAddr, evidence: Evidence) -> bool {
        let (ssrc, sequence_number) = match evidence {
            Evidence::Rtp { ssrc, sequence_number, expected: true, .. } => (ssrc, sequence_number),
            Evidence::Datagram => (0, self.trial(source).map_or(0, |trial| trial.next)),
            Evidence::Rtp { .. } | Evidence::Rtcp | Evidence::Authentic { .. } => return false,
        };
        let next = sequence_number.wrapping_add(1);
        let trial = match self.trial(source) {
            Some(trial) if (trial.ssrc, trial.next) == (ssrc, sequence_number) => {
                Trial { next, count: trial.count.saturating_add(1), newest: now, ..*trial }
            }
            _ => Trial { source, ssrc, next, count: 1, since: now, newest: now },
        };
        let trials = self.trials.get_or_insert_default();
        let place = trials.iter_mut().min_by_key(|place| match place {
            Some(other) if other.source == source => (0, None),
            None => (1, None),
            Some(other) => (2, Some(other.newest)),
        });
        place.into_iter().for_each(|place| *place = Some(trial));
        trial.count >= PROBATION
    }

    fn trial(&self, source: SocketAddr) -> Option<&Trial> {
        self.trials.as_ref()?.iter().flatten().find(|trial| trial.source == source)
    }

    fn has_moved_within(&self, now: Instant, pause: Duration) -> bool {
        self.moved_at.is_some_and(|at| now < at + pause)
    }

    fn confirm(&mut self, source: SocketAddr, rank: Rank) -> Verdict {
        (self.peer, self.settled, self.trials) = (Some(source), Some(source), None);
        self.phase = Phase::Confirmed { rank };
        Verdict::Changed
    }

    /// Whether a source is rather this party or the other one of a socket.
    pub fn affinity(&self, source: SocketAddr) -> Affinity {
        if self.peer == Some(source) || self.rules.signalled == Some(source) {
            return Affinity::There;
        }
        match self.rules.signalled.is_some_and(|signalled| signalled.ip() == source.ip()) {
            true if self.source().is_some() => Affinity::Doubtful,
            true => Affinity::Possible,
            false => Affinity::None,
        }
    }

    /// What speaks for a source before it has sent anything.
    pub fn rank(&self, source: SocketAddr) -> Rank {
        let PeerRules { signalled, signalling_host, known, .. } = self.rules;
        let host = Some(source.ip());
        match signalled {
            Some(signalled) if signalled == source => Rank::Exact,
            _ if known == Some(source) => Rank::Known,
            Some(signalled) if signalled.ip() == source.ip() => Rank::SameHost,
            _ if signalling_host == host || self.companion.map(|(host, _)| host) == host => Rank::KnownHost,
            Some(signalled) if !may_be_behind_nat(signalled.ip(), source.ip()) => Rank::Stranger,
            None if !self.rules.described => Rank::Stranger,
            _ => Rank::BehindNat,
        }
    }
}
