//! Command lines on an engine without calls; calls and traffic are the business of the end-to-end tests.

use std::sync::Arc;

use super::Cli;
use crate::call::{Engine, Services};
use crate::config::Config;
use crate::control::operations::Operations;
use crate::media::MediaPlane;
use crate::media::port_pool::PortPool;
use crate::proto::dtls::Identity;
use crate::record::Recorder;

fn operations() -> Operations {
    let loopback = [127, 0, 0, 1].into();
    let mut config = Config { port_min: 24_000, port_max: 24_999, ..Config::for_address(loopback, loopback) };
    config.control.tos = 184;
    let (events, _) = tokio::sync::mpsc::channel(16);
    let (producer, consumer) = crate::media::tap::ring(4096);
    let engine = Engine::new(Services {
        ended: None,
        away: None,
        stored: false,
        pool: PortPool::new(&config.interfaces, (config.port_min, config.port_max), 0, &[]),
        plane: MediaPlane::start(&config, vec![producer], events).expect("workers"),
        recorder: Recorder::start(&config.recording, vec![consumer]).expect("recorder"),
        sources: crate::play::Sources::without_library().expect("sources"),
        identity: Identity::generate(&config.dtls, "test", std::time::SystemTime::now())
            .expect("certificate"),
        config: Arc::new(config),
    });
    Operations::new(Arc::new(engine), None)
}

fn check(cli: &Cli, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(cli.execute(line), *expected, "{line}");
    }
}

#[test]
fn replies_are_the_recorded_ones() {
    let operations = operations();
    check(
        &operations.cli,
        &[
            ("", ""),
            ("bogus", "Unknown command: bogus\n"),
            ("list bogus", "Unknown command: bogus\n"),
            ("List", "Unknown command: List\n"),
            ("list", "More parameters required.\n"),
            ("list ", "More parameters required.\n"),
            ("list sessions", "More parameters required.\n"),
            ("list sessions all\r\n", "No sessions on this media relay.\n"),
            ("list sessions own", "No own sessions on this media relay.\n"),
            ("list sessions recording", "No recording sessions on this media relay.\n"),
            ("list sessions nosuch explain", "\nCall ID not found (nosuch).\n\n"),
            ("list sessions nosuch", "\nCall ID not found (nosuch).\n\n"),
            ("list maxsessions", "Maximum sessions configured on rtpengine: -1\n"),
            ("list maxcpu", "Maximum CPU usage configured on rtpengine: 0.0\n"),
            ("list maxload", "Maximum load average configured on rtpengine: 0.00\n"),
            ("list maxbw", "Maximum bandwidth configured on rtpengine: 0\n"),
            ("get timeout", "TIMEOUT=60\n"),
            ("list finaltimeout", "FINAL_TIMEOUT=0\n"),
            ("list deletedelay", "30\n"),
            ("list controltos", "184\n"),
            ("list transcoders", "No stats entries\n"),
            ("call", "More parameters required.\n"),
            ("call x help", "No such call 'x'\n"),
            ("debug x on", "Call ID 'x' not found\n"),
            ("debug", "No call ID specified\n"),
            ("terminate", "More parameters required.\n"),
            ("terminate all", "All calls terminated by operator.\n"),
            ("terminate own", "All own calls terminated by operator.\n"),
            ("terminate nosuch", "\nCall Id not found (nosuch).\n\n"),
            ("active", "Ok, all calls set to 'owned (active)'\n"),
            ("standby", "Ok, all calls set to 'foreign (standby)'\n"),
            ("kslist", "Keyspace notification feature has not been configured.\n"),
            ("media list files", ""),
            ("media reload files", "0 media files reloaded\n"),
            ("media evict players", "0 DB cache entries evicted\n"),
            ("media evict db 5 x", "Failed to evict 5\nInvalid ID 'x'\n"),
            ("media bogus", "Unknown command: bogus\n"),
        ],
    );
}

