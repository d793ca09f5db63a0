//! Options about what happens to audio: buffers, silence, noise, announcements and music on hold.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use e2e::rtp::{self, Received};
use e2e::{sdp, signal, speech, wav};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);
const PCMU: &str = "0 PCMU/8000";
const PCMA: &str = "8 PCMA/8000";
const PACKET: Duration = Duration::from_millis(20);

fn cli(relay: &Relay, line: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": line}));
    reply["response"].as_str().expect("a text").to_owned()
}

fn tone_file(relay: &Relay, frequency: f64, milliseconds: u32) -> PathBuf {
    let file = relay.path("tone.wav");
    let audio = signal::tone(frequency, 8000, milliseconds, 8000.0);
    fs::write(&file, wav::encode(&audio, 8000, 1)).expect("written");
    file
}

/// A call whose callee has PCMA and, with `noise`, comfort noise.
fn transcoded<'r>(relay: &'r Relay, formats: &[&str]) -> Call<'r> {
    let offer = json!({"codec": {"transcode": ["PCMA", "CN"], "mask": ["PCMU"]}});
    Call::establish(relay, "transcoded", Setup { b: formats, offer, ..Setup::default() })
}

/// Twenty packets of a tone, one each `every`, and then nothing for `pause`; what the callee hears.
fn burst(call: &mut Call<'_>, count: u32, every: Duration, pause: Duration) -> Vec<Received> {
    let listener = call.b.listen();
    let (payloads, ticks) =
        speech::encode(&signal::tone(700.0, 8000, count * 20, 8000.0), 8000, &sdp::format(PCMU));
    call.a.send_paced(0, payloads, ticks, every).join().expect("sent");
    std::thread::sleep(pause);
    listener.stop()
}

/// Share of the tone's level in what is heard behind the tone, in dB over full scale.
fn level_behind(heard: &[Received], from: usize) -> f64 {
    let (audio, _) = rtp::decode(&heard[from..], &sdp::format(PCMA));
    signal::level_dbfs(&audio)
}

#[test]
fn silence_that_is_not_sent_is_filled_in_for_the_configured_time() {
    let second = Duration::from_secs(1);
    let without = Relay::start(&[]);
    let heard = burst(&mut transcoded(&without, &[PCMA]), 20, PACKET, second * 2);
    assert!((20..24).contains(&heard.len()), "{} packets without DTX", heard.len());

    let quiet = Relay::start(&["--dtx-delay=50", "--max-dtx=1"]);
    let heard = burst(&mut transcoded(&quiet, &[PCMA]), 20, PACKET, second * 2);
    // A second behind the tone, not two.
    assert!((55..85).contains(&heard.len()), "{} packets", heard.len());
    assert!(level_behind(&heard, 30) < -60.0, "silence: {}", level_behind(&heard, 30));

    let noisy = Relay::start(&["--dtx-delay=50", "--dtx-cn-params=30"]);
    let heard = burst(&mut transcoded(&noisy, &[PCMA]), 20, PACKET, second * 2);
    assert!(heard.len() > 95, "{} packets: as long as it takes", heard.len());
    let level = level_behind(&heard, 30);
    assert!((level + 30.0).abs() < 4.0, "noise of 30 dB below full scale: {level}");
}

/// How many of a hundred packets that come twice as fast as they should are played, and for how long.
fn rushed(more: &[&str]) -> (usize, Duration) {
    let relay = Relay::start(&[&["--dtx-delay=20", "--max-dtx=1"], more].concat());
    let mut call = transcoded(&relay, &[PCMA]);
    let heard = burst(&mut call, 100, Duration::from_millis(10), Duration::from_millis(1500));
    let (audio, _) = rtp::decode(&heard, &sdp::format(PCMA));
    // What is filled in behind is silent.
    let loud = audio.chunks(160).filter(|packet| signal::level_dbfs(packet) > -30.0).count();
    let last = heard.iter().take(loud).next_back().expect("packets").at;
    (loud, last - heard[0].at)
}

