use std::collections::HashSet;
use std::net::IpAddr;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::proto::ice::{CandidateKind, Component, MAX_CANDIDATES};
use crate::proto::sdp::{ParseOptions, parse};

fn agent(ufrag: &str, lines: &str) -> RemoteAgent {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:pppppppppppppppppppppp\r\n{lines}"
    );
    let session = parse(&body, ParseOptions::default()).expect("description");
    RemoteAgent::from_sdp(&session.media[0], &session).expect("agent")
}

fn endpoint(address: &str, rtp: u16, rtcp: Option<u16>) -> LocalEndpoint {
    let address: IpAddr = address.parse().expect("address");
    LocalEndpoint { foundation: Foundations::default().of(address), address, rtp, rtcp }
}

fn signal(ice: IceMode) -> Signal {
    let mut signal = Signal::default();
    signal.security.ice = ice;
    signal
}

fn ufrag(ice: &Ice) -> String {
    ice.local().expect("credentials").ufrag().to_owned()
}

#[test]
fn unusable_candidates_are_left_out() {
    let lines = "a=candidate:1 1 TCP 1518280447 192.0.2.11 9 typ host tcptype active\r\n\
                 a=candidate:2 1 udp 2130706431 192.0.2.11 16384 typ host generation 0\r\n\
                 a=candidate:3 1 udp 2130706175 b3d4c1f2.local 16384 typ host\r\n\
                 a=candidate:4 3 udp 5 192.0.2.11 16384 typ host\r\n\
                 a=candidate:5 1 udp 0 192.0.2.11 16385 typ host\r\n\
                 a=candidate:6 1 udp 99999999999 192.0.2.11 16386 typ host\r\n\
                 a=candidate:7 1 udp 5 0.0.0.0 16386 typ host\r\n\
                 a=candidate:8 1 udp 5 192.0.2.11 16387 typ strange\r\n\
                 a=candidate:9 2 udp 1694498815 198.51.100.1 5 typ srflx raddr 192.0.2.11 rport 5\r\n";
    let kept = agent("abcd", lines).candidates;
    assert_eq!(kept.iter().map(|c| c.foundation.as_str()).collect::<Vec<_>>(), ["2", "9"]);
    assert_eq!(kept[1].kind, CandidateKind::ServerReflexive);
    assert_eq!(kept[1].component, Component::Rtcp);
}

#[test]
fn candidates_of_a_party_are_bounded() {
    let lines: String =
        (1..500).map(|n| format!("a=candidate:{n} 1 udp 5 192.0.2.11 {n} typ host\r\n")).collect();
    assert_eq!(agent("abcd", &lines).candidates.len(), MAX_CANDIDATES);
}

#[test]
fn priorities_follow_the_order_of_addresses() {
    let endpoints =
        [endpoint("203.0.113.1", 40000, Some(40001)), endpoint("2001:db8::1", 40002, Some(40003))];
    let lines = |ranking| -> Vec<String> {
        local_candidates(&endpoints, ranking)
            .iter()
            .map(|c| format!("{} {} {} {}", c.component, c.priority, c.address, c.port))
            .collect()
    };
    assert_eq!(
        lines(Ranking::Sole),
        [
            "1 2130706431 203.0.113.1 40000",
            "1 2130706175 2001:db8::1 40002",
            "2 2130706430 203.0.113.1 40001",
            "2 2130706174 2001:db8::1 40003",
        ]
    );
    assert_eq!(lines(Ranking::Relay)[0], "1 16777215 203.0.113.1 40000");
    let relayed = &local_candidates(&endpoints, Ranking::Relay)[0];
    assert_eq!(relayed.related, Some(("203.0.113.1".into(), 40000)));
}

#[test]
fn passed_through_agents_keep_the_first_places() {
    // (priority of the other side's host candidate, ours)
    const CASES: &[(u64, u64)] = &[
        (2_130_706_431, 2_097_152_255),
        (2_122_262_783, 2_097_152_255),
        (100 << 24 | 65535 << 8 | 255, 99 << 24 | 255),
        (255, 255),
    ];
    for (theirs, expected) in CASES {
        let theirs = Candidate {
            foundation: "h".into(),
            component: 1,
            transport: "UDP".into(),
            priority: *theirs,
            address: "192.0.2.1".into(),
            port: 9,
            kind: "host".into(),
            related: None,
        };
        let ours = local_candidates(
            &[endpoint("203.0.113.1", 40000, None)],
            Ranking::Below(std::slice::from_ref(&theirs)),
        );
        assert_eq!(ours[0].priority, *expected, "{theirs}");
    }
}

