use proptest::prelude::*;

use super::*;
use crate::proto::sdp::model::Direction;
use crate::proto::sdp::text;

const HEAD: &str = "v=0\no=desk 1001 1 IN IP4 192.0.2.11\ns=call\nc=IN IP4 192.0.2.11\nt=0 0\n";

fn read(body: &str) -> Result<SessionDescription, SdpError> {
    parse(body, ParseOptions::default())
}

#[test]
fn malformed_bodies_fail_and_incomplete_ones_say_so() {
    let fatal = "Failed to parse SDP";
    let incomplete = "Incomplete SDP specification";
    for (body, reason) in [
        ("o=- 1 1 IN IP4 192.0.2.1\n".to_owned(), fatal),
        ("hello world".to_owned(), fatal),
        (HEAD.replace("v=0", "v=1"), fatal),
        (format!("{HEAD}x=1\n"), fatal),
        (format!("{HEAD}no equals sign\n"), fatal),
        (format!("{HEAD}o=a 1 1 IN IP4 192.0.2.1\n"), fatal),
        (format!("{HEAD}c=IN IP4 192.0.2.1\n"), fatal),
        (HEAD.replace("c=IN IP4 192.0.2.11", "c=IN IP4 not.an.address"), fatal),
        (HEAD.replace("c=IN IP4", "c=IN IP6"), fatal),
        (HEAD.replace("o=desk 1001 1", "o=desk 1001"), fatal),
        (format!("{HEAD}m=audio x RTP/AVP 0\n"), fatal),
        (format!("{HEAD}m=audio 70000 RTP/AVP 0\n"), fatal),
        (format!("{HEAD}m=audio 10/0 RTP/AVP 0\n"), fatal),
        (format!("{HEAD}m=audio 10/11 RTP/AVP 0\n"), fatal),
        (format!("{HEAD}m=audio 10 RTP/AVP 0\ns=x\n"), fatal),
        (format!("{HEAD}m=audio 10 RTP/AVP 0\nc=IN IP4 1.2.3.4\nc=IN IP4 1.2.3.4\n"), fatal),
        (format!("{HEAD}m=audio 10 RTP/AVP 0 999\n"), incomplete),
        (format!("{HEAD}m=audio 10 RTP/AVP 128\n"), incomplete),
        (format!("{HEAD}m=audio 10 RTP/AVP x\n"), incomplete),
        (format!("{}m=audio 10 RTP/AVP 0\n", HEAD.replace("c=IN IP4 192.0.2.11\n", "")), incomplete),
    ] {
        let error = read(&body).expect_err(&body);
        assert_eq!(error.reason(), reason, "{body}");
    }
}

#[test]
fn tolerated_oddities_pass() {
    for tail in [
        "m=audio 0 RTP/AVP 999 x\n",
        "m=message 7654 TCP/MSRP *\n",
        "r=7d 1h 0 25h\nz=0 0\nk=clear:x\nm=audio 1 RTP/AVP 0\nk=prompt\n",
        "m=audio 1 RTP/AVP 0\n\nthis is not sdp\n",
        "m=audio 1 RTP/AVP 0\nx",
    ] {
        assert_eq!(read(&format!("{HEAD}{tail}")).expect(tail).media.len(), 1, "{tail}");
    }
    assert_eq!(read("").unwrap().media.len(), 0);
    assert_eq!(
        read(&HEAD.replace("192.0.2.11\ns", "pbx.example.com\ns")).unwrap().origin.unwrap().address,
        "pbx.example.com"
    );
}

#[test]
fn an_empty_line_is_an_error_when_asked_for() {
    let options = ParseOptions { reject_empty_line: true, ..ParseOptions::default() };
    let body = format!("{HEAD}m=audio 1 RTP/AVP 0\n\nthis is not sdp\n");
    assert_eq!(parse(&body, options), Err(SdpError::EmptyLine { line: 7 }));
}

#[test]
fn a_fragment_needs_no_version_and_no_address() {
    let body = "a=ice-ufrag:u\na=ice-pwd:p\nm=audio 9 RTP/AVP 0\na=mid:a1\na=candidate:h 1 UDP 5 192.0.2.39 30900 typ host\n";
    let options = ParseOptions { fragment: true, ..ParseOptions::default() };
    let session = parse(body, options).unwrap();
    assert_eq!(session.media[0].ice_ufrag(&session), Some("u"));
    assert_eq!(session.media[0].attributes.candidates.len(), 1);
    assert_eq!(read(body), Err(SdpError::Version));
}

