use proptest::prelude::*;

use super::*;

#[test]
fn two_full_agents_find_a_path_for_each_component_at_once() {
    let mut network = Setup::default().network();
    assert!(network.run(ms(2000), Network::completed), "not completed");
    assert!(network.elapsed() < ms(300), "took {:?}", network.elapsed());
    for component in BOTH {
        assert!(network.agrees(component), "{component:?}");
    }
    assert!(network.sent < 20, "{} datagrams", network.sent);
}

#[test]
fn the_best_of_several_paths_that_work_is_selected() {
    let mut network = Setup {
        addresses: [&["192.0.2.1", "192.0.2.2"], &["198.51.100.1", "198.51.100.2"]],
        ..Setup::default()
    }
    .network();
    // The best pair of all does not get through.
    network.passes = |from, to| {
        let best = ["192.0.2.1", "198.51.100.1"];
        !(best.contains(&from.ip().to_string().as_str()) && best.contains(&to.ip().to_string().as_str()))
    };
    assert!(network.run(ms(5000), Network::completed), "not completed");
    for component in BOTH {
        assert!(network.agrees(component), "{component:?}");
        let path = network.sides[0].agent.selected(component).expect("selected");
        let base = network.sides[0].bases[usize::from(path.base.0)].address.ip().to_string();
        assert_eq!((base.as_str(), path.remote.ip().to_string().as_str()), ("192.0.2.1", "198.51.100.2"));
    }
}

#[test]
fn checks_go_on_where_packets_are_lost_and_reordered() {
    for seed in 0..40 {
        let mut network = Setup { seed, ..Setup::default() }.network();
        network.loss = 0.2;
        network.delay_ms = 1..=150;
        assert!(network.run(ms(60_000), Network::completed), "seed {seed}: {}", network.describe());
        network.pass(ms(200));
        for component in BOTH {
            assert!(network.agrees(component), "seed {seed} {component:?}");
        }
    }
}

#[test]
fn a_peer_behind_a_nat_is_found_by_its_checks() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    network.sides[1].nat = Some(|local| SocketAddr::from(([203, 0, 113, 7], local.port() + 30_000)));
    network.passes = |from, to| from.ip().to_string() != "192.0.2.1" || to.ip().to_string() == "203.0.113.7";
    assert!(network.run(ms(3000), Network::completed), "not completed");
    assert!(network.agrees(Component::Rtp));
    let path = network.sides[0].agent.selected(Component::Rtp).expect("selected");
    assert_eq!(path.remote.to_string(), "203.0.113.7:31000");
}

#[test]
fn equal_roles_are_settled_by_the_tie_breaker() {
    for role in [Role::Controlling, Role::Controlled] {
        for seed in 0..10 {
            let mut network = Setup { seed, roles: [role; 2], ..Setup::default() }.network();
            network.loss = if seed > 4 { 0.2 } else { 0.0 };
            assert!(network.run(ms(30_000), Network::completed), "{role:?}, seed {seed}");
            let roles = network.sides.each_ref().map(|side| side.agent.role());
            assert_ne!(roles[0], roles[1], "{role:?}, seed {seed}");
            let changed = |side: &Side| side.has_seen(|event| matches!(event, Event::RoleChanged(_)));
            assert!(network.sides.iter().any(changed));
            assert!(network.agrees(Component::Rtp), "{role:?}, seed {seed}");
        }
    }
}

#[test]
fn a_lite_agent_sends_no_checks_and_takes_the_path_that_is_nominated() {
    for lite in [0, 1] {
        let mut setup = Setup::default();
        setup.modes[lite] = Mode::Lite;
        setup.roles = if lite == 0 {
            [Role::Controlled, Role::Controlling]
        } else {
            [Role::Controlling, Role::Controlled]
        };
        let mut network = setup.network();
        let mut buffer = Vec::new();
        assert_eq!(network.sides[lite].agent.poll_transmit(network.now, &mut buffer), None);
        assert!(network.run(ms(2000), Network::completed), "not completed");
        assert!(network.elapsed() < ms(400), "took {:?}", network.elapsed());
        assert!(BOTH.iter().all(|component| network.agrees(*component)));
        // Nor does it ask for consent, but it is asked.
        network.pass(ms(120_000));
        assert!(network.completed());
        assert!(!network.sides.iter().any(|side| side.has_seen(|e| matches!(e, Event::ConsentLost(_)))));
    }
}

