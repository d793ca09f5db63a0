use super::*;
use EndpointLearning::*;
use Verdict::*;

const SIGNALLED: &str = "9.9.9.1:4000";
const OTHER_PORT: &str = "9.9.9.1:4444";
const SIGNALLING: &str = "9.9.9.7:4321";
const STRANGER: &str = "7.7.7.5:6666";
const OTHER_STRANGER: &str = "7.7.7.6:4000";
const PRIVATE: &str = "10.0.0.5:4000";
const NONE: &str = "-";

/// What a packet is, and how long nothing was accepted before it.
#[derive(Clone, Copy)]
enum Sent {
    /// RTP with this SSRC and sequence number.
    Rtp(u32, u16),
    /// The same, where the party's stream ended.
    Continuing(u16, u64),
    /// RTP with a payload type that was not negotiated.
    Strange(u16),
    /// RTP behind a silence.
    After(u16, u64),
    Rtcp,
    Datagram,
    Tag,
    /// Authentic, but older than others.
    OldTag,
}
use Sent::*;

#[derive(Clone, Copy, Default)]
struct Flags {
    strict: bool,
    handover: bool,
    unanswered: bool,
    undescribed: bool,
}
const PLAIN: Flags = Flags { strict: false, handover: false, unanswered: false, undescribed: false };
const STRICT: Flags = Flags { strict: true, ..PLAIN };
const HANDOVER: Flags = Flags { handover: true, ..PLAIN };

/// (name, mode, signalled, flags, packets: milliseconds, source, what, verdict, peer afterwards)
type Case = (
    &'static str,
    EndpointLearning,
    &'static str,
    Flags,
    &'static [(u64, &'static str, Sent, Verdict, &'static str)],
);

