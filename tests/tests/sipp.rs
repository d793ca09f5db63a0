//! A SIPp phone with SDES calls another one without SRTP through Kamailio: the first one's media are SRTP, the second one's echo comes
//! back as SRTP. Skipped where SIPp (Debian: sip-tester) or Kamailio is missing.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::daemon::{Process, Relay, wait_for};
use e2e::party::Party;
use e2e::rtp::Packet;
use e2e::srtp::{Endpoint, Key};
use serde_json::json;

const KAMAILIO: &str = "/usr/sbin/kamailio";
const SIPP: &str = "/usr/bin/sipp";
const LIMIT: Duration = Duration::from_secs(20);

const PROXY: &str = r#"#!KAMAILIO
debug=1
log_stderror=yes
children=2
auto_aliases=no
disable_tcp=yes
listen=udp:PROXY
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:RELAY")
request_route {
    if (has_totag()) {
        loose_route();
        if (is_method("BYE")) rtpengine_delete();
        t_relay();
        exit;
    }
    record_route();
    rtpengine_offer("RTP/AVP replace-origin replace-session-connection");
    t_on_reply("ANSWER");
    $ru = "sip:b@CALLEE";
    t_relay();
}
onreply_route[ANSWER] {
    if (has_body("application/sdp")) rtpengine_answer("replace-origin replace-session-connection");
}
"#;

/// Its media are the test's own: SIPp itself knows no SRTP.
const CALLER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
<send retrans="500"><![CDATA[

INVITE sip:b@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:a@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:b@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:a@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio MEDIA RTP/SAVP 0
a=rtpmap:0 PCMU/8000
a=crypto:KEY

]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true">
  <action>
    <ereg regexp="m=audio [0-9]+ [A-Z/]+" search_in="body" assign_to="media"/>
    <ereg regexp="a=crypto:[0-9]+ [A-Za-z0-9_]+ inline:[A-Za-z0-9+/=]+" search_in="body" assign_to="crypto"/>
    <log message="[$media]"/>
    <log message="[$crypto]"/>
  </action>
</recv>
<send><![CDATA[

ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:a@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause milliseconds="3000"/>
<send retrans="500"><![CDATA[

BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:a@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
"#;

const CALLEE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="callee">
<recv request="INVITE" rrs="true">
  <action><ereg regexp="m=audio [0-9]+ RTP/AVP 0" search_in="body" check_it="true" assign_to="plain"/><log message="[$plain]"/></action>
</recv>
<send retrans="500"><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:];tag=callee
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:b@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000

]]></send>
<recv request="ACK"/>
<recv request="BYE"/>
<send><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"#;

/// A port of 127.0.0.1 that was free a moment ago.
fn free() -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free UDP port");
    socket.local_addr().expect("bound")
}

fn sipp(relay: &Relay, name: &str, scenario: &str, arguments: &[&str]) -> Process {
    let path = relay.path(&format!("{name}.xml"));
    std::fs::write(&path, scenario).expect("written");
    let mut command = Command::new(SIPP);
    command.arg("-sf").arg(&path).args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", "1", "-nostdin"]);
    command.args(["-timeout", "30", "-timeout_error", "-trace_logs", "-log_file"]);
    command.arg(relay.path(&format!("{name}.log"))).args(arguments);
    Process::start(command, &relay.path(&format!("{name}.out"))).expect("SIPp starts")
}

#[test]
fn a_sipp_call_with_sdes_meets_a_phone_without() {
    if ![KAMAILIO, SIPP].iter().all(|program| Path::new(program).exists()) {
        eprintln!("skipped: no Kamailio or no SIPp");
        return;
    }
    let relay = Relay::start(&["--delete-delay=0"]);
    let [proxy, caller, callee] = [free(), free(), free()];
    let script = PROXY.replace("PROXY", &proxy.to_string()).replace("CALLEE", &callee.to_string());
    let path = relay.path("kamailio.cfg");
    std::fs::write(&path, script.replace("RELAY", &relay.control.to_string())).expect("written");
    let mut command = Command::new(KAMAILIO);
    command.arg("-DD").arg("-E").arg("-f").arg(&path).arg("-Y").arg(relay.folder.path());
    let kamailio = Process::start(command, &relay.path("kamailio.log")).expect("Kamailio starts");
    let listens = wait_for(LIMIT, || UdpSocket::bind(proxy).is_err().then_some(()));
    assert!(listens.is_some(), "{}", kamailio.log());

    let mut party = Party::new("127.0.0.1");
    let key = Key::random("AES_CM_128_HMAC_SHA1_80");
    let echo = Party::new("127.0.0.1").local().port().to_string();
    let port = callee.port().to_string();
    let mut phone = sipp(&relay, "callee", CALLEE, &["-p", &port, "-mp", &echo, "-rtp_echo"]);
    let listens = wait_for(LIMIT, || UdpSocket::bind(callee).is_err().then_some(()));
    assert!(listens.is_some(), "{}", phone.log());
    let scenario = CALLER.replace("MEDIA", &party.local().port().to_string());
    let scenario = scenario.replace("KEY", &key.to_line(1));
    let port = caller.port().to_string();
    let mut other = sipp(&relay, "caller", &scenario, &["-p", &port, &proxy.to_string()]);

    let answered = wait_for(LIMIT, || {
        let log = std::fs::read_to_string(relay.path("caller.log")).ok()?;
        let media =
            log.lines().find_map(|line| line.split_once("m=audio ").map(|(_, media)| media.to_owned()))?;
        let crypto =
            log.lines().find_map(|line| line.split_once("a=crypto:").map(|(_, line)| line.to_owned()))?;
        Some((media, crypto))
    });
    let (media, crypto) = answered.unwrap_or_else(|| panic!("{}\n{}", other.log(), kamailio.log()));
    assert!(media.ends_with(" RTP/SAVP"), "{media}");
    let port: u16 = media.split(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let relayed = SocketAddr::from(([127, 0, 0, 1], port));

    let mut security = Endpoint::new(key, Key::parse(crypto.trim()));
    let mut heard = 0;
    for _ in 0..50 {
        let packet = party.next_packet(0, &[0x5a; 160], 160);
        let sealed = security.protect(&packet.to_octets());
        party.rtp.send_to(&sealed, relayed).expect("sent");
        let mut buffer = [0; 2048];
        party.rtp.set_read_timeout(Some(Duration::from_secs(1))).expect("not zero");
        let Ok(length) = party.rtp.recv(&mut buffer) else { continue };
        assert_ne!(buffer[12..172], packet.payload[..], "clear on the wire");
        let clear = security.unprotect(&buffer[..length]).expect("authentic");
        assert_eq!(Packet::parse(&clear).expect("RTP"), packet, "what was echoed");
        heard += 1;
    }
    assert!(heard > 45, "{heard} of 50 echoes");
    for phone in [&mut other, &mut phone] {
        let status = phone.wait(LIMIT);
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", phone.log());
    }
    let calls =
        wait_for(LIMIT, || (relay.ng.ok(json!({"command": "list"}))["calls"] == json!([])).then_some(()));
    assert!(calls.is_some(), "the call ends with BYE");
}
