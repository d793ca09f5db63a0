#![no_main]

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use rtpengine::media::classify::{PacketKind, classify};
use rtpengine::proto::dtls::{Endpoint, Event, Identity, Path, Role, Settings, record};

static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| Identity::generate(&Settings::default(), "fuzz", SystemTime::now()).expect("identity"));

// The first octet chooses the end, then come datagrams, each with its length in two octets. A datagram that begins with an octet of 255
// is one of a real client instead, so that inputs get beyond the first flight.
fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let now = Instant::now();
    let (role, path) = match choice % 3 {
        0 => (Role::Active, Path::Validated),
        1 => (Role::Passive, Path::Validated),
        _ => (Role::Passive, Path::Claimed { cookie: [choice; 16] }),
    };
    let endpoint = |role, path| Endpoint::new(&IDENTITY, role, path, None, now).expect("endpoint");
    let mut ours = endpoint(role, path);
    let other_role = if role == Role::Active { Role::Passive } else { Role::Active };
    let mut other = endpoint(other_role, Path::Validated);
    let (mut received, mut sent) = (0, 0);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (datagram, after) = behind.split_at(length);
        rest = after;
        let total: usize = record::records(datagram).map(|record| record.octets.len()).sum();
        assert!(total <= datagram.len());
        assert!(record::client_random(datagram).is_none() || classify(datagram) == PacketKind::Dtls);
        let real = (datagram.first() == Some(&255)).then(|| other.poll_transmit()).flatten();
        let datagram = real.as_deref().unwrap_or(datagram);
        received += datagram.len();
        let _ = ours.handle_datagram(now, datagram);
        while let Some(answer) = ours.poll_transmit() {
            sent += answer.len();
            let _ = other.handle_datagram(now, &answer);
        }
        assert!(role == Role::Active || ours.is_proven() || sent <= received);
        assert!(!matches!(ours.poll_event(), Some(Event::Keyed(_))), "keys without a fingerprint");
    }
});