const CASES: &[Case] = &[
    (
        "off never learns but accepts asymmetric senders",
        Off,
        SIGNALLED,
        PLAIN,
        &[(0, STRANGER, Rtp(1, 1), Changed, SIGNALLED), (9000, OTHER_PORT, Rtp(1, 2), Accept, SIGNALLED)],
    ),
    (
        "off with strict source accepts the signalled one only",
        Off,
        SIGNALLED,
        STRICT,
        &[(0, STRANGER, Rtp(1, 1), WrongSource, SIGNALLED), (1, SIGNALLED, Rtp(1, 1), Changed, SIGNALLED)],
    ),
    (
        "immediate takes the first and keeps it",
        Immediate,
        SIGNALLED,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Changed, STRANGER),
            (1, SIGNALLED, Rtp(2, 1), WrongSource, STRANGER),
            (9000, STRANGER, Rtp(1, 2), Accept, STRANGER),
        ],
    ),
    (
        "delayed hears all for three seconds, sends to the best, then takes the next",
        Delayed,
        SIGNALLED,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Accept, SIGNALLED),
            (10, OTHER_PORT, Rtp(2, 1), Changed, OTHER_PORT),
            (20, STRANGER, Rtp(1, 2), Accept, OTHER_PORT),
            (2999, SIGNALLED, Rtp(1, 2), Changed, SIGNALLED),
            (3000, STRANGER, Rtp(1, 3), Changed, STRANGER),
            (3001, SIGNALLED, Rtp(2, 2), WrongSource, STRANGER),
        ],
    ),
    (
        "delayed with strict source never takes a stranger",
        Delayed,
        SIGNALLED,
        STRICT,
        &[
            (0, OTHER_PORT, Rtp(1, 1), Changed, OTHER_PORT),
            (3000, STRANGER, Rtp(2, 1), WrongSource, OTHER_PORT),
            (3001, OTHER_PORT, Rtp(1, 2), Changed, OTHER_PORT),
        ],
    ),
    (
        "heuristic confirms the signalled source at once",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, SIGNALLED, Rtp(1, 1), Changed, SIGNALLED),
            (20, STRANGER, Rtp(2, 1), WrongSource, SIGNALLED),
            (21, OTHER_PORT, Rtp(2, 2), WrongSource, SIGNALLED),
            (9000, OTHER_PORT, Rtp(2, 3), WrongSource, SIGNALLED),
        ],
    ),
    (
        "stray packets of strangers are not heard",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Unproven, SIGNALLED),
            (1, OTHER_STRANGER, Rtp(1, 2), Unproven, SIGNALLED),
            (2, STRANGER, Rtp(1, 9), Unproven, SIGNALLED),
            (3, STRANGER, Rtp(2, 10), Unproven, SIGNALLED),
            (4, STRANGER, Strange(11), Unproven, SIGNALLED),
            (5, STRANGER, Rtcp, Unproven, SIGNALLED),
        ],
    ),
    (
        "a stranger is heard until somebody comes of whom we know, but never sent to",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Unproven, SIGNALLED),
            (20, STRANGER, Rtp(1, 2), Changed, SIGNALLED),
            (30, OTHER_STRANGER, Rtp(2, 2), WrongSource, SIGNALLED),
            (60_000, STRANGER, Rtp(1, 3), Accept, SIGNALLED),
            (60_010, SIGNALLED, Rtp(3, 3), Changed, SIGNALLED),
            (60_020, STRANGER, Rtp(1, 4), WrongSource, SIGNALLED),
        ],
    ),
    (
        "strict source does not hear strangers at all",
        Heuristic,
        SIGNALLED,
        STRICT,
        &[
            (0, STRANGER, Rtp(1, 1), WrongSource, SIGNALLED),
            (20, STRANGER, Rtp(1, 2), WrongSource, SIGNALLED),
            (30, SIGNALLED, Rtp(2, 1), Changed, SIGNALLED),
            (50, OTHER_PORT, Continuing(2, 20), WrongSource, SIGNALLED),
            (70, OTHER_PORT, Continuing(3, 40), WrongSource, SIGNALLED),
        ],
    ),
    (
        "another port of the signalled host is used at once, and replaced by the signalled one",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, OTHER_PORT, Rtp(1, 1), Changed, OTHER_PORT),
            (3000, OTHER_PORT, Rtp(1, 2), Changed, OTHER_PORT),
            (3010, SIGNALLING, Rtp(3, 2), WrongSource, OTHER_PORT),
            (3020, SIGNALLED, Rtp(2, 2), Changed, SIGNALLED),
            (3030, OTHER_PORT, Rtp(1, 3), WrongSource, SIGNALLED),
        ],
    ),
    (
        "the host that signalling came from is used at once",
        Heuristic,
        PRIVATE,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Unproven, PRIVATE),
            (10, STRANGER, Rtp(1, 2), Changed, STRANGER),
            (3010, STRANGER, Rtp(1, 3), Changed, STRANGER),
            (4000, SIGNALLING, Rtp(2, 1), Changed, SIGNALLING),
            (4010, STRANGER, Rtp(1, 4), WrongSource, SIGNALLING),
        ],
    ),
    (
        "behind a NAT the first that is credible is it, while it is heard",
        Heuristic,
        PRIVATE,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Unproven, PRIVATE),
            (20, STRANGER, Rtp(1, 2), Changed, STRANGER),
            (40, OTHER_STRANGER, After(1, 20), WrongSource, STRANGER),
            (600, OTHER_STRANGER, After(2, 580), Unproven, STRANGER),
            (620, OTHER_STRANGER, After(3, 600), Changed, OTHER_STRANGER),
            (3700, OTHER_STRANGER, Rtp(1, 4), Changed, OTHER_STRANGER),
            (9000, STRANGER, After(3, 5000), WrongSource, OTHER_STRANGER),
        ],
    ),
    (
        "strangers between its packets do not keep a party out",
        Heuristic,
        PRIVATE,
        PLAIN,
        &[
            (0, STRANGER, Rtp(1, 1), Unproven, PRIVATE),
            (1, OTHER_STRANGER, Rtp(2, 7), Unproven, PRIVATE),
            (2, OTHER_STRANGER, Rtp(3, 7), Unproven, PRIVATE),
            (20, STRANGER, Rtp(1, 2), Changed, STRANGER),
        ],
    ),
    (
        "nobody is believed without evidence before the other side has answered",
        Heuristic,
        PRIVATE,
        Flags { unanswered: true, ..PLAIN },
        &[
            (0, STRANGER, Rtp(1, 1), Unproven, PRIVATE),
            (20, STRANGER, Rtp(1, 2), Unproven, PRIVATE),
            (40, PRIVATE, Rtp(1, 3), Changed, PRIVATE),
        ],
    ),
    (
        "unknown peer is answered when it is credible",
        Heuristic,
        NONE,
        PLAIN,
        &[(0, STRANGER, Rtp(1, 1), Unproven, NONE), (20, STRANGER, Rtp(1, 2), Changed, STRANGER)],
    ),
    (
        "before it is described a party is heard, but nothing is sent there",
        Heuristic,
        NONE,
        Flags { undescribed: true, ..PLAIN },
        &[(0, STRANGER, Rtp(1, 1), Unproven, NONE), (20, STRANGER, Rtp(1, 2), Changed, NONE)],
    ),
    (
        "datagrams without numbers are counted",
        Heuristic,
        PRIVATE,
        PLAIN,
        &[
            (0, STRANGER, Datagram, Unproven, PRIVATE),
            (1, OTHER_STRANGER, Datagram, Unproven, PRIVATE),
            (2, OTHER_STRANGER, Datagram, Changed, OTHER_STRANGER),
        ],
    ),
    (
        "a party whose mapping changes is followed when it was silent for a moment",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, SIGNALLED, Rtp(1, 1), Changed, SIGNALLED),
            (20, OTHER_STRANGER, Continuing(2, 20), Unproven, SIGNALLED),
            (40, OTHER_STRANGER, Continuing(3, 40), Unproven, SIGNALLED),
            (60, OTHER_STRANGER, Continuing(4, 60), Changed, OTHER_STRANGER),
            (60, SIGNALLED, Rtp(9, 1), WrongSource, OTHER_STRANGER),
            (80, OTHER_STRANGER, Rtp(1, 5), Accept, OTHER_STRANGER),
        ],
    ),
    (
        "a copy of the party's stream moves nothing while the party is heard",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, SIGNALLED, Rtp(1, 1), Changed, SIGNALLED),
            (20, STRANGER, Continuing(2, 20), Unproven, SIGNALLED),
            (21, SIGNALLED, Rtp(1, 2), Accept, SIGNALLED),
            (40, STRANGER, Continuing(3, 19), Unproven, SIGNALLED),
        ],
    ),
    (
        "authentic packets confirm at once and move the peer, but not often",
        Heuristic,
        SIGNALLED,
        PLAIN,
        &[
            (0, STRANGER, Tag, Changed, STRANGER),
            (1000, OTHER_PORT, Tag, Changed, OTHER_PORT),
            (1020, STRANGER, Tag, Accept, OTHER_PORT),
            (1060, STRANGER, OldTag, Accept, OTHER_PORT),
            (1061, STRANGER, Tag, Changed, STRANGER),
        ],
    ),
    (
        "strict source holds for authentic packets, too",
        Heuristic,
        SIGNALLED,
        STRICT,
        &[(0, OTHER_PORT, Tag, Changed, OTHER_PORT), (10, STRANGER, Tag, WrongSource, OTHER_PORT)],
    ),
    (
        "media handover follows, once a second while the former source is heard",
        Heuristic,
        SIGNALLED,
        HANDOVER,
        &[
            (0, SIGNALLED, Rtp(1, 1), Changed, SIGNALLED),
            (9000, STRANGER, After(1, 20), Changed, STRANGER),
            (9020, SIGNALLED, After(1, 20), Unproven, STRANGER),
            (9200, SIGNALLED, After(2, 150), Changed, SIGNALLED),
            (9900, STRANGER, After(3, 20), Unproven, SIGNALLED),
            (10_200, STRANGER, After(4, 20), Changed, STRANGER),
        ],
    ),
];