#[test]
fn packets_that_pile_up_are_played_faster_or_dropped() {
    let (all, patiently) = rushed(&["--dtx-buffer=120", "--dtx-lag=20", "--dtx-shift=5"]);
    assert!(all >= 95 && patiently > Duration::from_millis(1800), "{all} {patiently:?}");
    let (all, patiently) = rushed(&["--dtx-buffer=2", "--dtx-lag=9000", "--dtx-shift=5"]);
    assert!(all >= 95 && patiently > Duration::from_millis(1800), "{all} {patiently:?}");
    let (all, faster) = rushed(&["--dtx-buffer=2", "--dtx-lag=20", "--dtx-shift=5"]);
    assert!(all >= 95 && faster < Duration::from_millis(1750), "{all} {faster:?}");
    let (some, _) = rushed(&["--dtx-buffer=2", "--dtx-lag=20", "--dtx-shift=0"]);
    assert!(some < 80, "{some} of 100 packets");
}

#[test]
fn pauses_of_amr_are_filled_in_as_configured() {
    if !codec::def::by_name("AMR").is_some_and(codec::def::CodecDef::can_encode) {
        return;
    }
    let amr = "96 AMR/8000 octet-align=1";
    let [native, noise] = ["--amr-dtx=native", "--amr-dtx=CN"].map(|option| {
        let relay = Relay::start(&["--dtx-delay=50", "--dtx-cn-params=20", option]);
        let offer = json!({"codec": {"transcode": ["PCMA"], "mask": ["AMR"]}});
        let setup = Setup { a: &[amr], b: &[PCMA], offer, ..Setup::default() };
        let mut call = Call::establish(&relay, "amr", setup);
        let listener = call.b.listen();
        let quiet = signal::tone(700.0, 8000, 400, 300.0);
        let (payloads, ticks) = speech::encode(&quiet, 8000, &sdp::format(amr));
        call.a.send_paced(96, payloads, ticks, PACKET).join().expect("sent");
        std::thread::sleep(Duration::from_secs(1));
        level_behind(&listener.stop(), 40)
    });
    assert!((noise + 20.0).abs() < 4.0 && native < -35.0, "{native} dB, {noise} dB");
}

#[test]
fn silence_becomes_the_configured_noise_for_who_takes_it() {
    let relay = Relay::start(&["--silence-detect=1", "--cn-payload=45", "--cn-payload=100"]);
    let mut call = transcoded(&relay, &[PCMA, "13 CN/8000"]);
    let listener = call.b.listen();
    call.a.send_paced(0, vec![vec![0xff; 160]; 10], 160, PACKET).join().expect("sent");
    let heard = listener.stop_behind(Duration::from_millis(300));
    let noise: Vec<_> = heard.iter().filter(|received| received.packet.payload_type == 13).collect();
    assert!(
        !noise.is_empty() && noise.iter().all(|received| received.packet.payload == [45, 100]),
        "{heard:?}"
    );
}

/// Packets of 20 ms that come at these times and in this order (milliseconds, number): when each has come and gone.
fn through(arguments: &[&str], arrivals: &[(u64, usize)]) -> (Vec<Received>, Vec<(u16, Instant)>) {
    let relay = Relay::start(arguments);
    let mut call = Call::establish(&relay, "jitter", Setup::default());
    call.learn();
    let listener = call.b.listen();
    let most = arrivals.iter().map(|(_, number)| *number).max().expect("packets");
    let packets: Vec<_> = (0..=most).map(|_| call.a.next_packet(0, &[0x55; 160], 160)).collect();
    let (start, mut sent) = (Instant::now(), Vec::new());
    for (ms, number) in arrivals {
        let at = start + Duration::from_millis(*ms);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        call.a.send(&packets[*number]);
        sent.push((packets[*number].sequence, Instant::now()));
    }
    let heard = listener.stop_behind(Duration::from_millis(700));
    assert_eq!(heard.len(), arrivals.len());
    (heard, sent)
}

#[test]
fn the_jitter_buffer_puts_packets_into_order() {
    // Every fifth packet is late by two.
    let mut order: Vec<usize> = (0..70).collect();
    (4..65).step_by(5).for_each(|index| order[index..index + 3].rotate_left(1));
    let arrivals: Vec<(u64, usize)> =
        order.iter().enumerate().map(|(at, number)| (at as u64 * 20, *number)).collect();
    let disorder = |arguments: &[&str]| {
        let (heard, _) = through(arguments, &arrivals);
        let step = |pair: &[Received]| pair[1].packet.sequence.wrapping_sub(pair[0].packet.sequence);
        // Once it knows how bad it is.
        heard[45..].windows(2).filter(|pair| step(pair) != 1).count()
    };
    assert_eq!(disorder(&["--jitter-buffer=10"]), 0);
    assert!(disorder(&[]) > 5);
}

