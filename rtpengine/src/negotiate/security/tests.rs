//! Exchanges between two parties, as the call model goes through them.

use std::sync::LazyLock;
use std::time::SystemTime;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::negotiate::signal::SdesOptions;
use crate::proto::dtls::Settings;
use crate::proto::sdp::model::KeySalt;
use crate::proto::sdp::{ParseOptions, SUITES, parse};

static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| {
    Arc::new(Identity::generate(&Settings::default(), "test", SystemTime::now()).expect("certificate"))
});

const FINGERPRINT: &str = "a=fingerprint:sha-1 2B:97:4B:A4:B4:6A:6A:D2:12:25:7B:FB:18:70:4C:6F:D0:E5:A5:44";
const OTHER_FINGERPRINT: &str =
    "a=fingerprint:sha-1 84:F9:9A:54:98:B6:61:7E:4D:76:2B:B1:96:DD:45:84:45:F0:B9:16";
const KEY_80: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:jjeYGAhR951M2RWe6res/0Ff67q69nEPm2n2RjtG";
const KEY_32: &str = "a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:wdTQlL1RaOM34UxlB5kiLU964p/19LZM7Hm8oxrs";
const ANSWER_80: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:hKeo9OCp4K4mZ0LPuouL+D65aoHKXXCsxawXGw5i";
const ANSWER_32: &str = "a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:gkSHWQ6t96ICIVvxYQgNcFMPbnafAyei/ArSVwVM";

/// The two ends of a call.
struct Pair {
    caller: MediaSecurity,
    callee: MediaSecurity,
    /// What becomes of the callee's.
    packets: Packets,
    rng: StdRng,
}

fn sdp(transport: &str, attributes: &[&str]) -> SessionDescription {
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 {transport} 0\r\n{}\r\n",
        attributes.join("\r\n")
    );
    parse(&text, ParseOptions::default()).expect("SDP")
}

fn profile(transport: &str) -> RtpProfile {
    RtpProfile::from_name(transport).expect("profile")
}

impl Pair {
    fn new() -> Self {
        Self {
            caller: MediaSecurity::default(),
            callee: MediaSecurity::default(),
            packets: Packets::Unchanged,
            rng: StdRng::seed_from_u64(1),
        }
    }

    /// The caller offers; returns what the callee is told.
    fn offer(&mut self, options: &SecurityOptions, from: &str, attributes: &[&str], to: &str) -> Lines {
        let sdp = sdp(from, attributes);
        let section = Section::new(&sdp.media[0], &sdp);
        let policy = policy(options);
        self.caller.receive_offer(&section, &policy);
        self.callee.set_opportunistic(section.is_opportunistic() && from == to);
        self.callee.prepare_offer(Some(profile(to)), Some(&section), &policy, &mut self.rng);
        self.callee.lines(true)
    }

    /// The callee answers; returns what the caller (who spoke `to`) is told.
    fn answer(&mut self, options: &SecurityOptions, from: &str, attributes: &[&str], to: &str) -> Lines {
        let sdp = sdp(from, attributes);
        let policy = policy(options);
        self.callee.receive_answer(&Section::new(&sdp.media[0], &sdp));
        self.caller.prepare_answer(
            Some(profile(to)),
            Some((&self.callee, self.packets)),
            &policy,
            &mut self.rng,
        );
        self.caller.lines(true)
    }
}

/// What the one encrypts with is what the other was promised.
fn passes_unchanged(from: &MediaSecurity, to: &MediaSecurity) -> bool {
    match (from.keying(), to.keying()) {
        (Keying::Sdes { receive, .. }, Keying::Sdes { send, .. }) => {
            Crypto { tag: send.tag, ..(**receive).clone() } == **send
        }
        _ => false,
    }
}

fn policy(options: &SecurityOptions) -> Policy<'_> {
    Policy { options, reset: false, dtls_passive: false, identity: &IDENTITY }
}

fn options(set: impl FnOnce(&mut SecurityOptions)) -> SecurityOptions {
    let mut options = SecurityOptions::default();
    set(&mut options);
    options
}

fn tags_and_suites(lines: &[Crypto]) -> Vec<(u32, &'static str)> {
    lines.iter().map(|line| (line.tag, line.suite.name)).collect()
}

