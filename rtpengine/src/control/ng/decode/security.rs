//! Transport, ICE, DTLS, SDES, OSRTP, rtcp-mux and bundling (section 6 of the flag reference).

use smol_str::SmolStr;

use super::read::{choose, choose_value, each_string, set_text, text};
use super::{Apply, Decoder, Key, ignored};
use crate::negotiate::signal::{
    BundleOptions, DtlsMode, IceLite, IceMode, RtcpMuxOptions, SdesOptions, SecurityOptions,
    TransportOverride,
};
use crate::proto::sdp::model::RtpProfile;

pub(super) const KEYS: &[Key] = &[
    (&["transport-protocol", "transport protocol"], |d, v| {
        let Some(name) = text(v) else { return };
        match transport(&name) {
            Some(transport) => d.signal.security.transport = Some(transport),
            None => ignored("transport-protocol", &name),
        }
    }),
    (&["ICE", "ice"], |d, v| {
        each_string(v, |word| {
            if let Some(apply) = choose("ICE", word, ICE) {
                apply(&mut d.signal.security);
            }
        })
    }),
    (&["ICE-lite", "ice-lite", "ICE lite", "ice lite"], |d, v| {
        if let Some(lite) = choose_value("ICE-lite", v, ICE_LITE) {
            d.signal.security.ice_lite = Some(lite);
        }
    }),
    (&["DTLS", "dtls", "DTLS-reverse", "dtls-reverse"], |d, v| {
        each_string(v, |word| {
            if let Some(mode) = choose("DTLS", word, DTLS) {
                d.signal.security.dtls = Some(mode);
            }
        })
    }),
    (&["DTLS-fingerprint", "dtls-fingerprint", "DTLS fingerprint", "dtls fingerprint"], |d, v| {
        set_text(&mut d.signal.security.dtls_fingerprint, v)
    }),
    (&["SDES", "sdes"], |d, v| each_string(v, |word| sdes(d, word))),
    (&["OSRTP", "osrtp"], |d, v| each_string(v, |word| osrtp(d, word))),
    (&["rtcp-mux", "RTCP-mux", "rtcp mux", "RTCP mux"], |d, v| each_string(v, |word| rtcp_mux(d, word))),
    (&["bundle", "BUNDLE"], |d, v| each_string(v, |word| bundle(d, word))),
];

pub(super) const ICE: &[Apply<SecurityOptions>] = &[
    (&["default"], |s| s.ice = IceMode::Default),
    (&["remove"], |s| s.ice = IceMode::Remove),
    (&["force"], |s| s.ice = IceMode::Force),
    (&["optional"], |s| s.ice = IceMode::Optional),
    (&["force-relay", "force_relay", "force relay"], |s| s.ice = IceMode::ForceRelay),
    (&["trickle"], |s| s.ice_trickle = true),
    (&["ice2", "ICE2"], |s| s.ice2 = true),
    (&["lite", "lite-forward", "lite-fwd", "lite-fw", "lite-offer"], |s| s.ice_lite = Some(IceLite::Forward)),
    (
        &[
            "lite-backward",
            "lite-backwards",
            "lite-reverse",
            "lite-answer",
            "lite-back",
            "lite-bkw",
            "lite-bk",
        ],
        |s| s.ice_lite = Some(IceLite::Backward),
    ),
    (&["lite-both"], |s| s.ice_lite = Some(IceLite::Both)),
    (&["no-lite", "lite-no", "lite-off", "lite-none"], |s| s.ice_lite = Some(IceLite::Off)),
];

pub(super) const ICE_LITE: &[(&[&str], IceLite)] = &[
    (&["off", "none", "no"], IceLite::Off),
    (&["forward", "offer", "fwd", "fw"], IceLite::Forward),
    (&["backward", "backwards", "reverse", "answer", "back", "bkw", "bk"], IceLite::Backward),
    (&["both"], IceLite::Both),
];

pub(super) const DTLS: &[(&[&str], DtlsMode)] = &[
    (&["off", "no", "disable", "disabled"], DtlsMode::Off),
    (&["passive"], DtlsMode::Passive),
    (&["active"], DtlsMode::Active),
];

pub(super) const SDES: &[Apply<SdesOptions>] = &[
    (&["off", "no", "disable", "disabled"], |s| s.off = true),
    (&["nonew"], |s| s.nonew = true),
    (&["pad"], |s| s.pad = true),
    (&["lifetime"], |s| s.lifetime = true),
    (&["static"], |s| s.keep_static = true),
    (&["prefer", "priority"], |s| s.prefer = true),
    (&["unencrypted_srtp", "UNENCRYPTED_SRTP"], |s| s.unencrypted_srtp = Some(true)),
    (&["unencrypted_srtcp", "UNENCRYPTED_SRTCP"], |s| s.unencrypted_srtcp = Some(true)),
    (&["unauthenticated_srtp", "UNAUTHENTICATED_SRTP"], |s| s.unauthenticated_srtp = Some(true)),
    (&["encrypted_srtp", "ENCRYPTED_SRTP"], |s| s.unencrypted_srtp = Some(false)),
    (&["encrypted_srtcp", "ENCRYPTED_SRTCP"], |s| s.unencrypted_srtcp = Some(false)),
    (&["authenticated_srtp", "AUTHENTICATED_SRTP"], |s| s.unauthenticated_srtp = Some(false)),
];