#[test]
fn media_values_win_over_session_values() {
    let body = format!(
        "{HEAD}a=sendonly\na=setup:active\na=ice-ufrag:s\na=ice-lite\na=extmap:1 urn:s\n\
         m=audio 10 RTP/AVP 0\nm=audio 12 RTP/AVP 0\nc=IN IP4 192.0.2.15\na=inactive\na=ice-ufrag:m\na=extmap:2 urn:m\na=rtcp:99\n"
    );
    let session = read(&body).unwrap();
    let [first, second] = &session.media[..] else { panic!("two sections") };
    assert_eq!(
        (first.direction(&session), second.direction(&session)),
        (Direction::SendOnly, Direction::Inactive)
    );
    assert_eq!((first.ice_ufrag(&session), second.ice_ufrag(&session)), (Some("s"), Some("m")));
    assert!(first.ice_lite(&session));
    assert_eq!(first.extmap(&session)[0].uri, "urn:s");
    assert_eq!(second.extmap(&session).len(), 1);
    assert_eq!(first.rtcp_endpoint(&session), "192.0.2.11:11".parse().ok());
    assert_eq!(second.rtcp_endpoint(&session), "192.0.2.15:99".parse().ok());
}

#[test]
fn rtcp_equal_to_the_rtp_port_means_mux_unless_ports_are_counted() {
    let session =
        read(&format!("{HEAD}m=audio 10 RTP/AVP 0\na=rtcp:10\nm=audio 20/2 RTP/AVP 0\na=rtcp:20\n")).unwrap();
    assert!(session.media[0].offers_rtcp_mux(&session));
    assert!(!session.media[1].offers_rtcp_mux(&session));
    assert_eq!(session.media[1].rtcp_endpoint(&session), "192.0.2.11:21".parse().ok());
}

#[test]
fn several_sessions_are_joined_and_do_not_leak_into_each_other() {
    let second =
        HEAD.replace("desk", "other").replace("s=call", "s=two").replace("c=IN IP4 192.0.2.11\n", "");
    let body = format!(
        "{HEAD}a=X-1\na=sendonly\na=rtpengine:one\nm=audio 10 RTP/AVP 0\n{second}a=X-2\nm=audio 12 RTP/AVP 0\nc=IN IP4 192.0.2.9\n"
    );
    let session = read(&body).unwrap();
    assert_eq!(session.origin.as_ref().unwrap().username, "desk");
    assert_eq!(session.session_name.as_deref(), Some("two"));
    assert_eq!(session.attributes.unknown, ["X-1", "X-2"]);
    assert_eq!(session.instances, [Some("one".into()), None]);
    assert_eq!(session.media[0].connection_address(&session), "192.0.2.11".parse().ok());
    assert_eq!(session.media[0].direction(&session), Direction::SendOnly);
    assert_eq!(session.media[1].direction(&session), Direction::SendRecv);
}

#[test]
fn a_session_without_address_does_not_use_the_address_of_an_earlier_one() {
    let second = HEAD.replace("c=IN IP4 192.0.2.11\n", "");
    let error = read(&format!("{HEAD}{second}m=audio 12 RTP/AVP 0\n")).unwrap_err();
    assert_eq!(error, SdpError::NoAddress { media: 0 });
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(read(&format!("{HEAD}{}", "a=x\n".repeat(MAX_LINES))), Err(SdpError::TooLong));
    assert_eq!(
        read(&format!("{HEAD}{}", "m=audio 0 RTP/AVP 0\n".repeat(MAX_MEDIA + 1))),
        Err(SdpError::TooLong)
    );
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300), fragment: bool) {
        let _ = parse(&text::decode(&body), ParseOptions { reject_empty_line: false, fragment });
    }

    #[test]
    fn no_lines_make_it_panic(lines in proptest::collection::vec("[vosiuepcbtkrzma]=(rtpmap|fmtp|crypto|candidate|extmap|rtcp|group|audio|IN|:|/|[0-9]{1,6}|2\\^| |\\PC){0,12}", 0..20)) {
        let _ = parse(&format!("{HEAD}{}", lines.join("\n")), ParseOptions::default());
    }
}

#[test]
fn a_transport_of_control_characters_is_none() {
    let sdp = |transport: &str| {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 {transport}\r\n"
        );
        parse(&text, ParseOptions::default())
    };
    assert!(sdp("RTP/AVP").is_ok());
    assert!(matches!(sdp("\u{b}"), Err(SdpError::Media { line: 6 })), "{:?}", sdp("\u{b}"));
}
