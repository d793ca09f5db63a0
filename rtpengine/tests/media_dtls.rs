//! DTLS-SRTP through the data plane: what comes of handshakes, races and attacks. The parties' side is OpenSSL's own API and another
//! implementation of SRTP.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use e2e::dtls::{Association, Identity as Other, PROFILES, Role as OtherRole};
use openssl::hash::MessageDigest;
use rtpengine::media::plan::*;
use rtpengine::proto::dtls::{Identity, Role, Settings};
use rtpengine::proto::sdp::model::{Fingerprint, FingerprintHash};

mod common;
use common::{FORWARD, Party, Relay, WORKER, edge, party, rtcp_party, rtp, until};

const LIMIT: Duration = Duration::from_secs(8);
const ALL: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80";

/// A plain party and one with DTLS, connected.
struct Bridge {
    relay: Relay,
    key: CallKey,
    plain: Party,
    secured: Party,
    plan: DtlsPlan,
    other: Other,
}

fn relay() -> Relay {
    common::relay((40_000, 43_999))
}

fn fingerprint(of: &Other) -> Fingerprint {
    Fingerprint { hash: FingerprintHash::Sha256, digest: of.digest(MessageDigest::sha256()) }
}

fn bridge(role: Role) -> Bridge {
    let relay = relay();
    let (plain, mut secured) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    secured.stream.expect = Expect::RtpAndRtcp;
    let identity = Identity::generate(&Settings::default(), "unit test", SystemTime::now()).unwrap();
    let other = Other::new();
    let plan =
        DtlsPlan { role, peer: Some(fingerprint(&other)), association: 0, identity: Arc::new(identity) };
    let key = CallKey(common::NEXT.fetch_add(1, Relaxed));
    Bridge { relay, key, plain, secured, plan, other }
}

impl Bridge {
    fn install(&mut self) {
        self.secured.stream.security = StreamSecurity::Dtls(Arc::new(self.plan.clone()));
        let edges =
            vec![edge(&self.plain, &self.secured, FORWARD), edge(&self.secured, &self.plain, FORWARD)];
        let streams = vec![self.plain.stream.clone(), self.secured.stream.clone()];
        self.relay
            .plane
            .install(WORKER, CallPlan { key: self.key, streams, edges, gateways: Vec::new(), tap: None });
    }

    fn role(&self) -> OtherRole {
        match self.plan.role {
            Role::Active => OtherRole::Server,
            Role::Passive => OtherRole::Client,
        }
    }

    fn shake_as(&self, who: &Other, socket: &UdpSocket, limit: Duration) -> Result<Association, String> {
        who.shake(socket, self.secured.stream.socket.local, self.role(), ALL, limit)
    }

    fn shake(&self) -> Association {
        self.shake_as(&self.other, &self.secured.socket, LIMIT).expect("a handshake")
    }

    fn is_keyed(&self) -> bool {
        self.secured.stream.shared.dtls_suite.load(Relaxed) != 0
    }

    /// Packets in both directions arrive as they were sent, and encrypted.
    fn talk(&self, association: &mut Association, first: u16) {
        until("keys", || self.is_keyed());
        for number in first..first + 5 {
            let packet = rtp(0, number);
            self.plain.send(&packet);
            let sealed = self.secured.receive();
            assert_ne!(sealed[12..172], packet[12..], "clear on the wire");
            assert_eq!(association.srtp.unprotect(&sealed).expect("authentic"), packet);
            self.secured.send(&association.srtp.protect(&packet));
            assert_eq!(self.plain.receive(), packet);
        }
    }

    fn handshake_drops(&self, reason: DropReason) -> u64 {
        self.secured.stream.shared.handshake_drops(reason)
    }

    fn refused(&self, reason: DropReason) -> u64 {
        self.handshake_drops(reason) + self.secured.drops(reason)
    }
}

#[test]
fn both_roles_and_all_profiles_carry_media() {
    for role in [Role::Active, Role::Passive] {
        for (profile, suite) in PROFILES {
            let mut call = bridge(role);
            call.install();
            let to = call.secured.stream.socket.local;
            let made = call.other.shake(&call.secured.socket, to, call.role(), profile, LIMIT);
            let mut association = made.unwrap_or_else(|error| panic!("{role:?} {profile}: {error}"));
            assert_eq!(association.srtp.send.suite, suite);
            let ours = call.plan.identity.certificate().fingerprint(FingerprintHash::Sha256);
            assert_eq!(association.shown, ours.to_string());
            call.talk(&mut association, 1);
        }
    }
}

