use super::*;

/// Both sides restart; `who` hears of it first.
fn restart(network: &mut Network, first: usize, wait: Duration) {
    let mut rng = StdRng::seed_from_u64(99);
    let locals = [LocalCredentials::generate(&mut rng), LocalCredentials::generate(&mut rng)];
    for side in [first, 1 - first] {
        let candidates = candidates(&network.sides[1 - side].bases);
        let old = network.sides[side].agent.settings().clone();
        let settings = Settings {
            local: locals[side],
            remote: Some(remote_of(&locals[1 - side], candidates, false)),
            generation: old.generation + 1,
            ..old
        };
        let bases = network.sides[side].bases.clone();
        network.sides[side].agent.update(network.now, settings, bases);
        network.pass(wait);
    }
}

#[test]
fn media_stay_on_the_old_path_until_the_new_one_is_selected() {
    let mut network = Setup::default().network();
    assert!(network.run(ms(2000), Network::completed));
    let before = network.sides[0].agent.path(Component::Rtp);
    restart(&mut network, 0, ms(400));
    assert_eq!(network.sides[0].agent.path(Component::Rtp), before);
    assert!(network.run(ms(3000), Network::completed), "not completed again");
    assert!(network.agrees(Component::Rtp) && network.agrees(Component::Rtcp));
    network.pass(ms(60_000));
    assert!(network.completed());
}

#[test]
fn checks_of_the_time_before_the_restart_are_answered_for_a_while() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    assert!(network.run(ms(2000), Network::completed));
    let old = network.sides.each_ref().map(|side| side.agent.settings().local);
    let [to, from] = [0, 1].map(|side| network.sides[side].bases[0].address);
    // The other side does not hear of the restart.
    restart(&mut network, 0, ms(0));
    let settings = network.sides[0].agent.settings().clone();
    let check = hostile::check(&old[0], old[1].ufrag(), Role::Controlled, false);
    assert_eq!(network.inject(0, to, from, &check).0, Handled::Reply);
    assert_eq!(network.sides[0].agent.settings(), &settings);
    assert!(network.run(ms(3000), Network::completed));
    network.pass(ms(5000));
    assert!(matches!(network.inject(0, to, from, &check).0, Handled::Refused { .. }), "not for ever");
}

#[test]
fn checks_that_mix_the_times_before_and_after_a_restart_are_not_answered() {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    assert!(network.run(ms(2000), Network::completed));
    let old = network.sides.each_ref().map(|side| side.agent.settings().local);
    let to = network.sides[0].bases[0].address;
    let elsewhere = SocketAddr::from(([198, 51, 100, 99], 9000));
    // A peer that restarts goes on with our old half of the name, from another port, before it has our answer.
    let mixed = hostile::check(&old[0], "afterwards", Role::Controlling, true);
    let silent = Handled::Refused { reason: Refusal::Unexpected, reply: false };
    assert_eq!(network.inject(0, to, elsewhere, &mixed).0, silent, "before its offer has come");
    restart(&mut network, 0, ms(0));
    assert_eq!(network.inject(0, to, elsewhere, &mixed).0, silent, "after it");
    assert!(network.sides[0].agent.sources(Component::Rtp).all(|source| source.remote != elsewhere));
    assert!(network.run(ms(3000), Network::completed));
}

#[test]
fn a_path_elsewhere_is_found_after_a_restart() {
    let mut network = Setup {
        addresses: [&["192.0.2.1", "192.0.2.2"], &["198.51.100.1"]],
        components: &[Component::Rtp],
        ..Setup::default()
    }
    .network();
    assert!(network.run(ms(2000), Network::completed));
    network.passes = |from, to| ![from, to].iter().any(|address| address.ip().to_string() == "192.0.2.1");
    restart(&mut network, 1, ms(20));
    assert!(network.run(ms(3000), Network::completed), "not completed again");
    assert!(network.agrees(Component::Rtp));
}

#[test]
fn a_component_that_is_multiplexed_away_leaves_the_other_alone() {
    let mut network = Setup::default().network();
    assert!(network.run(ms(2000), Network::completed));
    let path = network.sides[0].agent.selected(Component::Rtp);
    for side in &mut network.sides {
        side.bases.truncate(1);
        let settings = side.agent.settings().clone();
        side.agent.update(network.now, settings, side.bases.clone());
    }
    assert_eq!(network.sides[0].agent.selected(Component::Rtp), path);
    assert_eq!(network.sides[0].agent.selected(Component::Rtcp), None);
    network.pass(ms(60_000));
    assert!(network.completed() && network.agrees(Component::Rtp));
}

#[test]
fn an_agent_in_the_place_of_another_goes_on_with_its_path() {
    for mode in [Mode::Full, Mode::Lite] {
        let setup = Setup {
            modes: [Mode::Full, mode],
            addresses: [&["192.0.2.1", "192.0.2.2"], &["198.51.100.1"]],
            ..Setup::default()
        };
        let mut network = setup.network();
        assert!(network.run(ms(2000), Network::completed));
        let side = &mut network.sides[1];
        let paths = BOTH.map(|component| side.agent.selected(component).expect("selected"));
        let (settings, rng) = (side.agent.settings().clone(), StdRng::seed_from_u64(8));
        side.agent = Agent::new(network.now, settings, side.bases.clone(), rng);
        for (component, path) in BOTH.into_iter().zip(paths) {
            side.agent.resume(network.now, component, path);
            assert_eq!(side.agent.selected(component), Some(path));
            assert!(side.agent.sources(component).any(|source| source == path));
        }
        assert_eq!(side.agent.state(), AgentState::Completed);
        network.pass(ms(120_000));
        assert!(network.completed() && network.agrees(Component::Rtp) && network.agrees(Component::Rtcp));
    }
}