const SAVP: &str = "RTP/SAVP";
const AVP: &str = "RTP/AVP";

#[test]
fn same_suite_on_both_sides_lets_ciphertext_pass_in_both_directions() {
    let mut pair = Pair::new();
    let offered = pair.offer(&options(|_| ()), SAVP, &[KEY_80, KEY_32], SAVP);
    assert_eq!(offered.crypto.len(), SUITES.len());
    assert_eq!(offered.setup, Some(Setup::ActPass));
    let answered = pair.answer(&options(|_| ()), SAVP, &[ANSWER_32], SAVP);
    assert_eq!(tags_and_suites(&answered.crypto), [(2, "AES_CM_128_HMAC_SHA1_32")]);
    assert!(passes_unchanged(&pair.caller, &pair.callee) && passes_unchanged(&pair.callee, &pair.caller));
    let Keying::Sdes { receive, send } = pair.caller.keying() else { panic!("{:?}", pair.caller.keying()) };
    assert_ne!(receive.key_salt, send.key_salt);
}

#[test]
fn rewritten_packets_have_a_key_of_their_own_that_stays() {
    let mut pair = Pair::new();
    let none = options(|_| ());
    let key = |lines: &Lines| lines.crypto[0].key_salt.clone();
    let theirs = |pair: &Pair| match pair.callee.keying() {
        Keying::Sdes { receive, .. } => receive.key_salt.clone(),
        other => panic!("{other:?}"),
    };
    let mut keys = Vec::new();
    for packets in [Packets::Unchanged, Packets::Rewritten, Packets::Rewritten, Packets::Unchanged] {
        pair.packets = packets;
        pair.offer(&none, SAVP, &[KEY_80, KEY_32], SAVP);
        let answered = pair.answer(&none, SAVP, &[ANSWER_32], SAVP);
        assert_eq!(tags_and_suites(&answered.crypto), [(2, "AES_CM_128_HMAC_SHA1_32")]);
        assert_eq!(key(&answered) == theirs(&pair), packets == Packets::Unchanged, "{packets:?}");
        keys.push(key(&answered));
    }
    assert!(keys[1] == keys[2] && keys[0] == keys[3]);
}

#[test]
fn session_parameters_are_part_of_what_passes_unchanged() {
    let mut pair = Pair::new();
    let clear = format!("{KEY_80} UNENCRYPTED_SRTP");
    let encrypt = options(|o| o.sdes.unencrypted_srtp = Some(false));
    pair.offer(&encrypt, SAVP, &[&clear], SAVP);
    pair.answer(&encrypt, SAVP, &[ANSWER_80], SAVP);
    assert!(!passes_unchanged(&pair.caller, &pair.callee), "one end encrypts, the other does not");
}

#[test]
fn nothing_passes_before_keys_are_agreed_on() {
    let mut pair = Pair::new();
    let no_dtls = options(|o| o.dtls = Some(DtlsMode::Off));
    pair.offer(&no_dtls, SAVP, &[KEY_80], SAVP);
    assert_eq!((pair.caller.keying(), pair.callee.keying()), (&Keying::Blocked, &Keying::Blocked));
    let answered = pair.answer(&no_dtls, SAVP, &[], SAVP);
    assert_eq!(answered.crypto.len(), 1, "the caller can have keys");
    assert_eq!(pair.callee.keying(), &Keying::Blocked, "the callee gave none");
}

#[test]
fn an_answer_with_a_suite_that_was_not_offered_gives_no_keys() {
    let mut pair = Pair::new();
    let only = options(|o| {
        o.dtls = Some(DtlsMode::Off);
        o.sdes.only.push("AEAD_AES_128_GCM".into());
    });
    pair.offer(&only, AVP, &[], SAVP);
    pair.answer(&only, SAVP, &[ANSWER_80], AVP);
    assert_eq!((pair.caller.keying(), pair.callee.keying()), (&Keying::Plain, &Keying::Blocked));
}

#[test]
fn early_and_final_answers_may_choose_different_lines() {
    let mut pair = Pair::new();
    let none = options(|_| ());
    let offered = pair.offer(&none, AVP, &[], SAVP).crypto;
    for line in [ANSWER_80, ANSWER_32] {
        pair.answer(&none, SAVP, &[&line.replace(":1 ", ":7 ").replace(":2 ", ":8 ")], AVP);
        let Keying::Sdes { receive, send } = pair.callee.keying() else { panic!("no keys for {line}") };
        assert_eq!(receive.tag, send.tag);
        assert!(offered.contains(send));
    }
}

