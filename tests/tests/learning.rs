//! Whose packets are heard, and where packets go, in each mode of learning endpoints.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::call::{dropped, media_of};
use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use e2e::sdp;
use serde_json::{Value, json};

/// What the relay has looked at has arrived by then.
const AFTERWARDS: Duration = Duration::from_millis(110);

/// A party that the relay is told about as the case says, and somebody else, each sending as they come.
struct Learning<'r> {
    relay: &'r Relay,
    id: &'static str,
    party: Party,
    stranger: Party,
    phone: Party,
    port: SocketAddr,
}

impl<'r> Learning<'r> {
    fn new(relay: &'r Relay, id: &'static str, signalled: Option<&str>, extra: &Value) -> Self {
        let (party, phone) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
        let mut stranger = Party::new("127.0.0.66");
        let at = signalled.map_or(party.local(), |address| address.parse().expect("an address"));
        let mut request = json!({"command": "offer", "call-id": id, "from-tag": "a",
            "sdp": sdp::audio(at, &["0 PCMU/8000"], &[])});
        e2e::call::extend(&mut request, extra);
        let offered = media_of(&relay.ng.ok(request));
        let answer = sdp::audio(phone.local(), &["0 PCMU/8000"], &[]);
        let answered = media_of(&relay.ng.ok(json!({"command": "answer", "call-id": id, "from-tag": "a",
            "to-tag": "b", "sdp": answer})));
        let (mut party, mut phone) = (party, phone);
        party.remote = Some(answered.rtp);
        stranger.remote = Some(answered.rtp);
        phone.remote = Some(offered.rtp);
        Self { relay, id, party, stranger, phone, port: answered.rtp }
    }

    /// Sends so many packets and tells how many the phone hears.
    fn passes(&mut self, whose: Who, count: usize) -> usize {
        let from = match whose {
            Who::Party => &mut self.party,
            Who::Stranger => &mut self.stranger,
        };
        let ssrc = from.ssrc;
        let packets: Vec<_> = (0..count).map(|_| from.next_packet(0, &[0x55; 160], 160)).collect();
        let before = self.seen("a");
        let from = if whose == Who::Party { &self.party } else { &self.stranger };
        packets.iter().for_each(|packet| from.send(packet));
        self.await_seen("a", before + count as u64);
        let heard = std::iter::from_fn(|| self.phone.receive(AFTERWARDS));
        heard.filter(|heard| heard.packet.ssrc == ssrc).count()
    }

    /// Packets that the relay has looked at, of a party or somebody in its place.
    fn seen(&self, tag: &str) -> u64 {
        let query = self.relay.ng.ok(json!({"command": "query", "call-id": self.id}));
        let stats = &query["tags"][tag]["medias"][0]["streams"][0]["stats"];
        ["packets", "errors"].map(|figure| stats[figure].as_u64().expect("a number")).iter().sum()
    }

    fn await_seen(&self, tag: &str, count: u64) {
        let seen = wait_for(Duration::from_secs(20), || (self.seen(tag) >= count).then_some(()));
        assert!(seen.is_some(), "{} of {count}", self.seen(tag));
    }

    /// Who is sent what the phone says.
    fn hears(&mut self) -> Option<Who> {
        let packet = self.phone.next_packet(0, &[0x2a; 160], 160);
        let before = self.seen("b");
        self.phone.send(&packet);
        self.await_seen("b", before + 1);
        let party = self.party.receive(AFTERWARDS).map(|_| Who::Party);
        party.or_else(|| self.stranger.receive(AFTERWARDS).map(|_| Who::Stranger))
    }

