//! Parties and attackers on a network in memory.

use std::sync::LazyLock;
use std::time::SystemTime;

use super::*;
use crate::proto::dtls::{Identity, Settings};
use crate::proto::sdp::model::{Fingerprint, FingerprintHash};

static IDENTITIES: LazyLock<[Arc<Identity>; 3]> = LazyLock::new(|| {
    [0, 1, 2].map(|_| {
        Arc::new(Identity::generate(&Settings::default(), "unit test", SystemTime::now()).expect("identity"))
    })
});

fn fingerprint(of: &Identity) -> Fingerprint {
    of.certificate().fingerprint(FingerprintHash::Sha256).clone()
}

fn plan(role: Role) -> Arc<DtlsPlan> {
    let [ours, party, _] = &*IDENTITIES;
    let peer = Some(fingerprint(party));
    Arc::new(DtlsPlan { role, peer, association: 0, identity: Arc::clone(ours) })
}

fn source(host: u8, trust: Trust) -> Source {
    let way = Way {
        local: "203.0.113.1:30000".parse().expect("address"),
        remote: ([192, 0, 2, host], 4000).into(),
    };
    Source { way, trust }
}

/// Whoever is at the other end of a way.
struct Other {
    endpoint: Endpoint,
    source: Source,
}

impl Other {
    fn client(identity: &Identity, source: Source) -> Self {
        let expected = Some(fingerprint(&IDENTITIES[0]));
        let endpoint = Endpoint::new(identity, Role::Active, Path::Validated, expected, Instant::now());
        Self { endpoint: endpoint.expect("endpoint"), source }
    }

    fn party(source: Source) -> Self {
        Self::client(&IDENTITIES[1], source)
    }

    fn attacker(source: Source) -> Self {
        Self::client(&IDENTITIES[2], source)
    }

    /// Sends what it has, and takes what is sent to it. What became of its datagrams.
    fn turn(&mut self, associations: &mut Associations, now: Instant) -> Vec<Outcome> {
        let (mut outcomes, mut answers) = (Vec::new(), Vec::new());
        while let Some(datagram) = self.endpoint.poll_transmit() {
            let mut send = |way: Way, octets: &[u8]| {
                if way == self.source.way {
                    answers.push(octets.to_vec());
                }
            };
            outcomes.push(associations.handle_datagram(now, self.source, &datagram, &mut send));
        }
        for answer in answers {
            let _ = self.endpoint.handle_datagram(now, &answer);
        }
        outcomes
    }

    /// Until it has nothing more to say.
    fn finish(&mut self, associations: &mut Associations, now: Instant) -> Option<Agreed> {
        let mut agreed = None;
        for _ in 0..8 {
            agreed = agreed.or(self.turn(associations, now).into_iter().find_map(|o| o.ok().flatten()));
        }
        agreed
    }
}

fn passive(party: Option<Source>) -> Associations {
    Associations::new(Instant::now(), plan(Role::Passive), party, &mut |_, _| panic!("nothing to send"))
}

#[test]
fn who_only_sends_under_the_partys_address_disturbs_nothing() {
    for trust in [Trust::Validated, Trust::Peer, Trust::Stranger] {
        let (now, place) = (Instant::now(), source(1, trust));
        let mut associations = passive(None);
        let (mut party, mut attacker) = (Other::party(place), Other::attacker(place));
        let turns = if trust == Trust::Validated { 1 } else { 2 };
        for _ in 0..turns {
            party.turn(&mut associations, now);
        }
        let hello = attacker.endpoint.poll_transmit().expect("a ClientHello");
        for _ in 0..3 {
            let _ = associations.handle_datagram(now, place, &hello, &mut |_, _| ());
        }
        assert!(party.finish(&mut associations, now).is_some(), "{trust:?}");
        let _ = associations.handle_datagram(now, place, &hello, &mut |_, _| ());
        party.endpoint.close();
        let outcomes = party.turn(&mut associations, now);
        assert_eq!(outcomes, [Ok(None)], "{trust:?}: the association still has the party's ear");
    }
}

