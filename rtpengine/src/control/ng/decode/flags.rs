//! The `flags` list and its prefixes (sections 8 and 13 of the flag reference).

use std::sync::LazyLock;

use super::read::{choose_value, each_string};
use super::spellings::Spellings;
use super::{Decoder, Flag, FlagSetter, Key, codecs, network, sdp_attr, sdp_output, security, t38};
use crate::negotiate::signal::{AllSelector, AudioPlayer, RecordCall};

pub(super) const KEYS: &[Key] = &[(&["flags"], |d, v| each_string(v, |flag| d.flag(flag)))];

/// Keys of this relay alone, beside those of the specification.
pub(super) const OWN_KEYS: &[Key] = &[(&["explain"], |d, v| {
    if let Some(explain) = choose_value("explain", v, EXPLAIN) {
        d.signal.flags.explain = explain;
    }
})];

const EXPLAIN: &[(&[&str], bool)] = &[
    (&["yes", "on", "true", "enable", "enabled"], true),
    (&["no", "off", "false", "disable", "disabled"], false),
];

#[rustfmt::skip] // A table reads best with one flag a line.
pub(super) const FLAGS: &[Flag] = &[
    (&["trust-address", "trust address"], |d| d.signal.flags.trust_address = Some(true)),
    (&["SIP-source-address", "sip-source-address", "SIP source address", "sip source address"],
        |d| d.signal.flags.trust_address = Some(false)),
    (&["asymmetric"], |d| d.signal.flags.asymmetric = true),
    (&["strict-source", "strict source"], |d| d.signal.flags.strict_source = true),
    (&["media-handover", "media handover"], |d| d.signal.flags.media_handover = true),
    (&["port-latching", "port latching"], |d| d.signal.flags.port_latching = true),
    (&["no-port-latching", "no port latching"], |d| d.signal.flags.no_port_latching = true),
    (&["unidirectional"], |d| d.signal.flags.unidirectional = true),
    (&["pierce-NAT", "pierce-nat", "pierce NAT", "pierce nat"], |d| d.signal.flags.pierce_nat = true),
    (&["NAT-wait", "nat-wait", "NAT wait", "nat wait"], |d| d.signal.flags.nat_wait = true),
    (&["loop-protect", "loop protect"], |d| d.signal.flags.loop_protect = true),
    (&["WebRTC", "webrtc", "webRTC", "WebRtc"], security::webrtc),
    (&["trickle-ICE", "trickle-ice", "trickle ICE", "trickle ice"], |d| d.signal.security.ice_trickle = true),
    (&["fragment"], |d| d.signal.flags.fragment = true),
    (&["reject-ICE", "reject-ice", "reject ICE", "reject ice", "ICE-reject", "ice-reject", "ICE reject", "ice reject"],
        |d| d.signal.flags.reject_ice = true),
    (&["reset"], |d| d.signal.flags.reset = true),
    (&["generate-mid", "generate mid"], |d| d.signal.flags.generate_mid = true),
    (&["no-rtcp-attribute", "no-RTCP-attribute", "no rtcp attribute", "no RTCP attribute"],
        |d| d.signal.flags.no_rtcp_attribute = true),
    (&["full-rtcp-attribute", "full-RTCP-attribute", "full rtcp attribute", "full RTCP attribute"],
        |d| d.signal.flags.full_rtcp_attribute = true),
    (&["no-tls-id", "no tls id"], |d| d.signal.flags.no_tls_id = true),
    (&["original-sendrecv", "original sendrecv"], |d| d.signal.flags.original_sendrecv = true),
    (&["pad-crypto", "pad crypto"], |d| d.signal.security.sdes.pad = true),
    (&["recrypt"], |d| d.signal.flags.recrypt = true),
    (&["strip-extmap", "strip extmap"], |d| d.signal.output.extmap_strip_all = true),
    (&["generate-RTCP", "generate-rtcp", "generate RTCP", "generate rtcp"],
        |d| d.signal.network.generate_rtcp = Some(true)),
    (&["single-codec", "single codec"], |d| d.signal.codecs.single_codec = true),
    (&["allow-transcoding", "allow transcoding"], |d| d.signal.codecs.allow_transcoding = true),
    (&["force-transcoding", "force transcoding"], |d| d.signal.codecs.force_transcoding = true),
    (&["always-transcode", "always transcode"], |d| {
        d.signal.codecs.always_transcode = true;
        d.signal.codecs.accept_all = true;
    }),
    (&["allow-asymmetric-codecs", "allow-asymmetric-codec", "allow asymmetric codecs", "allow asymmetric codec"],
        |d| d.signal.codecs.allow_asymmetric_codecs = true),
    (&["allow-no-codec-media", "allow-no-codec-medias", "allow-empty-codec-media", "allow-empty-codec-medias",
        "allow no codec media", "allow no codec medias", "allow empty codec media", "allow empty codec medias"],
        |d| d.signal.codecs.allow_no_codec_media = true),
    (&["reuse-codecs", "reuse codecs", "no-codec-renegotiation", "no codec renegotiation"],
        |d| d.signal.codecs.reuse_codecs = true),
    (&["static-codecs", "static-codec", "static codecs", "static codec"], |d| d.signal.codecs.static_codecs = true),
    (&["symmetric-codecs", "symmetric codecs", "asymmetric-codecs", "asymmetric codecs", "reorder-codecs",
        "reorder codecs"], |_| tracing::info!("flags symmetric-, asymmetric- and reorder-codecs are obsolete")),
    (&["block-short", "block-shorts", "block-short-packets", "block short", "block shorts", "block short packets"],
        |d| d.signal.flags.block_short = true),
    (&["block-DTMF", "block-dtmf", "block DTMF", "block dtmf"], |d| d.signal.flags.block_dtmf = true),
    (&["block-egress", "block egress"], |d| d.signal.flags.block_egress = true),
    (&["detect-DTMF", "detect-dtmf", "detect DTMF", "detect dtmf"], |d| d.signal.flags.detect_dtmf = true),
    (&["inject-DTMF", "inject-dtmf", "inject DTMF", "inject dtmf"], |d| d.signal.flags.inject_dtmf = true),
    (&["audio-player", "audio player", "player"], |d| d.signal.network.audio_player = Some(AudioPlayer::Transcoding)),
    (&["no-player", "no player", "no-audio-player", "no audio player"],
        |d| d.signal.network.audio_player = Some(AudioPlayer::Off)),
    (&["early-media", "early media"], |d| d.signal.flags.early_media = true),
    (&["no-jitter-buffer", "no jitter buffer"], |d| d.signal.flags.no_jitter_buffer = true),
    (&["passthrough"], |d| d.signal.network.passthrough = Some(true)),
    (&["no-passthrough", "no passthrough"], |d| d.signal.network.passthrough = Some(false)),
    (&["record-call", "record call"], |d| d.signal.recording.record_call = Some(RecordCall::Start)),
    (&["recording-vsc", "recording-VSC", "recording vsc", "recording VSC"], |d| d.signal.recording.recording_vsc = true),
    (&["recording-announcement", "recording announcement"], |d| d.signal.recording.recording_announcement = true),
    (&["exclude-recording", "exclude recording"], |d| d.signal.recording.exclude = true),
    (&["skip-recording-db", "skip recording db", "skip-recording-database", "skip recording database"],
        |d| d.signal.recording.skip_database = true),
    (&["discard-recording", "discard recording"], |d| d.signal.recording.discard = true),
    (&["pause"], |d| d.signal.recording.pause = true),
    (&["new-branch", "new branch"], |d| d.signal.flags.new_branch = true),
    (&["provisional"], |d| d.signal.flags.provisional = true),
    (&["all"], |d| d.signal.flags.all = AllSelector::All),
    (&["directional"], |d| d.signal.flags.directional = true),
    (&["bidirectional"], |d| d.signal.flags.bidirectional = true),
    (&["inactive"], |d| d.signal.flags.inactive = true),
    (&["mix", "mixed"], |d| d.signal.flags.mix = true),
    (&["egress"], |d| d.signal.flags.egress = true),
    (&["SIPREC", "siprec"], |d| d.signal.flags.siprec = true),
    (&["mirror-RTCP", "mirror-rtcp", "mirror RTCP", "mirror rtcp", "RTCP-mirror", "rtcp-mirror", "RTCP mirror",
        "rtcp mirror"], |d| d.signal.flags.mirror_rtcp = true),
    (&["unsubscribe"], |d| d.signal.flags.unsubscribe = true),
    (&["to-tag", "to tag", "to_tag"], |d| d.signal.flags.honour_to_tag = true),
    (&["fatal"], |d| d.signal.flags.fatal = true),
    (&["fast"], |d| d.signal.flags.fast = true),
    (&["debug", "debugging"], |d| d.signal.flags.debug = true),
    (&["no-redis-update", "no redis update"], |d| d.signal.flags.no_redis_update = true),
];

