use proptest::prelude::*;

use super::*;

const COMPACT: Layout = Layout { header_full_only: false, always_request: false };
const HEADER_FULL: Layout = Layout { header_full_only: true, always_request: false };
const REQUESTING: Layout = Layout { header_full_only: false, always_request: true };

/// All types that have bits.
fn kinds() -> Vec<Kind> {
    let all = (0..16).flat_map(|frame_type| [Kind::primary(frame_type), Kind::io(frame_type)]);
    all.filter(|kind| kind.bits().is_some_and(|bits| bits > 0)).collect()
}

fn frame(kind: Kind, fill: u8) -> Frame {
    let mut frame = Frame::empty(kind.is_io, kind.frame_type);
    frame.fill(kind.bits().unwrap(), &[fill; 320]).unwrap();
    frame
}

fn packed(layout: Layout, request: u8, frames: &[Frame]) -> Vec<u8> {
    let mut out = vec![9];
    pack(layout, request, frames, &mut out).unwrap();
    out.split_off(1)
}

fn unpacked(layout: Layout, payload: &[u8]) -> Option<(u8, Vec<Frame>)> {
    let mut frames = Vec::new();
    let request = unpack(layout.header_full_only, payload, |frame| {
        frames.push(*frame);
        true
    })?;
    Some((request, frames))
}

#[test]
fn compact_payloads_have_the_protected_sizes() {
    // Table A.1, in bits, ascending.
    let sizes = [
        48, 56, 136, 144, 160, 184, 192, 256, 264, 288, 320, 328, 368, 400, 464, 480, 488, 640, 960, 1280,
        1920, 2560,
    ];
    let mut made: Vec<usize> =
        kinds().iter().filter_map(|kind| kind.compact_octets()).map(|octets| octets * 8).collect();
    made.sort_unstable();
    assert_eq!(made, sizes);
    for kind in kinds().into_iter().filter(|kind| *kind != Kind::io(9)) {
        let payload = packed(COMPACT, NO_REQUEST, &[frame(kind, 0x5a)]);
        assert!(sizes.contains(&(payload.len() * 8)), "{kind:?}");
        assert_eq!(unpacked(COMPACT, &payload), Some((NO_REQUEST, vec![frame(kind, 0x5a)])), "{kind:?}");
    }
}

#[test]
fn of_56_bits_the_first_one_tells() {
    let primary = packed(COMPACT, NO_REQUEST, &[frame(Kind::primary(0), 0x7f)]);
    assert_eq!(primary, [0x7f; 7]);
    assert_eq!(unpacked(COMPACT, &primary).unwrap().1, [frame(Kind::primary(0), 0x7f)]);
    let noise = packed(COMPACT, NO_REQUEST, &[frame(Kind::io(9), 0x7f)]);
    assert_eq!(noise, [0xff, 0x39, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f]);
    assert_eq!(unpacked(COMPACT, &noise), Some((NO_REQUEST, vec![frame(Kind::io(9), 0x7f)])));
    // A primary frame that begins with a one needs a header, and a header-full noise frame of 56 bits padding.
    assert_eq!(packed(COMPACT, NO_REQUEST, &[frame(Kind::primary(0), 0xff)]).len(), 8);
    let noise = frame(Kind::primary(12), 1);
    assert_eq!(packed(COMPACT, NO_REQUEST, &[noise, noise]).len(), 14);
    assert_eq!(packed(HEADER_FULL, NO_REQUEST, &[noise]).len(), 7);
}