#[test]
fn a_restart_renews_our_side_of_that_party_only() {
    let rng = &mut StdRng::seed_from_u64(1);
    let (mut caller, mut callee) = (Ice::default(), Ice::default());
    let default = signal(IceMode::Default);
    caller.sent_offer(Some(agent("aaaa", "")), &default, rng);
    callee.offered(&caller, false, &default, rng);
    callee.sent_answer(Some(agent("bbbb", "")));
    caller.answered(&default, rng);
    let (first_caller, first_callee) = (ufrag(&caller), ufrag(&callee));
    caller.sent_offer(Some(agent("cccc", "")), &default, rng);
    callee.offered(&caller, true, &default, rng);
    assert_ne!(ufrag(&caller), first_caller);
    assert_eq!(ufrag(&callee), first_callee);
    assert_eq!(caller.generation(), 1);
    // Another device answers: what we offered stands, but its checks begin anew.
    callee.sent_answer(Some(agent("dddd", "")));
    assert_eq!(ufrag(&callee), first_callee);
    assert_eq!(callee.generation(), 1);
}

#[test]
fn a_party_that_comes_back_to_ice_with_other_credentials_restarts() {
    for (ufrag_then, restarts) in [("bbbb", false), ("cccc", true)] {
        let rng = &mut StdRng::seed_from_u64(5);
        let default = signal(IceMode::Default);
        let mut party = Ice::default();
        party.sent_offer(Some(agent("bbbb", "")), &default, rng);
        party.answered(&default, rng);
        let first = ufrag(&party);
        party.sent_offer(None, &default, rng);
        party.sent_offer(Some(agent(ufrag_then, "")), &default, rng);
        assert_eq!((ufrag(&party) != first, party.generation() == 1), (restarts, restarts), "{ufrag_then}");
    }
}

#[test]
fn reset_renews_both_sides_and_offers_again() {
    let rng = &mut StdRng::seed_from_u64(2);
    let (mut caller, mut callee) = (Ice::default(), Ice::default());
    let mut default = signal(IceMode::Default);
    caller.sent_offer(Some(agent("aaaa", "")), &default, rng);
    callee.offered(&caller, false, &default, rng);
    callee.sent_answer(None);
    callee.offered(&caller, true, &default, rng);
    assert!(!callee.is_active(), "it refused");
    let before = [ufrag(&caller), ufrag(&callee)];
    default.flags.reset = true;
    caller.sent_offer(Some(agent("aaaa", "")), &default, rng);
    callee.offered(&caller, true, &default, rng);
    assert!(callee.is_active());
    assert_ne!([ufrag(&caller), ufrag(&callee)], before);
}

#[test]
fn candidates_survive_a_description_of_the_same_generation() {
    let rng = &mut StdRng::seed_from_u64(3);
    let mut ice = Ice::default();
    let default = signal(IceMode::Default);
    ice.sent_offer(Some(agent("aaaa", "a=candidate:1 1 udp 5 192.0.2.1 9 typ host\r\n")), &default, rng);
    ice.sent_offer(Some(agent("aaaa", "a=candidate:2 1 udp 5 192.0.2.2 9 typ host\r\n")), &default, rng);
    assert_eq!(ice.remote().expect("agent").candidates.len(), 2);
    ice.sent_offer(Some(agent("bbbb", "a=candidate:3 1 udp 5 192.0.2.3 9 typ host\r\n")), &default, rng);
    assert_eq!(ice.remote().expect("agent").candidates.len(), 1);
}

#[test]
fn a_lite_side_is_controlled() {
    let rng = &mut StdRng::seed_from_u64(4);
    let (mut caller, mut callee) = (Ice::default(), Ice::default());
    let mut options = signal(IceMode::Force);
    options.security.ice_lite = Some(IceLite::Forward);
    caller.sent_offer(Some(agent("aaaa", "a=ice-lite\r\n")), &options, rng);
    callee.offered(&caller, false, &options, rng);
    assert_eq!((caller.role(), caller.is_lite()), (Role::Controlling, false));
    assert_eq!((callee.role(), callee.is_lite()), (Role::Controlled, true));
    options.security.ice_lite = None;
    callee.offered(&caller, true, &options, rng);
    assert!(callee.is_lite(), "it is remembered");
}

