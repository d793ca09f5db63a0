//! Codec state of one edge: a transcoder per ingress SSRC, bounded.
//!
//! What a peer can make expensive is opening codecs, and each way to it has a bound; what exceeds it is counted
//! as [`DropReason::Codec`]:
//!
//! * a new SSRC: [`MAX_SOURCES`] per edge, one is replaced after [`IDLE`] at the earliest;
//! * another codec on the same SSRC: [`REPLANS`] in a row, and one more per second after that. Legitimate
//!   changes are far below: a party that falls back to another codec or answers a re-offer changes once, one
//!   that probes changes a few times within seconds. Telephone events and comfort noise change nothing;
//! * a codec that cannot be opened: tried again after [`RETRY`], whichever SSRC asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::PayloadFormat;
use codec::graph::{DtmfPlan, Settings, TranscodePlan, Transcoder};
use rand::Rng;

use super::numbering::Numbering;
use super::plan::DropReason;
use super::totals::{ChainUse, Chains};

/// SSRCs that one edge transcodes at the same time.
const MAX_SOURCES: usize = 4;
/// A source that has been silent for this long makes room for a new SSRC.
const IDLE: Duration = Duration::from_secs(1);
/// Changes of codec that one SSRC may make in a row.
const REPLANS: u32 = 8;
/// After this a codec that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(10);

const NO_DTMF: DtmfPlan = DtmfPlan { events_become_tones: false, tones: None };

/// All sources of one edge.
pub struct Transcoding {
    settings: Settings,
    plans: Vec<Codecs>,
    companions: Vec<Companion>,
    /// A codec passes on the same edge: packets of an SSRC that was never transcoded pass as well.
    passes_codec: bool,
    dtmf: Option<Arc<DtmfPlan>>,
    pub sources: Vec<Source>,
}

/// A plan and whether its codecs can be opened.
struct Codecs {
    plan: Arc<TranscodePlan>,
    /// Set after a failure.
    retry_at: Option<Instant>,
    /// Where packets of this plan are counted.
    chain: Option<ChainUse>,
}

/// A payload type that passes with the transcoder's numbering.
#[derive(PartialEq)]
struct Companion {
    source: PayloadFormat,
    sink: PayloadFormat,
}

impl Companion {
    fn formats(&self) -> (&PayloadFormat, &PayloadFormat) {
        (&self.source, &self.sink)
    }
}

/// One ingress SSRC.
pub struct Source {
    pub ssrc: u32,
    pub ssrc_out: u32,
    pub transcoder: Transcoder,
    pub numbering: Numbering,
    /// Packets and payload octets that left, as a sender report counts them.
    pub sent: Sent,
    /// The transcoder's next turn that the worker knows of.
    pub turn_at: Option<Instant>,
    plan: Arc<TranscodePlan>,
    used: Instant,
    replans: Allowance,
}

/// Counts of the outgoing stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub packets: u32,
    pub octets: u32,
}

impl Sent {
    /// A packet with this many payload octets was given to the socket.
    pub fn count(&mut self, octets: usize, sent: bool) {
        if sent {
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(octets as u32);
        }
    }
}

impl Transcoding {
    /// `passing` are the formats that pass on this edge, as they come and as they leave.
    pub fn new(
        plans: Vec<Arc<TranscodePlan>>,
        passing: impl Iterator<Item = (PayloadFormat, PayloadFormat)>,
        settings: &Settings,
    ) -> Self {
        let companions: Vec<_> = passing.map(|(source, sink)| Companion { source, sink }).collect();
        Self {
            settings: settings.clone(),
            plans: plans.into_iter().map(|plan| Codecs { plan, retry_at: None, chain: None }).collect(),
            passes_codec: companions.iter().any(|c| !c.source.is_supplemental()),
            companions,
            dtmf: None,
            sources: Vec::with_capacity(MAX_SOURCES),
        }
    }

    /// What becomes of digits.
    pub fn with_dtmf(self, dtmf: Option<Arc<DtmfPlan>>) -> Self {
        Self { dtmf, ..self }
    }

    /// Appears in the statistics from now on, as long as it lives.
    pub fn enter(&mut self, chains: &Chains) {
        for codecs in &mut self.plans {
            codecs.chain = chains.enter(&codecs.plan);
        }
    }

    /// Packets leave as they would from the other one.
    pub fn makes_the_same(&self, other: &Self) -> bool {
        self.plans().eq(other.plans()) && self.companions == other.companions && self.dtmf == other.dtmf
    }

    /// What it converts.
    pub fn plans(&self) -> impl Iterator<Item = &TranscodePlan> {
        self.plans.iter().map(|codecs| &*codecs.plan)
    }

