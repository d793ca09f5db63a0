//! Calls there and back, the format as it is documented by `format.txt`, and what arbitrary databases hold.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::compile::plan;
use super::super::engine::Engine;
use super::super::persistence::Owner;
use super::super::store::lock;
use super::super::tests::{engine_with, sdp, signal};
use super::{FORMAT_VERSION, Writer};
use crate::media::plan::DropReason;
use crate::proto::value::{Dict, Value};

/// What the format was when it was looked at last. `UPDATE_STORED_FORMAT=1` writes it anew; then [`FORMAT_VERSION`] has to change, unless what is new
/// may be missing.
const FORMAT: &str = include_str!("format.txt");

const SECURE: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
    a=ice-ufrag:abcd1234\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
    a=candidate:1 1 UDP 2130706431 192.0.2.1 4000 typ host\r\n";
const DTLS: &str = "a=setup:actpass\r\n\
    a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\r\na=rtcp-mux\r\n";

fn call(engine: &Engine, attributes: &str) {
    let secure = !attributes.is_empty();
    let body = |port| {
        let body = sdp("192.0.2.1", port, attributes).expect("a description");
        let text = String::from_utf8(body).expect("text");
        Some(if secure { text.replace("RTP/AVP", "RTP/SAVP") } else { text }.into_bytes())
    };
    let mut offer = signal("a", None, body(4000));
    offer.identity.label = Some("caller".into());
    offer.identity.metadata = Some("m%\u{e9}".into());
    offer.identity.via_branch = Some("z9".into());
    offer.codecs.transcode =
        vec![crate::negotiate::signal::CodecSpec { name: "G722".into(), ..Default::default() }];
    engine.offer(&offer).expect("offer");
    engine.answer(&signal("a", Some("b"), body(5000))).expect("answer");
}

fn stored(engine: &Engine) -> Dict {
    let handle = engine.call("call").expect("call");
    let call = lock(&handle);
    Writer { interfaces: &engine.interfaces, hosted_db: 5 }.write(&call, &[])
}

fn end(engine: &Engine) {
    let Some(handle) = engine.call("call") else { return };
    let mut call = lock(&handle);
    let (worker, key) = (call.worker, call.key);
    engine.end(&mut call, &handle, super::super::timers::EndReason::Shutdown);
    drop(call);
    engine.plane.release(worker, key);
}

/// Something has been counted at every stream, differently at each.
fn count(engine: &Engine) {
    let handle = engine.call("call").expect("call");
    let call = lock(&handle);
    let media = call.parties.iter().flat_map(|party| &party.media);
    for (stream, extra) in media.flat_map(|media| &media.streams).zip(0..) {
        let shared = &stream.shared;
        for (traffic, packets) in
            [(&shared.ingress, 7), (&shared.egress, 8), (&shared.rtcp_ingress, 1), (&shared.kernel, 5)]
        {
            traffic.packets.set(packets + extra);
            traffic.octets.set(172 * (packets + extra));
            traffic.errors.set(2);
        }
        shared.drops[DropReason::WrongSource as usize].set(3 + extra);
        shared.drops[DropReason::Dtmf as usize].set(1);
        for (slots, ssrcs) in [(&shared.ingress_ssrc, 1), (&shared.egress_ssrc, 3)] {
            for number in 0..ssrcs {
                let slot = slots.make(number).expect("few");
                slot.ssrc.store(0x1000 + number as u32, Relaxed);
                slot.payload_type.store(8, Relaxed);
                slot.packets.set(4 + number as u64);
                slot.last_sequence.set(70_000 + extra);
                slot.lost.set(2);
            }
        }
    }
}

/// As text, without what differs from process to process.
fn comparable(dict: &Dict) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in &dict.0 {
        let key = String::from_utf8_lossy(key).into_owned();
        let Value::Dict(inner) = value else {
            lines.push(format!("{key} {value:?}"));
            continue;
        };
        for (member, value) in inner.0.iter().filter(|(member, _)| !matches!(&**member, b"fd" | b"since")) {
            let text = String::from_utf8_lossy(value.as_bytes().expect("text")).into_owned();
            lines.push(format!("{key} {} {text}", String::from_utf8_lossy(member)));
        }
    }
    lines
}

