//! Two endpoints on a simulated network, and one against OpenSSL's own API.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::proto::sdp::model::{Fingerprint, FingerprintHash};
use crate::proto::srtp::Suite;

fn identity_with(options: CertificateOptions, settings: &Settings) -> Identity {
    let settings = Settings { certificate: options, ..settings.clone() };
    Identity::generate(&settings, "unit test", SystemTime::now()).unwrap()
}

static IDENTITIES: LazyLock<[Identity; 2]> =
    LazyLock::new(|| [0, 1].map(|_| identity_with(CertificateOptions::default(), &Settings::default())));

fn fingerprint_of(identity: &Identity) -> Fingerprint {
    identity.certificate().fingerprint(FingerprintHash::Sha256).clone()
}

/// What happens to the datagrams on their way: number in, delivered or not out.
type Network<'a> = &'a mut dyn FnMut(usize, &[u8]) -> Delivery;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Once,
    Lost,
    Twice,
    /// After the next one of the same direction.
    Late,
}

struct Pair {
    active: Endpoint,
    passive: Endpoint,
    events: [Vec<Event>; 2],
    count: usize,
    /// Longest datagram.
    longest: usize,
}

impl Pair {
    fn new(identities: [&Identity; 2], expected: [Option<Fingerprint>; 2], path: Path) -> Self {
        let now = Instant::now();
        let [for_active, for_passive] = expected;
        Self {
            active: Endpoint::new(identities[0], Role::Active, Path::Validated, for_active, now).unwrap(),
            passive: Endpoint::new(identities[1], Role::Passive, path, for_passive, now).unwrap(),
            events: Default::default(),
            count: 0,
            longest: 0,
        }
    }

    fn usual(path: Path) -> Self {
        let [a, b] = &*IDENTITIES;
        Self::new([a, b], [Some(fingerprint_of(b)), Some(fingerprint_of(a))], path)
    }

    /// Carries datagrams until nobody has any more.
    fn carry(&mut self, network: Network<'_>) {
        loop {
            let mut idle = true;
            for towards_passive in [true, false] {
                let (from, to) = if towards_passive {
                    (&mut self.active, &mut self.passive)
                } else {
                    (&mut self.passive, &mut self.active)
                };
                let mut late = None;
                while let Some(datagram) = from.poll_transmit() {
                    idle = false;
                    self.count += 1;
                    self.longest = self.longest.max(datagram.len());
                    let times = match network(self.count, &datagram) {
                        Delivery::Lost => 0,
                        Delivery::Once => 1,
                        Delivery::Twice => 2,
                        Delivery::Late => {
                            late = Some(datagram);
                            continue;
                        }
                    };
                    for _ in 0..times {
                        let _ = to.handle_datagram(Instant::now(), &datagram);
                    }
                    if let Some(datagram) = late.take() {
                        let _ = to.handle_datagram(Instant::now(), &datagram);
                    }
                }
                if let Some(datagram) = late {
                    let _ = to.handle_datagram(Instant::now(), &datagram);
                }
            }
            self.events[0].extend(self.active.poll_event());
            self.events[1].extend(self.passive.poll_event());
            if idle {
                return;
            }
        }
    }

    /// Until both have ended their handshakes; waits for their timers.
    fn run(&mut self, network: Network<'_>) {
        let begin = Instant::now();
        while self.events.iter().any(Vec::is_empty) && begin.elapsed() < Duration::from_secs(20) {
            self.carry(network);
            let deadlines = [self.active.poll_timeout(), self.passive.poll_timeout()];
            let Some(next) = deadlines.into_iter().flatten().min() else { break };
            if self.events.iter().any(Vec::is_empty) {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                self.active.handle_timeout(Instant::now());
                self.passive.handle_timeout(Instant::now());
            }
        }
        self.carry(network);
    }

    fn keys(&self) -> [&SrtpKeys; 2] {
        [0, 1].map(|side| match &self.events[side][..] {
            [Event::Keyed(keys)] => keys,
            other => panic!("side {side}: {other:?}"),
        })
    }

    fn assert_keyed(&self) -> &'static Suite {
        let [active, passive] = self.keys();
        assert_eq!((&active.send, &active.receive), (&passive.receive, &passive.send));
        assert_ne!(active.send, active.receive);
        active.send.suite()
    }
}

fn perfect(_: usize, _: &[u8]) -> Delivery {
    Delivery::Once
}

const CLAIMED: Path = Path::Claimed { cookie: [7; 16] };

#[test]
fn both_ends_get_the_same_keys_with_and_without_a_cookie() {
    for path in [Path::Validated, CLAIMED] {
        let mut pair = Pair::usual(path);
        pair.run(&mut perfect);
        assert_eq!(pair.assert_keyed().name, "AEAD_AES_256_GCM");
    }
}

