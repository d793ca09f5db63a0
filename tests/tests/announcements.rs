//! Announcements in all their forms: from a URL, a blob, a SQLite file; for whom, how often, from where on; and who is told of their end.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::ng::TcpEvents;
use e2e::party::Party;
use e2e::ports::PortBlock;
use e2e::rtp::{self, Received};
use e2e::{sdp, signal, wav};
use serde_json::json;

const WAIT: Duration = Duration::from_secs(20);
const PCMU: &str = "0 PCMU/8000";
/// Of each tone that is played.
const LENGTH: Duration = Duration::from_millis(400);

fn tone(frequency: f64) -> Vec<u8> {
    wav::encode(&signal::tone(frequency, 8000, LENGTH.as_millis() as u32, 8000.0), 8000, 1)
}

fn tone_file(relay: &Relay, frequency: f64) -> String {
    let file = relay.path(&format!("{frequency}.wav"));
    std::fs::write(&file, tone(frequency)).expect("written");
    file.to_str().expect("text").to_owned()
}

/// So many packets, and what comes without a longer pause behind them.
fn all(party: &Party, packets: usize) -> Vec<Received> {
    let mut heard: Vec<_> = std::iter::from_fn(|| party.receive(WAIT)).take(packets).collect();
    heard.extend(until_pause(party));
    heard
}

/// Everything up to a pause of a quarter of a second.
fn until_pause(party: &Party) -> impl Iterator<Item = Received> {
    std::iter::from_fn(|| party.receive(Duration::from_millis(250)))
}

fn is_tone(heard: &[Received], frequency: f64) -> bool {
    let (audio, rate) = rtp::decode(heard, &sdp::format(PCMU));
    signal::typical_tone_share(&audio, rate, frequency) > 0.9
}

fn call<'r>(relay: &'r Relay, id: &str) -> Call<'r> {
    let mut call = Call::establish(relay, id, Setup::default());
    call.learn();
    call
}