#[test]
fn calls_are_the_same_after_a_restore() {
    let engine = engine_with(24_000, 32, |_| {});
    for attributes in ["", SECURE, DTLS] {
        call(&engine, attributes);
        count(&engine);
        let before = stored(&engine);
        assert!(engine.restore("call", &before, Owner::Us).is_ok(), "a known one is left alone");
        end(&engine);
        engine.restore("call", &before, Owner::Us).expect("restored");
        let after = stored(&engine);
        for (after, before) in comparable(&after).iter().zip(&comparable(&before)) {
            assert_eq!(after, before);
        }
        assert_eq!(after.0.len(), before.0.len());
        end(&engine);
    }
}

#[test]
fn an_offer_that_is_refused_after_a_restore_changes_no_transport() {
    let engine = engine_with(24_700, 32, |_| {});
    call(&engine, SECURE);
    engine.offer(&signal("b", Some("a"), sdp("192.0.2.1", 5000, ""))).expect("offer of plain RTP");
    let form = stored(&engine);
    end(&engine);
    engine.restore("call", &form, Owner::Us).expect("restored");
    let secure = sdp("192.0.2.1", 4000, SECURE).map(|body| String::from_utf8(body).expect("text"));
    let secure = secure.map(|body| body.replace("RTP/AVP", "RTP/SAVP").into_bytes());
    let next = engine.offer(&signal("a", Some("b"), secure)).expect("offer");
    let line =
        String::from_utf8_lossy(&next.sdp).lines().find(|line| line.starts_with("m=")).map(str::to_owned);
    assert!(line.as_ref().is_some_and(|line| line.contains("RTP/SAVP")), "{line:?}");
    end(&engine);
}

/// Fax is offered in the place of audio, in whatever section.
fn fax(engine: &Engine, port: u16) {
    let body = sdp("192.0.2.1", port, "").map(|body| String::from_utf8(body).expect("text"));
    let body =
        body.map(|body| body.replace("audio", "image").replace("RTP/AVP 0 8", "udptl t38").into_bytes());
    engine.offer(&signal("a", Some("b"), body)).expect("offer of fax");
}

#[test]
fn what_goes_on_until_an_offer_is_answered_is_stored_beside_what_was_offered() {
    let engine = engine_with(24_800, 32, |_| {});
    let types = |engine: &Engine| {
        let handle = engine.call("call").expect("call");
        let call = lock(&handle);
        let going_on = call.parties.iter().map(|party| party.media[0].media_type.to_string());
        let offered = call.parties.iter().map(|party| {
            party.offered.iter().map(|(_, media)| media.media_type.to_string()).collect::<String>()
        });
        going_on.zip(offered).collect::<Vec<_>>()
    };
    let both = |going_on: &str, offered: &str| vec![(going_on.to_owned(), offered.to_owned()); 2];
    for port in [4000, 4500] {
        call(&engine, SECURE);
        fax(&engine, port);
        assert_eq!(types(&engine), both("audio", "image"));
        let form = stored(&engine);
        end(&engine);
        engine.restore("call", &form, Owner::Us).expect("restored");
        assert_eq!(types(&engine), both("audio", "image"));
        assert_eq!(comparable(&stored(&engine)), comparable(&form));
        end(&engine);

        // Older versions write what was offered alone, and read no more than that.
        let mut older = form;
        older.0.retain(|(key, _)| !key.starts_with(b"former_medias-"));
        engine.restore("call", &older, Owner::Us).expect("restored");
        assert_eq!(types(&engine), both("image", ""));
        end(&engine);
    }
}

#[test]
fn what_an_older_version_did_not_count_begins_at_zero() {
    let engine = engine_with(24_600, 32, |_| {});
    call(&engine, "");
    count(&engine);
    let mut form = stored(&engine);
    end(&engine);
    for (_, value) in &mut form.0 {
        if let Value::Dict(inner) = value {
            let is_new = |name: &[u8]| {
                [&b"stats_"[..], b"drops", b"ssrc_"].iter().any(|prefix| name.starts_with(prefix))
            };
            inner.0.retain(|(member, _)| !is_new(member));
        }
    }
    engine.restore("call", &form, Owner::Us).expect("restored");
    let snapshot = engine.query("call", None).expect("known");
    let stream = &snapshot.parties[0].1.media[0].streams[0];
    assert_eq!((stream.ingress.packets, stream.egress.packets, stream.drops.len()), (7, 0, 0));
    end(&engine);
}

