//! T.38 in SDP (ITU-T T.38 Annex D): when a section becomes a fax gateway, and the attributes of its T.38 side.

use codec::{PayloadFormat, t38::Options};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::signal::T38Options;
use crate::proto::sdp::model::{MediaDescription, MediaFormat, Transport};

/// The conversion of an offered section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// The offerer speaks T.38, the answerer audio.
    Decode,
    /// The offerer speaks audio, the answerer T.38.
    Encode,
}

/// What the T.38 side of a gateway is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct T38Parameters {
    /// `T38FaxVersion`
    pub version: u32,
    /// `T38FaxRateManagement`
    pub rate_management: RateManagement,
    /// `T38FaxUdpEC`
    pub error_correction: ErrorCorrection,
    /// What the modems may do, and what the peer says it can.
    pub modem: Options,
}

/// Who checks the training of the modems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateManagement {
    #[default]
    TransferredTcf,
    LocalTcf,
}

/// How UDPTL survives loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCorrection {
    #[default]
    Redundancy,
    Fec,
    None,
}

/// Finds out whether an offered section is converted. `offerer` and `answerer`: that side was the T.38 side of a gateway until now. A gateway
/// goes on until `stop`, until its T.38 side offers audio, or until the section is rejected. `stop` does not keep one from beginning.
pub fn gateway(
    section: &MediaDescription,
    options: &T38Options,
    [offerer, answerer]: [bool; 2],
) -> Option<Gateway> {
    if section.port == 0 {
        return None;
    }
    let [offerer, answerer] = [offerer, answerer].map(|goes_on| goes_on && !options.stop);
    let is_fax = section.media_type == "image" && section.transport == Transport::Udptl;
    let is_audio = section.media_type == "audio" && section.transport.is_rtp();
    if is_fax && (options.decode || offerer) {
        Some(Gateway::Decode)
    } else if is_audio && (options.force || answerer) {
        Some(Gateway::Encode)
    } else {
        None
    }
}

impl Gateway {
    /// The media type that the answerer is offered.
    pub fn answerer_type(self) -> &'static str {
        match self {
            Self::Decode => "audio",
            Self::Encode => "image",
        }
    }
}

/// What audio is offered for a fax when nothing else is known.
pub fn default_audio() -> Vec<MediaFormat> {
    [0, 8]
        .into_iter()
        .filter_map(PayloadFormat::from_static)
        .map(|format| MediaFormat { format, feedback: Vec::new() })
        .collect()
}

