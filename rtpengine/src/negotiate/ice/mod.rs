//! The signalling side of ICE (RFC 8445, RFC 8839): who speaks it, with which credentials, in which role, and what is printed.
//!
//! One [`Ice`] for each media of each party, since the relay is an agent of its own towards each of them:
//!
//! ```text
//! description in ──► sent_offer / sent_answer          (what the party is, restarts)
//! description out ─► offered / answered ─► print       (what it is told)
//! fragment ────────► take_fragment                     (candidates that come later)
//! ```
//!
//! Pure: random numbers are passed in, sockets and checks are elsewhere.

mod candidate;
mod remote;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::Rng;
use serde::{Deserialize, Serialize};

pub use candidate::{Foundation, Foundations, LocalEndpoint, Ranking, local_candidates};

use crate::negotiate::signal::{IceLite, IceMode, Signal};
pub use crate::proto::ice::{Component, LocalCredentials, Mode, RemoteAgent, Role, Settings};
use crate::proto::sdp::model::{Candidate, MediaDescription, SessionDescription};
use crate::proto::sdp::render::IceOut;

/// What is being printed.
#[derive(Clone, Copy, Debug)]
pub enum Half<'a> {
    Offer(&'a Signal),
    Answer,
}

/// A section that is handed on as it came, so that the parties' own agents talk to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passthrough {
    #[default]
    Off,
    /// Our candidates are added with lower priority.
    Optional,
    /// Our candidates are added as relayed ones.
    Relay,
}

/// State of ICE with one party about one media.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ice {
    active: bool,
    /// The party's last offer from us had ICE; an answer can take it up.
    offered: bool,
    lite: bool,
    role: Option<Role>,
    passthrough: Passthrough,
    local: Option<LocalCredentials>,
    remote: Option<Arc<RemoteAgent>>,
    /// The party's agent before it went on without ICE: it may come back, or restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Arc<RemoteAgent>>,
    generation: u32,
    /// Both sides know each other's present credentials.
    introduced: bool,
    /// What the agents have agreed on for RTP and RTCP: our address, the party's.
    selected: [Option<SelectedPair>; 2],
}