#[test]
fn every_certificate_and_hash_is_spoken() {
    let rsa = |signature| CertificateOptions { key: CertificateKey::Rsa(2048), signature };
    let [a, _] = &*IDENTITIES;
    for options in [rsa(SignatureHash::Sha256), rsa(SignatureHash::Sha1), CertificateOptions::default()] {
        let other = identity_with(options, &Settings::default());
        for hash in FingerprintHash::ALL {
            let print = |identity: &Identity| Some(identity.certificate().fingerprint(hash).clone());
            for identities in [[a, &other], [&other, a]] {
                let expected = [print(identities[1]), print(identities[0])];
                let mut pair = Pair::new(identities, expected, Path::Validated);
                pair.run(&mut perfect);
                pair.assert_keyed();
            }
        }
    }
}

#[test]
fn datagrams_keep_to_the_mtu() {
    let options = CertificateOptions { key: CertificateKey::Rsa(4096), ..Default::default() };
    let small = identity_with(options, &Settings { mtu: 576, ..Default::default() });
    let expected = [Some(fingerprint_of(&small)), Some(fingerprint_of(&small))];
    let mut pair = Pair::new([&small, &small], expected, Path::Validated);
    pair.run(&mut perfect);
    pair.assert_keyed();
    assert!(pair.longest <= 576 - 48, "{}", pair.longest);
}

#[test]
fn ciphers_are_those_of_the_option() {
    let of = |ciphers: &str| Settings { ciphers: ciphers.into(), ..Default::default() };
    let chosen = |ciphers: [&str; 2]| {
        let [a, b] = ciphers.map(|c| identity_with(CertificateOptions::default(), &of(c)));
        let expected = [Some(fingerprint_of(&b)), Some(fingerprint_of(&a))];
        let mut pair = Pair::new([&a, &b], expected, Path::Validated);
        pair.carry(&mut perfect);
        pair.events[1][0].clone()
    };
    assert!(matches!(chosen(["ECDHE-ECDSA-AES128-GCM-SHA256"; 2]), Event::Keyed(_)));
    let apart = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"];
    assert!(matches!(chosen(apart), Event::Failed(_)));
    let certificate =
        Certificate::generate(CertificateOptions::default(), "unit test", SystemTime::now()).unwrap();
    assert!(Identity::new(certificate, &of("no such cipher")).is_err());
}

#[test]
fn lost_doubled_and_reordered_datagrams_are_made_up_for() {
    for seed in 1..=12_u32 {
        let mut state = seed.wrapping_mul(0x9e37_79b9);
        let mut network = |number: usize, _: &[u8]| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 28 {
                // Not for ever, so that the test ends soon.
                0..=3 if number < 12 => Delivery::Lost,
                4..=6 => Delivery::Twice,
                7..=9 => Delivery::Late,
                _ => Delivery::Once,
            }
        };
        let path = if seed % 2 == 0 { Path::Validated } else { CLAIMED };
        let mut pair = Pair::usual(path);
        pair.run(&mut network);
        eprintln!("seed {seed}: {} datagrams", pair.count);
        pair.assert_keyed();
    }
}

#[test]
fn late_repetition_of_the_last_flight_is_answered() {
    let mut pair = Pair::usual(Path::Validated);
    let mut finished = false;
    // The server's last flight, ChangeCipherSpec first, is lost once.
    let mut network = |_: usize, datagram: &[u8]| {
        let last = datagram[0] == 20 && datagram.len() < 120 && !std::mem::replace(&mut finished, true);
        if last { Delivery::Lost } else { Delivery::Once }
    };
    pair.run(&mut network);
    pair.assert_keyed();
}

#[test]
fn wrong_certificate_gives_no_keys_to_either_side() {
    let [a, b] = &*IDENTITIES;
    let stranger = identity_with(CertificateOptions::default(), &Settings::default());
    for (name, expected) in [
        ("of the server", [Some(fingerprint_of(&stranger)), Some(fingerprint_of(a))]),
        ("of the client", [Some(fingerprint_of(b)), Some(fingerprint_of(&stranger))]),
    ] {
        let mut pair = Pair::new([a, b], expected, Path::Validated);
        pair.carry(&mut perfect);
        let failed = |events: &[Event]| events.contains(&Event::Failed(Failure::Fingerprint));
        assert!(failed(&pair.events[0]) || failed(&pair.events[1]), "{name}: {:?}", pair.events);
        let keyed = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Keyed(_)));
        assert!(!keyed(&pair.events[0]) && !keyed(&pair.events[1]), "{name}");
    }
}

#[test]
fn keys_wait_for_a_fingerprint_that_comes_late() {
    let [a, b] = &*IDENTITIES;
    for (wrong, expected) in [(false, fingerprint_of(a)), (true, fingerprint_of(b))] {
        let mut pair = Pair::new([a, b], [Some(fingerprint_of(b)), None], CLAIMED);
        pair.carry(&mut perfect);
        assert!(!pair.passive.is_handshaking() && pair.events[1].is_empty());
        pair.passive.set_fingerprint(&expected);
        pair.carry(&mut perfect);
        if wrong {
            assert_eq!(pair.events[1], [Event::Failed(Failure::Fingerprint)]);
        } else {
            pair.assert_keyed();
        }
    }
}