pub(super) const OSRTP: &[Apply<SecurityOptions>] = &[
    (&["offer", "offer-RFC", "offer-rfc"], |s| s.osrtp_offer = true),
    (&["offer-legacy"], |s| s.osrtp_offer_legacy = true),
    (&["accept-RFC", "accept-rfc"], |s| s.osrtp_accept = true),
    (&["accept-legacy"], |s| s.osrtp_accept_legacy = true),
    (&["accept"], |s| {
        s.osrtp_accept = true;
        s.osrtp_accept_legacy = true;
    }),
];

pub(super) const RTCP_MUX: &[Apply<RtcpMuxOptions>] = &[
    (&["offer"], |m| m.offer = true),
    (&["require"], |m| m.require = true),
    (&["demux"], |m| m.demux = true),
    (&["accept"], |m| m.accept = true),
    (&["reject"], |m| m.reject = true),
];

pub(super) const BUNDLE: &[Apply<BundleOptions>] = &[
    (&["accept"], |b| b.accept = true),
    (&["offer"], |b| b.offer = true),
    (&["require"], |b| b.require = true),
    (&["strict"], |b| b.strict = true),
    (&["reject"], |b| b.reject = true),
];

/// Names of transports, matched without case. BFCP and MSRP names are known to clients, but only RTP and T.38
/// media are changed.
pub(super) fn transport(name: &str) -> Option<TransportOverride> {
    if name == "accept" {
        return Some(TransportOverride::Accept);
    }
    let (secure, feedback, dtls) = match name.to_ascii_uppercase().as_str() {
        "RTP/AVP" => (false, false, false),
        "RTP/AVPF" => (false, true, false),
        "RTP/SAVP" => (true, false, false),
        "RTP/SAVPF" => (true, true, false),
        "UDP/TLS/RTP/SAVP" => (true, false, true),
        "UDP/TLS/RTP/SAVPF" => (true, true, true),
        "UDPTL" => return Some(TransportOverride::Udptl),
        _ => return None,
    };
    Some(TransportOverride::Rtp(RtpProfile { secure, feedback, dtls }))
}

/// A word of the `SDES` list, or what follows the flag prefix `SDES-`.
pub(super) fn sdes(decoder: &mut Decoder<'_>, word: &str) {
    let sdes = &mut decoder.signal.security.sdes;
    let suites = |list: &str| list.split(';').filter(|suite| !suite.is_empty()).map(SmolStr::new).collect();
    if let Some(suite) = word.strip_prefix("only-") {
        sdes.only.push(suite.into());
    } else if let Some(suite) = word.strip_prefix("no-") {
        sdes.no.push(suite.into());
    } else if let Some(list) = word.strip_prefix("order:") {
        sdes.order = suites(list);
    } else if let Some(list) = word.strip_prefix("offerer_pref:") {
        sdes.offerer_preference = suites(list);
    } else if let Some(apply) = choose("SDES", word, SDES) {
        apply(sdes);
    }
}

/// A word of the `OSRTP` list, or what follows the flag prefix.
pub(super) fn osrtp(decoder: &mut Decoder<'_>, word: &str) {
    if let Some(apply) = choose("OSRTP", word, OSRTP) {
        apply(&mut decoder.signal.security);
    }
}

/// A word of the `rtcp-mux` list, or what follows the flag prefix.
pub(super) fn rtcp_mux(decoder: &mut Decoder<'_>, word: &str) {
    if let Some(apply) = choose("rtcp-mux", word, RTCP_MUX) {
        apply(&mut decoder.signal.security.rtcp_mux);
    }
}

/// A word of the `bundle` list, or what follows the flag prefix.
pub(super) fn bundle(decoder: &mut Decoder<'_>, word: &str) {
    if let Some(apply) = choose("bundle", word, BUNDLE) {
        apply(&mut decoder.signal.security.bundle);
    }
}

/// The flag `WebRTC`: what a browser needs.
pub(super) fn webrtc(decoder: &mut Decoder<'_>) {
    let signal = &mut decoder.signal;
    signal.flags.webrtc = true;
    signal.flags.no_rtcp_attribute = true;
    signal.flags.generate_mid = true;
    let security = &mut signal.security;
    security.transport =
        Some(TransportOverride::Rtp(RtpProfile { secure: true, feedback: true, dtls: true }));
    security.ice = IceMode::Force;
    security.ice_trickle = true;
    security.rtcp_mux.offer = true;
    security.rtcp_mux.require = true;
    security.sdes.off = true;
    security.bundle.require = true;
}

/// Transport words of flag strings: each sets its part of the profile. Returns whether the word is one.
pub(super) fn transport_word(decoder: &mut Decoder<'_>, word: &str) -> bool {
    let transport_override = &mut decoder.signal.security.transport;
    let mut profile = match transport_override {
        Some(TransportOverride::Rtp(profile)) => *profile,
        _ => RtpProfile { secure: false, feedback: false, dtls: false },
    };
    match word {
        "RTP" => (profile.secure, profile.dtls) = (false, false),
        "SRTP" => profile.secure = true,
        "AVP" => profile.feedback = false,
        "AVPF" => profile.feedback = true,
        "DTLS" => (profile.secure, profile.dtls) = (true, true),
        name if name.contains('/') => match transport(name) {
            Some(TransportOverride::Rtp(named)) => profile = named,
            _ => return false,
        },
        _ => return false,
    }
    *transport_override = Some(TransportOverride::Rtp(profile));
    true
}