/// How long one of the last packets stays in the relay, typically.
fn delay(arguments: &[&str], arrivals: &[(u64, usize)]) -> Duration {
    let (heard, sent) = through(arguments, arrivals);
    let stayed = |(sequence, at): &(u16, Instant)| {
        let arrived = heard.iter().find(|received| received.packet.sequence == *sequence)?;
        Some(arrived.at.saturating_duration_since(*at))
    };
    let mut delays: Vec<Duration> = sent[sent.len() - 40..].iter().filter_map(stayed).collect();
    delays.sort();
    delays[delays.len() / 2]
}

#[test]
fn the_jitter_buffer_adapts_between_its_bounds() {
    let ms = Duration::from_millis;
    let steady: Vec<(u64, usize)> = (0..120).map(|number| (number as u64 * 20, number)).collect();
    let none = delay(&["--jitter-buffer=20"], &steady);
    let least = delay(&["--jitter-buffer=20", "--jb-adaptive", "--jb-adaptive-min=140"], &steady);
    assert!(none < ms(60) && least >= ms(100), "{none:?} {least:?}");
    // In dozens.
    let bursts: Vec<(u64, usize)> = (0..144).map(|number| (number as u64 / 12 * 240, number)).collect();
    let wide = delay(&["--jitter-buffer=60", "--jb-adaptive"], &bursts);
    let narrow = delay(&["--jitter-buffer=60", "--jb-adaptive", "--jb-adaptive-max=20"], &bursts);
    assert!(wide > narrow + ms(50), "{wide:?} {narrow:?}");
}

#[test]
fn a_slow_clock_is_followed_when_that_is_wanted() {
    // Eight packets that are missing make the buffer long; then each comes 0.75 ms later than its timestamp says.
    let at =
        |number: usize| if number < 60 { number as u64 * 20 } else { 1200 + (number as u64 - 60) * 83 / 4 };
    let missing = |number: &usize| (32..48).contains(number) && number.is_multiple_of(2);
    let arrivals: Vec<(u64, usize)> =
        (0..300).filter(|number| !missing(number)).map(|number| (at(number), number)).collect();
    let left_alone = delay(&["--jitter-buffer=30"], &arrivals);
    let followed = delay(&["--jitter-buffer=30", "--jb-clock-drift"], &arrivals);
    assert!(followed > left_alone + Duration::from_millis(40), "{left_alone:?} {followed:?}");
}

#[test]
fn the_buffer_of_the_audio_player_has_the_configured_length() {
    let heard = |option: &str| {
        let relay = Relay::start(&["--audio-player=always", option]);
        let mut call = Call::establish(&relay, "buffer", Setup::default());
        call.learn();
        let listener = call.a.listen();
        let format = sdp::format(PCMU);
        let (payloads, ticks) = speech::encode(&signal::tone(700.0, 8000, 1000, 8000.0), 8000, &format);
        for payload in payloads {
            let packet = call.b.next_packet(0, &payload, ticks);
            call.b.send(&packet);
        }
        std::thread::sleep(Duration::from_millis(1500));
        let (audio, _) = rtp::decode(&listener.stop(), &format);
        audio.chunks(160).filter(|packet| signal::level_dbfs(packet) > -30.0).count() * 20
    };
    let (short, long) = (heard("--audio-buffer-length=200"), heard("--audio-buffer-length=3000"));
    assert!(short < 400 && long > 700, "a second that comes at once: {short} ms, {long} ms");
}

/// A call whose caller has half a second of music for who is held.
fn with_music<'r>(relay: &'r Relay, id: &str) -> Call<'r> {
    let offer = json!({"moh": {"file": tone_file(relay, 700.0, 500)}});
    let mut call = Call::establish(relay, id, Setup { offer, ..Setup::default() });
    call.learn();
    call
}

fn description(party: &Party, lines: &[&str]) -> String {
    sdp::audio(party.local(), &[PCMU], lines)
}

/// The caller holds; what the callee is told.
fn hold(relay: &Relay, call: &Call<'_>) -> String {
    let offer = json!({"command": "offer", "call-id": call.id, "from-tag": "a", "to-tag": "b",
        "sdp": description(&call.a, &["sendonly"])});
    let told = relay.ng.ok(offer)["sdp"].as_str().expect("sdp").to_owned();
    relay.ng.ok(json!({"command": "answer", "call-id": call.id, "from-tag": "a", "to-tag": "b",
        "sdp": description(&call.b, &["recvonly"])}));
    told
}