#[test]
fn another_certificate_gets_nothing_and_does_not_stop_the_party() {
    let now = Instant::now();
    let mut associations = passive(None);
    let mut attacker = Other::attacker(source(1, Trust::Stranger));
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.extend(attacker.turn(&mut associations, now));
    }
    assert_eq!(outcomes.last(), Some(&Err(DropReason::NotAuthentic)), "{outcomes:?}");
    assert!(associations.attempts.is_empty());
    let place = source(2, Trust::Stranger);
    let agreed = Other::party(place).finish(&mut associations, now).expect("keys");
    assert_eq!((agreed.way, agreed.association), (place.way, 0));
    let late = Other::attacker(source(3, Trust::Stranger)).turn(&mut associations, now);
    assert_eq!(late, [Err(DropReason::WrongSource)]);
}

#[test]
fn places_go_to_the_credible_and_to_who_is_there() {
    let now = Instant::now();
    let mut associations = passive(None);
    let silent = |associations: &mut Associations, host, at| {
        let mut attacker = Other::attacker(source(host, Trust::Stranger));
        let hello = attacker.endpoint.poll_transmit().expect("a ClientHello");
        associations.handle_datagram(at, attacker.source, &hello, &mut |_, _| ())
    };
    for host in 1..=20 {
        assert_eq!(silent(&mut associations, host, now), Ok(None));
        assert!(associations.attempts.len() <= MAX_ATTEMPTS);
    }
    // Those that bring back their cookie keep their places, for a while.
    let mut stalling: Vec<Other> =
        (1..=4).map(|host| Other::attacker(source(host, Trust::Stranger))).collect();
    for other in &mut stalling {
        other.turn(&mut associations, now);
        other.turn(&mut associations, now);
    }
    assert!(associations.attempts.iter().all(|attempt| attempt.endpoint.is_proven()));
    assert_eq!(silent(&mut associations, 30, now), Err(DropReason::OverBudget));
    assert_eq!(silent(&mut associations, 30, now + PATIENCE), Ok(None));
    let agreed = Other::party(source(40, Trust::Peer)).finish(&mut associations, now);
    assert!(agreed.is_some(), "whoever was signalled always has a place");
}

#[test]
fn stalled_handshakes_end() {
    let now = Instant::now();
    let mut associations = passive(None);
    Other::party(source(1, Trust::Validated)).turn(&mut associations, now);
    assert!(associations.deadline().is_some());
    associations.handle_timeout(now + LIMIT, &mut |_, _| ());
    assert!(associations.attempts.is_empty() && associations.deadline().is_none());
}

#[test]
fn established_association_is_let_go_and_the_party_may_begin_again() {
    let now = Instant::now();
    let place = source(1, Trust::Peer);
    let mut associations = passive(None);
    let mut party = Other::party(place);
    let first = party.finish(&mut associations, now).expect("keys");
    assert_eq!(associations.deadline(), Some(now + LINGER));
    associations.handle_timeout(now + LINGER, &mut |_, _| ());
    assert_eq!(associations.deadline(), None);
    party.endpoint.close();
    assert_eq!(party.turn(&mut associations, now), [Err(DropReason::Handshake)]);
    let second = Other::party(place).finish(&mut associations, now).expect("keys");
    assert_ne!(first.keys, second.keys);
}

