use std::sync::Mutex as StdMutex;

use super::*;

/// Notes what is asked for; refuses what is called "bad".
#[derive(Default)]
struct Notes(StdMutex<Vec<String>>);

const ANSWER: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().expect("no panic").push(text);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

impl Media for Notes {
    fn publish(&self, room: u64, handle: u64, offer: &str) -> Result<String, String> {
        self.note(format!("publish {room} {handle}"));
        if offer == "bad" { Err("Failed to parse SDP".into()) } else { Ok(ANSWER.into()) }
    }

    fn subscribe(&self, room: u64, handle: u64, publishers: &[u64], plain: bool) -> Result<String, String> {
        self.note(format!("subscribe {room} {handle} {publishers:?} {plain}"));
        Ok("offered".into())
    }

    fn answer(&self, room: u64, handle: u64, answer: &str) -> Result<(), String> {
        self.note(format!("answer {room} {handle}"));
        if answer == "bad" { Err("Failed to process subscription answer".into()) } else { Ok(()) }
    }

    fn trickle(&self, room: u64, handle: u64, fragment: String) {
        self.note(format!("trickle {room} {handle} {}", fragment.lines().last().unwrap_or_default()));
    }

    fn remove(&self, room: u64, handle: u64) {
        self.note(format!("remove {room} {handle}"));
    }

    fn end(&self, room: u64) {
        self.note(format!("end {room}"));
    }
}

struct Client {
    janus: Arc<Janus>,
    media: Arc<Notes>,
    connection: Connection,
    events: mpsc::Receiver<String>,
    session: u64,
}

impl Client {
    fn new() -> Self {
        let media = Arc::new(Notes::default());
        let janus = Arc::new(Janus::new(media.clone(), Some("secret".into())));
        Self::of(&janus, &media)
    }

    fn of(janus: &Arc<Janus>, media: &Arc<Notes>) -> Self {
        let (connection, events) = janus.connect();
        let mut client =
            Client { janus: janus.clone(), media: media.clone(), connection, events, session: 0 };
        let created = client.ask(json!({"janus": "create", "transaction": "c"}));
        client.session = created["data"]["id"].as_u64().expect("a session");
        client
    }

    fn another(&self) -> Self {
        Self::of(&self.janus, &self.media)
    }

    fn ask(&self, mut request: Value) -> Value {
        if self.session != 0 && request.get("session_id").is_none() {
            request["session_id"] = json!(self.session);
        }
        let reply = self.janus.receive(&self.connection, request.to_string().as_bytes());
        serde_json::from_str(&reply).expect("replies are JSON")
    }

    fn attach(&self) -> u64 {
        let plugin = json!({"janus": "attach", "transaction": "a", "plugin": PLUGIN});
        self.ask(plugin)["data"]["id"].as_u64().expect("a handle")
    }

    fn event(&mut self) -> Value {
        serde_json::from_str(&self.events.try_recv().expect("an event")).expect("events are JSON")
    }

