//! Threads, their priorities and stacks, and how they poll.

use std::fs;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Process, Relay, wait_for};
use e2e::{signal, wav};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

/// Name and `stat` (from the state on) of each thread.
fn threads(process: &Process) -> Vec<(String, Vec<String>)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).expect("tasks").flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (head, rest) = stat.rsplit_once(')')?;
            let name = head.split_once('(')?.1.to_owned();
            Some((name, rest.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

/// A field of the first thread of that name, counted from the state; none as long as no thread has given itself that name.
fn field(process: &Process, name: &str, index: usize) -> Option<i32> {
    let threads = threads(process);
    let (_, fields) = threads.iter().find(|(known, _)| known == name)?;
    Some(fields[index].parse().expect("a number"))
}

fn nice(process: &Process, name: &str) -> Option<i32> {
    field(process, name, 16)
}

fn policy(process: &Process, name: &str) -> Option<i32> {
    field(process, name, 38)
}

fn count(process: &Process, prefix: &str) -> usize {
    threads(process).iter().filter(|(name, _)| name.starts_with(prefix)).count()
}

#[test]
fn workers_and_background_threads_have_priorities_of_their_own() {
    let relay = Relay::start(&["--priority=5", "--idle-priority=9", "--num-threads=1"]);
    let nice = || ["media-0", "ng-udp", "control"].map(|name| nice(&relay.process, name));
    // Each thread sets its own.
    assert!(wait_for(SOON, || (nice() == [5, 5, 9].map(Some)).then_some(())).is_some(), "{:?}", nice());
    // SAFETY: plain system call about ourselves.
    let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    assert_eq!(field(&relay.process, "rtpengine", 16), Some(own), "the main thread stays as it was started");
}

#[test]
fn workers_and_background_threads_have_policies_of_their_own() {
    let relay = Relay::start(&["--scheduling=batch", "--idle-scheduling=idle"]);
    let policies = || ["media-0", "control", "rtpengine"].map(|name| policy(&relay.process, name));
    let expected = [libc::SCHED_BATCH, libc::SCHED_IDLE, libc::SCHED_OTHER];
    assert!(
        wait_for(SOON, || (policies() == expected.map(Some)).then_some(())).is_some(),
        "{:?}",
        policies()
    );
}

#[test]
fn a_policy_that_is_not_allowed_is_told_and_the_daemon_starts() {
    let relay = Relay::start(&["--scheduling=fifo", "--priority=1000"]);
    // Each thread tells by itself.
    let is_told = || relay.process.log().contains("a thread keeps its scheduling").then_some(());
    assert!(wait_for(SOON, is_told).is_some(), "{}", relay.process.log());
}

fn play(call: &Call<'_>, relay: &Relay) -> serde_json::Value {
    let file = relay.path("tone.wav");
    fs::write(&file, wav::encode(&signal::tone(500.0, 8000, 1000, 8000.0), 8000, 1)).expect("written");
    relay.ng.request(
        &json!({"command": "play media", "call-id": call.id, "from-tag": "a", "file": file, "repeat-times": 9}),
    )
}

#[test]
fn there_are_as_many_threads_of_each_kind_as_configured() {
    let relay = Relay::start(&[
        "--num-threads=2",
        "--codec-num-threads=3",
        "--media-num-threads=2",
        &format!("--listen-http={}", crate::free()),
        "--http-threads=4",
    ]);
    // Each thread gives itself its name. Workers for packets, workers for codecs.
    let are_there = |name: &str, threads| {
        let is_complete = || (count(&relay.process, name) == threads).then_some(());
        wait_for(SOON, is_complete).is_some()
    };
    assert!(are_there("media-", 2 + 3) && are_there("http", 4));
    // Players begin with the first announcement.
    for number in 0..4 {
        let call = Call::establish(&relay, &format!("play-{number}"), Setup::default());
        assert_eq!(play(&call, &relay)["result"], "ok");
    }
    assert!(are_there("player-", 2));
}

#[test]
fn without_threads_for_media_nothing_is_played() {
    let relay = Relay::start(&["--media-num-threads=0"]);
    let call = Call::establish(&relay, "mute", Setup::default());
    assert_eq!(play(&call, &relay)["result"], "error");
}

/// Writable memory of the process, in kB.
fn data(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmData:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
}

#[test]
fn threads_have_the_stack_that_is_configured() {
    let [small, large] = ["--thread-stack=1024", "--thread-stack=33792"].map(|option| {
        let relay = Relay::start(&[option, "--num-threads=8"]);
        data(&relay.process)
    });
    // Eight workers and some more, of whose stacks each is 32 MB larger.
    assert!(large > small + 8 * 32_000, "{small} kB, {large} kB");
}

#[test]
fn each_worker_has_a_poller() {
    let pollers = |arguments: &[&str]| {
        let relay = Relay::start(arguments);
        let links = fs::read_dir(format!("/proc/{}/fd", relay.process.id())).expect("descriptors").flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        targets.filter(|target| target.to_string_lossy().contains("eventpoll")).count()
    };
    let few = pollers(&["--num-threads=2", "--poller-per-thread"]);
    let many = pollers(&["--num-threads=7", "--poller-per-thread"]);
    assert_eq!(many - few, 5);
    assert_eq!(pollers(&["--num-threads=7"]), many, "always so");
}

/// Stops the process; returns when all its threads stand still.
fn stop(process: &Process) {
    process.signal(libc::SIGSTOP);
    let stands = || threads(process).iter().all(|(_, fields)| fields[0] == "T").then_some(());
    assert!(wait_for(SOON, stands).is_some());
}

/// How often a worker was woken by a packet on each of 24 sockets, all of which wait when it looks.
fn wake_ups(option: &str) -> u64 {
    let relay = Relay::start(&["--num-threads=1", option]);
    let mut calls: Vec<Call<'_>> =
        (0..24).map(|number| Call::establish(&relay, &format!("poll-{number}"), Setup::default())).collect();
    calls.iter_mut().for_each(Call::learn);
    let before = worker(&relay, "wakeups");
    stop(&relay.process);
    for call in &mut calls {
        let packet = call.a.next_packet(0, &[0x12; 160], 160);
        call.a.send(&packet);
    }
    relay.process.signal(libc::SIGCONT);
    for call in &calls {
        assert!(call.b.receive(SOON).is_some());
    }
    worker(&relay, "wakeups") - before
}

/// A number of the only worker.
fn worker(relay: &Relay, name: &str) -> u64 {
    let statistics = relay.ng.ok(json!({"command": "statistics"}));
    let worker = &statistics["statistics"]["poller_threads"][0];
    worker[name].as_u64().unwrap_or_else(|| panic!("no {name} in {worker}"))
}

#[test]
fn one_poll_fetches_no_more_events_than_configured() {
    let (one, many) = (wake_ups("--poller-size=1"), wake_ups("--poller-size=64"));
    assert!(one >= 24 && many < 24, "{one} polls of one event, {many} of up to 64");
}

/// The place of a packet of one call among forty of another, all of which wait when the worker looks; both go to one party.
fn place(option: &str) -> usize {
    let relay = Relay::start(&["--num-threads=1", option]);
    let mut busy = Call::establish(&relay, "busy", Setup::default());
    let mut quiet = Call::establish(&relay, "quiet", Setup::default());
    busy.learn();
    quiet.learn();
    // The quiet call's callee is where the busy one's is.
    let offer = e2e::sdp::audio(quiet.a.local(), &["0 PCMU/8000"], &[]);
    let answer = e2e::sdp::audio(busy.b.local(), &["0 PCMU/8000"], &[]);
    quiet.re_offer(&offer, &answer, &json!({}));
    stop(&relay.process);
    for _ in 0..40 {
        let packet = busy.a.next_packet(0, &[0x12; 160], 160);
        busy.a.send(&packet);
    }
    let packet = quiet.a.next_packet(0, &[0x34; 160], 160);
    quiet.a.send(&packet);
    relay.process.signal(libc::SIGCONT);
    let arrived = busy.b.receive_many(41);
    arrived.iter().position(|received| received.packet.payload[0] == 0x34).expect("it came")
}

#[test]
fn one_socket_delivers_no_more_packets_in_a_turn_than_configured() {
    let few = place("--max-recv-iters=4");
    assert!(few <= 8, "after {few} packets of the other socket");
    let many = place("--max-recv-iters=64");
    assert!(many == 0 || many == 40, "after {many} packets of the other socket");
}

/// Thread of the only worker.
fn worker_thread(relay: &Relay) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", relay.process.id())).expect("a running process");
    let mut tasks = tasks.flatten().map(|task| task.path());
    let named = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "media-0")
    };
    tasks.find(named).and_then(|task| Some(task.file_name()?.to_str()?.to_owned())).expect("a worker")
}

