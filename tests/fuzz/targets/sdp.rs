#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::sdp::model::{MediaDescription, SessionDescription};
use rtpengine::proto::sdp::render::VerbatimSection;
use rtpengine::proto::sdp::{
    AttributeEdits, MediaSectionOut, ParseOptions, SectionBody, SessionOut, parse, render, text,
};

fuzz_target!(|input: &[u8]| {
    let body = text::decode(input);
    assert_eq!(text::encode(body.clone().into_owned()), input);
    for reject_empty_line in [false, true] {
        for fragment in [false, true] {
            let _ = parse(&body, ParseOptions { reject_empty_line, fragment });
        }
    }
    let Ok(description) = parse(&body, ParseOptions::default()) else { return };
    let Some(printable) = printable(&description) else { return };
    let printed = render(&printable, &AttributeEdits::default());
    // No input may blow up: what is printed is bounded by what was read.
    assert!(
        printed.len() <= 4 * input.len() + 200 * (description.media.len() + 1),
        "{} octets",
        printed.len()
    );
    let again = parse(&printed, ParseOptions::default()).expect("what was printed can be read");
    assert_eq!(again.media.len(), description.media.len());
});

fn printable(description: &SessionDescription) -> Option<SessionOut> {
    let attributes = &description.attributes;
    Some(SessionOut {
        origin: description.origin.clone()?,
        session_name: description.session_name.clone().unwrap_or_default(),
        information: description.information.clone(),
        uri: description.uri.clone(),
        email: description.email.clone(),
        phone: description.phone.clone(),
        bandwidth: description.bandwidth,
        timing: None,
        instance: None,
        moh_attribute: None,
        ice_lite: attributes.ice_lite,
        groups: description.groups.clone(),
        unknown: attributes.unknown.clone(),
        media: description.media.iter().map(section).collect(),
    })
}

fn section(media: &MediaDescription) -> MediaSectionOut {
    MediaSectionOut {
        media_type: media.media_type.clone(),
        port: media.port,
        transport: media.transport.clone(),
        format_tokens: media.format_tokens.clone(),
        information: media.information.clone(),
        address: media.connection.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |c| c.address),
        bandwidth: media.bandwidth,
        mid: None,
        label: None,
        bundle_only: false,
        body: SectionBody::Verbatim(VerbatimSection {
            attribute_lines: media.attribute_lines.clone(),
            candidates: Vec::new(),
        }),
    }
}