#[test]
fn modes_learn_as_documented() {
    let start = Instant::now();
    for (name, mode, signalled, flags, packets) in CASES {
        let mut learner = Learner::new(PeerRules {
            mode: *mode,
            signalled: signalled.parse().ok(),
            signalling_host: SIGNALLING.parse().ok().map(|address: SocketAddr| address.ip()),
            known: None,
            answered: !flags.unanswered,
            described: !flags.undescribed,
            strict_source: flags.strict,
            signalled_host_only: false,
            media_handover: flags.handover,
            epoch: 0,
        });
        for (at, source, sent, verdict, peer) in *packets {
            let source = source.parse().unwrap();
            let got = learner.observe(start + Duration::from_millis(*at), source, || evidence(*sent));
            assert_eq!(got, *verdict, "{name} at {at} ms");
            assert_eq!(learner.peer(), peer.parse().ok(), "{name} at {at} ms");
        }
    }
}

fn evidence(sent: Sent) -> (Evidence, Duration) {
    let rtp =
        |ssrc, sequence_number| Evidence::Rtp { ssrc, sequence_number, continues: false, expected: true };
    let short = Duration::from_millis(10);
    match sent {
        Rtp(ssrc, sequence_number) => (rtp(ssrc, sequence_number), short),
        After(sequence_number, silence) => (rtp(7, sequence_number), Duration::from_millis(silence)),
        Continuing(sequence_number, silence) => (
            Evidence::Rtp { ssrc: 1, sequence_number, continues: true, expected: true },
            Duration::from_millis(silence),
        ),
        Strange(sequence_number) => {
            (Evidence::Rtp { ssrc: 2, sequence_number, continues: false, expected: false }, short)
        }
        Sent::Rtcp => (Evidence::Rtcp, short),
        Sent::Datagram => (Evidence::Datagram, short),
        Tag => (Evidence::Authentic { newest: true }, short),
        OldTag => (Evidence::Authentic { newest: false }, short),
    }
}