#[test]
fn rtcp_on_its_own_port_has_its_own_association() {
    let mut call = bridge(Role::Passive);
    call.secured.stream.expect = Expect::Rtp;
    call.secured.stream.security = StreamSecurity::Dtls(Arc::new(call.plan.clone()));
    let mut reports = rtcp_party(&call.relay, &call.secured);
    reports.stream.security = call.secured.stream.security.clone();
    let (plain, edges) = (&call.plain, |from: &Party, to: &Party| edge(from, to, FORWARD));
    let plain_reports = rtcp_party(&call.relay, plain);
    let rtcp = |from: &Party, to: &Party| EdgePlan {
        rtp_to: None,
        rtcp_to: Some(to.stream.id),
        ..EdgePlan::new(from.stream.id, to.stream.id)
    };
    let plan = CallPlan {
        key: call.key,
        streams: [plain, &plain_reports, &call.secured, &reports].map(|party| party.stream.clone()).into(),
        edges: vec![
            edges(plain, &call.secured),
            edges(&call.secured, plain),
            rtcp(&plain_reports, &reports),
            rtcp(&reports, &plain_reports),
        ],
        gateways: Vec::new(),
        tap: None,
    };
    call.relay.plane.install(WORKER, plan);
    let mut media = call.shake();
    let to = reports.stream.socket.local;
    let mut control = call.other.shake(&reports.socket, to, OtherRole::Client, ALL, LIMIT).unwrap();
    call.talk(&mut media, 1);
    until("keys of RTCP", || reports.stream.shared.dtls_suite.load(Relaxed) != 0);
    let report = [&[0x81, 201, 0, 7][..], &0xabcd_u32.to_be_bytes(), &[3; 24]].concat();
    reports.send(&control.srtp.protect(&report));
    assert_eq!(plain_reports.receive(), report);
    plain_reports.send(&report);
    assert_eq!(control.srtp.unprotect(&reports.receive()), Some(report));
}

#[test]
fn nothing_passes_without_the_signalled_certificate() {
    for role in [Role::Active, Role::Passive] {
        let mut call = bridge(role);
        call.install();
        let stranger = Other::new();
        // A party that is lied to may believe in its keys for a moment.
        let made = call.shake_as(&stranger, &call.secured.socket, Duration::from_secs(1));
        until("refusal", || call.handshake_drops(DropReason::NotAuthentic) > 0);
        assert!(!call.is_keyed());
        if let Ok(mut association) = made {
            call.secured.send(&association.srtp.protect(&rtp(0, 1)));
            until("no key", || call.secured.drops(DropReason::NoKey) > 0);
        }
        call.plain.send(&rtp(0, 1));
        until("no key for the sink", || call.plain.drops(DropReason::NoKey) > 0);
        // The right one is still expected.
        let mut association = call.shake();
        call.talk(&mut association, 10);
    }
}

#[test]
fn racing_client_hello_of_an_attacker_wins_nothing() {
    let mut call = bridge(Role::Passive);
    call.install();
    let attacker = UdpSocket::bind("127.0.0.2:0").unwrap();
    let stranger = Other::new();
    // Before: the attacker is first, and stalls as well as completes handshakes.
    for _ in 0..3 {
        let _ = call.shake_as(&stranger, &attacker, Duration::from_millis(60));
    }
    let mut association = call.shake();
    call.talk(&mut association, 1);
    // After: it changes nothing.
    let refused = call.refused(DropReason::WrongSource);
    let made = call.shake_as(&stranger, &attacker, Duration::from_millis(300));
    assert!(made.is_err());
    until("refusal of the attacker", || call.refused(DropReason::WrongSource) > refused);
    attacker.send_to(&rtp(0, 50), call.secured.stream.socket.local).unwrap();
    call.talk(&mut association, 10);
}

#[test]
fn strangers_are_sent_no_more_than_they_send() {
    let mut call = bridge(Role::Passive);
    call.install();
    let spoofed = UdpSocket::bind("127.0.0.3:0").unwrap();
    spoofed.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // A ClientHello without what follows: the sender does not see our answers.
    let observer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let catcher = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = catcher.local_addr().unwrap();
    let _ = Other::new().shake(&observer, to, OtherRole::Client, ALL, Duration::from_millis(50));
    let mut hello = [0; 2048];
    let length = catcher.recv(&mut hello).unwrap();
    let mut sent = 0;
    for number in 0..10 {
        // Each with another random value, which makes it another attempt.
        hello[27] = number;
        spoofed.send_to(&hello[..length], call.secured.stream.socket.local).unwrap();
        sent += length;
    }
    let (mut received, mut buffer) = (0, [0; 2048]);
    while let Ok(length) = spoofed.recv(&mut buffer) {
        received += length;
    }
    assert!(received > 0 && received <= sent, "{received} octets for {sent}");
    let mut association = call.shake();
    call.talk(&mut association, 1);
}

