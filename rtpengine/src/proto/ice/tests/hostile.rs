use proptest::prelude::*;

use super::*;
use crate::proto::stun::{Builder, Class, IntegrityKey, Message, Tiebreaker, TransactionId};

/// A check as the agent with user fragment `theirs` would send it to `local`.
pub fn check(local: &LocalCredentials, theirs: &str, role: Role, nominates: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    let tiebreaker = match role {
        Role::Controlling => Tiebreaker::Controlling(7),
        Role::Controlled => Tiebreaker::Controlled(7),
    };
    let mut message = Builder::new(&mut octets, Class::Request, TransactionId([9; 12]))
        .username(local.ufrag(), theirs)
        .priority(1_862_270_975)
        .tiebreaker(tiebreaker);
    if nominates {
        message = message.use_candidate();
    }
    message.finish(Some(&IntegrityKey::new(local.password())));
    octets
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 6666))
}

#[test]
fn strangers_change_nothing_and_get_no_more_than_they_send() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    assert!(network.run(ms(2000), Network::completed));
    let local = network.sides[0].agent.settings().local;
    let other = LocalCredentials::generate(&mut StdRng::seed_from_u64(3));
    let to = network.sides[0].bases[0].address;
    let path = network.sides[0].agent.selected(Component::Rtp);
    let mut unsigned = Vec::new();
    Builder::new(&mut unsigned, Class::Request, TransactionId([1; 12])).finish(None);
    let mut forged = check(&local, "peer", Role::Controlled, true);
    let last = forged.len() - 9;
    forged[last] ^= 1;
    let end = forged.len() - 8;
    forged.truncate(end);
    let length = (forged.len() - 20) as u16;
    forged[2..4].copy_from_slice(&length.to_be_bytes());
    for (name, octets) in [
        ("unsigned", unsigned),
        ("other ufrag", check(&other, "x", Role::Controlled, true)),
        ("forged", forged),
    ] {
        let (mut replies, mut octets_out, mut octets_in) = (0, 0, 0);
        for _ in 0..500 {
            let (handled, reply) = network.inject(0, to, stranger(), &octets);
            octets_in += octets.len();
            match handled {
                Handled::Refused { reply: true, .. } => {
                    replies += 1;
                    octets_out += reply.len();
                    let message = Message::parse(&reply).expect("an error");
                    assert_eq!(message.class(), Class::Error);
                }
                Handled::Refused { .. } => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(replies <= 4, "{name}: {replies} replies");
        assert!(octets_out <= octets_in, "{name}");
        network.pass(ms(2000));
    }
    let agent = &network.sides[0].agent;
    assert_eq!(agent.selected(Component::Rtp), path);
    assert!(agent.sources(Component::Rtp).all(|source| source.remote != stranger()));
}

#[test]
fn a_flood_of_wrong_passwords_is_not_looked_at_but_the_peer_is_still_heard() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    assert!(network.run(ms(2000), Network::completed));
    let local = network.sides[0].agent.settings().local;
    let peer = network.sides[1].agent.settings().local;
    let [to, from] = [0, 1].map(|side| network.sides[side].bases[0].address);
    let mut octets = Vec::new();
    Builder::new(&mut octets, Class::Request, TransactionId([9; 12]))
        .username(local.ufrag(), peer.ufrag())
        .finish(Some(&IntegrityKey::new("wrong")));
    let refusals: Vec<_> = (0..200).map(|_| network.inject(0, to, stranger(), &octets).0).collect();
    let flood = Handled::Refused { reason: Refusal::Flood, reply: false };
    assert!(refusals.iter().filter(|handled| **handled == flood).count() > 100);
    let good = check(&local, peer.ufrag(), Role::Controlled, false);
    assert_eq!(network.inject(0, to, from, &good).0, Handled::Reply);
}

#[test]
fn responses_that_nobody_asked_for_or_signed_are_refused() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    let [to, from] = [0, 1].map(|side| network.sides[side].bases[0].address);
    let mut sent = Vec::new();
    network.sides[0].agent.poll_transmit(network.now, &mut sent).expect("a check");
    let id = Message::parse(&sent).expect("STUN").transaction();
    let response = |id, password: &str| {
        let mut octets = Vec::new();
        Builder::new(&mut octets, Class::Success, id)
            .mapped_address(to)
            .finish(Some(&IntegrityKey::new(password)));
        octets
    };
    let peer = network.sides[1].agent.settings().local;
    let refused = |reason| Handled::Refused { reason, reply: false };
    let unknown = response(TransactionId([0; 12]), peer.password());
    assert_eq!(network.inject(0, to, from, &unknown).0, refused(Refusal::Unexpected));
    let unsigned = response(id, "wrong");
    assert_eq!(network.inject(0, to, from, &unsigned).0, refused(Refusal::Unauthenticated));
    assert_eq!(network.sides[0].agent.path(Component::Rtp), None);
    let good = response(id, peer.password());
    assert_eq!(network.inject(0, to, from, &good).0, Handled::Silent);
    assert!(network.sides[0].agent.path(Component::Rtp).is_some());
}

#[test]
fn a_response_from_elsewhere_does_not_make_a_path() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    let to = network.sides[0].bases[0].address;
    let mut sent = Vec::new();
    network.sides[0].agent.poll_transmit(network.now, &mut sent).expect("a check");
    let id = Message::parse(&sent).expect("STUN").transaction();
    let mut octets = Vec::new();
    let key = IntegrityKey::new(network.sides[1].agent.settings().local.password());
    Builder::new(&mut octets, Class::Success, id).mapped_address(to).finish(Some(&key));
    network.inject(0, to, stranger(), &octets);
    assert_eq!(network.sides[0].agent.path(Component::Rtp), None);
}

#[test]
fn sources_of_authentic_checks_are_bounded() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    let local = network.sides[0].agent.settings().local;
    let peer = network.sides[1].agent.settings().local;
    let to = network.sides[0].bases[0].address;
    let octets = check(&local, peer.ufrag(), Role::Controlled, false);
    for port in 1..1000 {
        let source = SocketAddr::from(([203, 0, 113, 5], port));
        assert_eq!(network.inject(0, to, source, &octets).0, Handled::Reply);
    }
    assert!(network.sides[0].agent.sources(Component::Rtp).count() <= MAX_PAIRS);
    assert!(network.run(ms(10_000), Network::completed), "and the path is found all the same");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_octets_leave_an_agent_as_it_was(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
        let to = network.sides[0].bases[0].address;
        let (handled, _) = network.inject(0, to, stranger(), &octets);
        let refused = matches!(handled, Handled::Refused { .. } | Handled::Silent);
        prop_assert!(refused);
        prop_assert_eq!(network.sides[0].agent.sources(Component::Rtp).count(), 0);
    }
}