/// One message of a random exchange.
#[derive(Clone, Debug)]
struct Step {
    from_first: bool,
    answered: bool,
    /// Which credentials the sender uses; `None`: no ICE.
    sender: Option<u8>,
    answerer: Option<u8>,
    mode: IceMode,
    lite: Option<IceLite>,
    trickle: bool,
    reset: bool,
    reject: bool,
    remove_in_answer: bool,
    new_ports: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop::sample::select(vec![
        IceMode::Default,
        IceMode::Remove,
        IceMode::Force,
        IceMode::Optional,
        IceMode::ForceRelay,
    ]);
    let lite = prop::option::of(prop::sample::select(vec![
        IceLite::Forward,
        IceLite::Backward,
        IceLite::Both,
        IceLite::Off,
    ]));
    let credentials = || prop::option::weighted(0.8, 0u8..3);
    let flags =
        (any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (any::<bool>(), any::<bool>(), credentials(), credentials(), mode, lite, flags, prop::bool::weighted(0.1))
        .prop_map(|(from_first, answered, sender, answerer, mode, lite, flags, new_ports)| Step {
            from_first,
            answered,
            sender,
            answerer,
            mode,
            lite,
            trickle: flags.0,
            reset: flags.1,
            reject: flags.2,
            remove_in_answer: flags.3,
            new_ports,
        })
}

fn check_printed(printed: &IceOut) -> Result<(), TestCaseError> {
    let alphanumeric = |text: &str| text.bytes().all(|octet| octet.is_ascii_alphanumeric());
    prop_assert!(printed.ufrag.len() == 8 && alphanumeric(&printed.ufrag), "{}", printed.ufrag);
    prop_assert!(printed.pwd.len() == 26 && alphanumeric(&printed.pwd), "{}", printed.pwd);
    let mut places = HashSet::new();
    for candidate in &printed.candidates {
        prop_assert!(candidate.foundation.len() == 16 && alphanumeric(&candidate.foundation));
        // RFC 8445 §5.1.2: positive, 31 bits, and the component in the lowest octet.
        prop_assert!((1..1u64 << 31).contains(&candidate.priority), "{candidate}");
        prop_assert_eq!(256 - candidate.priority % 256, u64::from(candidate.component));
        prop_assert!(places.insert((candidate.component, candidate.address.clone())), "{}", candidate);
    }
    let priorities: HashSet<u64> = printed.candidates.iter().map(|c| c.priority).collect();
    prop_assert_eq!(priorities.len(), printed.candidates.len(), "priorities are unique");
    prop_assert_eq!(printed.end_of_candidates, printed.options.iter().any(|option| option == "trickle"));
    Ok(())
}

proptest! {
    #[test]
    fn invariants_hold_over_any_sequence_of_offers_and_answers(
        steps in prop::collection::vec(step(), 1..12),
        seed in any::<u64>(),
        muxed in any::<bool>(),
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut parties = [Ice::default(), Ice::default()];
        let mut known = [false, false];
        let endpoints = [
            endpoint("203.0.113.1", 40000, (!muxed).then_some(40001)),
            endpoint("2001:db8::1", 40002, (!muxed).then_some(40003)),
        ];
        for step in steps {
            let sender = usize::from(!step.from_first);
            let receiver = 1 - sender;
            let before = parties.clone();
            let mut signal = signal(step.mode);
            signal.security.ice_lite = step.lite;
            signal.security.ice_trickle = step.trickle;
            signal.flags.reset = step.reset;
            signal.flags.reject_ice = step.reject;
            let said = step.sender.map(|n| agent(&format!("{sender}ufrag{n}"), ""));
            let present = before[sender].remote.as_ref().or(before[sender].gone.as_ref());
            let restarted =
                matches!((present, &said), (Some(known), Some(said)) if !known.is_same_generation(said));

            let passthrough = parties[receiver].passthrough_of_offer(said.as_ref(), &signal);
            for party in &mut parties {
                party.set_passthrough(passthrough);
            }
            parties[sender].sent_offer(said, &signal, rng);
            known[sender] = true;
            let source = parties[sender].clone();
            parties[receiver].offered(&source, known[receiver], &signal, rng);
            if step.new_ports {
                parties[receiver].ports_changed(rng);
            }
            let half = Half::Offer(&signal);
            if let Some(printed) = parties[receiver].print(half, local_candidates(&endpoints, Ranking::Sole)) {
                check_printed(&printed)?;
                prop_assert!(step.mode != IceMode::Remove && passthrough == Passthrough::Off);
            }
            // Credentials are stable unless something renews them, and new ones mean a new generation.
            for (party, old) in parties.iter().zip(&before) {
                if let (Some(now), Some(old_local)) = (party.local(), old.local()) {
                    prop_assert_eq!(now == old_local, party.generation() == old.generation());
                }
            }
            if !step.reset {
                prop_assert_eq!(
                    before[sender].local().is_some_and(|old| parties[sender].local() != Some(old)),
                    restarted && before[sender].local().is_some()
                );
                if !step.new_ports && before[receiver].local().is_some() {
                    prop_assert_eq!(parties[receiver].local(), before[receiver].local());
                }
            }
            if !step.answered {
                continue;
            }
            let shown = parties[receiver].local().copied();
            let said = step.answerer.map(|n| agent(&format!("{receiver}ufrag{n}"), ""));
            let answerer_has_ice = said.is_some();
            parties[receiver].sent_answer(said);
            known[receiver] = true;
            prop_assert_eq!(parties[receiver].local().copied(), shown, "an answer renews nothing");
            prop_assert!(!parties[receiver].is_active() || answerer_has_ice);
            let mut answer = Signal::default();
            if step.remove_in_answer {
                answer.security.ice = IceMode::Remove;
            }
            parties[sender].answered(&answer, rng);
            let printed = parties[sender].print(Half::Answer, local_candidates(&endpoints, Ranking::Sole));
            let expected = step.sender.is_some()
                && !step.reject
                && !step.remove_in_answer
                && passthrough == Passthrough::Off;
            prop_assert_eq!(printed.is_some(), expected, "the offerer gets ICE exactly if it had it");
            if let Some(printed) = printed {
                check_printed(&printed)?;
            }
        }
    }
}