#[test]
fn two_lite_agents_take_the_best_pair_as_signalled() {
    let network = Setup {
        addresses: [&["192.0.2.1", "192.0.2.2"], &["198.51.100.1"]],
        modes: [Mode::Lite; 2],
        ..Setup::default()
    }
    .network();
    assert!(network.completed());
    assert!(network.agrees(Component::Rtp));
}

#[test]
fn candidates_that_come_later_are_checked() {
    let mut network =
        Setup { components: &[Component::Rtp], introduced: false, ..Setup::default() }.network();
    let locals = network.sides.each_ref().map(|side| side.agent.settings().local);
    for (side, local) in [(0, &locals[1]), (1, &locals[0])] {
        network.sides[side].meet(network.now, remote_of(local, Vec::new(), false));
    }
    network.pass(ms(1000));
    assert_eq!(network.sent, 0, "nothing to check");
    let bases = network.sides[1].bases.clone();
    network.sides[0].meet(network.now, remote_of(&locals[1], candidates(&bases), false));
    assert!(network.run(ms(1000), Network::completed), "one side's candidates are enough");
    assert!(network.agrees(Component::Rtp));
    // The other's come at last: known already, since its checks were seen.
    let bases = network.sides[0].bases.clone();
    network.sides[1].meet(network.now, remote_of(&locals[0], candidates(&bases), false));
    network.pass(ms(1000));
    assert!(network.completed() && network.agrees(Component::Rtp));
}

#[test]
fn checks_that_come_before_the_answer_are_answered_and_followed_up() {
    let mut network = Setup { introduced: false, ..Setup::default() }.network();
    let locals = network.sides.each_ref().map(|side| side.agent.settings().local);
    let bases = network.sides.each_ref().map(|side| candidates(&side.bases));
    network.sides[1].meet(network.now, remote_of(&locals[0], bases[0].clone(), false));
    network.pass(ms(600));
    assert_eq!(network.sides[0].agent.state(), AgentState::Waiting);
    assert_eq!(network.sides[0].agent.sources(Component::Rtp).count(), 1);
    assert!(network.sides[1].agent.path(Component::Rtp).is_some(), "it got its answers");
    network.sides[0].meet(network.now, remote_of(&locals[1], Vec::new(), false));
    assert!(network.run(ms(1000), Network::completed), "not completed");
    assert!(network.agrees(Component::Rtp));
}

#[test]
fn early_checks_of_somebody_else_are_forgotten_once_the_peer_is_known() {
    let mut network = Setup { introduced: false, ..Setup::default() }.network();
    let locals = network.sides.each_ref().map(|side| side.agent.settings().local);
    let bases = network.sides.each_ref().map(|side| candidates(&side.bases));
    network.sides[1].meet(network.now, remote_of(&locals[0], bases[0].clone(), false));
    network.pass(ms(600));
    let other = LocalCredentials::generate(&mut StdRng::seed_from_u64(77));
    network.sides[0].meet(network.now, remote_of(&other, Vec::new(), false));
    assert_eq!(network.sides[0].agent.sources(Component::Rtp).count(), 0);
    assert_eq!(network.sides[0].agent.path(Component::Rtp), None);
}

