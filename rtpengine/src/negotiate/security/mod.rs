//! Keys for media: SDES (RFC 4568), signalling of DTLS-SRTP (RFC 5763) and opportunistic SRTP (RFC 8643).
//!
//! A [`MediaSecurity`] stands for one media of one party. An exchange goes through both ends:
//!
//! ```text
//! offer:   from.receive_offer(section)  →  to.prepare_offer(…)           →  to.lines()
//! answer:  from.receive_answer(section) →  to.prepare_answer(Some(from)) →  to.lines()
//! ```
//!
//! Without another party (`publish`, `create`) one half is enough. Each party has its own protection: the relay is an end
//! of it, not a bystander, except that keys are handed on where both ends can be brought to use the same one.
//!
//! [`MediaSecurity::keying`] is what the data plane shall do. It changes with answers only: until a re-offer is answered (or refused)
//! the former agreement goes on. No media pass under an SRTP profile without keys.

mod dtls;
mod keying;
mod osrtp;
mod sdes;
mod stored;

use std::sync::Arc;

use rand::RngCore;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use self::dtls::{Described, Dtls};
use self::sdes::Sdes;
use super::signal::{DtlsMode, SecurityOptions, Signal};
use crate::proto::dtls::Identity;
use crate::proto::sdp::model::{
    Crypto, Fingerprint, FingerprintHash, MediaDescription, OtherHalf, RtpProfile, SessionDescription, Setup,
    Suite,
};
use crate::proto::sdp::render::KeyStyle;
pub use keying::{DtlsKeying, DtlsRole, Keying};
pub use osrtp::{Layout, PairOrder, join_pairs};
pub use stored::StoredSecurity;

/// What a message and the configuration say about keys.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub options: &'a SecurityOptions,
    /// Flag `reset`: roles are chosen anew.
    pub reset: bool,
    /// Option `dtls-passive`.
    pub dtls_passive: bool,
    /// Who we are in new DTLS associations.
    pub identity: &'a Arc<Identity>,
}

impl<'a> Policy<'a> {
    pub fn new(signal: &'a Signal, dtls_passive: bool, identity: &'a Arc<Identity>) -> Self {
        Self { options: &signal.security, reset: signal.flags.reset, dtls_passive, identity }
    }
}

/// What a party's own section says about keys.
#[derive(Clone, Copy, Debug)]
pub struct Section<'s> {
    /// `None`: not RTP.
    profile: Option<RtpProfile>,
    crypto: &'s [Crypto],
    dtls: Described<'s>,
    other_half: Option<&'s OtherHalf>,
}

impl<'s> Section<'s> {
    /// Of a media section, with what it inherits from its session.
    pub fn new(media: &'s MediaDescription, session: &'s SessionDescription) -> Self {
        Self {
            profile: media.transport.rtp_profile(),
            crypto: &media.attributes.crypto,
            dtls: Described {
                setup: media.setup(session),
                fingerprint: media.fingerprint(session),
                tls_id: media.tls_id(session),
            },
            other_half: media.other_half.as_ref(),
        }
    }

    /// Keys under a plain profile (RFC 8643).
    pub fn is_opportunistic(&self) -> bool {
        let keys = !self.crypto.is_empty() || self.dtls.fingerprint.is_some();
        keys && self.profile.is_some_and(|profile| !profile.secure)
    }

    fn is_secure(&self) -> bool {
        self.profile.is_some_and(|profile| profile.secure)
    }
}

/// The lines of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// `a=crypto`
    pub crypto: Vec<Crypto>,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// `a=fingerprint`
    pub fingerprint: Option<Fingerprint>,
    /// `a=tls-id`
    pub tls_id: Option<SmolStr>,
}

/// What becomes of the answerer's packets on their way to the offerer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// They pass as they are: the answerer's key can be handed on.
    Unchanged,
    /// Payload types, numbers or payloads change.
    Rewritten,
}

/// What the party was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    #[default]
    Nothing,
    Offer,
    Answer,
}

/// What is known about the protection of one media with one party.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaSecurity {
    /// SRTP is spoken (or would be, if there were keys): by the profile, or opportunistically.
    srtp: bool,
    /// Keys under a plain profile, in what the party is told.
    opportunistic: bool,
    /// The same in the party's own section.
    received_opportunistic: bool,
    /// The answer to that section was plain: the other side did not want keys.
    refused: bool,
    /// It was offered opportunistic SRTP and answered without keys.
    declined: bool,
    /// `SDES=prefer` in the party's offer.
    prefer_sdes: bool,
    sdes: Sdes,
    dtls: Dtls,
    told: Told,
    layout: Layout,
    /// There was an answer.
    settled: bool,
    #[serde(skip)]
    keying: Keying,
}