    /// Counts a packet of a plan.
    pub fn count(&self, plan: usize, octets: usize, samples: u64) {
        if let Some(chain) = self.plans.get(plan).and_then(|codecs| codecs.chain.as_ref()) {
            chain.count(octets, samples);
        }
    }

    /// Takes over the sources of the edge that this one replaces, and what is known about codecs.
    pub fn adopt(&mut self, old: &mut Transcoding) {
        self.sources = std::mem::take(&mut old.sources);
        for source in &mut self.sources {
            source.transcoder.set_companions(self.companions.iter().map(Companion::formats));
            source.transcoder.set_dtmf(self.dtmf.as_deref().unwrap_or(&NO_DTMF));
            // The filter of the edge says so again with each packet, if there still is one.
            source.transcoder.hold(false);
            source.transcoder.silence(false);
        }
        for codecs in &mut self.plans {
            let before = old.plans.iter().find(|before| before.plan == codecs.plan);
            codecs.retry_at = before.and_then(|before| before.retry_at);
        }
    }

    /// The source of an SSRC, made or changed so that it follows the plan. Allocates for a new SSRC or a changed
    /// plan only.
    pub fn source(&mut self, now: Instant, ssrc: u32, plan: usize) -> Result<&mut Source, DropReason> {
        let codecs = self.plans.get_mut(plan).ok_or(DropReason::PayloadType)?;
        if let Some(index) = self.sources.iter().position(|s| s.ssrc == ssrc) {
            let source = &mut self.sources[index];
            source.used = now;
            if !Arc::ptr_eq(&source.plan, &codecs.plan) {
                if source.plan != codecs.plan {
                    codecs.may_open(now)?;
                    source.replans.take(now)?;
                    let result = source.transcoder.replan(&codecs.plan);
                    codecs.opened(now, result)?;
                }
                source.plan = Arc::clone(&codecs.plan);
            }
            return Ok(source);
        }
        codecs.may_open(now)?;
        if self.sources.len() >= MAX_SOURCES {
            let idlest = self.sources.iter().enumerate().min_by_key(|(_, s)| s.used);
            let (index, idlest) = idlest.ok_or(DropReason::Codec)?;
            if now.saturating_duration_since(idlest.used) < IDLE {
                return Err(DropReason::Codec);
            }
            self.sources.swap_remove(index);
        }
        let mut rng = rand::rng();
        let ssrc_out = rng.random_range(1..=u32::MAX);
        let result = Transcoder::with_settings(&codecs.plan, ssrc_out, rng.random(), &self.settings);
        let mut transcoder = codecs.opened(now, result)?;
        transcoder.set_companions(self.companions.iter().map(Companion::formats));
        if let Some(dtmf) = &self.dtmf {
            transcoder.set_dtmf(dtmf);
        }
        self.sources.push(Source {
            ssrc,
            ssrc_out,
            transcoder,
            numbering: Numbering::new(),
            sent: Sent::default(),
            turn_at: None,
            plan: Arc::clone(&codecs.plan),
            used: now,
            replans: Allowance { left: REPLANS, since: now },
        });
        self.sources.last_mut().ok_or(DropReason::Codec)
    }

    /// The plan that a packet goes by: comfort noise that several codecs share goes by that of the codec which is being sent.
    pub fn plan_of(&self, ssrc: u32, payload_type: u8, plan: usize) -> usize {
        let source = self.sources.iter().find(|source| source.ssrc == ssrc);
        let present = source.filter(|source| source.plan.noise.from == Some(payload_type));
        let index = present.and_then(|source| self.plans.iter().position(|c| c.plan == source.plan));
        index.unwrap_or(plan)
    }

    /// The source of an SSRC that is being transcoded.
    pub fn of(&mut self, ssrc: u32) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.ssrc == ssrc)
    }

    /// Where a packet that keeps its payload gets its numbers from; `None`: it keeps its own.
    ///
    /// An SSRC that is transcoded numbers all its packets. One that is not yet is made to, when the packet is of
    /// a supplemental format (telephone event, comfort noise) and all codecs of the edge are transcoded, so that
    /// the audio which is to come continues what the event began.
    pub fn companion(
        &mut self,
        now: Instant,
        ssrc: u32,
        payload_type: u8,
    ) -> Option<Result<&mut Source, DropReason>> {
        if let Some(index) = self.sources.iter().position(|s| s.ssrc == ssrc) {
            self.sources[index].used = now;
            return Some(Ok(&mut self.sources[index]));
        }
        if self.passes_codec {
            return None;
        }
        let companion = self.companions.iter().find(|c| c.source.payload_type == payload_type)?;
        let clock_rate = companion.source.clock_rate;
        let same_clock = self.plans.iter().position(|c| c.plan.source.clock_rate == clock_rate);
        Some(self.source(now, ssrc, same_clock.unwrap_or(0)))
    }
}

