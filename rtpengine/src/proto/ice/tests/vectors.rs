use super::*;

#[test]
fn candidate_priorities_are_those_of_the_formula() {
    // RFC 8445 §5.1.2.1 with the preferences of §5.1.2.2: 2^24 · type + 2^8 · local + 256 − component.
    const CASES: &[(CandidateKind, u16, Component, u32)] = &[
        (CandidateKind::Host, 65535, Component::Rtp, 2_130_706_431),
        (CandidateKind::Host, 65535, Component::Rtcp, 2_130_706_430),
        (CandidateKind::Host, 65534, Component::Rtp, 2_130_706_175),
        (CandidateKind::ServerReflexive, 65535, Component::Rtp, 1_694_498_815),
        (CandidateKind::PeerReflexive, 65535, Component::Rtp, 1_862_270_975),
        (CandidateKind::Relayed, 65535, Component::Rtp, 16_777_215),
    ];
    for (kind, local, component, expected) in CASES {
        assert_eq!(
            priority(kind.preference(), *local, *component),
            *expected,
            "{kind:?} {local} {component:?}"
        );
    }
}

#[test]
fn pair_priorities_are_equal_on_both_sides() {
    let (host, reflexive) = (2_130_706_431u32, 1_694_498_815u32);
    // 2^32 · MIN + 2 · MAX + (G > D ? 1 : 0)
    let expected = (u64::from(reflexive) << 32) + 2 * u64::from(host) + 1;
    assert_eq!(pair_priority(Role::Controlling, host, reflexive), expected);
    assert_eq!(pair_priority(Role::Controlled, reflexive, host), expected);
    assert_eq!(pair_priority(Role::Controlling, reflexive, host), expected - 1);
    assert_eq!(pair_priority(Role::Controlled, host, reflexive), expected - 1);
    assert_eq!(pair_priority(Role::Controlled, host, host), (u64::from(host) << 32) + 2 * u64::from(host));
}
