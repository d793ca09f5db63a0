//! In a network namespace of the test's own; skipped where that is not allowed.

use std::process::Command;

use super::*;

fn config(base: Base) -> NetfilterConfig {
    NetfilterConfig {
        chain: "rtpengine_7".into(),
        base,
        position: Position::First,
        families: Family::list(None),
        forwarding: Forwarding::None,
    }
}

/// Runs in a thread whose network is its own.
fn apart(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            eprintln!("no network namespace: skipped");
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn rules(family: Family, chain: &str) -> usize {
    Netlink::open().and_then(|mut netlink| netlink.rules(family, chain)).expect("rules").len()
}

#[test]
fn rules_are_made_once_however_often_and_removed_without_a_trace() {
    apart(|| {
        let config = config(Base::Chain("INPUT".into()));
        // An operator's own rule.
        let foreign =
            Command::new("iptables-nft").args(["-A", "INPUT", "-p", "tcp", "-j", "ACCEPT"]).status();
        let own = usize::from(foreign.is_ok_and(|status| status.success()));
        for _ in 0..3 {
            config.start(7).expect("start");
            assert_eq!(rules(Family::Ip, "INPUT"), own + 1);
            assert_eq!(rules(Family::Ip6, "INPUT"), 1);
            assert_eq!(rules(Family::Ip, "rtpengine_7"), 2, "forwarding and comment");
        }
        assert!(matches!(config.check(), Err(NetfilterError::NoForwarding)), "there is no module here");
        for _ in 0..2 {
            config.stop().expect("stop");
            assert_eq!(rules(Family::Ip, "INPUT"), own, "the operator's rule stays");
            let mut netlink = Netlink::open().expect("netlink");
            assert!(!netlink.has_chain(Family::Ip6, "rtpengine_7").expect("chains"));
        }
    });
}

/// `nftables-append`
#[test]
fn the_rule_stands_where_it_was_asked_for() {
    apart(|| {
        let mut config = config(Base::Chain("INPUT".into()));
        let other = NetfilterConfig { chain: "other".into(), ..config.clone() };
        let first = |config: &NetfilterConfig| {
            let mut netlink = Netlink::open().expect("netlink");
            netlink.rules(Family::Ip, "INPUT").expect("rules")[0].leads_to(&config.chain)
        };
        other.start(1).expect("start");
        config.start(7).expect("start");
        assert!(first(&config));
        config.position = Position::Last;
        config.start(7).expect("start");
        assert!(first(&other));
        // Each removes its own only.
        other.stop().expect("stop");
        assert!(first(&config));
    });
}

/// `nftables-base-chain`
#[test]
fn a_chain_of_its_own_or_none_at_all_can_lead_to_it() {
    apart(|| {
        for base in [Base::Nothing, Base::Itself] {
            let config = config(base);
            config.start(7).expect("start");
            assert_eq!(rules(Family::Ip, "rtpengine_7"), 2);
            assert_eq!(rules(Family::Ip, "INPUT"), 0);
            config.stop().expect("stop");
        }
    });
}

#[test]
fn without_the_module_start_fails_and_leaves_nothing() {
    apart(|| {
        let config =
            NetfilterConfig { forwarding: Forwarding::Expression, ..config(Base::Chain("INPUT".into())) };
        if let Err(error) = config.start(7) {
            assert!(matches!(error, NetfilterError::Refused { family: Family::Ip, .. }), "{error}");
            assert_eq!(rules(Family::Ip, "INPUT"), 0);
            assert_eq!(rules(Family::Ip, "rtpengine_7"), 0);
        }
        config.stop().expect("stop");
    });
}

#[test]
fn rules_that_forward_are_recognised() {
    for (name, attribute) in [("rtpengine", None), ("target", Some("RTPENGINE"))] {
        let mut rule = Rule::default();
        rule.counter().expression(name, |data| {
            if let Some(text) = attribute {
                data.text(1, text);
            }
        });
        let message = encode(NEW_RULE, 0, 2, 1, &rule.attributes("c", None));
        let [Answer::Item(item)] = answers(&message)[..] else { panic!("one item") };
        assert!(Present::read(item).forwards, "{name}");
    }
}

/// `iptables-chain`
#[test]
fn each_open_port_has_a_rule_until_it_is_closed() {
    apart(|| {
        let iptables = |arguments: &[&str]| {
            let output = Command::new("iptables").args(arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        if iptables(&["-N", "media"]).is_none() {
            eprintln!("no iptables: skipped");
            return;
        }
        iptables(&["-A", "media", "-j", "RETURN"]).expect("a rule of an earlier run");
        let rules = PortRules::start("media").expect("a thread");
        let port = |number| std::net::SocketAddr::from(([127, 0, 0, 1], number));
        let [first, second] = [30_000, 30_002].map(|number| rules.open(port(number), "call-1@host"));
        let listed = |expected: &[&str]| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
            loop {
                let listed = iptables(&["-S", "media"]).expect("the chain");
                let ports: Vec<&str> = listed.lines().filter(|line| line.starts_with("-A")).collect();
                let fits = ports.len() == expected.len()
                    && ports.iter().zip(expected).all(|(line, port)| {
                        line.contains(&format!("--dport {port} ")) && line.contains("call-1@host")
                    });
                if fits {
                    return;
                }
                assert!(std::time::Instant::now() < end, "{listed}");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        };
        listed(&["30000", "30002"]);
        drop(first);
        listed(&["30002"]);
        drop(second);
        listed(&[]);
    });
}