#[test]
fn re_offer_keeps_the_agreement_until_it_is_answered() {
    let mut pair = Pair::new();
    let none = options(|_| ());
    pair.offer(&none, SAVP, &[KEY_80, KEY_32], SAVP);
    pair.answer(&none, SAVP, &[ANSWER_80], SAVP);
    let before = (pair.caller.keying().clone(), pair.callee.keying().clone());
    let again = pair.offer(&none, SAVP, &[KEY_32], SAVP);
    assert_eq!(
        tags_and_suites(&again.crypto)[..2],
        [(2, "AES_CM_128_HMAC_SHA1_32"), (3, "AES_CM_128_HMAC_SHA1_80")]
    );
    assert_eq!(before, (pair.caller.keying().clone(), pair.callee.keying().clone()));
    pair.answer(&none, SAVP, &[ANSWER_32], SAVP);
    assert_ne!(&before.0, pair.caller.keying());
    assert_ne!(&before.1, pair.callee.keying());
}

#[test]
fn an_offer_that_is_repeated_has_the_same_keys_until_it_is_answered() {
    let mut pair = Pair::new();
    let none = options(|_| ());
    let mut offers = Vec::new();
    for _ in 0..2 {
        let offered = pair.offer(&none, AVP, &[], SAVP).crypto;
        let retransmitted = pair.offer(&none, AVP, &[], SAVP).crypto;
        assert_eq!(offered, retransmitted);
        // The answer is one to the first of the two, and chooses another suite than the last one did.
        let line = [ANSWER_80, ANSWER_32][offers.len()].replacen(":1 ", ":7 ", 1).replacen(":2 ", ":8 ", 1);
        pair.answer(&none, SAVP, &[&line], AVP);
        let Keying::Sdes { send, .. } = pair.callee.keying() else { panic!("no keys for {line}") };
        assert!(offered.contains(send));
        offers.push(offered);
    }
    let kept = offers[1].iter().filter(|line| offers[0].contains(line)).count();
    assert_eq!(kept, 1, "what was accepted; the others are new");
}

#[test]
fn who_was_told_of_no_keys_is_offered_everything_anew() {
    let none = options(|_| ());
    let kinds = [(SAVP, vec![ANSWER_80]), ("UDP/TLS/RTP/SAVP", vec![FINGERPRINT, "a=setup:active"])];
    for (transport, answer) in kinds {
        let mut pair = Pair::new();
        let first = pair.offer(&none, AVP, &[], transport);
        pair.answer(&none, transport, &answer, AVP);
        let agreed = pair.callee.keying().clone();
        assert_eq!(pair.offer(&none, AVP, &[], AVP), Lines::default());
        assert_eq!(pair.callee.keying(), &agreed, "until the plain offer is answered");
        pair.answer(&none, AVP, &[], AVP);
        assert_eq!(pair.callee.keying(), &Keying::Plain);
        let again = pair.offer(&none, AVP, &[], transport);
        assert_eq!(again.fingerprint, first.fingerprint, "{transport}");
        assert_eq!(tags_and_suites(&again.crypto), tags_and_suites(&first.crypto), "{transport}");
        assert!(again.crypto.iter().all(|line| !first.crypto.contains(line)), "old keys for {transport}");
        // The other direction: the caller is told of no keys by an answer.
        pair.answer(&none, transport, &answer, AVP);
        pair.caller.prepare_offer(Some(profile(transport)), None, &policy(&none), &mut pair.rng);
        assert!(pair.caller.lines(true).fingerprint.is_some() && pair.caller.has_sdes());
    }
}

