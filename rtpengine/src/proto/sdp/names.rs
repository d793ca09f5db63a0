//! Names of transports, directions and setup roles: text ↔ type.

use std::fmt;

use super::model::{Direction, RtpProfile, Setup, Transport};

impl RtpProfile {
    /// `RTP/AVP`
    pub const AVP: Self = Self { secure: false, feedback: false, dtls: false };
    /// `RTP/AVPF`
    pub const AVPF: Self = Self { secure: false, feedback: true, dtls: false };
    /// `RTP/SAVP`
    pub const SAVP: Self = Self { secure: true, feedback: false, dtls: false };
    /// `RTP/SAVPF`
    pub const SAVPF: Self = Self { secure: true, feedback: true, dtls: false };
    /// `UDP/TLS/RTP/SAVP`
    pub const DTLS_SAVP: Self = Self { secure: true, feedback: false, dtls: true };
    /// `UDP/TLS/RTP/SAVPF`
    pub const DTLS_SAVPF: Self = Self { secure: true, feedback: true, dtls: true };

    const ALL: [Self; 6] =
        [Self::AVP, Self::AVPF, Self::SAVP, Self::SAVPF, Self::DTLS_SAVP, Self::DTLS_SAVPF];

    /// The profile of that name, any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(name))
    }

    /// The name as it stands in `m=`.
    pub fn name(self) -> &'static str {
        match (self.dtls, self.secure, self.feedback) {
            (true, _, false) => "UDP/TLS/RTP/SAVP",
            (true, _, true) => "UDP/TLS/RTP/SAVPF",
            (false, true, false) => "RTP/SAVP",
            (false, true, true) => "RTP/SAVPF",
            (false, false, false) => "RTP/AVP",
            (false, false, true) => "RTP/AVPF",
        }
    }
}

impl Transport {
    /// Reads the `proto` field; never fails.
    pub fn from_name(name: &str) -> Self {
        if let Some(profile) = RtpProfile::from_name(name) {
            return Transport::Rtp(profile);
        }
        if name.eq_ignore_ascii_case("udptl") { Transport::Udptl } else { Transport::Other(name.into()) }
    }

    /// The canonical spelling; unknown ones as written.
    pub fn name(&self) -> &str {
        match self {
            Transport::Rtp(profile) => profile.name(),
            Transport::Udptl => "udptl",
            Transport::Other(name) => name,
            Transport::Unspecified => "unknown (legacy)",
        }
    }

    /// One of the RTP profiles.
    pub fn is_rtp(&self) -> bool {
        self.rtp_profile().is_some()
    }

    /// The RTP profile, if it is one.
    pub fn rtp_profile(&self) -> Option<RtpProfile> {
        match self {
            Transport::Rtp(profile) => Some(*profile),
            _ => None,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Direction {
    /// The direction of that attribute name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Direction::SendRecv,
            "sendonly" => Direction::SendOnly,
            "recvonly" => Direction::RecvOnly,
            "inactive" => Direction::Inactive,
            _ => return None,
        })
    }

    /// The attribute name.
    pub fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// The writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The direction of a writer that does and does not do these.
    pub fn from_parts(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The same when the writer cannot receive (old-style hold): sendrecv → sendonly, recvonly → inactive.
    pub fn without_receiving(self) -> Self {
        Self::from_parts(self.sends(), false)
    }

    /// Seen from the other side: sendonly ↔ recvonly.
    pub fn reversed(self) -> Self {
        Self::from_parts(self.receives(), self.sends())
    }
}

impl Setup {
    /// The role of that name, any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Setup::Active, Setup::Passive, Setup::ActPass, Setup::HoldConn]
            .into_iter()
            .find(|setup| setup.name().eq_ignore_ascii_case(name))
    }

    /// The attribute value.
    pub fn name(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
            Setup::HoldConn => "holdconn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_matched_without_case_and_printed_canonically() {
        for (input, expected) in [
            ("rtp/savpf", "RTP/SAVPF"),
            ("Udp/Tls/Rtp/Savp", "UDP/TLS/RTP/SAVP"),
            ("UDPTL", "udptl"),
            ("Foo/bar", "Foo/bar"),
        ] {
            assert_eq!(Transport::from_name(input).name(), expected);
        }
    }

    #[test]
    fn hold_takes_receiving_away() {
        assert_eq!(Direction::SendRecv.without_receiving(), Direction::SendOnly);
        assert_eq!(Direction::RecvOnly.without_receiving(), Direction::Inactive);
    }
}