#[test]
fn foreign_calls_become_ours_when_they_are_claimed() {
    let engine = engine_with(24_100, 32, |_| {});
    call(&engine, "");
    let form = stored(&engine);
    end(&engine);
    engine.restore("call", &form, Owner::Other { keyspace: 7 }).expect("restored");
    assert_eq!((engine.sessions().own, engine.sessions().foreign), (0, 1));
    engine.take_over();
    assert_eq!((engine.sessions().own, engine.sessions().foreign), (1, 0));
    engine.hand_over();
    engine.drop_keyspace(7);
    assert_eq!(engine.calls(), 0);
}

#[test]
fn ports_that_are_taken_are_a_reason() {
    let engine = engine_with(24_200, 32, |_| {});
    call(&engine, "");
    let form = stored(&engine);
    let refused = engine.restore("other", &form, Owner::Us).expect_err("its ports are in use");
    assert!(refused.0.starts_with("failed to create sfds"), "{refused}");
}

#[test]
fn incomplete_values_are_refused_with_the_reason() {
    let engine = engine_with(24_300, 32, |_| {});
    call(&engine, "");
    let form = stored(&engine);
    end(&engine);
    let without = |part: &str, member: Option<&str>| {
        let mut form = form.clone();
        match member {
            None => form.0.retain(|(key, _)| **key != *part.as_bytes()),
            Some(member) => {
                let inner = form.0.iter_mut().find(|(key, _)| **key == *part.as_bytes());
                let Some((_, Value::Dict(inner))) = inner else { panic!("no {part}") };
                inner.0.retain(|(key, _)| **key != *member.as_bytes());
            }
        }
        form
    };
    for (part, member, reason) in [
        ("json", None, "'call' data incomplete"),
        ("json", Some("format_version"), "unknown format version"),
        ("json", Some("last_signal"), "missing 'last signal' timestamp"),
        ("json", Some("created"), "missing 'created' timestamp"),
        ("json", Some("redis_hosted_db"), "missing 'redis_hosted_db' value"),
        ("json", Some("num_sfds"), "'call' data incomplete"),
        ("sfd-0", None, "'sfds' incomplete"),
        ("stream-1", None, "'streams' incomplete"),
        ("tag-0", None, "'tags' incomplete"),
        ("tag-1", Some("state"), "'tags' incomplete"),
        ("media-0", None, "'medias' incomplete"),
        ("medias-1", None, "'medias' incomplete"),
    ] {
        let refused = engine.restore("call", &without(part, member), Owner::Us);
        assert_eq!(refused.map_err(|error| error.0), Err(reason), "{part} {member:?}");
        assert_eq!(engine.calls(), 0);
    }
    engine.restore("call", &form, Owner::Us).expect("nothing is left of the failures");
}

/// Names of all members; numbers in names are `#`.
fn members(dict: &Dict, names: &mut BTreeSet<String>) {
    let general = |key: &[u8]| {
        let text = String::from_utf8_lossy(key);
        match text.rsplit_once('-') {
            Some((name, number)) if number.parse::<u32>().is_ok() => format!("{name}-#"),
            _ => text.into_owned(),
        }
    };
    for (key, value) in &dict.0 {
        let name = general(key);
        match value {
            Value::Dict(inner) => {
                for (member, value) in &inner.0 {
                    let member = String::from_utf8_lossy(member);
                    if member == "state" {
                        let text = std::str::from_utf8(value.as_bytes().expect("text")).expect("text");
                        let state = serde_json::from_str(text).expect("JSON");
                        state_members(&state, &format!("{name}.state"), names);
                    } else {
                        names.insert(format!("{name}.{member}"));
                    }
                }
            }
            _ => {
                names.insert(format!("{name}[]"));
            }
        }
    }
}

fn state_members(value: &serde_json::Value, path: &str, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(key, value)| state_members(value, &format!("{path}.{key}"), names));
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| state_members(item, &format!("{path}[]"), names));
        }
        _ => {
            names.insert(path.to_owned());
        }
    }
}

#[test]
fn the_format_does_not_change_silently() {
    let engine = engine_with(24_400, 32, |_| {});
    let mut names = BTreeSet::new();
    for attributes in ["", SECURE, DTLS] {
        call(&engine, attributes);
        count(&engine);
        members(&stored(&engine), &mut names);
        fax(&engine, 4500);
        members(&stored(&engine), &mut names);
        end(&engine);
    }
    let text: String = [FORMAT_VERSION.to_owned()].into_iter().chain(names).map(|name| name + "\n").collect();
    if std::env::var_os("UPDATE_STORED_FORMAT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/call/stored/format.txt");
        std::fs::write(path, &text).expect("written");
        return;
    }
    assert!(
        text == FORMAT,
        "what is stored of a call has changed: give it another FORMAT_VERSION and run with UPDATE_STORED_FORMAT=1\n{text}"
    );
}