fn rules(mode: EndpointLearning) -> PeerRules {
    PeerRules {
        signalled_host_only: false,
        mode,
        signalled: SIGNALLED.parse().ok(),
        signalling_host: None,
        known: None,
        answered: true,
        described: true,
        strict_source: false,
        media_handover: false,
        epoch: 1,
    }
}

#[test]
fn learned_peer_survives_a_plan_with_the_same_peer_and_epoch() {
    let rules = rules(Immediate);
    let mut learner = Learner::new(rules);
    let now = Instant::now();
    learner.observe(now, STRANGER.parse().unwrap(), || evidence(Rtp(1, 1)));
    let known = STRANGER.parse().ok();
    assert!(!learner.update(PeerRules { strict_source: true, known, ..rules }));
    assert!(!learner.update(PeerRules { signalled: None, known, ..rules }), "hold");
    assert_eq!((learner.peer(), learner.is_confirmed()), (known, true));
    assert!(learner.update(PeerRules { epoch: 2, ..rules }));
    assert_eq!((learner.peer(), learner.is_confirmed()), (rules.signalled, false));
}

#[test]
fn what_another_stream_had_learned_is_believed_until_the_signalled_source_shows_up() {
    let known: Option<SocketAddr> = STRANGER.parse().ok();
    let mut learner = Learner::new(PeerRules { known, ..rules(Heuristic) });
    assert_eq!(learner.peer(), known);
    let now = Instant::now();
    let mut observe = |source: &str, what| {
        let verdict = learner.observe(now, source.parse().unwrap(), || evidence(what));
        (verdict, learner.peer(), learner.is_confirmed())
    };
    assert_eq!(observe(OTHER_STRANGER, Rtp(1, 1)), (Unproven, known, false));
    assert_eq!(observe(STRANGER, Datagram), (Changed, known, true));
    assert_eq!(observe(OTHER_PORT, Datagram), (WrongSource, known, true));
    let signalled = SIGNALLED.parse().ok();
    // It has gone on to where it said, and its next datagrams have no sequence numbers that would tell.
    assert_eq!(observe(SIGNALLED, Datagram), (Changed, signalled, true));
    assert_eq!(observe(STRANGER, Datagram), (WrongSource, signalled, true));
}