#[test]
fn settings_change_are_shown_and_reverted() {
    let operations = operations();
    check(
        &operations.cli,
        &[
            ("set", "More parameters required.\n"),
            ("set timeout", "More parameters required.\n"),
            ("set maxsessions x", "Fail setting maxsessions to x; no digits found\n"),
            ("set maxsessions -2", "Fail setting maxsessions to -2; either positive or -1 values allowed\n"),
            ("set maxsessions -1", "Success setting maxsessions to -1; disable feature\n"),
            ("set maxsessions 100", "Success setting maxsessions to 100\n"),
            ("set maxcpu 50", "Success setting maxcpu to 50.0\n"),
            ("set maxload 3", "Success setting maxload to 3.00\n"),
            ("set maxbw 100000", "Success setting maxbw to 100000\n"),
            ("set maxopenfiles 100", "Fail setting open_files to 100; can't set it under 65536\n"),
            ("set timeout 5", "Success setting timeout to 5\n"),
            ("set silenttimeout 100", "Success setting timeout to 100\n"),
            ("set deletedelay 3", "Success setting delete-delay to 3\n"),
            ("set deletedelay x", "Invalid delete-delay value\n"),
            ("list maxload", "Maximum load average configured on rtpengine: 3.00\n"),
            ("list timeout", "TIMEOUT=5\n"),
            (
                "params diff",
                "max-sessions: -1 => 100\n\
                 max-cpu: 0 => 5000\n\
                 max-load: 0 => 300\n\
                 max-bw: 0 => 100000\n\
                 timeout: 60000000 => 5000000\n\
                 silent-timeout: 3600000000 => 100000000\n\
                 delete-delay: 30000000 => 3000000\n",
            ),
            ("params revert", ""),
            ("params diff", ""),
            ("list timeout", "TIMEOUT=60\n"),
        ],
    );
}

#[test]
fn help_and_usage_come_from_the_table() {
    let cli = operations().cli;
    let help = cli.execute("help");
    assert!(help.starts_with("Available sub-commands at this level:\n\tusage "), "{help}");
    assert!(help.contains("\n\tlist <option>\n"), "{help}");
    let line = help.lines().find(|line| line.starts_with("\tkslist")).expect("kslist");
    assert_eq!(line.find(": "), Some(50), "{line}");
    let usage = cli.execute("usage");
    assert!(usage.starts_with("    Supported commands are:\n\n    usage "), "{usage}");
    assert!(usage.contains("\n        tag <tag> <option>\n            info  "), "{usage}");
    assert!(usage.ends_with("\n\n"));
}

#[test]
fn an_idle_interface_is_shown_with_its_ports() {
    let expected = "Interface 'default' address '127.0.0.1' (IPv4)
 Port range: 24000 - 24999
 Ports used:     0 /  1000 (  0.0%)
 Packets/bytes/errors:
  Ingress:            0 /          0 /          0
  Egress:             0 /          0 /          0
 Packets lost/duplicates:          0 /          0
 MOS:    avg nan, packet loss avg nan%
 Jitter: avg nan (measured nan)
 RTT:    e2e nan, dsct nan

";
    assert_eq!(operations().cli.execute("list interfaces"), expected);
}

#[test]
fn json_is_the_tree_of_the_ng_command_with_numbers() {
    let operations = operations();
    let json: serde_json::Value =
        serde_json::from_str(&operations.cli.execute("list jsonstats")).expect("JSON");
    let keys: Vec<_> = json.as_object().expect("object").keys().map(String::as_str).collect();
    let expected = [
        "currentstatistics",
        "totalstatistics",
        "mos",
        "voip_metrics",
        "controlstatistics",
        "interfaces",
        "transcoders",
        "poller_threads",
        "bufferpools",
        "drops",
        "recording",
    ];
    assert_eq!(keys, expected);
    assert!(json["totalstatistics"]["uptime"].is_u64() && json["mos"]["mos_total"].is_f64());
    assert_eq!(json["interfaces"][0]["ports"]["totals"], 1000);
    let dictionary = operations.statistics.dictionary();
    let mut text = Vec::new();
    crate::proto::json::encode_dict(&dictionary, &mut text);
    let ng: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert!(ng["totalstatistics"]["uptime"].is_string());
    assert_eq!(ng["interfaces"][0]["ports"]["used_pct"], "0.00");
}

#[test]
fn metrics_of_one_name_stand_together_under_help_and_type() {
    let operations = operations();
    let quoted = [192, 0, 2, 1].into();
    operations.commands.meet(quoted);
    let text = operations.statistics.metrics();
    let mut seen: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().expect("name");
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().expect("name");
            assert_eq!(Some(&name), seen.last(), "{line}");
        }
    }
    for line in [
        "rtpengine_sessions{type=\"own\"} 0",
        "rtpengine_packets_total{type=\"userspace\"} 0",
        "rtpengine_requests_total{proxy=\"192.0.2.1\",request=\"start recording\"} 0",
        "rtpengine_ports{name=\"default\",address=\"127.0.0.1\"} 1000",
        "rtpengine_call_duration_avg 0.000000",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
}