    fn drops(&self, reason: &str) -> u64 {
        dropped(&self.relay.ng.ok(json!({"command": "query", "call-id": self.id})), reason)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Party,
    Stranger,
}
use Who::{Party as TheParty, Stranger};

#[test]
fn heuristic_hears_a_stranger_before_the_party_but_never_sends_to_it() {
    let relay = Relay::start(&[]);
    let mut call = Learning::new(&relay, "heuristic", None, &json!({}));
    assert_eq!(call.passes(Stranger, 1), 0, "a stray packet");
    assert_eq!(call.passes(Stranger, 3), 3, "an asymmetric sender");
    assert_eq!(call.hears(), Some(TheParty));
    assert_eq!(call.passes(TheParty, 1), 1);
    assert_eq!(call.passes(Stranger, 3), 0);
    assert_eq!((call.hears(), call.drops("wrong source")), (Some(TheParty), 3));
}

#[test]
fn heuristic_finds_a_party_behind_a_nat_at_once() {
    let relay = Relay::start(&[]);
    let mut call = Learning::new(&relay, "behind a NAT", Some("10.1.2.3:4000"), &json!({}));
    assert_eq!(call.passes(TheParty, 3), 2, "the first packet proves nothing");
    assert_eq!((call.hears(), call.passes(Stranger, 3)), (Some(TheParty), 0));
    // Signalling that comes from where the media come from is better evidence than being early.
    let from = json!({"received from": ["IP4", "127.0.0.1"]});
    let mut call = Learning::new(&relay, "received from", Some("10.1.2.3:4000"), &from);
    assert_eq!(call.passes(Stranger, 3), 2);
    assert_eq!((call.passes(TheParty, 1), call.hears()), (1, Some(TheParty)));
    assert_eq!(call.passes(Stranger, 3), 0);
}

#[test]
fn heuristic_prefers_the_signalled_host_and_then_the_signalled_port() {
    let relay = Relay::start(&[]);
    let mut call = Learning::new(&relay, "other port", None, &json!({}));
    let signalled = std::mem::replace(&mut call.party, Party::new("127.0.0.1"));
    call.party.remote = Some(call.port);
    assert_eq!((call.passes(TheParty, 1), call.hears()), (1, Some(TheParty)));
    let other = std::mem::replace(&mut call.party, signalled);
    assert_eq!((call.passes(TheParty, 1), call.hears()), (1, Some(TheParty)));
    call.party = other;
    assert_eq!((call.passes(TheParty, 3), call.hears()), (0, None));
}

#[test]
fn strict_source_hears_the_party_only() {
    let relay = Relay::start(&[]);
    let mut call = Learning::new(&relay, "strict", None, &json!({"flags": ["strict-source"]}));
    assert_eq!((call.passes(Stranger, 3), call.passes(TheParty, 1)), (0, 1));
    assert_eq!((call.passes(Stranger, 3), call.hears()), (0, Some(TheParty)));
}

#[test]
fn immediate_takes_whoever_is_first() {
    let relay = Relay::start(&[]);
    let mut call = Learning::new(&relay, "immediate", None, &json!({"endpoint-learning": "immediate"}));
    assert_eq!((call.passes(Stranger, 1), call.hears()), (1, Some(Stranger)));
    assert_eq!((call.passes(TheParty, 3), call.hears()), (0, Some(Stranger)));
}

#[test]
fn off_and_asymmetric_hear_everybody_and_send_to_the_signalled_address() {
    let relay = Relay::start(&[]);
    for (id, flags) in
        [("off", json!({"endpoint-learning": "off"})), ("asymmetric", json!({"flags": ["asymmetric"]}))]
    {
        let mut call = Learning::new(&relay, id, None, &flags);
        assert_eq!((call.passes(Stranger, 2), call.passes(TheParty, 2)), (2, 2), "{id}");
        assert_eq!((call.passes(Stranger, 2), call.hears()), (2, Some(TheParty)), "{id}");
    }
}

#[test]
fn delayed_hears_everybody_for_three_seconds_and_takes_the_next() {
    let relay = Relay::start(&["--endpoint-learning=delayed"]);
    let mut call = Learning::new(&relay, "delayed", None, &json!({}));
    let began = Instant::now();
    assert_eq!((call.passes(Stranger, 1), call.passes(TheParty, 1)), (1, 1));
    assert_eq!(call.hears(), Some(TheParty));
    std::thread::sleep(Duration::from_millis(3100).saturating_sub(began.elapsed()));
    assert_eq!((call.passes(Stranger, 1), call.hears()), (1, Some(Stranger)));
    assert_eq!(call.passes(TheParty, 3), 0);
}

#[test]
fn media_handover_follows_whoever_sends() {
    let relay = Relay::start(&[]);
    let mut call = Learning::new(&relay, "handover", None, &json!({"flags": ["media-handover"]}));
    assert_eq!((call.passes(TheParty, 1), call.hears()), (1, Some(TheParty)));
    assert_eq!((call.passes(Stranger, 1), call.hears()), (1, Some(Stranger)));
    // `passes` waits for longer than 100 ms: the former source counts as silent.
    assert_eq!((call.passes(TheParty, 1), call.hears()), (1, Some(TheParty)));
}