#[test]
fn stranger_who_is_heard_says_nothing_about_the_party_s_host() {
    let mut learner = Learner::new(PeerRules { signalled: SIGNALLED.parse().ok(), ..rules(Heuristic) });
    let (now, stranger) = (Instant::now(), STRANGER.parse::<SocketAddr>().unwrap());
    learner.observe(now, stranger, || evidence(Rtp(1, 1)));
    assert_eq!(learner.observe(now, stranger, || evidence(Rtp(1, 2))), Changed);
    assert_eq!((learner.source(), learner.home()), (Some(stranger), None));
    let party = SIGNALLED.parse::<SocketAddr>().unwrap();
    assert_eq!(learner.observe(now, party, || evidence(Rtp(2, 1))), Changed);
    assert_eq!(learner.home(), Some(party));
}

#[test]
fn rtcp_follows_the_host_that_rtp_comes_from() {
    let mut learner = Learner::new(rules(Heuristic));
    let (now, stranger) = (Instant::now(), STRANGER.parse().unwrap());
    assert_eq!(learner.observe(now, stranger, || evidence(Sent::Rtcp)), Unproven);
    learner.companion_is_at(stranger);
    assert_eq!(learner.observe(now, stranger, || evidence(Sent::Rtcp)), Changed);
    assert_eq!(learner.peer(), Some(stranger));
    learner.companion_is_at(SIGNALLING.parse().unwrap());
    assert_eq!(learner.observe(now, stranger, || evidence(Sent::Rtcp)), Unproven);
    assert_eq!(learner.observe(now, SIGNALLING.parse().unwrap(), || evidence(Sent::Rtcp)), Changed);
}

#[test]
fn rtcp_moves_with_the_port_of_rtp() {
    let signalled = SIGNALLED.parse::<SocketAddr>().unwrap();
    let port = |offset| SocketAddr::new(signalled.ip(), signalled.port() + offset);
    let mut learner = Learner::new(rules(Heuristic));
    let now = Instant::now();
    assert_eq!(learner.observe(now, signalled, || evidence(Sent::Rtcp)), Changed);
    assert_eq!(learner.observe(now, port(301), || evidence(Sent::Rtcp)), WrongSource, "RTP has not moved");
    learner.companion_is_at(port(300));
    assert_eq!(learner.peer(), Some(signalled), "until it is heard elsewhere");
    assert_eq!(learner.observe(now, port(301), || evidence(Sent::Rtcp)), Changed);
    assert_eq!(learner.peer(), Some(port(301)));
    learner.companion_is_at(port(400));
    assert_eq!(learner.observe(now, port(401), || evidence(Sent::Rtcp)), Changed);
}

#[test]
fn where_only_the_signalled_host_is_believed_its_port_is_learned_and_nobody_else_heard() {
    let [signalled, stranger] = [SIGNALLED, STRANGER].map(|text| text.parse::<SocketAddr>().unwrap());
    let mut learner = Learner::new(PeerRules {
        signalled_host_only: true,
        signalling_host: Some(stranger.ip()),
        ..rules(Heuristic)
    });
    let now = Instant::now();
    let observe = |learner: &mut Learner, at: Instant, source| {
        learner.observe(at, source, || (Evidence::Datagram, Duration::ZERO))
    };
    for _ in 0..3 {
        assert_eq!(observe(&mut learner, now, stranger), WrongSource, "even where signalling comes from");
    }
    let port = |offset| SocketAddr::new(signalled.ip(), signalled.port() + offset);
    assert_eq!(observe(&mut learner, now, port(155)), Changed);
    assert_eq!(learner.peer(), Some(port(155)));
    observe(&mut learner, now + WINDOW, port(155));
    assert_eq!(observe(&mut learner, now + WINDOW, port(200)), WrongSource, "once");
}

#[test]
fn of_two_parties_on_a_socket_the_nearer_one_is_meant() {
    let [signalled, stranger] = [SIGNALLED, STRANGER].map(|text| text.parse::<SocketAddr>().unwrap());
    let other_port = SocketAddr::new(signalled.ip(), signalled.port() + 1);
    let mut learner = Learner::new(rules(Heuristic));
    assert_eq!(learner.affinity(signalled), Affinity::There);
    assert_eq!(learner.affinity(other_port), Affinity::Possible);
    assert_eq!(learner.affinity(stranger), Affinity::None);
    learner.observe(Instant::now(), signalled, || (Evidence::Datagram, Duration::ZERO));
    assert_eq!(learner.affinity(other_port), Affinity::Doubtful);
}