#[test]
fn dtls_is_offered_under_its_profile_whatever_was_agreed_before() {
    const TLS: &str = "UDP/TLS/RTP/SAVP";
    let none = options(|_| ());
    let mut pair = Pair::new();
    pair.offer(&none, AVP, &[], SAVP);
    pair.answer(&none, SAVP, &[ANSWER_80], AVP);
    assert!(pair.offer(&none, AVP, &[], SAVP).fingerprint.is_none(), "SDES was agreed on");
    let off = options(|o| o.dtls = Some(DtlsMode::Off));
    assert!(pair.offer(&off, AVP, &[], TLS).fingerprint.is_none(), "it was asked for");
    let under_tls = pair.offer(&none, AVP, &[], TLS);
    assert!(under_tls.fingerprint.is_some() && under_tls.setup == Some(Setup::ActPass));
    pair.answer(&none, TLS, &[FINGERPRINT, "a=setup:active"], AVP);
    assert!(matches!(pair.callee.keying(), Keying::Dtls(_)));
}

#[test]
fn tags_never_wrap_around() {
    let mut pair = Pair::new();
    let high = KEY_80.replace(":1 ", ":4294967294 ");
    let offered = pair.offer(&options(|_| ()), SAVP, &[&high], SAVP).crypto;
    assert_eq!(
        tags_and_suites(&offered),
        [(u32::MAX - 1, "AES_CM_128_HMAC_SHA1_80"), (u32::MAX, "AEAD_AES_256_GCM")]
    );
}

#[test]
fn offerer_preference_with_a_suite_in_its_place_is_harmless() {
    let mut pair = Pair::new();
    let prefer = options(|o| {
        o.sdes.offerer_preference = vec!["AES_CM_128_HMAC_SHA1_80".into(), "AES_CM_128_HMAC_SHA1_32".into()]
    });
    pair.offer(&prefer, SAVP, &[KEY_80, KEY_32], AVP);
    let answered = pair.answer(&prefer, AVP, &[], SAVP);
    assert_eq!(tags_and_suites(&answered.crypto), [(1, "AES_CM_128_HMAC_SHA1_80")]);
    assert!(pair.caller.is_sdes_reordered());
}

#[test]
fn roles_follow_setup_and_a_change_of_role_is_a_new_association() {
    const CASES: &[(&str, Setup)] = &[
        ("a=setup:actpass", Setup::Active),
        ("a=setup:active", Setup::Passive),
        // Who was passive stays passive.
        ("a=setup:actpass", Setup::Passive),
        ("a=setup:passive", Setup::Active),
    ];
    let mut pair = Pair::new();
    let mut associations = Vec::new();
    for (setup, expected) in CASES {
        pair.offer(&options(|_| ()), "UDP/TLS/RTP/SAVP", &[FINGERPRINT, setup], AVP);
        let answered = pair.answer(&options(|_| ()), AVP, &[], "UDP/TLS/RTP/SAVP");
        assert_eq!(answered.setup, Some(*expected), "{setup}");
        assert_eq!(answered.fingerprint.map(|f| f.hash), Some(FingerprintHash::Sha1));
        let Keying::Dtls(keying) = pair.caller.keying() else { panic!("{setup}") };
        associations.push(keying.association);
    }
    assert_eq!(associations, [0, 1, 1, 2]);
}

#[test]
fn a_preferred_role_is_for_the_first_association_only() {
    let passive = options(|o| o.dtls = Some(DtlsMode::Passive));
    let active = options(|o| o.dtls = Some(DtlsMode::Active));
    for (first, then, expected) in [(&passive, &active, Setup::Passive), (&active, &passive, Setup::Active)] {
        let mut pair = Pair::new();
        for options in [first, then, first] {
            let attributes = [FINGERPRINT, "a=setup:actpass"];
            pair.offer(options, "UDP/TLS/RTP/SAVP", &attributes, AVP);
            let answered = pair.answer(options, AVP, &[], "UDP/TLS/RTP/SAVP");
            assert_eq!(answered.setup, Some(expected));
            let Keying::Dtls(keying) = pair.caller.keying() else { panic!("{:?}", pair.caller.keying()) };
            assert_eq!(keying.association, 0);
        }
    }
}

