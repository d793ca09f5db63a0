//! A real client of ng over WebSocket: Kamailio with its module `lwsc` (Debian: kamailio-lwsc-modules). Skipped where it is missing.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::daemon::{Process, Relay, wait_for};
use e2e::party::Party;
use e2e::sdp;
use serde_json::json;

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// Answers every INVITE with the description that the relay made of its body.
const SCRIPT: &str = r#"#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
auto_aliases=no
disable_tcp=yes
listen=udp:SIP
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "lwsc.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "wsapi", "lwsc")
modparam("rtpengine", "rtpengine_sock", "ws://RELAY/")
modparam("rtpengine", "write_sdp_pv", "$avp(sdp)")
request_route {
    if (is_method("INVITE") && rtpengine_offer("replace-origin")) {
        set_reply_body("$avp(sdp)", "application/sdp");
        sl_send_reply("200", "OK");
    } else {
        sl_send_reply("500", "Relay does not answer");
    }
    exit;
}
"#;

#[test]
fn kamailio_offers_over_a_websocket() {
    let program = Path::new("/usr/sbin/kamailio");
    if !program.exists() || !Path::new(MODULES).join("lwsc.so").exists() {
        eprintln!("skipped: no Kamailio with module lwsc");
        return;
    }
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let http = http.expect("a free TCP port");
    let sip = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    let sip: SocketAddr = sip.expect("a free UDP port");
    let relay = Relay::start(&[&format!("--listen-http={http}")]);
    let script = SCRIPT.replace("SIP", &sip.to_string()).replace("RELAY", &http.to_string());
    let path = relay.path("kamailio.cfg");
    std::fs::write(&path, script).expect("written");
    let mut command = Command::new(program);
    command.arg("-DD").arg("-E").arg("-f").arg(&path).arg("-Y").arg(relay.folder.path());
    let mut kamailio = Process::start(command, &relay.path("kamailio.log")).expect("started");

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP port");
    client.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let own = client.local_addr().expect("bound");
    let body = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    let mut number = 0;
    let answer = wait_for(Duration::from_secs(20), || {
        number += 1;
        let invite = format!(
            "INVITE sip:b@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{number}\r\n\
             From: <sip:a@{own}>;tag=a\r\nTo: <sip:b@{sip}>\r\nCall-ID: over-ws\r\nCSeq: {number} INVITE\r\n\
             Contact: <sip:a@{own}>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send_to(invite.as_bytes(), sip).ok()?;
        let mut buffer = [0; 65_536];
        let length = client.recv(&mut buffer).ok()?;
        let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
        (reply.starts_with("SIP/2.0 200") || kamailio.ended().is_some()).then_some(reply)
    });
    let answer = answer.unwrap_or_else(|| panic!("no answer; log of Kamailio:\n{}", kamailio.log()));
    let port = answer.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
    let (low, high) = relay.ports.media();
    assert!(port.is_some_and(|port: u16| (low..=high).contains(&port)), "{answer}\n{}", kamailio.log());
    assert_eq!(relay.ng.ok(json!({"command": "list"}))["calls"], json!(["over-ws"]));
    kamailio.terminate();
}
