//! Codec state of one edge: a transcoder per ingress SSRC, bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::graph::{TranscodePlan, Transcoder};
use rand::Rng;

/// SSRCs that one edge transcodes at the same time.
const MAX_SOURCES: usize = 4;
/// A source that has been silent for this long makes room for a new SSRC.
const IDLE: Duration = Duration::from_secs(1);

/// All sources of one edge.
pub struct Transcoding {
    pub plans: Vec<Arc<TranscodePlan>>,
    pub sources: Vec<Source>,
}

/// One ingress SSRC.
pub struct Source {
    pub ssrc: u32,
    pub transcoder: Transcoder,
    plan: Arc<TranscodePlan>,
    used: Instant,
}

impl Transcoding {
    pub fn new(plans: Vec<Arc<TranscodePlan>>) -> Self {
        Self { plans, sources: Vec::with_capacity(MAX_SOURCES) }
    }

    /// The source of an SSRC that is being transcoded already.
    pub fn known(&mut self, ssrc: u32) -> Option<&mut Source> {
        self.sources.iter_mut().find(|s| s.ssrc == ssrc)
    }

    /// The source of an SSRC, made or changed so that it follows the plan. `None`: the codecs refuse, or too
    /// many SSRCs are active at once. Allocates for a new SSRC or a changed plan only.
    pub fn source(&mut self, now: Instant, ssrc: u32, plan: usize) -> Option<&mut Source> {
        let plan = self.plans.get(plan)?;
        if let Some(index) = self.sources.iter().position(|s| s.ssrc == ssrc) {
            let source = &mut self.sources[index];
            source.used = now;
            if !Arc::ptr_eq(&source.plan, plan) {
                if source.plan != *plan {
                    source.transcoder.replan(plan).ok()?;
                }
                source.plan = Arc::clone(plan);
            }
            return Some(source);
        }
        if self.sources.len() >= MAX_SOURCES {
            let idlest = self.sources.iter().enumerate().min_by_key(|(_, s)| s.used)?;
            if now.saturating_duration_since(idlest.1.used) < IDLE {
                return None;
            }
            let index = idlest.0;
            self.sources.swap_remove(index);
        }
        let mut rng = rand::rng();
        let ssrc_out = rng.random_range(1..=u32::MAX);
        let transcoder = Transcoder::new(plan, ssrc_out, rng.random()).ok()?;
        self.sources.push(Source { ssrc, transcoder, plan: Arc::clone(plan), used: now });
        self.sources.last_mut()
    }
}