#[test]
fn a_new_fingerprint_or_tls_id_is_a_new_association_with_a_new_identifier() {
    let mut pair = Pair::new();
    let mut seen: Vec<(u32, String)> = Vec::new();
    for attributes in [
        [FINGERPRINT, "a=setup:actpass", "a=tls-id:0011223344556677889900"],
        [FINGERPRINT, "a=setup:actpass", "a=tls-id:0011223344556677889900"],
        [FINGERPRINT, "a=setup:actpass", "a=tls-id:ff11223344556677889900"],
        [OTHER_FINGERPRINT, "a=setup:actpass", "a=tls-id:ff11223344556677889900"],
    ] {
        pair.offer(&options(|_| ()), "UDP/TLS/RTP/SAVP", &attributes, AVP);
        let lines = pair.answer(&options(|_| ()), AVP, &[], "UDP/TLS/RTP/SAVP");
        let Keying::Dtls(keying) = pair.caller.keying() else { panic!() };
        seen.push((keying.association, lines.tls_id.expect("tls-id").to_string()));
    }
    assert_eq!(seen.iter().map(|(association, _)| *association).collect::<Vec<_>>(), [0, 0, 1, 2]);
    assert_eq!(seen[0].1, seen[1].1);
    assert!(seen[1].1 != seen[2].1 && seen[2].1 != seen[3].1);
}

#[test]
fn dtls_may_begin_before_the_answer_but_without_a_verified_peer() {
    let mut pair = Pair::new();
    pair.offer(&options(|_| ()), AVP, &[], "UDP/TLS/RTP/SAVPF");
    let identity = IDENTITY.clone();
    let early = DtlsKeying { role: DtlsRole::Passive, fingerprint: None, association: 0, identity };
    assert_eq!(pair.callee.keying(), &Keying::Dtls(early));
    pair.answer(&options(|_| ()), "UDP/TLS/RTP/SAVPF", &[FINGERPRINT, "a=setup:active"], AVP);
    let Keying::Dtls(keying) = pair.callee.keying() else { panic!() };
    assert!(keying.fingerprint.is_some() && keying.role == DtlsRole::Passive && keying.association == 0);
}

#[test]
fn dtls_that_was_not_offered_cannot_be_answered() {
    let mut pair = Pair::new();
    let no_dtls = options(|o| o.dtls = Some(DtlsMode::Off));
    pair.offer(&no_dtls, AVP, &[], SAVP);
    pair.answer(&no_dtls, SAVP, &[FINGERPRINT, "a=setup:active"], AVP);
    assert_eq!(pair.callee.keying(), &Keying::Blocked);
}

#[test]
fn refused_opportunistic_keys_leave_both_sides_plain() {
    let mut pair = Pair::new();
    let none = options(|_| ());
    assert!(!pair.offer(&none, AVP, &[KEY_80], AVP).crypto.is_empty());
    assert_eq!(pair.answer(&none, AVP, &[], AVP), Lines::default());
    assert_eq!((pair.caller.keying(), pair.callee.keying()), (&Keying::Plain, &Keying::Plain));
    assert!(!pair.caller.is_received_opportunistic(), "keys in the next offer are a change");
    // The early answer said no, the final one agrees.
    let answered = pair.answer(&none, AVP, &[ANSWER_80], AVP);
    assert_eq!(answered.crypto.len(), 1);
    assert!(passes_unchanged(&pair.caller, &pair.callee));
    assert_ne!(pair.caller.keying(), &Keying::Plain);
}

fn suites() -> impl Strategy<Value = Vec<smol_str::SmolStr>> {
    let name = prop::sample::select(SUITES.iter().map(|suite| suite.name.into()).collect::<Vec<_>>());
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(name, 0..4)]
}

prop_compose! {
    fn any_options()(
        only in suites(),
        no in suites(),
        order in suites(),
        offerer_preference in suites(),
        [off, nonew, keep_static, prefer, offer, accept] in any::<[bool; 6]>(),
        dtls in prop::option::of(prop::sample::select(vec![DtlsMode::Off, DtlsMode::Passive, DtlsMode::Active])),
        unencrypted_srtp in any::<Option<bool>>(),
    ) -> SecurityOptions {
        SecurityOptions {
            dtls,
            osrtp_offer: offer,
            osrtp_accept: accept,
            sdes: SdesOptions { off, only, no, nonew, order, offerer_preference, keep_static, prefer, unencrypted_srtp,
                ..SdesOptions::default() },
            ..SecurityOptions::default()
        }
    }
}

#[derive(Clone, Debug)]
struct Message {
    options: SecurityOptions,
    secure: [bool; 2],
    /// Suites and steps from tag to tag.
    lines: Vec<(usize, u32)>,
    setup: Option<&'static str>,
    /// Which line of the offer is answered.
    choice: Option<prop::sample::Index>,
}

