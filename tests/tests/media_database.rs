//! Announcements out of a database server: by number, preloaded, read again after a change, expired, and with a server that goes away
//! in the middle of a call. Skipped where no MariaDB is installed.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::mariadb::MariaDb;
use e2e::party::Party;
use e2e::{rtp, sdp, signal, wav};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const NOT_TO_BE_HAD: &str = "Failed to start media playback from database";

/// A server with the tables, run twice as an upgrade would.
fn server() -> Option<MariaDb> {
    let Some(server) = MariaDb::start() else {
        eprintln!("skipped: no MariaDB server");
        return None;
    };
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/media-mysql.sql");
    server.run_file(&schema);
    server.run_file(&schema);
    Some(server)
}

fn relay(server: &MariaDb, arguments: &[&str]) -> Relay {
    let port = format!("--mysql-port={}", server.port());
    let mut all = vec![
        "--mysql-host=127.0.0.1",
        port.as_str(),
        "--mysql-user=media",
        "--mysql-pass=secret",
        "--mysql-query=select data from rtpengine.media where id = %llu",
    ];
    all.extend(arguments);
    Relay::start(&all)
}

/// Six tenths of a second of a tone.
fn tone(frequency: f64) -> Vec<u8> {
    wav::encode(&signal::tone(frequency, 8000, 600, 8000.0), 8000, 1)
}

/// Plays a medium and listens to what it is.
fn hears(call: &Call<'_>, id: u64, frequency: f64) -> bool {
    let listener = call.a.listen();
    let reply = call.command("play media", &json!({"from-tag": "a", "db-id": id}));
    assert_eq!(reply["duration"], 600, "{reply}");
    let heard = listener.stop_at(30);
    assert!(heard.len() >= 20, "{} packets of {id}", heard.len());
    // Packet by packet: a machine that is busy with other things makes gaps.
    let share = |received| {
        let (audio, rate) = rtp::decode(std::slice::from_ref(received), &sdp::format("0 PCMU/8000"));
        signal::tone_share(&audio, rate, frequency)
    };
    heard.iter().filter(|received| share(received) > 0.9).count() * 10 > heard.len() * 9
}

fn cli(relay: &Relay, line: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": line}));
    reply["response"].as_str().expect("text").to_owned()
}

fn play(call: &Call<'_>, relay: &Relay, id: u64) -> Value {
    relay.ng.request(&json!({"command": "play media", "call-id": call.id, "from-tag": "a", "db-id": id}))
}

/// Both parties talk all the time; gives the longest pause between two packets that one of them got.
fn longest_gap(from: &mut Party, to: &Party, during: impl FnOnce()) -> Duration {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let packet = from.next_packet(0, &[0x55; 160], 160);
                from.send(&packet);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let listener = to.listen();
        during();
        let heard = listener.stop();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        sender.join().expect("sent");
        assert!(heard.len() > 10, "{} packets", heard.len());
        let gaps = heard.windows(2).map(|pair| pair[1].at.saturating_duration_since(pair[0].at));
        gaps.max().unwrap_or_default()
    })
}

#[test]
fn media_are_fetched_kept_read_again_and_expire() {
    let Some(server) = server() else { return };
    server.store(5, &tone(500.0));
    server.store(7, &tone(700.0));
    let relay = relay(
        &server,
        &[
            "--preload-db-media=5",
            "--preload-db-cache=7",
            "--db-media-cache={DIR}/cache",
            "--db-cache-expire=1",
            "--expiry-timer=1",
            "--player-cache",
        ],
    );
    let mut call = Call::establish(&relay, "database", Setup::default());
    call.learn();
    assert!(cli(&relay, "media list dbs").starts_with("5, loaded "), "{}", cli(&relay, "media list dbs"));
    assert!(hears(&call, 5, 500.0), "preloaded");
    assert!(hears(&call, 7, 700.0), "fetched");
    assert_eq!(play(&call, &relay, 9)["error-reason"], NOT_TO_BE_HAD);
    assert!(relay.process.log().contains("no row for 9"), "the log says why");

    server.store(5, &tone(1100.0));
    assert!(hears(&call, 5, 500.0), "what is kept stays");
    assert_eq!(cli(&relay, "media reload db 5"), "Success\n");
    assert!(hears(&call, 5, 1100.0), "read again, also by the player cache");
    assert_eq!(cli(&relay, "media reload db 7"), "Failed to reload '7'\n");
    assert_eq!(cli(&relay, "media add db 7"), "Success\n");
    assert_eq!(cli(&relay, "media reload dbs"), "2 media entries reloaded\n");
    assert!(!cli(&relay, "media list players").is_empty());

    // Nobody has played it for a second.
    let expired = wait_for(LIMIT, || cli(&relay, "media list caches").is_empty().then_some(()));
    assert!(expired.is_some(), "{}", cli(&relay, "media list caches"));
    assert_eq!(cli(&relay, "media evict db 5 7 x"), "Success (5)\nSuccess (7)\nInvalid ID 'x'\n");
    server.store(5, &tone(900.0));
    assert!(hears(&call, 5, 900.0), "fetched anew");
}