/// Processor time of the worker while a hundred packets pass one by one, in ms.
fn work_for_packets(option: &str) -> u64 {
    let relay = Relay::start(&["--num-threads=1", option]);
    let mut call = Call::establish(&relay, "awake", Setup::default());
    call.learn();
    let path = format!("/proc/{}/task/{}/schedstat", relay.process.id(), worker_thread(&relay));
    let work = || {
        let text = std::fs::read_to_string(&path).expect("a running thread");
        text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("a number") / 1_000_000
    };
    let before = work();
    for _ in 0..100 {
        let packet = call.a.next_packet(0, &[0x12; 160], 160);
        call.a.send(&packet);
        assert!(call.b.receive(Duration::from_secs(20)).is_some(), "it passes");
        std::thread::sleep(Duration::from_millis(5));
    }
    work() - before
}

#[test]
fn a_worker_stays_awake_for_packets_when_that_is_wanted() {
    let (asleep, awake) = (work_for_packets("--busy-poll=0"), work_for_packets("--busy-poll=20000"));
    // Half a second at least, of which others may take some.
    assert!(awake > 100 && awake > 4 * asleep, "{asleep} and {awake} ms");
}

#[test]
fn workers_sleep_as_exactly_as_configured() {
    let slack = |options: &[&str]| {
        let relay = Relay::start(options);
        let text = std::fs::read_to_string(format!("/proc/{}/timerslack_ns", worker_thread(&relay)));
        text.expect("of a child").trim().parse::<u64>().expect("a number")
    };
    assert_eq!(slack(&["--num-threads=1", "--timer-slack=1000"]), 1000);
    assert_eq!(slack(&["--num-threads=1"]), 50_000, "the system's");
}

/// How many packets of an announcement came with the one before.
fn together(option: &str) -> usize {
    let relay = Relay::start(&["--num-threads=1", option]);
    let call = Call::establish(&relay, "pace", Setup::default());
    let listener = call.a.listen();
    assert_eq!(play(&call, &relay)["result"], "ok");
    let heard = listener.stop_at(60);
    assert!(heard.len() > 50, "{} packets", heard.len());
    let gap = |pair: &[e2e::rtp::Received]| pair[1].at.saturating_duration_since(pair[0].at);
    heard.windows(2).filter(|pair| gap(pair) < Duration::from_millis(4)).count() * 100 / heard.len()
}

#[test]
fn what_is_due_within_the_accuracy_of_timers_goes_at_once() {
    let began = Instant::now();
    let (exact, coarse) = (together("--timer-accuracy=500"), together("--timer-accuracy=90000"));
    assert!(exact < 20 && coarse > 50, "{exact} % and {coarse} % at once, {:?}", began.elapsed());
}