#[test]
fn music_on_hold_is_repeated_as_often_as_configured_and_announced() {
    let relay = Relay::start(&["--moh-max-repeats=2", "--moh-attr-name=music-plays"]);
    let call = with_music(&relay, "repeat");
    let listener = call.b.listen();
    let told = hold(&relay, &call);
    assert!(told.contains("\r\na=music-plays\r\n"), "{told}");
    let heard = listener.stop_behind(Duration::from_millis(1000));
    assert!((48..=52).contains(&heard.len()), "{} packets of twice half a second", heard.len());
}

#[test]
fn who_is_told_that_music_plays_hears_no_second_one() {
    for (prevents, music) in [(true, false), (false, true)] {
        let mut arguments = vec!["--moh-attr-name=music-plays"];
        arguments.extend(prevents.then_some("--moh-prevent-double-hold"));
        let relay = Relay::start(&arguments);
        let call = with_music(&relay, "double");
        let listener = call.b.listen();
        // The offer comes from a relay that plays music itself.
        let text = description(&call.a, &["sendonly"]).replace("t=0 0\r\n", "t=0 0\r\na=music-plays\r\n");
        relay
            .ng
            .ok(json!({"command": "offer", "call-id": call.id, "from-tag": "a", "to-tag": "b", "sdp": text}));
        relay.ng.ok(json!({"command": "answer", "call-id": call.id, "from-tag": "a", "to-tag": "b",
            "sdp": description(&call.b, &["recvonly"])}));
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(!listener.stop().is_empty(), music, "{arguments:?}");
    }
}

#[test]
fn media_files_are_read_again_and_dropped_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("announcement.wav");
    let write = |frequency: f64| {
        let audio = signal::tone(frequency, 8000, 400, 8000.0);
        let new = file.with_extension("new");
        fs::write(&new, wav::encode(&audio, 8000, 1)).expect("written");
        fs::rename(&new, &file).expect("renamed");
    };
    write(500.0);
    let relay = Relay::start(&[
        &format!("--preload-media-files={}", file.display()),
        "--media-files-reload=1",
        "--media-files-expire=4",
        "--expiry-timer=1",
    ]);
    let call = Call::establish(&relay, "files", Setup::default());
    let heard = || {
        let listener = call.a.listen();
        call.command("play media", &json!({"from-tag": "a", "file": file}));
        let (audio, rate) = rtp::decode(&listener.stop_at(20), &sdp::format(PCMU));
        [500.0, 1100.0].map(|frequency| signal::tone_share(&audio, rate, frequency) > 0.7)
    };
    assert!(cli(&relay, "media list files").contains("announcement.wav"));
    assert_eq!(heard(), [true, false]);
    write(1100.0);
    assert!(wait_for(SOON, || (heard() == [false, true]).then_some(())).is_some(), "read again");
    let gone = wait_for(SOON, || (!cli(&relay, "media list files").contains("announcement")).then_some(()));
    assert!(gone.is_some(), "{}", cli(&relay, "media list files"));
}

#[test]
fn digits_of_our_own_are_reported_unless_that_is_not_wanted() {
    for (arguments, told) in [(&[][..], true), (&["--dtmf-no-log-injects"], false)] {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        receiver.set_read_timeout(Some(Duration::from_millis(1500))).expect("not zero");
        let option = format!("--dtmf-log-dest={}", receiver.local_addr().expect("bound"));
        let relay = Relay::start(&[&[option.as_str()], arguments].concat());
        let formats = &[PCMU, "101 telephone-event/8000 0-15"];
        let inject = || json!({"flags": ["inject-DTMF"]});
        let setup = Setup { a: formats, b: formats, offer: inject(), answer: inject(), ..Setup::default() };
        let mut call = Call::establish(&relay, "inject", setup);
        call.learn();
        call.command("play DTMF", &json!({"from-tag": "a", "code": "5", "duration": 100}));
        call.b.send_paced(0, vec![vec![0x55; 160]; 20], 160, PACKET).join().expect("sent");
        call.a.send_paced(0, vec![vec![0x55; 160]; 20], 160, PACKET).join().expect("sent");
        assert_eq!(receiver.recv(&mut [0; 2000]).is_ok(), told, "{arguments:?}");
    }
}