/// The pair of a component on which media flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectedPair {
    /// Address and port of ours, as bound.
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Ice {
    /// The party made an offer: `said` is the agent it described.
    pub fn sent_offer(&mut self, said: Option<RemoteAgent>, signal: &Signal, rng: &mut impl Rng) {
        if signal.flags.reset {
            self.reset(rng);
        }
        if self.differs_from(said.as_ref()) {
            // The party restarts, hence so do we (RFC 8445 §9): its answer has new credentials.
            self.renew(rng);
            self.role = None;
        }
        self.introduced &= self.remote.is_some() && said.is_some();
        self.take_remote(said);
        self.offered = false;
        self.active =
            self.remote.is_some() && !signal.flags.reject_ice && self.passthrough == Passthrough::Off;
        self.set_lite(signal.security.ice_lite, IceLite::Backward);
        self.settle_role(Role::Controlled);
        self.ensure_credentials(rng);
    }

    /// The party is made an offer, on behalf of `source`. `known`: it has sent a description before, so that its own ability
    /// counts rather than the source's.
    pub fn offered(&mut self, source: &Ice, known: bool, signal: &Signal, rng: &mut impl Rng) {
        if signal.flags.reset {
            self.reset(rng);
        }
        let source_has_ice = source.remote.is_some();
        self.active = match signal.security.ice {
            IceMode::Remove => false,
            IceMode::Force | IceMode::Optional => true,
            IceMode::ForceRelay => source_has_ice,
            IceMode::Default if known && !signal.flags.reset => self.remote.is_some(),
            IceMode::Default => source_has_ice,
        };
        self.active &= self.passthrough == Passthrough::Off;
        self.offered = self.active;
        self.set_lite(signal.security.ice_lite, IceLite::Forward);
        self.settle_role(Role::Controlling);
        self.ensure_credentials(rng);
    }

    /// The party answered an offer. Its restart does not change our credentials: it has already been offered them.
    pub fn sent_answer(&mut self, said: Option<RemoteAgent>) {
        if self.differs_from(said.as_ref()) {
            self.begin_generation();
        }
        self.take_remote(said);
        self.introduced = true;
        self.active = self.offered && self.remote.is_some();
        if self.active {
            self.settle_role(Role::Controlling);
        }
    }

    /// The party's offer is answered.
    pub fn answered(&mut self, signal: &Signal, rng: &mut impl Rng) {
        if signal.security.ice == IceMode::Remove {
            self.active = false;
        }
        self.ensure_credentials(rng);
        self.introduce();
    }

    /// The party is told all that it needs for checks.
    pub fn introduce(&mut self) {
        self.introduced = true;
    }

    /// The party is shown other ports than before: a new agent.
    pub fn ports_changed(&mut self, rng: &mut impl Rng) {
        if self.local.is_some() {
            self.renew(rng);
        }
    }

    /// Candidates that came later. `false`: there is no agent, or it has other credentials by now.
    pub fn take_fragment(&mut self, media: &MediaDescription, session: &SessionDescription) -> bool {
        match &mut self.remote {
            Some(remote) => Arc::make_mut(remote).take_fragment(media, session),
            None => false,
        }
    }

    /// Whether a section is handed on as it came, after an offer of `source`. Decides for both parties.
    pub fn passthrough_of_offer(&self, said: Option<&RemoteAgent>, signal: &Signal) -> Passthrough {
        match (signal.network.passthrough, signal.security.ice) {
            (Some(true), _) => Passthrough::Optional,
            (Some(false), _) | (None, IceMode::Remove | IceMode::Force) => Passthrough::Off,
            (None, IceMode::ForceRelay) => Passthrough::Relay,
            (None, IceMode::Optional) if said.is_some() => Passthrough::Optional,
            (None, IceMode::Optional) => Passthrough::Off,
            (None, IceMode::Default) => self.passthrough,
        }
    }

    /// The same after an answer, which can only switch by key.
    pub fn passthrough_of_answer(&self, signal: &Signal) -> Passthrough {
        match signal.network.passthrough {
            Some(true) if self.passthrough == Passthrough::Off => Passthrough::Optional,
            Some(false) => Passthrough::Off,
            _ => self.passthrough,
        }
    }

    /// Without ICE there is no role.
    pub fn forget_idle_role(&mut self) {
        self.role = self.role.filter(|_| self.active);
    }

    /// Sections with this party are handed on as they came.
    pub fn set_passthrough(&mut self, passthrough: Passthrough) {
        self.passthrough = passthrough;
    }

    /// Both sides speak it.
    pub fn is_running(&self) -> bool {
        self.active && self.remote.is_some()
    }

    /// ICE is spoken with the party.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// We are a lite agent towards the party.
    pub fn is_lite(&self) -> bool {
        self.lite
    }

    /// Our role; [`Role::Controlled`] before it is settled.
    pub fn role(&self) -> Role {
        self.role.unwrap_or_default()
    }

    /// See [`Passthrough`].
    pub fn passthrough(&self) -> Passthrough {
        self.passthrough
    }

    /// Our credentials, once ICE was spoken.
    pub fn local(&self) -> Option<&LocalCredentials> {
        self.local.as_ref()
    }

    /// The party's agent, as it described itself last.
    pub fn remote(&self) -> Option<&Arc<RemoteAgent>> {
        self.remote.as_ref()
    }

    /// Differs whenever checks have to start from the beginning.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What the data plane's agent is to do; `None` without ICE.
    pub fn settings(&self) -> Option<Settings> {
        Some(Settings {
            local: *self.local.as_ref().filter(|_| self.active)?,
            remote: self.remote.clone().filter(|_| self.introduced),
            role: self.role(),
            mode: if self.lite { Mode::Lite } else { Mode::Full },
            generation: self.generation,
        })
    }

    /// The agents have selected a pair. News of another generation come too late.
    pub fn take_selected(
        &mut self,
        generation: u32,
        component: Component,
        pair: Option<SelectedPair>,
    ) -> bool {
        let is_present = generation == self.generation;
        if is_present {
            self.selected[component.index()] = pair;
        }
        is_present
    }

    /// Another instance goes on at its own addresses: `here` tells which of them is in the place of one of the former instance's.
    pub fn move_selected(&mut self, here: impl Fn(SocketAddr, usize) -> Option<SocketAddr>) {
        for (component, selected) in self.selected.iter_mut().enumerate() {
            *selected =
                selected.and_then(|pair| Some(SelectedPair { local: here(pair.local, component)?, ..pair }));
        }
    }

    /// The agents have settled their roles otherwise than signalled.
    pub fn take_role(&mut self, generation: u32, role: Role) {
        if generation == self.generation {
            self.role = Some(role);
        }
    }

    /// The pairs of RTP and RTCP that are in use.
    pub fn selected(&self) -> [Option<SelectedPair>; 2] {
        if self.active { self.selected } else { [None; 2] }
    }

    /// The lines for the party; what the signal asks for counts in offers only.
    pub fn print(&self, half: Half<'_>, candidates: Vec<Candidate>) -> Option<IceOut> {
        let local = self.local.as_ref().filter(|_| self.active)?;
        let asked = match half {
            Half::Offer(signal) => Some(&signal.security),
            Half::Answer => None,
        };
        let peer_trickles = self.remote.as_ref().is_some_and(|agent| agent.trickle);
        let trickle = peer_trickles || asked.is_some_and(|options| options.ice_trickle);
        let mut options = Vec::new();
        if trickle {
            options.push("trickle".into());
        }
        if asked.is_some_and(|options| options.ice2) {
            options.push("ice2".into());
        }
        Some(IceOut {
            ufrag: local.ufrag().into(),
            pwd: local.password().into(),
            options,
            candidates,
            remote_candidates: self.remote_candidates(half),
            end_of_candidates: trickle,
        })
    }

    /// Who controls tells in later offers what was selected (RFC 8839 §4.4.1.2.2).
    fn remote_candidates(&self, half: Half<'_>) -> Vec<(u32, IpAddr, u16)> {
        if matches!(half, Half::Answer) || self.role() != Role::Controlling {
            return Vec::new();
        }
        let pair = |(component, pair): (u32, Option<SelectedPair>)| {
            let remote = pair?.remote;
            Some((component, remote.ip(), remote.port()))
        };
        (1..).zip(self.selected()).filter_map(pair).collect()
    }

    fn differs_from(&self, said: Option<&RemoteAgent>) -> bool {
        let known = self.remote.as_ref().or(self.gone.as_ref());
        matches!((known, said), (Some(known), Some(said)) if !known.is_same_generation(said))
    }

    fn take_remote(&mut self, said: Option<RemoteAgent>) {
        let earlier = self.remote.take().or(self.gone.take());
        if said.is_none() {
            self.gone = earlier;
            return;
        }
        self.remote = said.map(|mut said| {
            if let Some(earlier) = earlier.filter(|earlier| earlier.is_same_generation(&said)) {
                said.keep_candidates_of(&earlier);
            }
            Arc::new(said)
        });
    }

    /// Absent: as before. Any value counts for both directions.
    fn set_lite(&mut self, wanted: Option<IceLite>, direction: IceLite) {
        if let Some(wanted) = wanted {
            self.lite = wanted == IceLite::Both || wanted == direction;
        }
    }

    /// Roles stay until a restart, unless one side is lite: then the other one controls (RFC 8445 §6.1.1).
    fn settle_role(&mut self, by_signalling: Role) {
        let role = *self.role.get_or_insert(by_signalling);
        let peer_lite = self.remote.as_ref().is_some_and(|agent| agent.lite);
        self.role = Some(match (self.lite, peer_lite) {
            (true, false) => Role::Controlled,
            (false, true) => Role::Controlling,
            _ => role,
        });
    }

    fn ensure_credentials(&mut self, rng: &mut impl Rng) {
        if self.active && self.local.is_none() {
            self.local = Some(LocalCredentials::generate(rng));
        }
    }

    fn renew(&mut self, rng: &mut impl Rng) {
        self.begin_generation();
        self.introduced = false;
        self.local = Some(LocalCredentials::generate(rng));
    }

    fn begin_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.selected = [None; 2];
    }

    /// What was learned about the party is forgotten.
    fn reset(&mut self, rng: &mut impl Rng) {
        self.role = None;
        self.remote = None;
        self.gone = None;
        if self.local.is_some() {
            self.renew(rng);
        }
    }
}
