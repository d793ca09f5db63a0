use super::*;
use crate::proto::sdp::{ParseOptions, parse};

/// A section: (mid, port, payload type, further lines).
type Line = (&'static str, u16, u8, &'static str);

fn describe(groups: &str, lines: &[Line]) -> SessionDescription {
    let mut body =
        format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{groups}");
    for (mid, port, number, further) in lines {
        body += &format!("m=audio {port} RTP/AVP {number}\r\na=rtpmap:{number} opus/48000/2\r\n{further}");
        if !mid.is_empty() {
            body += &format!("a=mid:{mid}\r\n");
        }
    }
    parse(&body, ParseOptions::default()).expect("description")
}

fn sections(sdp: &SessionDescription) -> Vec<Option<&MediaDescription>> {
    sdp.media.iter().map(Some).collect()
}

fn offered(sdp: &SessionDescription, options: BundleOptions) -> Vec<Bundling> {
    let mut bundling = vec![Bundling::default(); sdp.media.len()];
    offered_by(sdp, &sections(sdp), options, &mut bundling);
    bundling
}

fn accept() -> BundleOptions {
    BundleOptions { accept: true, ..BundleOptions::default() }
}

fn carriers(bundling: &[Bundling]) -> Vec<Option<usize>> {
    bundling.iter().map(Bundling::carrier).collect()
}

const MID: &str = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";

