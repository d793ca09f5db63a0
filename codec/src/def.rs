//! The codec registry: one definition per encoding name.

/// What a payload type carries, as far as negotiation is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary audio.
    Audio,
    /// Ordinary video (passed through only).
    Video,
    /// RFC 4733 named events.
    TelephoneEvent,
    /// RFC 3389 comfort noise.
    ComfortNoise,
    /// RFC 2198 redundancy (passed through only).
    Redundant,
}

impl Kind {
    /// Companion types that stand behind the ordinary codecs and follow their clock rate.
    pub fn is_supplemental(self) -> bool {
        matches!(self, Kind::TelephoneEvent | Kind::ComfortNoise | Kind::Redundant)
    }
}

/// How the format parameters of two payload types decide whether they are the same codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FmtpRule {
    /// Parameters do not matter (PCMU, PCMA, G722, G729, opus, telephone-event, CN, red).
    Ignored,
    /// RFC 4867 rules (AMR, AMR-WB).
    Amr,
    /// EVS rules.
    Evs,
    /// The text must be identical (iLBC, G723, GSM, speex, L16 …).
    Identical,
}

/// One codec as the table of `--codecs` lists it.
#[derive(Debug)]
pub struct CodecDef {
    /// Encoding name in its registered spelling (RFC 3551, RFC 4855); matched without case.
    pub name: &'static str,
    /// What it carries.
    pub kind: Kind,
    /// RTP clock rate in Hz; 0 when the table has none.
    pub clock_rate: u32,
    /// Audio sample rate = `clock_rate × sample_rate_factor` (2 for G722, RFC 3551 §4.5.2).
    pub sample_rate_factor: u32,
    /// Channels; 0 when the table has none.
    pub channels: u8,
    /// Static payload type (RFC 3551 §6), if there is one.
    pub static_payload_type: Option<u8>,
    /// Packet time used when nothing was negotiated, in ms; 0 when there is none.
    pub default_ptime_ms: u16,
    /// Smallest packet time that the encoder can make, in ms; 0 when any.
    pub min_ptime_ms: u16,
    /// Encoder bit rate when none was asked for, in bit/s; 0 when the codec has only one.
    pub default_bitrate_bps: u32,
    /// Format parameters printed when we add the codec to an SDP.
    pub default_fmtp: &'static str,
    /// Comparison rule.
    pub fmtp_rule: FmtpRule,
}

/// The definition for an encoding name, any case.
pub fn by_name(_name: &str) -> Option<&'static CodecDef> {
    None
}

/// The static payload types of RFC 3551 §6, also those without a codec here: (name, clock rate, channels).
pub fn static_payload_type(_pt: u8) -> Option<(&'static str, u32, u8)> {
    None
}

/// All definitions in the order of the `--codecs` listing.
pub fn all() -> &'static [CodecDef] {
    &[]
}

impl CodecDef {
    /// An encoder exists in this build on this machine.
    pub fn can_encode(&self) -> bool {
        false
    }

    /// A decoder exists in this build on this machine.
    pub fn can_decode(&self) -> bool {
        false
    }
}
