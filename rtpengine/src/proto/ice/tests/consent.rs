use super::*;

fn established() -> Network {
    let mut network = Setup { components: &[Component::Rtp], ..Setup::default() }.network();
    assert!(network.run(ms(2000), Network::completed), "not completed");
    network
}

fn lost(side: &Side) -> bool {
    side.has_seen(|event| matches!(event, Event::ConsentLost(Component::Rtp)))
}

#[test]
fn consent_is_asked_for_every_few_seconds_and_kept() {
    let mut network = established();
    let before = network.sent;
    network.pass(ms(600_000));
    assert!(network.completed() && !network.sides.iter().any(lost));
    // Two agents, a request and a response every 4 to 6 seconds each.
    let sent = network.sent - before;
    assert!((380..=620).contains(&sent), "{sent} in ten minutes");
}

#[test]
fn nothing_is_sent_to_a_peer_that_has_gone_silent() {
    let mut network = established();
    network.passes = |_, _| false;
    network.pass(ms(23_000));
    assert!(network.sides.iter().all(|side| side.agent.path(Component::Rtp).is_some()));
    network.pass(ms(8000));
    for side in &network.sides {
        assert!(lost(side));
        assert_eq!(side.agent.path(Component::Rtp), None);
        assert_eq!(side.agent.state(), AgentState::Failed);
        assert_eq!(side.agent.sources(Component::Rtp).count(), 0);
    }
    let sent = network.sent;
    network.pass(ms(60_000));
    assert_eq!(network.sent, sent);
}

#[test]
fn a_peer_whose_address_changes_is_followed_as_soon_as_it_checks() {
    let mut network = established();
    network.pass(ms(10_000));
    // The NAT forgets its mapping; packets to the old one are lost.
    network.sides[1].nat = Some(|local| SocketAddr::from(([198, 51, 100, 1], local.port() + 5000)));
    let moved = |network: &Network| {
        let path = network.sides[0].agent.path(Component::Rtp);
        path.is_some_and(|path| path.remote.port() == 6000)
    };
    // Who is controlled learns the new address by the next consent check and follows where the other nominates; here the one that
    // controls sees it itself.
    assert!(network.run(ms(40_000), moved), "still sends to the old address");
    network.pass(ms(10_000));
    assert!(network.sides.iter().all(|side| side.agent.path(Component::Rtp).is_some()));
}

#[test]
fn a_peer_whose_media_come_from_elsewhere_is_followed_once_it_answers_there() {
    for (side, elsewhere) in [(0, 6000), (1, 6001)] {
        let mut network = established();
        network.pass(ms(10_000));
        let peer = 1 - side;
        network.sides[peer].nat = match elsewhere {
            6000 => Some(|local| SocketAddr::new(local.ip(), 6000)),
            _ => Some(|local| SocketAddr::new(local.ip(), 6001)),
        };
        let source = SocketAddr::new(network.sides[peer].bases[0].address.ip(), elsewhere);
        let now = network.now;
        let before = network.sides[side].agent.path(Component::Rtp);
        // Somebody who copies packets has no password: the path stays.
        network.sides[side].agent.heard_elsewhere(now, BaseId(0), "203.0.113.9:9".parse().unwrap());
        network.pass(ms(150));
        assert_eq!(network.sides[side].agent.path(Component::Rtp), before);
        let now = network.now;
        network.sides[side].agent.heard_elsewhere(now, BaseId(0), source);
        let moved = |network: &Network| {
            network.sides[side].agent.path(Component::Rtp).is_some_and(|path| path.remote == source)
        };
        assert!(network.run(ms(200), moved), "side {side} still sends to the old address");
        network.pass(ms(60_000));
        assert!(moved(&network), "consent is renewed there");
    }
}

#[test]
fn the_newest_nomination_counts_once_the_first_ones_have_settled() {
    let mut network = established();
    let local = network.sides[1].agent.settings().local;
    let remote = network.sides[0].agent.settings().local;
    network.pass(ms(5000));
    let to = network.sides[1].bases[0].address;
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 7000));
    // The controlling side moves to another port and nominates it at once.
    network.sides[0].nat = Some(|local| SocketAddr::new(local.ip(), local.port() + 6000));
    let check = hostile::check(&local, remote.ufrag(), Role::Controlling, true);
    assert_eq!(network.inject(1, to, elsewhere, &check).0, Handled::Reply);
    let moved = |network: &Network| {
        network.sides[1].agent.selected(Component::Rtp).is_some_and(|path| path.remote == elsewhere)
    };
    assert!(network.run(ms(200), moved), "not followed within 200 ms");
}