prop_compose! {
    fn any_message()(
        options in any_options(),
        secure in any::<[bool; 2]>(),
        lines in prop::collection::vec((0..SUITES.len(), 1..=u32::MAX / 3), 0..4),
        setup in prop::option::of(prop::sample::select(
            vec!["a=setup:active", "a=setup:passive", "a=setup:actpass", "a=setup:holdconn"])),
        choice in any::<Option<prop::sample::Index>>(),
    ) -> Message {
        Message { options, secure, lines, setup, choice }
    }
}

fn crypto_line(tag: u32, suite: &'static Suite, rng: &mut StdRng) -> String {
    let line = Crypto {
        tag,
        suite,
        key_salt: KeySalt::random(suite, rng),
        mki: None,
        unencrypted_srtp: false,
        unencrypted_srtcp: false,
        unauthenticated_srtp: false,
    };
    format!("a=crypto:{tag} {}", line.to_text(KeyStyle::default()))
}

proptest! {
    #[test]
    fn exchanges_keep_their_promises(messages in prop::collection::vec(any_message(), 1..6)) {
        let mut pair = Pair::new();
        let mut keys = StdRng::seed_from_u64(2);
        for message in messages {
            let [from, to] = message.secure.map(|secure| if secure { SAVP } else { AVP });
            let mut tag = 0;
            let mut attributes: Vec<String> = Vec::new();
            for (suite, step) in &message.lines {
                tag += step;
                attributes.push(crypto_line(tag, &SUITES[*suite], &mut keys));
            }
            attributes.extend(message.setup.map(|setup| format!("{setup}\r\n{FINGERPRINT}")));
            let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
            let opportunistic = from == AVP && !attributes.is_empty();
            let offered = pair.offer(&message.options, from, &attributes, to);

            let mut tags: Vec<_> = offered.crypto.iter().map(|line| line.tag).collect();
            tags.sort_unstable();
            tags.dedup();
            prop_assert_eq!(tags.len(), offered.crypto.len(), "tags are unique");
            for line in &offered.crypto {
                prop_assert_eq!(line.key_salt.octets().len(), line.suite.key_salt_octets());
            }
            let told_keys = opportunistic && from == to || message.options.osrtp_offer;
            if to == AVP && !told_keys {
                prop_assert_eq!(&offered, &Lines::default());
            }

            let chosen = message.choice.filter(|_| !offered.crypto.is_empty()).map(|index| {
                let line = index.get(&offered.crypto);
                crypto_line(line.tag, line.suite, &mut keys)
            });
            let answer: Vec<&str> = chosen.iter().map(String::as_str).collect();
            let answered = pair.answer(&message.options, to, &answer, from);

            prop_assert!(answered.crypto.len() <= 1);
            for line in &answered.crypto {
                let is_offered = message.lines.iter().scan(0, |tag, (suite, step)| {
                    *tag += step;
                    Some((*tag, &SUITES[*suite]))
                }).any(|offered| offered == (line.tag, line.suite));
                prop_assert!(is_offered, "{line:?} answers no line of the offer");
                prop_assert_eq!(line.key_salt.octets().len(), line.suite.key_salt_octets());
                prop_assert!(answered.fingerprint.is_none(), "one kind of keys");
            }
            if from == AVP && !opportunistic {
                prop_assert_eq!(&answered, &Lines::default());
            }
            // Whoever speaks SRTP never gets plain packets, and the other way round.
            let shown = !answered.crypto.is_empty() || answered.fingerprint.is_some();
            let expected_plain = from == AVP && !shown;
            prop_assert_eq!(pair.caller.keying() == &Keying::Plain, expected_plain);
            prop_assert_eq!(pair.callee.keying() == &Keying::Plain, to == AVP && answer.is_empty());
            if let Keying::Sdes { send, .. } = pair.caller.keying() {
                prop_assert_eq!(std::slice::from_ref(&**send), &answered.crypto[..]);
            }
            if let Keying::Sdes { receive, send } = pair.callee.keying() {
                prop_assert_eq!(receive.suite, send.suite);
                prop_assert!(offered.crypto.contains(send));
            }
        }
    }
}