impl MediaSecurity {
    /// The party offers.
    pub fn receive_offer(&mut self, section: &Section<'_>, policy: &Policy<'_>) {
        let options = policy.options;
        self.receive(section);
        self.sdes.receive_offer(section.crypto, &options.sdes);
        self.prefer_sdes = options.sdes.prefer;
        self.dtls.prefer_passive = match options.dtls {
            Some(DtlsMode::Passive) => true,
            Some(DtlsMode::Active) => false,
            Some(DtlsMode::Off) | None => policy.dtls_passive,
        };
        if policy.reset {
            self.dtls.forget_role();
        }
        self.dtls.receive_offer(section.dtls);
        if !self.settled {
            self.keying = if self.srtp { Keying::Blocked } else { Keying::Plain };
        }
    }

    /// Prepares an offer to the party with this profile (`None`: not RTP). `source` is the section that the offer is made from.
    pub fn prepare_offer(
        &mut self,
        profile: Option<RtpProfile>,
        source: Option<&Section<'_>>,
        policy: &Policy<'_>,
        rng: &mut impl RngCore,
    ) {
        let options = policy.options;
        let secure = profile.is_some_and(|profile| profile.secure);
        self.opportunistic = profile.is_some() && !secure && (self.opportunistic || options.osrtp_offer);
        self.srtp = secure || self.opportunistic;
        let repeated = std::mem::take(&mut self.told) == Told::Offer;
        match &self.layout {
            Layout::Single if options.osrtp_offer_legacy && secure => self.layout = Layout::OfferedTwice,
            Layout::OfferedTwice if !secure => self.layout = Layout::Single,
            _ => {}
        }
        if policy.reset {
            self.dtls.forget_role();
        }
        if self.srtp {
            self.told = Told::Offer;
            let allows_dtls = options.dtls != Some(DtlsMode::Off);
            let is_first = !self.sdes.on && !self.dtls.on;
            self.sdes.on |= is_first && !options.sdes.off;
            // Whatever was agreed before, or asked for in vain: under its own profile keys come by DTLS (RFC 5764 §9).
            self.dtls.on |= allows_dtls && (is_first || profile.is_some_and(|profile| profile.dtls));
            if self.sdes.on {
                let lines = source.map_or(&[][..], |source| source.crypto);
                self.sdes.prepare_offer(lines, &options.sdes, repeated, rng);
            }
            if self.dtls.on {
                let hash = options.dtls_fingerprint.as_deref().and_then(FingerprintHash::from_name);
                self.dtls.prepare_offer(hash, policy.identity, rng);
            }
        } else {
            self.give_up();
        }
        if !self.settled {
            self.keying = match (self.srtp, self.dtls.on) {
                (false, _) => Keying::Plain,
                (true, true) => self.dtls.keying(),
                (true, false) => Keying::Blocked,
            };
        }
    }

    /// The party answers what it was offered.
    pub fn receive_answer(&mut self, section: &Section<'_>) {
        let offered_opportunistic = self.opportunistic;
        self.receive(section);
        self.declined = offered_opportunistic && !self.srtp;
        self.sdes.receive_answer(section.crypto);
        self.dtls.receive_answer(section.dtls);
        self.settled = true;
        self.told = Told::Nothing;
        self.keying = match (self.srtp, self.dtls.on, self.sdes.agreed()) {
            (false, ..) => Keying::Plain,
            (true, true, _) => self.dtls.keying(),
            (true, false, agreed) => agreed_keys(agreed),
        };
    }

    /// Prepares the answer to the party's offer. `answerer` is the other side, if there is one, after its own answer, and what becomes of
    /// its packets.
    pub fn prepare_answer(
        &mut self,
        profile: Option<RtpProfile>,
        answerer: Option<(&MediaSecurity, Packets)>,
        policy: &Policy<'_>,
        rng: &mut impl RngCore,
    ) {
        let options = policy.options;
        let secure = profile.is_some_and(|profile| profile.secure);
        let declined = answerer.is_some_and(|(answerer, _)| answerer.declined);
        self.refused = self.received_opportunistic && declined && !options.osrtp_accept;
        self.opportunistic = self.received_opportunistic && !self.refused;
        self.srtp = secure || (profile.is_some() && self.opportunistic);
        self.told = Told::Nothing;
        self.settled = true;
        self.keying = Keying::Plain;
        if !self.srtp {
            // Keys of an offer that were refused in an early answer may be agreed on in the next.
            if !self.received_opportunistic {
                self.give_up();
            }
            return;
        }
        self.told = Told::Answer;
        let sdes_first = self.prefer_sdes || options.dtls == Some(DtlsMode::Off);
        if self.dtls.on && !(sdes_first && self.sdes.is_received()) {
            self.sdes.give_up();
            self.dtls.prepare_answer(policy.identity, rng);
            self.keying = self.dtls.keying();
        } else {
            self.dtls.on = false;
            let choice = answerer
                .filter(|(answerer, _)| answerer.srtp)
                .and_then(|(answerer, _)| answerer.sdes.choice());
            let packets = answerer.map_or(Packets::Rewritten, |(_, packets)| packets);
            self.sdes.prepare_answer(choice, packets, options.sdes.keep_static, rng);
            self.keying = agreed_keys(self.sdes.agreed());
        }
        if self.keying == Keying::Blocked && !secure {
            // Keys that cannot be used, under a plain profile: without keys in the answer the party stays plain (RFC 8643 §3.2).
            self.srtp = false;
            self.told = Told::Nothing;
            self.keying = Keying::Plain;
        }
    }

