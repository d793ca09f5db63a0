//! Where a stream is forwarded, and why not further down.

use std::fmt;

/// What forwards packets below user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// The kernel module `xt_RTPENGINE`.
    Module,
    /// A program of our own at the interfaces' ingress.
    Ebpf,
}

impl Rung {
    /// As operators know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Module => "kernel module",
            Self::Ebpf => "eBPF",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)*) => {
        /// Why a stream is forwarded in user space.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// For people; begins in small letters, so that it can stand behind a colon.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// No rung below user space is in use.
    Off: "off-loading is off",
    /// It is new, or something about it has just changed.
    Waiting: "it has changed a short time ago",
    /// No packet of the party has confirmed where it is.
    NotConfirmed: "its source is not confirmed yet",
    /// Neither is it known for certain where the packets go.
    SinkNotConfirmed: "the address that it goes to is not confirmed yet",
    /// Nothing has come, so that its SSRC is not known.
    NoPackets: "no packets come",
    /// RTCP is read and answered here.
    Rtcp: "it is RTCP, which the daemon reads",
    /// On hold, or the other side is gone.
    NoOutput: "it goes to nobody",
    /// More parties than the rung can send to.
    SeveralOutputs: "it goes to more parties than can be off-loaded",
    /// Decoded and encoded.
    Transcoded: "it is transcoded",
    /// Digits are looked for in its audio.
    Digits: "digits are looked for in its audio",
    /// `block media`, DTMF replacement, digits that are added.
    Treated: "a command holds back, changes or adds packets",
    /// Jitter buffer, `delay-buffer`.
    Delayed: "its packets are delayed",
    /// Copies of its packets are wanted in a form that the rung does not make.
    Recorded: "its packets are recorded in user space",
    /// BUNDLE.
    Bundled: "several media sections share a port",
    /// `lrkproxy`
    Twins: "two parties share a port",
    /// Audio player.
    Mixed: "it is mixed with other audio",
    /// Header extensions are taken out.
    HeaderExtensions: "header extensions are hidden",
    /// Packets that are shorter than usual are dropped.
    ShortPackets: "short packets are held back",
    /// An announcement keeps it away from its sink.
    Player: "an announcement plays in its place",
    /// The handshake is not done, or packets under an earlier key may still come.
    NoKey: "its keys have not settled",
    /// SRTP that this rung does not do.
    Secured: "it is encrypted",
    /// ICE has not found a way yet, or uses another port than the stream's own.
    Ice: "ICE has not settled on its port",
    /// A fax gateway takes it.
    Gateway: "a fax gateway takes it",
    /// More than a rung remembers.
    PayloadTypes: "it has more payload types than can be off-loaded",
    /// The same of SSRCs.
    Sources: "it has more sources than can be off-loaded",
    /// IPv4 on one side, IPv6 on the other.
    Families: "IPv4 and IPv6 are connected",
    /// The rung does not see the packets: they come from a way that it is not attached to, or would have to turn around inside the host.
    Route: "its route cannot be off-loaded",
    /// The rung refused it.
    Refused: "the kernel refused it",
    /// A packet of the party came up that the rung should have taken, or that nobody expected.
    Surprise: "an unexpected packet came a short time ago",
}

impl Reason {
    /// It may be different in a moment without anybody telling.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Waiting
                | Self::NotConfirmed
                | Self::SinkNotConfirmed
                | Self::NoPackets
                | Self::Sources
                | Self::NoOutput
                | Self::Player
                | Self::Recorded
                | Self::NoKey
                | Self::Treated
                | Self::Ice
                | Self::Route
                | Self::Refused
                | Self::Surprise
        )
    }
}

/// Who forwards a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Kernel(Rung),
    UserSpace(Reason),
}

impl Place {
    /// A number for an atomic; 0 is the place of a stream that nobody has looked at.
    pub fn encode(self) -> u32 {
        match self {
            Self::UserSpace(Reason::Off) => 0,
            Self::UserSpace(reason) => {
                Reason::ALL.iter().position(|other| *other == reason).map_or(0, |index| index as u32)
            }
            Self::Kernel(Rung::Module) => MODULE,
            Self::Kernel(Rung::Ebpf) => EBPF,
        }
    }

    /// The other way round; what [`Self::encode`] never makes is "off".
    pub fn decode(number: u32) -> Self {
        match number {
            MODULE => Self::Kernel(Rung::Module),
            EBPF => Self::Kernel(Rung::Ebpf),
            index => Self::UserSpace(Reason::ALL.get(index as usize).copied().unwrap_or(Reason::Off)),
        }
    }

    pub fn is_kernel(self) -> bool {
        matches!(self, Self::Kernel(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(rung) => f.write_str(rung.name()),
            Self::UserSpace(reason) => write!(f, "user space: {}", reason.text()),
        }
    }
}

const MODULE: u32 = 0x100;
const EBPF: u32 = 0x101;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_number() {
        let places = Reason::ALL.iter().map(|reason| Place::UserSpace(*reason));
        for place in places.chain([Place::Kernel(Rung::Module), Place::Kernel(Rung::Ebpf)]) {
            assert_eq!(Place::decode(place.encode()), place);
        }
        assert_eq!(Place::decode(0), Place::UserSpace(Reason::Off));
        assert_eq!(Place::decode(u32::MAX), Place::UserSpace(Reason::Off));
    }
}