#[test]
fn a_component_that_the_peer_does_not_have_is_not_waited_for() {
    let mut network = Setup::default().network();
    let local = network.sides[1].agent.settings().local;
    let rtp: Vec<_> =
        candidates(&network.sides[1].bases).into_iter().filter(|c| c.component == Component::Rtp).collect();
    let mut network = {
        let setup = Setup { introduced: false, ..Setup::default() };
        let _ = (local, &mut network);
        setup.network()
    };
    let locals = network.sides.each_ref().map(|side| side.agent.settings().local);
    let bases = network.sides[0].bases[..1].to_vec();
    network.sides[1].bases.truncate(1);
    network.sides[0].meet(network.now, remote_of(&locals[1], rtp, false));
    network.sides[1].meet(network.now, remote_of(&locals[0], candidates(&bases), false));
    assert!(network.run(ms(1000), Network::completed), "not completed");
    assert!(network.agrees(Component::Rtp));
    assert_eq!(network.sides[0].agent.selected(Component::Rtcp), None);
}

#[test]
fn without_any_path_the_agents_fail_after_their_patience() {
    let mut network = Setup::default().network();
    network.passes = |_, _| false;
    network.pass(ms(39_000));
    assert_eq!(network.sides[0].agent.state(), AgentState::Checking);
    network.pass(ms(2000));
    for side in &network.sides {
        assert_eq!(side.agent.state(), AgentState::Failed);
        assert_eq!(side.agent.path(Component::Rtp), None);
    }
    // The frozen siblings are tried as well.
    network.pass(ms(120_000));
    let sent = network.sent;
    network.pass(ms(600_000));
    assert_eq!(network.sent, sent, "and rest");
}

#[test]
fn new_checks_are_paced() {
    let mut setup = Setup { components: &[Component::Rtp], ..Setup::default() };
    setup.introduced = false;
    let mut network = setup.network();
    let other = LocalCredentials::generate(&mut StdRng::seed_from_u64(5));
    let many: Vec<_> = (1..=100u16)
        .map(|n| RemoteCandidate {
            foundation: n.to_string(),
            component: Component::Rtp,
            priority: 1000 + u32::from(n),
            address: SocketAddr::from(([203, 0, 113, 1], n)),
            kind: CandidateKind::Host,
        })
        .collect();
    network.sides[0].meet(network.now, remote_of(&other, many, false));
    network.pass(ms(1000));
    assert!(network.sent <= 22, "{} in the first second", network.sent);
    network.pass(ms(60_000));
    assert!(network.sent <= 700, "{} in all", network.sent);
}

#[test]
fn a_conflict_told_late_does_not_turn_the_role_back() {
    // Delays of this seed make refusals of first requests arrive after the second ones have left.
    let mut network = Setup {
        seed: 16_116_653_856_193_257_823,
        addresses: [&["192.0.2.1", "192.0.2.2", "2001:db8::1"], &["198.51.100.1", "2001:db8::9"]],
        roles: [Role::Controlled; 2],
        ..Setup::default()
    }
    .network();
    network.delay_ms = 1..=131;
    network.loss = 0.016_617_378_961_878_582;
    assert!(network.run(ms(6000), Network::completed));
    assert_ne!(network.sides[0].agent.role(), network.sides[1].agent.role());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the network does to the first seconds, agents that can reach each other agree in the end.
    #[test]
    fn agents_agree_in_the_end(
        seed in any::<u64>(),
        loss in 0.0..0.5f64,
        jitter in 1u64..200,
        conflict in any::<bool>(),
        lite in any::<bool>(),
        several in any::<bool>(),
    ) {
        let addresses: &[&str] = if several { &["192.0.2.1", "192.0.2.2", "2001:db8::1"] } else { &["192.0.2.1"] };
        let mut setup = Setup {
            seed,
            addresses: [addresses, &["198.51.100.1", "2001:db8::9"]],
            ..Setup::default()
        };
        if lite {
            setup.modes[1] = Mode::Lite;
        } else if conflict {
            setup.roles = [Role::Controlled; 2];
        }
        let mut network = setup.network();
        network.loss = loss;
        network.delay_ms = 1..=jitter;
        network.pass(ms(4000));
        network.loss = 0.0;
        prop_assert!(network.run(ms(40_000), Network::completed));
        network.pass(ms(6000));
        for component in BOTH {
            prop_assert!(network.agrees(component), "{:?}", component);
        }
    }
}
