//! A call between two parties through the relay.

use serde_json::{Value, json};

use crate::daemon::Relay;
use crate::party::Party;
use crate::sdp::{self, Media};

/// Two parties and what the daemon told each of them.
#[derive(Debug)]
pub struct Call<'a> {
    relay: &'a Relay,
    /// Call-id.
    pub id: String,
    /// The caller.
    pub a: Party,
    /// The callee.
    pub b: Party,
    /// What the callee was offered.
    pub offered: Media,
    /// What the caller was answered.
    pub answered: Media,
}

/// What differs from the plainest call.
#[derive(Clone, Debug)]
pub struct Setup<'s> {
    /// The caller's formats.
    pub a: &'s [&'s str],
    /// The callee's formats.
    pub b: &'s [&'s str],
    /// Addresses of the two.
    pub addresses: [&'s str; 2],
    /// Attributes in the two descriptions.
    pub attributes: [&'s [&'s str]; 2],
    /// Keys added to the offer.
    pub offer: Value,
    /// Keys added to the answer.
    pub answer: Value,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            a: &["0 PCMU/8000"],
            b: &["0 PCMU/8000"],
            addresses: ["127.0.0.1"; 2],
            attributes: [&["ptime:20"]; 2],
            offer: json!({}),
            answer: json!({}),
        }
    }
}

impl<'a> Call<'a> {
    /// Offer and answer; afterwards both parties know where to send.
    pub fn establish(relay: &'a Relay, id: &str, setup: Setup<'_>) -> Self {
        let (a, b) = (Party::new(setup.addresses[0]), Party::new(setup.addresses[1]));
        let offer = sdp::audio(a.local(), setup.a, setup.attributes[0]);
        let mut request = json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": offer});
        extend(&mut request, &setup.offer);
        let offered = media_of(&relay.ng.ok(request));
        let answer = sdp::audio(b.local(), setup.b, setup.attributes[1]);
        let mut request =
            json!({"command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b", "sdp": answer});
        extend(&mut request, &setup.answer);
        let answered = media_of(&relay.ng.ok(request));
        Self::between(relay, id, [a, b], [offered, answered])
    }

    /// A call that was set up elsewhere: caller and callee, what the callee was offered and the caller answered.
    pub fn between(relay: &'a Relay, id: &str, [a, b]: [Party; 2], [offered, answered]: [Media; 2]) -> Self {
        let mut call = Self { relay, id: id.into(), a, b, offered, answered };
        call.a.remote = Some(call.answered.rtp);
        call.b.remote = Some(call.offered.rtp);
        call
    }

    /// Another offer and answer between the same parties: the caller's and the callee's description.
    pub fn re_offer(&mut self, offer: &str, answer: &str, extra: &Value) {
        let mut request =
            json!({"command": "offer", "call-id": self.id, "from-tag": "a", "to-tag": "b", "sdp": offer});
        extend(&mut request, extra);
        self.offered = media_of(&self.relay.ng.ok(request));
        let mut request =
            json!({"command": "answer", "call-id": self.id, "from-tag": "a", "to-tag": "b", "sdp": answer});
        extend(&mut request, extra);
        self.answered = media_of(&self.relay.ng.ok(request));
        self.a.remote = Some(self.answered.rtp);
        self.b.remote = Some(self.offered.rtp);
    }

    /// A request about this call, with these keys, which must succeed.
    pub fn command(&self, command: &str, extra: &Value) -> Value {
        let mut request = json!({"command": command, "call-id": self.id});
        extend(&mut request, extra);
        self.relay.ng.ok(request)
    }

    /// `query` of the whole call.
    pub fn query(&self) -> Value {
        self.command("query", &json!({}))
    }

    /// Ends the call at once.
    pub fn delete(&self) -> Value {
        self.command("delete", &json!({"delete-delay": 0}))
    }

    /// Sends one packet each way until both have arrived, so that the relay has learned both ends.
    pub fn learn(&mut self) {
        let wait = std::time::Duration::from_secs(2);
        let (a_type, b_type) = (self.answered.formats[0].payload_type, self.offered.formats[0].payload_type);
        let silence = [0xff; 160];
        let packet = self.a.next_packet(a_type, &silence, 160);
        self.a.send(&packet);
        assert!(self.b.receive(wait).is_some(), "the callee hears the caller");
        let packet = self.b.next_packet(b_type, &silence, 160);
        self.b.send(&packet);
        assert!(self.a.receive(wait).is_some(), "the caller hears the callee");
    }
}

/// Adds the keys of `extra` to a request.
pub fn extend(request: &mut Value, extra: &Value) {
    let (Some(request), Some(extra)) = (request.as_object_mut(), extra.as_object()) else { return };
    request.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
}

/// The first medium of a reply.
///
/// # Panics
/// When it has no SDP.
pub fn media_of(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

/// Packets dropped for a reason, of all streams in the reply to `query`.
pub fn dropped(query: &Value, reason: &str) -> u64 {
    match query {
        Value::Object(map) => {
            let own = map.get("drops").and_then(|drops| drops[reason].as_u64()).unwrap_or(0);
            own + map.values().map(|value| dropped(value, reason)).sum::<u64>()
        }
        Value::Array(list) => list.iter().map(|value| dropped(value, reason)).sum(),
        _ => 0,
    }
}