#[test]
fn media_are_read_again_and_dropped_by_the_clock() {
    let Some(server) = server() else { return };
    server.store(5, &tone(500.0));
    server.store(7, &tone(700.0));
    // `cache-media-reload` is what the manual calls `db-cache-reload`.
    for copies in ["--db-cache-reload=1", "--cache-media-reload=1"] {
        let relay = relay(
            &server,
            &[
                "--preload-db-media=5",
                "--preload-db-cache=7",
                "--db-media-cache={DIR}/cache",
                "--db-media-reload=1",
                copies,
            ],
        );
        let call = Call::establish(&relay, "clock", Setup::default());
        assert!(hears(&call, 5, 500.0) && hears(&call, 7, 700.0));
        server.store(5, &tone(900.0));
        server.store(7, &tone(1100.0));
        assert!(wait_for(LIMIT, || hears(&call, 5, 900.0).then_some(())).is_some(), "medium");
        assert!(wait_for(LIMIT, || hears(&call, 7, 1100.0).then_some(())).is_some(), "{copies}");
        server.store(5, &tone(500.0));
        server.store(7, &tone(700.0));
    }
    let relay = relay(&server, &["--preload-db-media=5", "--db-media-expire=1", "--expiry-timer=1"]);
    let expired = wait_for(LIMIT, || cli(&relay, "media list dbs").is_empty().then_some(()));
    assert!(expired.is_some(), "{}", cli(&relay, "media list dbs"));
}

#[test]
fn a_server_that_goes_away_costs_the_announcement_and_nothing_else() {
    let Some(mut server) = server() else { return };
    server.store(5, &tone(500.0));
    let relay = relay(&server, &[]);
    let mut call = Call::establish(&relay, "crash", Setup::default());
    call.learn();
    assert!(hears(&call, 5, 500.0));

    server.kill();
    let Call { a, b, .. } = &mut call;
    let gap = longest_gap(b, a, || {
        let asked = Instant::now();
        let reply = relay
            .ng
            .request(&json!({"command": "play media", "call-id": "crash", "from-tag": "a", "db-id": 5}));
        assert_eq!(reply["error-reason"], NOT_TO_BE_HAD);
        assert!(asked.elapsed() < LIMIT);
    });
    assert!(gap < Duration::from_millis(500), "{gap:?}");
    let log = relay.process.log();
    assert!(log.contains("media database not reachable after 5 attempts"), "the log says why");

    server.restart();
    assert!(hears(&call, 5, 500.0), "connected again");

    // A server that hangs is worse than one that is gone: others must not notice.
    server.freeze(true);
    let cookie = relay.ng.cookie();
    relay.ng.send(
        format!(
            "{cookie} {}",
            json!({"command": "play media", "call-id": "crash", "from-tag": "a", "db-id": 5})
        )
        .as_bytes(),
    );
    let asked = Instant::now();
    let mut other = Call::establish(&relay, "other", Setup::default());
    other.learn();
    let file = relay.path("tone.wav");
    std::fs::write(&file, tone(800.0)).expect("written");
    other.command("play media", &json!({"from-tag": "a", "file": file}));
    assert!(other.a.receive(Duration::from_secs(2)).is_some(), "other announcements begin");
    other.command("stop media", &json!({"from-tag": "a"}));
    call.command("query", &json!({}));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    server.freeze(false);
    let played = wait_for(LIMIT, || call.a.receive(Duration::from_millis(100)));
    assert!(played.is_some(), "late, but played");
}
