//! The options that make, remove and check netfilter rules, in a network namespace. What rules look like is tested with the module.

use std::process::{Command, Output};

use e2e::daemon::relay_binary;

/// Runs the relay in a namespace of its own; `None` where that is not allowed.
fn alone(arguments: &[&str]) -> Option<Output> {
    let is_allowed =
        Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    is_allowed.then(|| {
        let mut command = Command::new("unshare");
        command.arg("-n").arg(relay_binary()).arg("--config-file=none").args(arguments);
        command.output().expect("the relay")
    })
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn actions_say_what_came_of_them() {
    let Some(stopped) = alone(&["--table=7", "--nftables-stop"]) else { return };
    assert_eq!(
        (text(&stopped.stdout).as_str(), stopped.status.code()),
        ("Success\n", Some(0)),
        "nothing to remove"
    );
    let status = alone(&["--table=7", "--nftables-status"]).expect("allowed");
    let expected = "Netfilter rules check NOT successful: rtpengine handler rule not found\n";
    assert_eq!((text(&status.stdout).as_str(), status.status.code()), (expected, Some(1)));
    let started = alone(&["--table=7", "--nftables-start"]).expect("allowed");
    // Without the kernel module there is nothing to lead to.
    if !started.status.success() {
        assert!(text(&started.stderr).contains("Fatal error: rules are refused in family Ip"), "{started:?}");
    }
    for (arguments, complaint) in [
        (&["--nftables-start"][..], "needs a kernel table"),
        (&["--table=7", "--nftables-start", "--nftables-chain="], "needs a kernel table"),
        (&["--table=7", "--nftables-start", "--nftables-stop"], "Only one of"),
        (
            &["--table=7", "--nftables-stop", "--xtables", "--nftables-family=inet"],
            "cannot be used with --xtables",
        ),
    ] {
        let refused = alone(arguments).expect("allowed");
        assert!(!refused.status.success() && text(&refused.stderr).contains(complaint), "{refused:?}");
    }
}

/// Where the module is loaded: on the kernels of `make test-kernel`.
#[test]
fn rules_of_the_module_come_and_go() {
    if !std::path::Path::new("/proc/rtpengine/control").exists() {
        return;
    }
    let script = r#"
        "$0" "$@" --nftables-start && "$0" "$@" --nftables-start && "$0" "$@" --nftables-status || exit 1
        iptables-nft-save | grep -c -e '-j RTPENGINE' || exit 2
        "$0" "$@" --nftables-stop || exit 3
        "$0" "$@" --nftables-status && exit 4
        iptables-nft-save | grep -q RTPENGINE && exit 5
        exit 0"#;
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(relay_binary())
        .args(["--config-file=none", "--table=7"])
        .output()
        .expect("unshare");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).lines().any(|line| line == "1"), "one rule, made twice: {output:?}");
}
