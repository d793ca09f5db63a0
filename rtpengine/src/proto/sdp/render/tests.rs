use super::*;
use crate::proto::sdp::model::MediaDescription;
use crate::proto::sdp::{ParseOptions, parse};

/// Everything that a generated description can say, in the order of output.
const FULL: &str = "v=0
o=- 12 34 IN IP4 192.0.2.11
s=A meeting
i=info
u=http://example.com/x
e=me@example.com
p=+1 555 0100
b=AS:512
b=CT:1000
t=100 200
a=rtpengine:0123456789ab
a=ice-lite
a=group:BUNDLE 0 1
a=tool:unit
a=
m=audio 30000 UDP/TLS/RTP/SAVPF 0 96 101
i=media
c=IN IP4 203.0.113.1
b=AS:64
b=RR:0
b=RS:800
b=TIAS:64000
a=mid:0
a=label:7
a=bundle-only
a=rtpmap:0 PCMU/8000
a=rtpmap:96 opus/48000/2
a=fmtp:96 stereo=1; useinbandfec=1
a=rtcp-fb:96 nack
a=rtcp-fb:96 transport-cc
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=extmap-allow-mixed
a=extmap:1 urn:x
a=X-media:two words
a=recvonly
a=rtcp:30001 IN IP4 203.0.113.1
a=rtcp-mux
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:jjeYGAhR951M2RWe6res/0Ff67q69nEPm2n2RjtG|1:4 UNENCRYPTED_SRTCP
a=setup:actpass
a=fingerprint:sha-1 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:FF
a=tls-id:0123456789abcdef
a=ptime:20
a=maxptime:40
a=ice-ufrag:abcdefgh
a=ice-pwd:abcdefghijklmnopqrstuvwxyz
a=ice-options:trickle ice2
a=candidate:f 1 UDP 2130706431 203.0.113.1 30000 typ host
a=end-of-candidates
m=image 5006 udptl t38
c=IN IP6 2001:db8::1
a=T38FaxVersion:0
a=end-of-candidates
m=video 0 RTP/AVP 97
c=IN IP4 0.0.0.0
a=mid:vid
";

/// The parsed description as output, without a call in between.
fn mirror(body: &str) -> SessionOut {
    let parsed = parse(body, ParseOptions::default()).unwrap();
    let media = parsed.media.iter().map(mirror_media).collect();
    SessionOut {
        origin: parsed.origin.unwrap(),
        session_name: parsed.session_name.unwrap_or_default(),
        information: parsed.information,
        uri: parsed.uri,
        email: parsed.email,
        phone: parsed.phone,
        bandwidth: parsed.bandwidth,
        timing: parsed.timing,
        instance: parsed.instances.into_iter().flatten().next(),
        moh_attribute: None,
        ice_lite: parsed.attributes.ice_lite,
        groups: parsed.groups,
        unknown: parsed.attributes.unknown,
        media,
    }
}

fn mirror_media(media: &MediaDescription) -> MediaSectionOut {
    let a = media.attributes.clone();
    let body = if media.port == 0 {
        SectionBody::Rejected
    } else if !media.transport.is_rtp() {
        SectionBody::Verbatim(VerbatimSection {
            attribute_lines: media.attribute_lines.clone(),
            candidates: vec![],
        })
    } else {
        SectionBody::Generated(Box::new(GeneratedSection {
            formats: media.formats.clone(),
            extmap_allow_mixed: a.extmap_allow_mixed,
            extmap: a.extmap,
            unknown: a.unknown,
            direction: a.direction,
            rtcp: a.rtcp,
            rtcp_mux: a.rtcp_mux,
            crypto: a.crypto,
            key_style: KeyStyle::default(),
            setup: a.setup,
            fingerprint: a.fingerprint,
            tls_id: a.tls_id,
            ptime_ms: a.ptime_ms,
            maxptime_ms: a.maxptime_ms,
            ice: a.ice_ufrag.zip(a.ice_pwd).map(|(ufrag, pwd)| IceOut {
                ufrag,
                pwd,
                options: a.ice_options,
                candidates: a.candidates,
                remote_candidates: vec![],
                end_of_candidates: a.end_of_candidates,
            }),
        }))
    };
    MediaSectionOut {
        media_type: media.media_type.clone(),
        port: media.port,
        transport: media.transport.clone(),
        format_tokens: media.format_tokens.clone(),
        information: media.information.clone(),
        address: media.connection.unwrap().address,
        bandwidth: media.bandwidth,
        mid: a.mid,
        label: a.label,
        bundle_only: a.bundle_only,
        body,
    }
}

#[test]
fn a_description_in_output_order_survives_parse_and_render() {
    let text = render(&mirror(FULL), &AttributeEdits::default());
    assert_eq!(text, FULL.replace('\n', "\r\n"));
}

#[test]
fn edits_apply_to_their_section_only() {
    let mut edits = AttributeEdits::default();
    edits.session_mut().add("a=glob:1");
    edits.session_mut().remove("tool");
    edits.media_mut("audio").remove("candidate");
    edits.media_mut("audio").substitute("recvonly", "sendonly");
    edits.media_mut("video").add("X-v");
    edits.media_mut("image").remove("T38FaxVersion:0");
    let text = render(&mirror(FULL), &edits);
    let expected = FULL
        .replace("a=tool:unit\na=\n", "a=\na=glob:1\n")
        .replace("a=candidate:f 1 UDP 2130706431 203.0.113.1 30000 typ host\n", "")
        .replace("a=recvonly", "a=sendonly")
        .replace("a=T38FaxVersion:0\n", "")
        .replace("a=mid:vid\n", "a=mid:vid\na=X-v\n");
    assert_eq!(text, expected.replace('\n', "\r\n"));
}

#[test]
fn a_bare_section_is_its_m_line() {
    let mut session = mirror(FULL);
    session.media.drain(..2);
    session.media[0].body = SectionBody::Bare;
    let text = render(&session, &AttributeEdits::default());
    assert!(text.ends_with("m=video 0 RTP/AVP 97\r\n"), "{text}");
}

#[test]
fn numbers_follow_the_formats_when_no_tokens_are_given() {
    let mut session = mirror(FULL);
    session.media[0].format_tokens.clear();
    assert_eq!(render(&session, &AttributeEdits::default()), FULL.replace('\n', "\r\n"));
}

#[test]
fn remote_candidates_are_one_line() {
    let mut session = mirror(FULL);
    if let SectionBody::Generated(section) = &mut session.media[0].body {
        section.ice.as_mut().unwrap().remote_candidates =
            vec![(1, "192.0.2.1".parse().unwrap(), 9), (2, "192.0.2.1".parse().unwrap(), 10)];
    }
    let text = render(&session, &AttributeEdits::default());
    assert!(
        text.contains("a=remote-candidates:1 192.0.2.1 9 2 192.0.2.1 10\r\na=end-of-candidates\r\n"),
        "{text}"
    );
}