impl T38Parameters {
    /// What to tell a T.38 side that said this (`T38…` attributes, none before it has spoken).
    pub fn new(peer: &[SmolStr], options: &T38Options) -> Self {
        let value = |name: &str| {
            let of = |line: &'_ SmolStr| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| SmolStr::new(value.trim()))
            };
            peer.iter().find_map(of)
        };
        let given = options.version.and_then(|version| u32::try_from(version).ok());
        let announced = || value("T38FaxVersion")?.parse().ok();
        // The second spelling is that of the reference.
        let is_local = |text: SmolStr| ["localTCF", "localTFC"].iter().any(|l| l.eq_ignore_ascii_case(&text));
        let correction = value("T38FaxUdpEC").map(|text| text.to_ascii_lowercase());
        // Present without a value, or with 1 (T.38 Annex D, and older usage).
        let can = |name: &str| {
            let said = |line: &SmolStr| {
                let (key, value) = line.split_once(':').unwrap_or((line, "1"));
                key.eq_ignore_ascii_case(name) && value.trim() != "0"
            };
            peer.iter().any(said)
        };
        let version = given.or_else(announced).unwrap_or(0);
        let rate_management = match value("T38FaxRateManagement").is_some_and(is_local) {
            true => RateManagement::LocalTcf,
            false => RateManagement::TransferredTcf,
        };
        // 0 stands for any size.
        let datagram = value("T38FaxMaxDatagram").and_then(|text| text.parse().ok()).filter(|&n: &u16| n > 0);
        Self {
            version,
            rate_management,
            modem: Options {
                version: version.min(3) as u8,
                ecm: !options.no_ecm,
                v17: !options.no_v17,
                v27ter: !options.no_v27ter,
                v29: !options.no_v29,
                v34: !options.no_v34,
                iaf: !options.no_iaf,
                local_tcf: rate_management == RateManagement::LocalTcf,
                fill_bit_removal: can("T38FaxFillBitRemoval"),
                mmr: can("T38FaxTranscodingMMR"),
                jbig: can("T38FaxTranscodingJBIG"),
                max_datagram: datagram.unwrap_or(16_383),
            },
            error_correction: match correction.as_deref() {
                // The answerer takes what it was offered (T.38 Annex D.2.3); to whoever has said nothing the client may offer it.
                Some("t38udpfec") => ErrorCorrection::Fec,
                None if options.fec => ErrorCorrection::Fec,
                Some("t38udpnoec") => ErrorCorrection::None,
                _ => ErrorCorrection::Redundancy,
            },
        }
    }

    /// What the client forbade in the offer stays forbidden.
    pub fn limited_as(mut self, offered: &Self) -> Self {
        let (own, before) = (&mut self.modem, &offered.modem);
        own.ecm &= before.ecm;
        own.v17 &= before.v17;
        own.v27ter &= before.v27ter;
        own.v29 &= before.v29;
        own.v34 &= before.v34;
        own.iaf &= before.iaf;
        self
    }

    /// The attribute lines, without `a=`.
    pub fn attributes(&self) -> Vec<SmolStr> {
        let rate_management = match self.rate_management {
            RateManagement::TransferredTcf => "transferredTCF",
            RateManagement::LocalTcf => "localTCF",
        };
        let correction = match self.error_correction {
            ErrorCorrection::Redundancy => "t38UDPRedundancy",
            ErrorCorrection::Fec => "t38UDPFEC",
            ErrorCorrection::None => "t38UDPNoEC",
        };
        vec![
            format!("T38FaxVersion:{}", self.version).into(),
            "T38MaxBitRate:14400".into(),
            format!("T38FaxRateManagement:{rate_management}").into(),
            "T38FaxMaxBuffer:1800".into(),
            "T38FaxMaxDatagram:512".into(),
            format!("T38FaxUdpEC:{correction}").into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sdp::parse::{ParseOptions, parse};

    fn section(line: &str) -> MediaDescription {
        let text =
            format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm={line}\r\n");
        parse(&text, ParseOptions::default()).expect("valid").media.remove(0)
    }

    #[test]
    fn a_gateway_begins_on_request_and_lasts_until_stop_or_until_its_fax_side_offers_audio() {
        const FAX: &str = "image 5006 udptl t38";
        const AUDIO: &str = "audio 5006 RTP/AVP 0";
        let decode = T38Options { decode: true, ..T38Options::default() };
        let force = T38Options { force: true, ..T38Options::default() };
        let stop = T38Options { stop: true, ..T38Options::default() };
        let anew = T38Options { decode: true, force: true, ..stop };
        let nothing = T38Options::default();
        for (line, options, was_fax, expected) in [
            (FAX, &decode, [false, false], Some(Gateway::Decode)),
            (FAX, &force, [false, false], None),
            (FAX, &nothing, [true, false], Some(Gateway::Decode)),
            (FAX, &nothing, [false, true], None),
            (AUDIO, &force, [false, false], Some(Gateway::Encode)),
            (AUDIO, &decode, [false, false], None),
            (AUDIO, &nothing, [false, true], Some(Gateway::Encode)),
            (AUDIO, &nothing, [true, false], None),
            (AUDIO, &stop, [false, true], None),
            (FAX, &stop, [true, false], None),
            (AUDIO, &anew, [false, true], Some(Gateway::Encode)),
            (FAX, &anew, [true, false], Some(Gateway::Decode)),
            ("image 0 udptl t38", &decode, [true, false], None),
            ("audio 0 RTP/AVP 0", &force, [false, true], None),
            ("video 5006 RTP/AVP 97", &force, [false, false], None),
        ] {
            assert_eq!(gateway(&section(line), options, was_fax), expected, "{line} {options:?} {was_fax:?}");
        }
    }

    #[test]
    fn parameters_follow_the_peer_and_else_the_client() {
        let peer = |lines: &[&str]| lines.iter().map(SmolStr::new).collect::<Vec<_>>();
        let fec = T38Options { fec: true, version: Some(3), ..T38Options::default() };
        let nothing = T38Options::default();
        let cases = [
            (peer(&[]), &nothing, (0, RateManagement::TransferredTcf, ErrorCorrection::Redundancy)),
            (
                peer(&["T38FaxVersion:1", "T38FaxRateManagement:localTCF", "T38FaxUdpEC:t38UDPNoEC"]),
                &nothing,
                (1, RateManagement::LocalTcf, ErrorCorrection::None),
            ),
            (
                peer(&["T38FaxVersion:1", "T38FaxRateManagement:localTFC", "T38FaxUdpEC:t38UDPNoEC"]),
                &fec,
                (3, RateManagement::LocalTcf, ErrorCorrection::None),
            ),
            (peer(&[]), &fec, (3, RateManagement::TransferredTcf, ErrorCorrection::Fec)),
            (
                peer(&["T38FaxVersion:x", "T38FaxUdpEC"]),
                &nothing,
                (0, RateManagement::TransferredTcf, ErrorCorrection::Redundancy),
            ),
        ];
        for (lines, options, expected) in cases {
            let T38Parameters { version, rate_management, error_correction, .. } =
                T38Parameters::new(&lines, options);
            assert_eq!((version, rate_management, error_correction), expected, "{lines:?}");
        }
    }

    #[test]
    fn modems_follow_what_the_peer_can_and_the_client_forbids() {
        let lines =
            ["T38FaxMaxDatagram:238", "T38FaxFillBitRemoval", "T38FaxTranscodingMMR:0"].map(SmolStr::new);
        let forbid = T38Options { no_ecm: true, no_v17: true, ..T38Options::default() };
        let offered = T38Parameters::new(&[], &forbid);
        let modem = T38Parameters::new(&lines, &T38Options::default()).limited_as(&offered).modem;
        assert_eq!((modem.max_datagram, modem.fill_bit_removal, modem.mmr), (238, true, false));
        assert_eq!((modem.ecm, modem.v17, modem.v29, modem.v27ter), (false, false, true, true));
        assert_eq!(T38Parameters::new(&[], &forbid).modem.max_datagram, 16_383);
    }
}