#[test]
fn floods_are_cut_off_and_counted() {
    let mut call = bridge(Role::Passive);
    call.install();
    let attacker = UdpSocket::bind("127.0.0.4:0").unwrap();
    let junk = [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 40][..], &[1; 40]].concat();
    for _ in 0..200 {
        attacker.send_to(&junk, call.secured.stream.socket.local).unwrap();
    }
    until("cut-off", || call.secured.drops(DropReason::OverBudget) > 100);
    let mut association = call.shake();
    call.talk(&mut association, 1);
}

#[test]
fn same_plan_keeps_the_association_and_another_one_replaces_it() {
    for role in [Role::Active, Role::Passive] {
        let mut call = bridge(role);
        call.install();
        let mut first = call.shake();
        call.talk(&mut first, 1);
        call.secured.stream.strict_source = true;
        call.install();
        call.talk(&mut first, 10);
        call.plan.association = 1;
        call.install();
        // The old keys serve until there are new ones.
        let packet = rtp(0, 20);
        call.secured.send(&first.srtp.protect(&packet));
        assert_eq!(call.plain.receive(), packet);
        let mut second = call.shake();
        assert_ne!(second.srtp.send, first.srtp.send);
        call.talk(&mut second, 30);
    }
}

#[test]
fn party_may_be_faster_than_its_answer_but_is_not_heard_before() {
    for right in [true, false] {
        let mut call = bridge(Role::Passive);
        let expected = call.plan.peer.take().unwrap();
        call.install();
        let early = if right { call.other.clone() } else { Other::new() };
        let mut association = call.shake_as(&early, &call.secured.socket, LIMIT).unwrap();
        call.secured.send(&association.srtp.protect(&rtp(0, 1)));
        until("no key", || call.secured.drops(DropReason::NoKey) > 0);
        call.plan.peer = Some(expected);
        call.install();
        if right {
            call.talk(&mut association, 2);
        } else {
            let mut association = call.shake();
            call.talk(&mut association, 2);
        }
    }
}

#[test]
fn party_behind_a_nat_is_found_by_its_certificate() {
    let mut call = bridge(Role::Passive);
    call.secured.stream.peer = Some("192.0.2.7:4000".parse().unwrap());
    call.install();
    let mut association = call.shake();
    call.talk(&mut association, 1);
    let stranger = UdpSocket::bind("127.0.0.5:0").unwrap();
    stranger.send_to(&rtp(0, 9), call.secured.stream.socket.local).unwrap();
    until("refusal", || call.secured.drops(DropReason::NotAuthentic) > 0);
}

#[test]
fn moved_stream_goes_on_and_its_last_port_but_one_is_given_back() {
    let mut call = bridge(Role::Passive);
    call.install();
    let mut association = call.shake();
    call.talk(&mut association, 1);
    let mut go_on = |call: &mut Bridge, first: u16| {
        let next = call.relay.pool.allocate(&call.relay.v4, 2).unwrap().remove(0);
        let old = std::mem::replace(&mut call.secured.stream.socket, next);
        call.install();
        call.talk(&mut association, first);
        old
    };
    let oldest = go_on(&mut call, 10);
    let old = go_on(&mut call, 15);
    until("release of the port", || Arc::strong_count(&oldest) == 1);
    assert!(Arc::strong_count(&old) > 1, "packets may still come there");
    let mut second = call.shake();
    // libsrtp protects each number once.
    let mut numbers = 20..;
    until("keys of the second handshake", || {
        call.secured.send(&second.srtp.protect(&rtp(0, numbers.next().unwrap())));
        call.plain.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        call.plain.socket.recv(&mut [0; 2048]).is_ok()
    });
    call.plain.socket.set_read_timeout(Some(LIMIT)).unwrap();
    call.talk(&mut second, numbers.start);
}

#[test]
fn party_may_begin_again_from_where_it_is() {
    let mut call = bridge(Role::Passive);
    call.install();
    let mut first = call.shake();
    call.talk(&mut first, 1);
    let mut second = call.shake();
    let mut numbers = 10..;
    until("new keys", || {
        call.secured.send(&second.srtp.protect(&rtp(0, numbers.next().unwrap())));
        call.plain.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        call.plain.socket.recv(&mut [0; 2048]).is_ok()
    });
    call.plain.socket.set_read_timeout(Some(LIMIT)).unwrap();
    call.talk(&mut second, numbers.start);
    // Its goodbye ends the association; the keys stay until there are others.
    second.close();
    call.talk(&mut second, numbers.start + 10);
}