static BY_SPELLING: LazyLock<Spellings<FlagSetter>> = LazyLock::new(|| {
    let spellings = |&(spellings, setter): &Flag| spellings.iter().map(move |&spelling| (spelling, setter));
    FLAGS.iter().flat_map(spellings).collect()
});

/// Takes what follows a prefix; returns whether it means something there.
type PrefixSetter = fn(&mut Decoder<'_>, &str) -> bool;

/// Prefixes, longer ones before those that they begin with.
const PREFIXES: &[(&str, PrefixSetter)] = &[
    ("endpoint-learning-", |d, rest| known(network::endpoint_learning, d, rest)),
    ("from-tags-", |d, rest| {
        d.signal.selection.from_tags.push(rest.into());
        true
    }),
    ("OSRTP-", |d, rest| known(security::osrtp, d, rest)),
    ("replace-", |d, rest| known(sdp_output::replace, d, rest)),
    ("rtcp-mux-", |d, rest| known(security::rtcp_mux, d, rest)),
    ("BUNDLE-", |d, rest| known(security::bundle, d, rest)),
    ("SDES-", |d, rest| known(security::sdes, d, rest)),
    ("T38-", |d, rest| d.is_offering() && known(t38::option, d, rest)),
    ("T.38-", |d, rest| d.is_offering() && known(t38::option, d, rest)),
    ("transcode-", |d, rest| codecs::flag(d, "transcode", rest)),
    ("codec-", |d, rest| match rest.split_once('-') {
        Some((operation, spec)) => codecs::flag(d, operation, spec),
        None => false,
    }),
    ("sdp-attr-", sdp_attr::flag),
];

/// Takes the word of a list; unknown ones have been logged there.
fn known(take: fn(&mut Decoder<'_>, &str), decoder: &mut Decoder<'_>, rest: &str) -> bool {
    take(decoder, rest);
    true
}

impl Decoder<'_> {
    /// Applies a flag; unknown ones are logged.
    pub(super) fn flag(&mut self, flag: &str) {
        if let Some(setter) = BY_SPELLING.get(flag) {
            return setter(self);
        }
        let prefixed =
            PREFIXES.iter().find_map(|(prefix, setter)| Some((flag.strip_prefix(prefix)?, setter)));
        let applied = prefixed.is_some_and(|(rest, setter)| setter(self, rest));
        if !applied {
            tracing::debug!(flag, "unknown flag ignored");
        }
    }
}