#[test]
fn orderly_end_is_told_to_the_party_once_however_late() {
    for (later, ended_by_party) in [(Duration::ZERO, false), (LINGER, false), (Duration::ZERO, true)] {
        let now = Instant::now();
        let place = source(1, Trust::Peer);
        let mut associations = passive(None);
        let mut party = Other::party(place);
        party.finish(&mut associations, now).expect("keys");
        assert_eq!(party.endpoint.poll_event().map(|event| matches!(event, Event::Keyed(_))), Some(true));
        associations.handle_timeout(now + later, &mut |_, _| ());
        if ended_by_party {
            party.endpoint.close();
            party.turn(&mut associations, now);
        }
        let mut sent = Vec::new();
        for _ in 0..2 {
            associations.close(&mut |way, octets| sent.push((way, octets.to_vec())));
        }
        if ended_by_party {
            assert_eq!(sent, []);
            continue;
        }
        let [(way, octets)] = &sent[..] else { panic!("{later:?}: {sent:?}") };
        assert_eq!(*way, place.way);
        party.endpoint.handle_datagram(now, octets).expect("understood");
        assert!(matches!(party.endpoint.poll_event(), Some(Event::Closed)), "{later:?}");
    }
    let mut idle = passive(None);
    idle.close(&mut |_, _| panic!("nobody is there"));
}

#[test]
fn client_begins_when_the_party_is_known_and_follows_it() {
    let now = Instant::now();
    let mut sent: Vec<(Way, Option<ClientRandom>)> = Vec::new();
    let mut send = |way: Way, octets: &[u8]| sent.push((way, record::client_random(octets)));
    let mut associations = Associations::new(now, plan(Role::Active), None, &mut send);
    let places = [1, 2].map(|host| source(host, Trust::Peer));
    associations.set_party(now, Some(places[0]), &mut send);
    associations.set_party(now, Some(places[0]), &mut send);
    associations.set_party(now, Some(places[1]), &mut send);
    // The way that ICE has chosen may change without harm.
    let validated = [3, 4].map(|host| source(host, Trust::Validated));
    associations.set_party(now, Some(validated[0]), &mut send);
    associations.set_party(now, Some(validated[1]), &mut send);
    assert_eq!(associations.attempts.len(), 1);
    assert_eq!(associations.attempts[0].source, validated[1]);
    let ways: Vec<Way> = sent.iter().map(|(way, _)| *way).collect();
    assert_eq!(ways, [places[0].way, places[1].way, validated[0].way]);
    assert!(sent.iter().all(|(_, random)| random.is_some()) && sent[0].1 != sent[1].1);
}

#[test]
fn client_tries_again_after_a_failure_and_hears_nobody_else() {
    let now = Instant::now();
    let place = source(1, Trust::Peer);
    let mut hellos = Vec::new();
    let mut send = |_: Way, octets: &[u8]| hellos.push(octets.to_vec());
    let mut associations = Associations::new(now, plan(Role::Active), Some(place), &mut send);
    let stranger = associations.handle_datagram(now, source(2, Trust::Stranger), &[22; 40], &mut send);
    assert_eq!(stranger, Err(DropReason::WrongSource));
    associations.handle_timeout(now + LIMIT, &mut send);
    let retry = associations.deadline().expect("another attempt");
    assert_eq!(retry, now + LIMIT + FIRST_PAUSE);
    associations.handle_timeout(retry, &mut send);
    assert_eq!(hellos.len(), 2);
    let path = Path::Validated;
    let server = Endpoint::new(&IDENTITIES[1], Role::Passive, path, Some(fingerprint(&IDENTITIES[0])), now);
    let mut server = server.expect("endpoint");
    let mut towards_server = vec![hellos.pop().expect("a ClientHello")];
    let mut agreed = None;
    for _ in 0..6 {
        for datagram in std::mem::take(&mut towards_server) {
            let _ = server.handle_datagram(now, &datagram);
        }
        while let Some(datagram) = server.poll_transmit() {
            let mut send = |_: Way, octets: &[u8]| towards_server.push(octets.to_vec());
            agreed =
                agreed.or(associations.handle_datagram(now, place, &datagram, &mut send).expect("taken"));
        }
    }
    assert_eq!(agreed.map(|agreed| agreed.way), Some(place.way));
}