    /// The reply of a room request, the acknowledgement left out.
    fn room(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> Value {
        let mut request = json!({"janus": "message", "transaction": "m", "handle_id": handle, "body": body});
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        let reply = self.ask(request);
        if reply["janus"] != "ack" {
            return reply;
        }
        assert_eq!(reply, json!({"janus": "ack", "transaction": "m", "session_id": self.session}));
        // What other handles of this session are told may come first.
        loop {
            let event = self.event();
            if event.get("transaction").is_some() {
                return event;
            }
        }
    }

    fn data(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> Value {
        self.room(handle, body, jsep)["plugindata"]["data"].clone()
    }

    fn publish(&mut self, room: u64) -> (u64, u64) {
        let handle = self.attach();
        let joined = self.data(handle, json!({"request": "join", "room": room, "ptype": "publisher"}), None);
        let offer = json!({"type": "offer", "sdp": "v=0"});
        let done = self.data(handle, json!({"request": "configure"}), Some(offer));
        assert_eq!(done["configured"], "ok");
        (handle, joined["id"].as_u64().expect("a feed"))
    }
}

#[test]
fn the_envelope_is_checked_first() {
    let janus = Janus::new(Arc::new(Notes::default()), None);
    let (connection, _events) = janus.connect();
    let cases = [
        ("xx", r#"{"janus":"error","error":{"code":454,"reason":"Failed to parse JSON"}}"#),
        ("[]", r#"{"janus":"error","error":{"code":455,"reason":"JSON string is not an object"}}"#),
        (
            "{}",
            r#"{"janus":"error","error":{"code":456,"reason":"JSON object does not contain 'janus' key"}}"#,
        ),
        (
            r#"{"janus":"ping"}"#,
            r#"{"janus":"error","error":{"code":456,"reason":"JSON object does not contain 'transaction' key"}}"#,
        ),
        (
            r#"{"janus":"x","transaction":"t"}"#,
            r#"{"janus":"error","error":{"code":457,"reason":"Unhandled request method"},"transaction":"t"}"#,
        ),
        (
            r#"{"janus":"ping","transaction":"t","session_id":"5","handle_id":3}"#,
            r#"{"janus":"pong","transaction":"t","session_id":5,"sender":3}"#,
        ),
        (
            r#"{"janus":"keepalive","transaction":"t","session_id":5}"#,
            r#"{"janus":"error","error":{"code":458,"reason":"Session ID not found"},"transaction":"t","session_id":5}"#,
        ),
        (
            r#"{"janus":"get_status","transaction":"t"}"#,
            r#"{"status":{"token_auth":false},"janus":"success","transaction":"t"}"#,
        ),
        (
            r#"{"janus":"list_sessions","transaction":"t"}"#,
            r#"{"sessions":[],"janus":"success","transaction":"t"}"#,
        ),
        (
            r#"{"janus":"add_token","transaction":"t","token":"x"}"#,
            r#"{"janus":"error","error":{"code":403,"reason":"Janus 'admin_secret' key not provided or incorrect"},"transaction":"t"}"#,
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(janus.receive(&connection, request.as_bytes()), expected, "{request}");
    }
    let info = janus.get("info");
    assert!(info.starts_with(r#"{"name":"rtpengine Janus interface","version_string":""#), "{info}");
    assert!(info.ends_with(
        r#"{"janus.plugin.videoroom":{"name":"rtpengine Janus videoroom"}},"janus":"server_info"}"#
    ));
    assert!(janus.get("foo").contains("457"));
}

#[test]
fn sessions_are_made_over_websockets_and_used_over_http_too() {
    let client = Client::new();
    let create = br#"{"janus":"create","transaction":"t"}"#;
    assert!(client.janus.post(Path::default(), create).contains("Unsupported transport protocol"));
    let path = Path { session: Some(client.session), handle: None };
    let kept = client.janus.post(path, br#"{"janus":"keepalive","transaction":"t"}"#);
    assert_eq!(kept, format!(r#"{{"janus":"ack","transaction":"t","session_id":{}}}"#, client.session));
    let taken = client.ask(json!({"janus": "create", "transaction": "t", "id": client.session}));
    assert_ne!(taken["data"]["id"], json!(client.session), "the number is in use");
    let wanted = client.ask(json!({"janus": "create", "transaction": "t", "id": 77}));
    assert_eq!(wanted, json!({"data": {"id": 77}, "janus": "success", "transaction": "t"}));
    let token = json!({"janus": "add_token", "transaction": "t", "admin_secret": "secret", "token": "x"});
    assert_eq!(client.ask(token)["data"], json!({"plugins": [PLUGIN]}));
}

#[test]
fn verbs_refuse_what_is_missing() {
    let client = Client::new();
    let handle = client.attach();
    let cases = [
        (json!({"janus": "attach"}), 456, "No plugin given"),
        (json!({"janus": "attach", "plugin": "x"}), 460, "Unsupported plugin"),
        (json!({"janus": "attach", "plugin": PLUGIN, "session_id": 1}), 458, "Session ID not found"),
        (json!({"janus": "detach"}), 457, "No plugin handle given"),
        (json!({"janus": "detach", "handle_id": 1}), 463, "Could not detach handle from plugin"),
        (json!({"janus": "message", "body": {}}), 457, "No plugin handle given"),
        (json!({"janus": "message", "handle_id": handle}), 456, "JSON object does not contain 'body' key"),
        (
            json!({"janus": "message", "handle_id": 1, "body": {}}),
            457,
            "No plugin handle given or invalid handle",
        ),
        (
            json!({"janus": "message", "handle_id": handle, "body": {}}),
            456,
            "JSON object does not contain 'message.request' key",
        ),
        (
            json!({"janus": "message", "handle_id": handle, "body": {"request": "foo"}}),
            423,
            "Unknown videoroom request",
        ),
        (
            json!({"janus": "trickle", "handle_id": handle, "candidate": {"completed": true}}),
            426,
            "No such room",
        ),
    ];
    for (mut request, code, reason) in cases {
        request["transaction"] = json!("t");
        let reply = client.ask(request.clone());
        assert_eq!(reply["error"], json!({"code": code, "reason": reason}), "{request}");
    }
}

#[test]
fn rooms_are_created_joined_and_destroyed() {
    let mut client = Client::new();
    let handle = client.attach();
    let exists = json!({"request": "exists", "room": "1234"});
    assert_eq!(client.data(handle, exists.clone(), None)["exists"], false);
    let create = json!({"request": "create", "room": 1234, "publishers": 1});
    let created = client.room(handle, create.clone(), None);
    let expected = json!({
        "plugindata": {"plugin": PLUGIN, "data": {"videoroom": "created", "room": 1234, "permanent": false}},
        "janus": "success", "transaction": "m", "session_id": client.session, "sender": handle,
    });
    assert_eq!(created, expected);
    assert_eq!(client.room(handle, create, None)["error"]["code"], 512);
    let bad = json!({"request": "create", "room": "abc"});
    assert_eq!(client.room(handle, bad, None)["error"]["reason"], "Invalid room ID requested");
    assert_eq!(
        client.data(handle, exists, None),
        json!({"videoroom": "success", "room": 1234, "exists": true})
    );

    let join = |kind: &str| json!({"request": "join", "room": 1234, "ptype": kind, "id": 42});
    assert_eq!(client.room(handle, json!({"request": "join", "room": 1234}), None)["error"]["code"], 456);
    assert_eq!(client.room(handle, join("x"), None)["error"]["code"], 430);
    let elsewhere = json!({"request": "join", "room": 9, "ptype": "publisher"});
    assert_eq!(client.room(handle, elsewhere, None)["error"]["code"], 426);
    let joined = client.room(handle, join("publisher"), None);
    assert_eq!(joined["janus"], "event");
    let data = json!({"videoroom": "joined", "room": 1234, "id": 42, "publishers": []});
    assert_eq!(joined["plugindata"]["data"], data);
    assert_eq!(client.room(handle, join("publisher"), None)["error"]["code"], 436);
    let full = client.attach();
    assert_eq!(client.room(full, join("publisher"), None)["error"]["code"], 432);

    client.media.taken();
    let destroyed = client.data(handle, json!({"request": "destroy", "room": 1234}), None);
    assert_eq!(destroyed, json!({"videoroom": "destroyed", "room": 1234, "permanent": false}));
    assert_eq!(client.media.taken(), ["end 1234"]);
    let again = client.room(handle, json!({"request": "destroy", "room": 1234}), None);
    assert_eq!(again["error"], json!({"code": 426, "reason": "No such room"}));
    assert_eq!(
        client.room(handle, json!({"request": "unpublish"}), None)["error"]["reason"],
        "Not in any room"
    );
}

#[test]
fn publishers_hear_of_each_other() {
    let mut first = Client::new();
    let mut second = first.another();
    let creator = first.attach();
    first.data(creator, json!({"request": "create", "room": 5}), None);
    let (handle, feed) = first.publish(5);
    assert_eq!(first.media.taken(), [format!("publish 5 {handle}")]);
    let entry = json!({
        "id": feed, "streams": [{"type": "audio", "mindex": 0, "mid": "0", "codec": "pcma"}], "audio_codec": "pcma",
    });
    let other = second.attach();
    let join = json!({"request": "join", "room": 5, "ptype": "publisher"});
    assert_eq!(second.data(other, join, None)["publishers"], json!([entry]));
    let configured =
        second.room(other, json!({"request": "configure"}), Some(json!({"type": "offer", "sdp": "v=0"})));
    assert_eq!(configured["jsep"], json!({"type": "answer", "sdp": ANSWER}));
    let told = first.event();
    assert_eq!((&told["janus"], &told["sender"]), (&json!("event"), &json!(handle)));
    assert_eq!(told["plugindata"]["data"]["publishers"][0]["audio_codec"], "pcma");

    assert_eq!(first.data(handle, json!({"request": "unpublish"}), None)["unpublished"], "ok");
    assert_eq!(second.event()["plugindata"]["data"]["unpublished"], json!(feed));
    let (handle, feed) = first.publish(5);
    second.event();
    first.ask(json!({"janus": "detach", "transaction": "d", "handle_id": handle}));
    assert_eq!(second.event()["plugindata"]["data"]["leaving"], json!(feed));
    assert!(first.media.taken().contains(&format!("remove 5 {handle}")));
}

#[test]
fn subscribers_are_offered_feeds() {
    let mut client = Client::new();
    let creator = client.attach();
    client.data(creator, json!({"request": "create", "room": 5}), None);
    let (publisher, feed) = client.publish(5);
    let (second, second_feed) = client.publish(5);
    while client.events.try_recv().is_ok() {}
    client.media.taken();
    let subscriber = client.attach();
    let join = |mut more: Value| {
        more["request"] = json!("join");
        more["room"] = json!(5);
        more["ptype"] = json!("subscriber");
        more
    };
    for (body, code) in [(json!({}), 456), (json!({"streams": []}), 456), (json!({"feed": 1}), 512)] {
        assert_eq!(client.room(subscriber, join(body), None)["error"]["code"], code);
    }
    let attached = client.room(subscriber, join(json!({"feed": feed, "plain": true})), None);
    assert_eq!(attached["plugindata"]["data"], json!({"videoroom": "attached", "room": 5, "id": feed}));
    assert_eq!(attached["jsep"], json!({"type": "offer", "sdp": "offered"}));
    let streams = json!({"streams": [{"feed": second_feed}, {"feed": feed}, {"feed": feed, "mid": "1"}]});
    let attached = client.data(subscriber, join(streams), None);
    let expected = json!([{"mindex": 0, "feed_id": second_feed}, {"mindex": 1, "feed_id": feed}]);
    assert_eq!(attached["streams"], expected);

    let start = json!({"request": "start", "room": 5});
    let cases = [
        (None, json!({"code": 456, "reason": "No SDP"})),
        (Some(json!({"type": "offer", "sdp": "x"})), json!({"code": 456, "reason": "Not an answer"})),
        (
            Some(json!({"type": "answer", "sdp": "bad"})),
            json!({"code": 512, "reason": "Failed to process subscription answer"}),
        ),
        (Some(json!({"type": "answer", "sdp": "good"})), Value::Null),
    ];
    for (jsep, error) in cases {
        assert_eq!(client.room(subscriber, start.clone(), jsep.clone())["error"], error, "{jsep:?}");
    }
    let answer = Some(json!({"type": "answer", "sdp": "x"}));
    assert_eq!(client.room(publisher, start, answer)["error"]["reason"], "Not a subscriber");
    let expected = [
        format!("subscribe 5 {subscriber} [{publisher}] true"),
        format!("subscribe 5 {subscriber} [{second}, {publisher}] false"),
        format!("answer 5 {subscriber}"),
        format!("answer 5 {subscriber}"),
    ];
    assert_eq!(client.media.taken(), expected);
}

#[test]
fn configuring_needs_a_publisher_and_an_offer() {
    let mut client = Client::new();
    let handle = client.attach();
    let configure = json!({"request": "configure"});
    let offer = |sdp: &str| Some(json!({"type": "offer", "sdp": sdp}));
    assert_eq!(client.room(handle, configure.clone(), offer("v=0"))["error"]["reason"], "Not in the room");
    client.data(handle, json!({"request": "create", "room": 5}), None);
    client.data(handle, json!({"request": "join", "room": 5, "ptype": "publisher"}), None);
    let cases = [
        (None, "Not an existing publisher"),
        (Some(json!({"type": "answer", "sdp": "v=0"})), "Not an offer"),
        (Some(json!({"type": "offer"})), "No SDP"),
        (offer("bad"), "Failed to parse SDP"),
    ];
    for (jsep, reason) in cases {
        let refused = client.room(handle, configure.clone(), jsep);
        assert_eq!((&refused["janus"], &refused["error"]["reason"]), (&json!("error"), &json!(reason)));
        assert_eq!(refused["plugindata"], json!({"plugin": PLUGIN, "data": {}}));
    }
    assert_eq!(client.data(handle, configure.clone(), offer("v=0"))["audio_codec"], "pcma");
    let muted = client.room(handle, json!({"request": "configure", "audio": false}), None);
    assert_eq!(muted["plugindata"]["data"]["streams"][0]["disabled"], true);
    assert_eq!(muted.get("jsep"), None);
}

#[test]
fn candidates_reach_the_party() {
    let mut client = Client::new();
    let handle = client.attach();
    client.data(handle, json!({"request": "create", "room": 5}), None);
    client.data(handle, json!({"request": "join", "room": 5, "ptype": "publisher"}), None);
    let trickle = json!({
        "janus": "trickle", "transaction": "t", "handle_id": handle,
        "candidate": {"candidate": "1 1 UDP 1 192.0.2.1 5000 typ host", "sdpMid": "0"},
    });
    assert_eq!(
        client.ask(trickle),
        json!({"janus": "ack", "transaction": "t", "session_id": client.session})
    );
    let expected = format!("trickle 5 {handle} a=candidate:1 1 UDP 1 192.0.2.1 5000 typ host");
    assert_eq!(client.media.taken(), [expected]);
}

#[test]
fn sessions_end_a_while_after_their_last_connection() {
    let mut client = Client::new();
    let handle = client.attach();
    client.data(handle, json!({"request": "create", "room": 5}), None);
    client.data(handle, json!({"request": "join", "room": 5, "ptype": "publisher"}), None);
    let other = client.another();
    let keepalive = json!({"janus": "keepalive", "transaction": "t", "session_id": client.session});
    assert_eq!(other.ask(keepalive.clone())["janus"], "ack");
    let now = Instant::now();
    client.janus.disconnect(&client.connection, now);
    client.janus.expire(now + 2 * ORPHANED);
    assert_eq!(other.ask(keepalive.clone())["janus"], "ack", "the other connection uses it");
    client.janus.disconnect(&other.connection, now);
    client.janus.expire(now + ORPHANED / 2);
    assert!(client.media.taken().is_empty());
    client.janus.expire(now + ORPHANED);
    assert_eq!(client.media.taken(), [format!("remove 5 {handle}")]);
    assert_eq!(other.ask(keepalive)["error"]["code"], 458);
}

#[test]
fn destroying_a_session_detaches_its_handles() {
    let client = Client::new();
    client.attach();
    assert_eq!(client.ask(json!({"janus": "destroy", "transaction": "t"}))["janus"], "success");
    assert_eq!(client.ask(json!({"janus": "destroy", "transaction": "t"}))["error"]["code"], 458);
}