impl Source {
    /// What the source sends at present, and what is made of it.
    pub fn clock_rates(&self) -> (u32, u32) {
        (self.plan.source.clock_rate, self.plan.sink.clock_rate)
    }
}

impl Codecs {
    fn may_open(&self, now: Instant) -> Result<(), DropReason> {
        if self.retry_at.is_some_and(|at| now < at) { Err(DropReason::Codec) } else { Ok(()) }
    }

    fn opened<T, E>(&mut self, now: Instant, result: Result<T, E>) -> Result<T, DropReason> {
        self.retry_at = result.is_err().then(|| now + RETRY);
        result.map_err(|_| DropReason::Codec)
    }
}

/// [`REPLANS`] at most, growing by one per second.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> Result<(), DropReason> {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        self.since += Duration::from_secs(seconds);
        self.left = self.left.saturating_add(seconds.min(u64::from(REPLANS)) as u32).min(REPLANS);
        self.left = self.left.checked_sub(1).ok_or(DropReason::Codec)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(source: (u8, &str), sink: &str) -> Arc<TranscodePlan> {
        Arc::new(TranscodePlan::new(
            PayloadFormat::new(source.0, source.1, 8000, 1),
            PayloadFormat::new(8, sink, 8000, 1),
            Default::default(),
        ))
    }

    #[test]
    fn codec_that_cannot_be_opened_is_tried_again_after_a_while_only() {
        let now = Instant::now();
        let mut transcoding =
            Transcoding::new(vec![plan((96, "none-such"), "PCMA")], std::iter::empty(), &Settings::default());
        let retry_at = |t: &Transcoding| t.plans[0].retry_at;
        assert_eq!(transcoding.source(now, 1, 0).err(), Some(DropReason::Codec));
        assert_eq!(retry_at(&transcoding), Some(now + RETRY));
        for ssrc in 0..3 {
            assert!(transcoding.source(now + RETRY / 2, ssrc, 0).is_err());
        }
        assert_eq!(retry_at(&transcoding), Some(now + RETRY), "not tried");
        assert!(transcoding.source(now + RETRY, 1, 0).is_err());
        assert_eq!(retry_at(&transcoding), Some(now + 2 * RETRY), "tried");
        let mut next =
            Transcoding::new(vec![plan((96, "none-such"), "PCMA")], std::iter::empty(), &Settings::default());
        next.adopt(&mut transcoding);
        assert_eq!(retry_at(&next), Some(now + 2 * RETRY), "a new plan of the same codecs knows");
    }

    #[test]
    fn alternating_codecs_are_followed_within_bounds() {
        let start = Instant::now();
        let plans = vec![plan((0, "PCMU"), "PCMA"), plan((9, "G722"), "PCMA")];
        let mut transcoding = Transcoding::new(plans, std::iter::empty(), &Settings::default());
        // 50 packets a second for ten seconds, each of the other codec.
        let mut accepted = [0; 10];
        for packet in 0..500u32 {
            let now = start + packet * Duration::from_millis(20);
            let result = transcoding.source(now, 1, packet as usize % 2);
            accepted[packet as usize / 50] += u32::from(result.is_ok_and(|s| s.replans.left < REPLANS));
        }
        // Half the packets are of the codec that is open when the allowance is used up.
        assert!(transcoding.sources[0].replans.left == 0, "{accepted:?}");
        assert!(accepted[9] <= 28, "{accepted:?}");
        // A legitimate change afterwards.
        let now = start + Duration::from_secs(12);
        assert!(transcoding.source(now, 1, 0).is_ok() && transcoding.source(now, 1, 1).is_ok());
    }

    #[test]
    fn event_opens_a_source_unless_a_codec_passes() {
        let now = Instant::now();
        let event = || {
            let format = PayloadFormat::new(101, "telephone-event", 8000, 1);
            (format.clone(), format)
        };
        let codec = PayloadFormat::new(3, "GSM", 8000, 1);
        let mut transcoding =
            Transcoding::new(vec![plan((0, "PCMU"), "PCMA")], [event()].into_iter(), &Settings::default());
        assert!(transcoding.companion(now, 1, 99).is_none());
        assert!(transcoding.companion(now, 1, 101).is_some_and(|s| s.is_ok()));
        let passing = [event(), (codec.clone(), codec)].into_iter();
        let mut transcoding =
            Transcoding::new(vec![plan((0, "PCMU"), "PCMA")], passing, &Settings::default());
        assert!(transcoding.companion(now, 1, 101).is_none());
        assert!(transcoding.source(now, 1, 0).is_ok());
        assert!(transcoding.companion(now, 1, 101).is_some());
    }
}
