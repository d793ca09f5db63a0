//! Any octets as an RTP packet: its header extensions are walked, found and hidden.

#![no_main]

use codec::header_extension::{Elements, Ids, find, hide};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((ids, packet)) = input.split_at_checked(4) else { return };
    let (mut walk, mut elements) = (Elements::of(packet), Vec::new());
    while let Some(element) = walk.next(packet) {
        elements.push(element);
        assert!(elements.len() <= packet.len(), "every element has an octet of its own");
    }
    for id in 0..=u8::MAX {
        let found = find(packet, id);
        assert!(found.is_none_or(|data| packet.as_ptr_range().contains(&data.as_ptr()) || data.is_empty()));
    }
    let hidden: Ids = ids.iter().copied().collect();
    let mut changed = packet.to_vec();
    let any = hide(&mut changed, &hidden);
    assert_eq!(changed.len(), packet.len());
    assert!(any || changed == packet);
    for id in ids {
        assert!(!hidden.contains(*id) || *id == 0 || find(&changed, *id).is_none(), "{id} is still there");
    }
    assert!(!hide(&mut changed, &hidden), "nothing is left to hide");
});
