//! What cases may contain. A switch for each, so that a suspect can be left out.

use std::collections::BTreeSet;

macro_rules! features {
    ($($name:ident,)*) => {
        /// A part of the protocol that cases may use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Feature {
            $($name,)*
        }

        /// All of them.
        pub const ALL: &[Feature] = &[$(Feature::$name,)*];
    };
}

features! {
    SeveralMedia,
    Video,
    ManyCodecs,
    Dtmf,
    Directions,
    OwnAddress,
    Bandwidth,
    SessionLines,
    Rtcp,
    RtcpMux,
    RtcpMuxFlags,
    UnknownAttributes,
    Ptime,
    PtimeFlags,
    Mid,
    Avpf,
    TransportFlag,
    Ipv6,
    Ice,
    IceFlags,
    Sdes,
    Dtls,
    RejectedMedia,
    AnswerSubset,
    ReOffers,
    ReOfferChanges,
    Forks,
    Replace,
    Interfaces,
    AddressFamily,
    MediaAddress,
    CodecFlags,
    Transcoding,
    PlainFlags,
    Labels,
    Delete,
    Repeated,
}

/// A set of features.
#[derive(Clone, Debug)]
pub struct Features(BTreeSet<Feature>);

impl Default for Features {
    fn default() -> Self {
        Self(ALL.iter().copied().collect())
    }
}

impl Features {
    /// Whether a feature may be used.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// Switches features by name: `Ice,Sdes` on, or off.
    pub fn switch(&mut self, names: &str, on: bool) -> Result<(), String> {
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let found = ALL.iter().find(|feature| format!("{feature:?}").eq_ignore_ascii_case(name));
            let feature = *found.ok_or_else(|| format!("no feature {name:?}; there are {ALL:?}"))?;
            if on {
                self.0.insert(feature)
            } else {
                self.0.remove(&feature)
            };
        }
        Ok(())
    }

    /// Leaves out a random part, so that cases with few features come up too.
    pub fn thinned(&self, dice: &mut super::dice::Dice) -> Self {
        let percent = [100, 100, 70, 45, 25][dice.below(5)];
        Self(self.0.iter().copied().filter(|_| dice.chance(percent)).collect())
    }
}