#[test]
fn amr_wb_bits_follow_three_of_a_request_and_the_first_is_last() {
    let mut first = Frame::empty(true, 0);
    let mut octets = [0; 17];
    octets[0] = 0x80;
    first.fill(132, &octets).unwrap();
    let payload = packed(COMPACT, REQUEST_IO | 4, &[first]);
    // 15.85 is 011; bit 0 comes behind the 131 others: bit 3 + 131 of 136.
    assert_eq!((payload.len(), payload[0], payload[16]), (17, 0x60, 2));
    assert_eq!(unpacked(COMPACT, &payload), Some((REQUEST_IO | 4, vec![first])));
    octets = [0; 17];
    octets[0] = 0x40;
    first.fill(132, &octets).unwrap();
    assert_eq!(packed(COMPACT, NO_REQUEST, &[first])[..2], [0xf0, 0]);
    // 14.25 cannot be asked for with three bits.
    let payload = packed(COMPACT, REQUEST_IO | 3, &[first]);
    assert_eq!(payload[..2], [0x93, 0x30]);
    assert_eq!(unpacked(COMPACT, &payload), Some((REQUEST_IO | 3, vec![first])));
}

#[test]
fn headers_have_requests_tables_and_quality() {
    let [one, two] = [frame(Kind::primary(4), 0x11), frame(Kind::primary(1), 0x22)];
    assert_eq!(packed(HEADER_FULL, NO_REQUEST, &[one])[..2], [0x04, 0x11]);
    assert_eq!(packed(REQUESTING, NO_REQUEST, &[one])[..3], [0xff, 0x04, 0x11]);
    let both = packed(COMPACT, 0xa4, &[one, two]);
    assert_eq!((both.len(), &both[..3]), (3 + 33 + 18, &[0xa4, 0x44, 0x01][..]));
    assert_eq!(unpacked(COMPACT, &both), Some((0xa4, vec![one, two])));
    let empty = [Frame::empty(false, NO_DATA), frame(Kind::io(2), 0)];
    let payload = packed(COMPACT, NO_REQUEST, &empty);
    assert_eq!(payload[..2], [0x4f, 0x32]);
    assert_eq!(unpacked(COMPACT, &payload), Some((NO_REQUEST, empty.to_vec())));
    // A damaged frame.
    let damaged = [&[0x22_u8][..], &[0; 32]].concat();
    assert_eq!(unpacked(HEADER_FULL, &damaged).unwrap().1[0].good, 0);
    // Padding makes no difference.
    let padded = [&both[..], &[0; 5]].concat();
    assert_eq!(unpacked(COMPACT, &padded), Some((0xa4, vec![one, two])));
}

#[test]
fn what_is_not_whole_is_refused() {
    for payload in [
        &[][..],
        &[0xff],
        // A table without end, one with a second request, types that are not defined, frames that are too short.
        &[0x4f; 19],
        &[0xff, 0xff, 0x0f],
        &[0x0d, 0, 0],
        &[0x2a, 0, 0],
        &[0x04, 0, 0],
    ] {
        assert_eq!(unpacked(COMPACT, payload), None, "{payload:?}");
        assert_eq!(unpacked(HEADER_FULL, payload), None, "{payload:?}");
    }
    let mut out = Vec::new();
    assert_eq!(pack(COMPACT, NO_REQUEST, &[], &mut out), None);
    let mut wrong = frame(Kind::primary(4), 1);
    wrong.bits = 256;
    assert_eq!(pack(COMPACT, NO_REQUEST, &[wrong], &mut out), None);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn frames_survive_every_layout(
        header_full_only: bool,
        always_request: bool,
        request in prop::sample::select(vec![NO_REQUEST, 0x80, 0xa4, 0x90, 0x93, 0x98, 0xd2]),
        types in prop::collection::vec(0..kinds().len(), 1..MOST_FRAMES),
        fill: u8,
    ) {
        let layout = Layout { header_full_only, always_request };
        let frames: Vec<Frame> = types.iter().map(|&index| frame(kinds()[index], fill)).collect();
        let payload = packed(layout, request, &frames);
        prop_assert_eq!(unpacked(layout, &payload), Some((request, frames)));
    }

    #[test]
    fn no_octets_panic(header_full_only: bool, octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let layout = Layout { header_full_only, always_request: false };
        if let Some((_, frames)) = unpacked(layout, &octets) {
            prop_assert!(frames.len() <= MOST_FRAMES);
            for frame in frames {
                let kind = Kind::of(&frame).unwrap();
                prop_assert_eq!(kind.bits().map(u32::from), Some(frame.bits));
            }
        }
    }
}