#[test]
fn only_sections_that_can_be_told_apart_are_grouped() {
    /// Sections, carriers, grouped.
    type Case = (&'static [Line], [Option<usize>; 2], [bool; 2]);
    const CASES: &[Case] = &[
        (&[("a", 9, 96, ""), ("v", 9, 97, "")], [None, Some(0)], [true, true]),
        (&[("a", 9, 96, ""), ("v", 9, 96, "")], [None, None], [true, false]),
        (&[("a", 9, 96, MID), ("v", 9, 96, MID)], [None, Some(0)], [true, true]),
        (&[("a", 9, 96, MID), ("v", 9, 96, "")], [None, None], [true, false]),
        (&[("a", 9, 96, "a=rtcp-mux\r\n"), ("v", 9, 97, "")], [None, None], [true, false]),
        (&[("a", 9, 96, ""), ("v", 0, 97, "")], [None, None], [true, false]),
        (&[("a", 0, 96, ""), ("v", 9, 97, "")], [None, None], [false, true]),
        (&[("", 9, 96, ""), ("v", 9, 97, "")], [None, None], [false, true]),
    ];
    for (lines, expected, grouped) in CASES {
        let bundling = offered(&describe("a=group:BUNDLE a v\r\n", lines), accept());
        assert_eq!(carriers(&bundling), expected, "{lines:?}");
        assert_eq!(bundling.iter().map(Bundling::is_grouped).collect::<Vec<_>>(), grouped, "{lines:?}");
    }
}

#[test]
fn groups_are_accepted_on_request_and_remembered_until_refused() {
    let sdp = describe("a=group:BUNDLE a v\r\n", &[("a", 9, 96, ""), ("v", 9, 97, "")]);
    assert_eq!(carriers(&offered(&sdp, BundleOptions::default())), [None, None]);
    let mut bundling = offered(&sdp, accept());
    offered_by(&sdp, &sections(&sdp), BundleOptions::default(), &mut bundling);
    assert_eq!(carriers(&bundling), [None, Some(0)]);
    let reject = BundleOptions { reject: true, ..accept() };
    offered_by(&sdp, &sections(&sdp), reject, &mut bundling);
    assert_eq!(bundling, [Bundling::default(); 2]);
}

#[test]
fn several_groups_stay_apart_and_their_tagged_section_comes_first() {
    let lines = [("a", 9, 96, ""), ("b", 9, 97, ""), ("c", 9, 98, ""), ("d", 9, 99, "")];
    let sdp = describe("a=group:LS a b\r\na=group:BUNDLE c a\r\na=group:BUNDLE b d a\r\n", &lines);
    let bundling = offered(&sdp, accept());
    assert_eq!(carriers(&bundling), [Some(2), None, None, Some(1)]);
    let members: Vec<(usize, Bundling, &str)> = bundling
        .iter()
        .zip(&lines)
        .enumerate()
        .map(|(at, (bundling, line))| (at, *bundling, line.0))
        .collect();
    let named: Vec<String> = groups(&members).iter().map(|group| group.mids.join(" ")).collect();
    assert_eq!(named, ["c a", "b d"]);
}

#[test]
fn what_the_answer_refuses_leaves_the_offerers_group() {
    let lines = [("a", 9, 96, ""), ("b", 9, 97, ""), ("c", 9, 98, "")];
    let mut bundling = offered(&describe("a=group:BUNDLE a b c\r\n", &lines), accept());
    let answer = describe("", &[("a", 0, 96, ""), ("b", 5, 97, ""), ("c", 7, 98, "")]);
    answered_to(&sections(&answer), &mut bundling);
    assert_eq!(carriers(&bundling), [None, None, Some(1)], "the next one stands for the group");
    answered_to(&[None, None, None], &mut bundling);
    assert!(bundling.iter().all(|bundling| !bundling.is_grouped()));
}

#[test]
fn a_group_that_was_demanded_shares_a_transport_from_the_start() {
    let sdp = describe("", &[("", 9, 96, ""), ("", 11, 97, "")]);
    for (offer, require, expected) in [(true, false, [None, None]), (false, true, [None, Some(0)])] {
        let options = BundleOptions { offer, require, ..BundleOptions::default() };
        let mut bundling = [Bundling::default(); 2];
        offered_to(&sdp, &sections(&sdp), options, &mut bundling);
        assert_eq!(carriers(&bundling), expected);
        let answer = describe("a=group:BUNDLE 1 2\r\n", &[("1", 5, 96, ""), ("2", 5, 97, "")]);
        let before = bundling;
        answered_by(&answer, &sections(&answer), &mut bundling);
        assert_eq!(heir(&before, &bundling, &sections(&answer), 0), None);
        assert_eq!(carriers(&bundling), [None, Some(0)], "accepted");
        // Without the keys it goes on as it is.
        offered_to(&sdp, &sections(&sdp), BundleOptions::default(), &mut bundling);
        assert_eq!(carriers(&bundling), [None, Some(0)]);
    }
}

#[test]
fn a_section_inherits_the_transport_of_a_refused_one() {
    let sdp = describe("", &[("", 9, 96, ""), ("", 11, 97, ""), ("", 13, 98, "")]);
    let mut bundling = [Bundling::default(); 3];
    let require = BundleOptions { require: true, ..BundleOptions::default() };
    offered_to(&sdp, &sections(&sdp), require, &mut bundling);
    let answer = describe("a=group:BUNDLE 2 3\r\n", &[("1", 0, 96, ""), ("2", 5, 97, ""), ("3", 5, 98, "")]);
    let before = bundling;
    answered_by(&answer, &sections(&answer), &mut bundling);
    assert_eq!(heir(&before, &bundling, &sections(&answer), 0), Some(1));
    assert_eq!(carriers(&bundling), [None, None, Some(1)]);
    assert!(!bundling[0].is_shared() && bundling[1].is_shared());
}

#[test]
fn a_group_keeps_its_transport_whichever_section_stands_for_it() {
    /// Group, ports, who goes on with the transport of the first section.
    type Case = (&'static str, [u16; 3], Option<usize>);
    const CASES: &[Case] = &[
        ("a=group:BUNDLE a b c\r\n", [9, 9, 9], None),
        ("a=group:BUNDLE a\r\n", [9, 9, 9], None),
        ("a=group:BUNDLE c a b\r\n", [9, 9, 9], Some(2)),
        ("a=group:BUNDLE b c\r\n", [0, 9, 9], Some(1)),
        ("a=group:BUNDLE c\r\n", [0, 0, 9], Some(2)),
        ("a=group:BUNDLE c b\r\n", [9, 9, 9], Some(2)),
        ("", [9, 9, 9], None),
        ("", [0, 9, 9], Some(1)),
        ("", [0, 0, 0], None),
    ];
    let describe =
        |group, [a, b, c]: [u16; 3]| describe(group, &[("a", a, 96, ""), ("b", b, 97, ""), ("c", c, 98, "")]);
    let sdp = describe("a=group:BUNDLE a b c\r\n", [9; 3]);
    for (group, ports, expected) in CASES {
        let before = offered(&sdp, accept());
        let next = describe(group, *ports);
        let mut after = before.clone();
        offered_by(&next, &sections(&next), accept(), &mut after);
        assert_eq!(heir(&before, &after, &sections(&next), 0), *expected, "{group} {ports:?}");
    }
}

#[test]
fn an_answer_without_the_group_dissolves_it() {
    let sdp = describe("", &[("", 9, 96, ""), ("", 11, 97, "")]);
    let mut bundling = [Bundling::default(); 2];
    let offer = BundleOptions { offer: true, ..BundleOptions::default() };
    offered_to(&sdp, &sections(&sdp), offer, &mut bundling);
    let answer = describe("", &[("1", 5, 96, ""), ("2", 7, 97, "")]);
    answered_by(&answer, &sections(&answer), &mut bundling);
    assert!(bundling.iter().all(|bundling| !bundling.is_grouped() && !bundling.is_shared()));
}

#[test]
fn the_mid_extension_gets_a_number_that_is_free_everywhere() {
    let options = OutputOptions::default();
    let offer = BundleOptions { offer: true, ..BundleOptions::default() };
    // (lines of the first, of the second section, number)
    const CASES: &[(&str, &str, u16)] = &[
        ("", "", 1),
        ("a=extmap:1 urn:x\r\n", "a=extmap:2 urn:y\r\n", 3),
        (MID, "a=extmap:1 urn:x\r\n", 4),
        (MID, "a=extmap:4 urn:x\r\n", 1),
    ];
    for (first, second, number) in CASES {
        let body_lines: [Line; 2] = [("", 9, 96, first), ("", 11, 97, second)];
        let sdp = describe("", &body_lines);
        let mut bundling = [Bundling::default(); 2];
        offered_to(&sdp, &sections(&sdp), offer, &mut bundling);
        for (media, bundling) in sdp.media.iter().zip(&bundling) {
            let list = Extensions { source: media.extmap(&sdp), options: &options }.offered(bundling);
            let mids: Vec<u16> = list.iter().filter(|m| m.uri == MID_EXTENSION).map(|m| m.id).collect();
            assert_eq!(mids, [*number], "{first:?} {second:?}");
            let mut ids: Vec<u16> = list.iter().map(|map| map.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), list.len(), "numbers are unique");
        }
    }
}

#[test]
fn masked_extensions_come_back_to_whoever_offered_them() {
    let map = |id, uri: &str| ExtMap { id, uri: uri.into() };
    let source = [map(1, "urn:a"), map(2, "urn:b"), map(3, "urn:c")];
    let options = OutputOptions {
        extmap_mask: vec!["urn:b".into()],
        extmap_strip: vec!["urn:c".into()],
        ..OutputOptions::default()
    };
    let extensions = Extensions { source: &source, options: &options };
    let alone = Bundling::default();
    assert_eq!(extensions.offered(&alone), [map(1, "urn:a")]);
    let masked: Vec<ExtMap> = extensions.masked().cloned().collect();
    let answer = Extensions { source: &source[..1], options: &OutputOptions::default() };
    assert_eq!(answer.answered(&masked, &alone, &alone), [map(2, "urn:b"), map(1, "urn:a")]);
}

#[test]
fn generated_mids_avoid_those_in_use() {
    assert_eq!(generated_mid(2, |_| false), "2");
    assert_eq!(generated_mid(1, |mid| mid == "1" || mid == "2"), "3");
}