/// A web server for one file; its address.
fn web_server(medium: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let base = format!("http://{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
            let found = lines.next().is_some_and(|first| first.starts_with("GET /ivr/tone.wav "));
            lines.find(|line| line.is_empty());
            let (status, body) = if found { ("200 OK", &medium[..]) } else { ("404 Not Found", &b"?"[..]) };
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            // Whoever asked may be gone.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    base
}

#[test]
fn a_url_is_played_if_it_is_allowed() {
    let web = web_server(tone(700.0));
    let relay = Relay::start(&[&format!("--media-urls={web}/ivr")]);
    let call = call(&relay, "web");
    let reply = call.command("play media", &json!({"from-tag": "a", "file": format!("{web}/ivr/tone.wav")}));
    assert_eq!(reply["duration"], 400, "{reply}");
    assert!(is_tone(&all(&call.a, 19), 700.0));
    for (url, why) in [("/ivr/none.wav", "the server says 404"), ("/other.wav", "not allowed")] {
        let refused = relay.ng.request(
            &json!({"command": "play media", "call-id": "web", "from-tag": "a", "file": format!("{web}{url}")}),
        );
        assert_eq!(refused["error-reason"], "Failed to start media playback from file");
        let told = wait_for(WAIT, || relay.process.log().contains(why).then_some(()));
        assert!(told.is_some(), "{}", relay.process.log());
    }
}

#[test]
fn a_blob_and_a_row_of_sqlite_are_played() {
    let python = Command::new("python3").args(["-c", "import sqlite3"]).status();
    let relay = Relay::start(&["--sqlite-db={DIR}/media.sqlite3"]);
    let call = call(&relay, "sources");
    let blob = openssl::base64::encode_block(&tone(500.0));
    call.command("play media", &json!({"from-tag": "a", "blob64": blob}));
    assert!(is_tone(&all(&call.a, 19), 500.0));
    if !python.is_ok_and(|status| status.success()) {
        eprintln!("skipped: SQLite, no Python to make the file");
        return;
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/media-sqlite.sql");
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        db.executescript(open(sys.argv[2]).read())\n\
        db.execute('INSERT INTO media (id, data) VALUES (5, ?)', [open(sys.argv[3], 'rb').read()])\n\
        db.commit()\n";
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(relay.path("media.sqlite3"))
        .arg(schema)
        .arg(tone_file(&relay, 1100.0))
        .status();
    assert!(made.expect("Python runs").success());
    call.command("play media", &json!({"from-tag": "a", "db-id": 5}));
    assert!(is_tone(&all(&call.a, 19), 1100.0));
}

#[test]
fn label_and_address_choose_the_listener() {
    let relay = Relay::start(&[]);
    let file = tone_file(&relay, 500.0);
    let offer = json!({"label": "caller"});
    let mut call = Call::establish(&relay, "choice", Setup { offer, ..Setup::default() });
    call.learn();
    call.command("play media", &json!({"label": "caller", "file": file}));
    assert!(is_tone(&all(&call.a, 19), 500.0));
    assert!(call.b.receive(Duration::from_millis(50)).is_none());
    // The first party that gave it.
    call.command("play media", &json!({"address": "127.0.0.1", "file": file}));
    assert!(is_tone(&all(&call.a, 19), 500.0));
    // Every command can name the party that it selects.
    call.command("play media", &json!({"from-tag": "b", "set-label": "callee", "file": file}));
    assert!(is_tone(&all(&call.b, 19), 500.0));
    call.command("stop media", &json!({"label": "callee", "set-label": "desk"}));
    call.command("start forwarding", &json!({"label": "desk", "set-label": "sales"}));
    call.command("block media", &json!({"label": "sales", "to-tag": "a", "set-label": "agent"}));
    assert_eq!(call.command("query", &json!({"from-tag": "b"}))["tags"]["b"]["label"], "agent");
    let nobody = json!({"command": "play media", "call-id": "choice", "label": "nobody", "file": file});
    assert_eq!(relay.ng.request(&nobody)["error-reason"], "No monologue matching the given label");
}

#[test]
fn repetition_is_limited_in_time_and_the_first_play_may_begin_late() {
    let relay = Relay::start(&[]);
    let file = tone_file(&relay, 500.0);
    let call = call(&relay, "limits");
    for (options, packets) in [
        (json!({"repeat-times": 100, "repeat-duration": 600}), 30),
        (json!({"start-pos": 200}), 10),
        (json!({"start-pos": 200, "repeat-times": 2}), 30),
        (json!({"repeat-duration": 100}), 5),
    ] {
        let mut request = json!({"from-tag": "a", "file": file});
        e2e::call::extend(&mut request, &options);
        call.command("play media", &request);
        let heard = all(&call.a, packets - 1);
        assert!(heard.len().abs_diff(packets) <= 1, "{options}: {} packets", heard.len());
        assert!(is_tone(&heard, 500.0));
    }
}

#[test]
fn what_is_blocked_meanwhile_comes_back_afterwards() {
    let relay = Relay::start(&[]);
    let file = tone_file(&relay, 500.0);
    let mut call = call(&relay, "egress");
    for (flags, heard_partner) in [(json!([]), true), (json!(["block-egress"]), false)] {
        let repeat = json!({"from-tag": "a", "file": file, "repeat-times": 100, "flags": flags});
        call.command("play media", &repeat);
        assert!(call.a.receive(WAIT).is_some(), "it plays");
        for _ in 0..10 {
            let packet = call.b.next_packet(0, &[0x55; 160], 160);
            call.b.send(&packet);
        }
        let partner = call.b.ssrc;
        let mut heard = std::iter::from_fn(|| call.a.receive(WAIT)).take(20);
        assert_eq!(heard.any(|received| received.packet.ssrc == partner), heard_partner, "{flags}");
        call.command("stop media", &json!({"from-tag": "a"}));
        until_pause(&call.a).for_each(drop);
        call.learn();
    }
}

#[test]
fn clients_over_tcp_are_told_when_an_announcement_ends() {
    let ports = PortBlock::take();
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
    let relay = Relay::start(&[&format!("--listen-tcp-ng={port}"), "--playback-events-ng-tcp"]);
    let file = tone_file(&relay, 500.0);
    let mut events = TcpEvents::connect(port, WAIT);
    let mut call =
        Call::establish(&relay, "told", Setup { offer: json!({"label": "x"}), ..Setup::default() });
    call.learn();
    let begin = "6:notify13:onPlaybackEnd4:datad6:callid4:told3:tag1:a5:label1:x4:type12:announcement";
    call.command("play media", &json!({"from-tag": "a", "file": file}));
    events.await_text(&format!("{begin}5:cause3:end14:last-frame-posi380e9:timestampi"));
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 100}));
    assert!(call.a.receive(WAIT).is_some());
    call.command("stop media", &json!({"from-tag": "a"}));
    events.await_text(&format!("{begin}5:cause7:stopped14:last-frame-posi"));
}