    /// What the party is to be told, after `prepare_offer` or `prepare_answer`.
    pub fn lines(&self, with_tls_id: bool) -> Lines {
        let offer = match self.told {
            Told::Nothing => return Lines::default(),
            Told::Offer => true,
            Told::Answer => false,
        };
        let mut lines = Lines::default();
        if self.sdes.on && (offer || !self.dtls.on) {
            lines.crypto = self.sdes.shown().to_vec();
        }
        if self.dtls.on {
            lines.setup = Some(match self.dtls.role() {
                Some(DtlsRole::Active) if !offer => Setup::Active,
                Some(DtlsRole::Passive) if !offer => Setup::Passive,
                _ => Setup::ActPass,
            });
            lines.fingerprint = self.dtls.fingerprint().cloned();
            lines.tls_id = self.dtls.tls_id().filter(|_| with_tls_id);
        }
        lines
    }

    /// The next offer to the party takes over whether the source's keys are opportunistic.
    pub fn set_opportunistic(&mut self, opportunistic: bool) {
        self.opportunistic = opportunistic;
    }

    /// The party's own last section had keys under a plain profile, and the answer did too.
    pub fn is_received_opportunistic(&self) -> bool {
        self.received_opportunistic && !self.refused
    }

    /// What to do with the packets from and to the party.
    pub fn keying(&self) -> &Keying {
        &self.keying
    }

    /// Sections that the media takes in the party's description.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The offer leaves the choice between a plain and an encrypted section to the party.
    pub fn is_offered_twice(&self) -> bool {
        self.layout == Layout::OfferedTwice && self.told == Told::Offer
    }

    /// Answers of the party may come in pairs of sections.
    pub fn expects_pair(&self) -> bool {
        self.layout != Layout::Single
    }

    /// The party's description has a legacy OSRTP pair in that order.
    pub fn is_pair(&self, order: PairOrder) -> bool {
        let Layout::Pair(half) = &self.layout else { return false };
        let other_is_plain = half.transport.rtp_profile().is_some_and(|profile| !profile.secure);
        (order == PairOrder::PlainFirst) == (half.is_first == other_is_plain)
    }

    /// SDES is on with the party.
    pub fn has_sdes(&self) -> bool {
        self.sdes.on
    }

    /// DTLS is on with the party.
    pub fn has_dtls(&self) -> bool {
        self.dtls.on
    }

    /// Our role in DTLS, once it is known.
    pub fn dtls_role(&self) -> Option<DtlsRole> {
        self.dtls.role()
    }

    /// The suite that comes first in what the party was shown, or was agreed on.
    pub fn suite(&self) -> Option<&'static Suite> {
        let line = self.sdes.agreed().map(|agreed| &agreed.send).or(self.sdes.shown().first());
        line.filter(|_| self.sdes.on).map(|line| line.suite)
    }

    /// `offerer_pref` changed the order of the party's lines.
    pub fn is_sdes_reordered(&self) -> bool {
        self.sdes.reordered
    }

    /// The party is told of no keys: when it is again, that begins anew, with all that can be offered.
    fn give_up(&mut self) {
        self.sdes.give_up();
        self.dtls.on = false;
    }

    fn receive(&mut self, section: &Section<'_>) {
        self.received_opportunistic = section.is_opportunistic();
        self.opportunistic = self.received_opportunistic;
        self.srtp = section.is_secure() || self.received_opportunistic;
        self.declined = false;
        self.refused = false;
        match section.other_half {
            Some(half) => self.layout = Layout::Pair(half.clone()),
            None if matches!(self.layout, Layout::Pair(_)) => self.layout = Layout::Single,
            None => {}
        }
    }
}

fn agreed_keys(agreed: Option<&sdes::Agreed>) -> Keying {
    match agreed {
        Some(sdes::Agreed { receive, send }) => {
            Keying::Sdes { receive: Box::new(receive.clone()), send: Box::new(send.clone()) }
        }
        None => Keying::Blocked,
    }
}

/// How keys are to be written.
pub fn key_style(options: &SecurityOptions) -> KeyStyle {
    KeyStyle { pad: options.sdes.pad, lifetime: options.sdes.lifetime }
}

#[cfg(test)]
mod tests;