#[test]
fn no_more_leaves_than_came_in_before_the_cookie_came_back() {
    let [a, b] = &*IDENTITIES;
    let now = Instant::now();
    let mut client = Endpoint::new(a, Role::Active, Path::Validated, None, now).unwrap();
    let mut server = Endpoint::new(b, Role::Passive, CLAIMED, None, now).unwrap();
    let hello = client.poll_transmit().unwrap();
    let (mut received, mut sent) = (0, 0);
    for _ in 0..20 {
        received += hello.len();
        server.handle_datagram(now, &hello).unwrap();
        while let Some(answer) = server.poll_transmit() {
            sent += answer.len();
        }
        server.handle_timeout(now + Duration::from_secs(60));
        assert!(sent <= received && !server.is_proven(), "{sent} octets for {received}");
    }
    assert!(sent > 0, "a HelloVerifyRequest");
}

#[test]
fn alerts_in_the_clear_end_nothing() {
    let mut pair = Pair::usual(Path::Validated);
    let fatal = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let now = Instant::now();
    assert_eq!(pair.active.handle_datagram(now, &fatal), Err(Refused::Untrustworthy));
    assert_eq!(pair.passive.handle_datagram(now, &fatal), Err(Refused::Untrustworthy));
    assert_eq!(pair.passive.handle_datagram(now, b"garbage"), Err(Refused::Malformed));
    pair.run(&mut perfect);
    pair.assert_keyed();
}

#[test]
fn goodbye_of_the_peer_is_told() {
    let mut pair = Pair::usual(Path::Validated);
    pair.run(&mut perfect);
    pair.active.close();
    pair.carry(&mut perfect);
    assert_eq!(pair.events[1].last(), Some(&Event::Closed));
    assert_eq!(pair.passive.handle_datagram(Instant::now(), &[22; 40]), Err(Refused::Ended));
}

#[test]
fn all_profiles_are_spoken_and_one_is_demanded() {
    use openssl::ssl::{SslContextBuilder, SslMethod, SslOptions, SslStream, SslVerifyMode};
    let [_, ours] = &*IDENTITIES;
    let certificate =
        Certificate::generate(CertificateOptions::default(), "other", SystemTime::now()).unwrap();
    for profile in PROFILES.iter().map(Some).chain([None]) {
        let mut context = SslContextBuilder::new(SslMethod::dtls()).unwrap();
        context.set_options(SslOptions::NO_QUERY_MTU);
        context.set_certificate(certificate.x509()).unwrap();
        context.set_private_key(certificate.private_key()).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        if let Some(profile) = profile {
            context.set_tlsext_use_srtp(profile.name).unwrap();
        }
        let mut ssl = openssl::ssl::Ssl::new(&context.build()).unwrap();
        ssl.set_mtu(1200).unwrap();
        ssl.set_connect_state();
        let mut client = SslStream::new(ssl, wire::Wire::new(std::sync::Arc::new(true.into()))).unwrap();
        let expected = certificate.fingerprint(FingerprintHash::Sha1).clone();
        let now = Instant::now();
        let mut server = Endpoint::new(ours, Role::Passive, CLAIMED, Some(expected), now).unwrap();
        let mut event = None;
        for _ in 0..20 {
            let _ = client.do_handshake();
            while let Some(datagram) = client.get_mut().next_outbound() {
                let _ = server.handle_datagram(now, &datagram);
            }
            event = event.or(server.poll_event());
            while let Some(datagram) = server.poll_transmit() {
                client.get_mut().fill([&*datagram].into_iter());
                let _ = client.do_handshake();
            }
        }
        match (profile, event) {
            (Some(profile), Some(Event::Keyed(keys))) => {
                assert_eq!(keys.receive.suite().name, profile.suite);
                let (key, salt) = (keys.send.suite().key_octets, keys.send.suite().salt_octets);
                let mut exported = vec![0; 2 * (key + salt)];
                client.ssl().export_keying_material(&mut exported, "EXTRACTOR-dtls_srtp", None).unwrap();
                let master = |from: usize| {
                    let octets = [&exported[from * key..][..key], &exported[2 * key + from * salt..][..salt]];
                    let none = Default::default();
                    crate::proto::srtp::MasterKey::new(keys.send.suite(), &octets.concat(), &[], none)
                        .unwrap()
                };
                assert_eq!((&*keys.receive, &*keys.send), (&master(0), &master(1)));
            }
            (None, Some(Event::Failed(Failure::NoProfile))) => {}
            (profile, event) => panic!("{profile:?}: {event:?}"),
        }
    }
}