/// Changes one thing somewhere.
fn spoil(dict: &mut Dict, rng: &mut StdRng) {
    let strange = |rng: &mut StdRng| -> Value {
        match rng.random_range(0..8) {
            0 => Value::Int(rng.random()),
            1 => "4294967295".into(),
            2 => "-1".into(),
            3 => "".into(),
            4 => Value::List(vec!["0".into(), "1".into(), "9".into()]),
            5 => Value::Dict(Dict::new()),
            6 => u64::MAX.to_string().into(),
            _ => (0..rng.random_range(0..40)).map(|_| rng.random::<u8>()).collect::<Vec<u8>>().into(),
        }
    };
    let index = rng.random_range(0..dict.0.len());
    let (_, value) = &mut dict.0[index];
    match value {
        Value::Dict(inner) if !inner.0.is_empty() && rng.random_range(0..10) > 0 => {
            // States are the greater part of what there is.
            let states = inner.0.iter().position(|(key, _)| &**key == b"state");
            let member = states.filter(|_| rng.random_range(0..3) > 0);
            let member = member.unwrap_or_else(|| rng.random_range(0..inner.0.len()));
            let (key, value) = &mut inner.0[member];
            match (&**key, value.as_bytes()) {
                (b"state", Some(text)) => *value = spoil_text(text, rng).into(),
                _ => *value = strange(rng),
            }
        }
        _ => *value = strange(rng),
    }
}

/// Another number, word, or member in JSON text.
fn spoil_text(text: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut state: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    let mut place = &mut state;
    loop {
        let (is_object, length) = match &*place {
            serde_json::Value::Object(members) => (true, members.len()),
            serde_json::Value::Array(items) => (false, items.len()),
            _ => (false, 0),
        };
        if length == 0 || rng.random_range(0..12) == 0 {
            break;
        }
        let index = rng.random_range(0..length);
        place = if is_object {
            place.as_object_mut().and_then(|members| members.values_mut().nth(index)).expect("counted")
        } else {
            &mut place[index]
        };
    }
    *place = match rng.random_range(0..8) {
        0 => serde_json::json!(null),
        1 => serde_json::json!(0),
        2 => serde_json::json!(1_000_000),
        3 => serde_json::json!(255),
        4 => serde_json::json!(u64::MAX),
        5 => serde_json::json!([]),
        6 => serde_json::json!(true),
        _ => serde_json::json!("RTP"),
    };
    serde_json::to_vec(&state).expect("JSON")
}

#[test]
fn spoiled_values_are_refused_or_make_calls_that_work() {
    let engine = engine_with(24_500, 32, |_| {});
    let (mut refused, mut taken) = (0, 0);
    for (seed, attributes) in (0u64..3).zip(["", SECURE, DTLS]) {
        call(&engine, attributes);
        if attributes == SECURE {
            fax(&engine, 4500);
        }
        let form = stored(&engine);
        end(&engine);
        for round in 0..150 {
            let mut rng = StdRng::seed_from_u64(seed << 32 | round);
            let mut spoiled = form.clone();
            (0..rng.random_range(1..3)).for_each(|_| spoil(&mut spoiled, &mut rng));
            match engine.restore("call", &spoiled, Owner::Us) {
                Err(_) => refused += 1,
                Ok(_) => {
                    taken += 1;
                    {
                        let handle = engine.call("call").expect("call");
                        let call = lock(&handle);
                        plan(&call, engine.plan_options);
                    }
                    let _ = engine.query("call", None);
                    let _ = engine.dump("call");
                    let _ = engine.offer(&signal("a", Some("b"), sdp("192.0.2.1", 4000, "")));
                    let _ = engine.answer(&signal("a", Some("b"), sdp("192.0.2.2", 5000, "")));
                    stored(&engine);
                    end(&engine);
                }
            }
            assert_eq!(engine.calls(), 0);
        }
    }
    assert!(refused > 50 && taken > 50, "{refused} refused, {taken} taken");
}
