//! Makes the requests of a case from its seed, one after the other: an answer depends on what the offer became.

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::features::{Feature, Features};
use super::phone::Phone;

/// A case in the making.
#[derive(Debug)]
pub struct Generator {
    dice: Dice,
    features: Features,
    caller: Phone,
    callees: Vec<Phone>,
    plan: Vec<Move>,
    /// Interfaces and families are chosen once for a call, as proxies do.
    network: Map<String, Value>,
    /// So is multiplexing.
    multiplexing: Option<Value>,
    /// What answerers received last, and what those behind a branch received.
    received: String,
    received_on: Vec<(usize, String)>,
    /// Branch of the last request.
    branch: Option<usize>,
    /// `sdp-version` in every request.
    counts_versions: bool,
}

/// One step of the plan.
#[derive(Clone, Copy, Debug)]
enum Move {
    Offer { branch: Option<usize> },
    Answer { callee: usize, branch: Option<usize> },
    ReOffer { from_caller: bool },
    ReAnswer { from_caller: bool },
    Delete,
}

impl Generator {
    /// The case of a seed.
    pub fn new(seed: u64, features: &Features) -> Self {
        let mut dice = Dice::new(seed);
        let features = features.thinned(&mut dice);
        let caller = Phone::new("ft", 0, &mut dice, &features);
        let mut callees = vec![Phone::new("tt", 1, &mut dice, &features)];
        let mut plan = Vec::new();
        if features.has(Feature::Forks) && dice.chance(15) {
            callees.push(Phone::new("tt2", 2, &mut dice, &features));
            plan.extend([Move::Offer { branch: Some(0) }, Move::Offer { branch: Some(1) }]);
            let answering = dice.below(2);
            plan.push(Move::Answer { callee: answering, branch: Some(answering) });
            callees.swap(0, answering);
            if let [.., Move::Answer { callee, .. }] = &mut plan[..] {
                *callee = 0;
            }
        } else {
            let branch = dice.chance(10).then_some(0);
            plan.push(Move::Offer { branch });
            if features.has(Feature::Repeated) && dice.chance(8) {
                plan.push(Move::Offer { branch });
            }
            plan.push(Move::Answer { callee: 0, branch });
            if features.has(Feature::Repeated) && dice.chance(12) {
                plan.push(Move::Answer { callee: 0, branch });
            }
        }
        if features.has(Feature::ReOffers) {
            for _ in 0..[0, 1, 1, 2, 3][dice.below(5)] {
                let from_caller = dice.chance(60);
                plan.extend([Move::ReOffer { from_caller }, Move::ReAnswer { from_caller: !from_caller }]);
            }
        }
        if features.has(Feature::Delete) {
            plan.push(Move::Delete);
        }
        plan.reverse();
        let mut network = network(&mut dice, &features);
        let multiplexing = network.remove("rtcp-mux");
        let counts_versions = features.has(Feature::Replace) && dice.chance(15);
        Self {
            dice,
            features,
            caller,
            callees,
            plan,
            network,
            multiplexing,
            received: String::new(),
            received_on: Vec::new(),
            branch: None,
            counts_versions,
        }
    }

    /// The next request; `reply` is the reference's reply to the last one.
    pub fn next(&mut self, reply: Option<&Value>) -> Option<Value> {
        if let Some(reply) = reply {
            if reply["result"] != "ok" {
                return None;
            }
            self.received = reply["sdp"].as_str().unwrap_or_default().to_owned();
            if let Some(branch) = self.branch.take() {
                self.received_on.push((branch, self.received.clone()));
            }
        }
        let (dice, features) = (&mut self.dice, &self.features);
        let mut request = match self.plan.pop()? {
            Move::Offer { branch } => {
                let mut request =
                    json!({"command": "offer", "from-tag": self.caller.tag, "sdp": self.caller.sdp()});
                if let Some(branch) = branch {
                    request["via-branch"] = format!("br{branch}").into();
                }
                self.branch = branch;
                merge(&mut request, self.network.clone());
                offer_flags(&mut request, dice, features);
                request
            }
            Move::Answer { callee, branch } => {
                let phone = &mut self.callees[callee];
                let on_branch = self.received_on.iter().rev().find(|(on, _)| Some(*on) == branch);
                let received = on_branch.map_or(&self.received, |(_, sdp)| sdp);
                phone.answer_to(received, dice, features);
                if !phone.is_live() {
                    return None;
                }
                let mut request = json!({"command": "answer", "from-tag": self.caller.tag, "to-tag": phone.tag, "sdp": phone.sdp()});
                if let Some(branch) = branch {
                    request["via-branch"] = format!("br{branch}").into();
                }
                answer_flags(&mut request, dice, features);
                request
            }
            Move::ReOffer { from_caller } => {
                let (phone, other) = parties(&mut self.caller, &mut self.callees, from_caller);
                phone.change(dice, features);
                if !phone.is_live() {
                    return None;
                }
                let mut request = json!({"command": "offer", "from-tag": phone.tag, "to-tag": other.tag, "sdp": phone.sdp()});
                offer_flags(&mut request, dice, features);
                request
            }
            Move::ReAnswer { from_caller } => {
                let (phone, other) = parties(&mut self.caller, &mut self.callees, from_caller);
                phone.answer_to(&self.received, dice, features);
                if !phone.is_live() {
                    return None;
                }
                // The tags stay those of the offer.
                let mut request = json!({"command": "answer", "from-tag": other.tag, "to-tag": phone.tag, "sdp": phone.sdp()});
                answer_flags(&mut request, dice, features);
                request
            }
            Move::Delete => json!({"command": "delete", "from-tag": self.caller.tag}),
        };
        if let Some(words) = self.multiplexing.as_ref().filter(|_| request["command"] == "offer") {
            request["rtcp-mux"] = words.clone();
        }
        if self.counts_versions && request["command"] != "delete" {
            let mut words = request["replace"].as_array().cloned().unwrap_or_default();
            words.push("sdp-version".into());
            request["replace"] = words.into();
        }
        Some(request)
    }
}

fn parties<'a>(
    caller: &'a mut Phone,
    callees: &'a mut [Phone],
    first_is_caller: bool,
) -> (&'a mut Phone, &'a Phone) {
    if first_is_caller { (caller, &callees[0]) } else { (&mut callees[0], caller) }
}

fn merge(request: &mut Value, more: Map<String, Value>) {
    if let Some(entries) = request.as_object_mut() {
        entries.extend(more);
    }
}

fn network(dice: &mut Dice, features: &Features) -> Map<String, Value> {
    let mut keys = Map::new();
    if features.has(Feature::Interfaces) && dice.chance(35) {
        let names = ["pub", "priv"];
        let pair = [names[dice.below(2)], names[dice.below(2)]];
        keys.insert("direction".into(), json!(pair));
    }
    if features.has(Feature::AddressFamily) && dice.chance(15) {
        keys.insert(
            dice.pick(&["address family", "address-family"]).into(),
            dice.pick(&["IP4", "IP6"]).into(),
        );
    }
    if features.has(Feature::RtcpMuxFlags) && dice.chance(25) {
        let words = ["offer", "demux", "accept", "reject", "require"];
        let mut words = dice.some(&words, 30);
        words.truncate(2);
        keys.insert("rtcp-mux".into(), json!(words));
    }
    keys
}

fn offer_flags(request: &mut Value, dice: &mut Dice, features: &Features) {
    let mut keys = common_flags(dice, features);
    if features.has(Feature::TransportFlag) && dice.chance(20) {
        let mut choice = vec!["RTP/AVP", "RTP/AVP", "RTP/AVPF"];
        if features.has(Feature::Sdes) {
            choice.extend(["RTP/SAVP", "RTP/SAVPF"]);
        }
        if features.has(Feature::Dtls) {
            choice.extend(["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"]);
        }
        keys.insert(
            dice.pick(&["transport protocol", "transport-protocol"]).into(),
            dice.pick(&choice).into(),
        );
    }
    if features.has(Feature::PtimeFlags) && dice.chance(10) {
        keys.insert(dice.pick(&["ptime", "ptime-reverse"]).into(), json!([20, 30, 40][dice.below(3)]));
    }
    let codec = codec_dictionary(dice, features);
    if !codec.is_empty() {
        keys.insert("codec".into(), codec.into());
    }
    if features.has(Feature::Sdes) && dice.chance(12) {
        keys.insert(
            "SDES".into(),
            json!(
                dice.some(
                    &["off", "no-AES_CM_128_HMAC_SHA1_32", "pad", "lifetime", "no-NULL_HMAC_SHA1_80"],
                    35
                )
            ),
        );
    }
    if features.has(Feature::Dtls) && dice.chance(15) {
        keys.insert("DTLS".into(), "off".into());
    }
    merge(request, keys);
}

fn answer_flags(request: &mut Value, dice: &mut Dice, features: &Features) {
    let keys = common_flags(dice, features);
    merge(request, keys);
}

/// Keys that both offers and answers may have.
fn common_flags(dice: &mut Dice, features: &Features) -> Map<String, Value> {
    let mut keys = Map::new();
    if features.has(Feature::Replace) && dice.chance(40) {
        let words = ["origin", "session-connection", "session-name", "zero-address"];
        keys.insert("replace".into(), json!(dice.some(&words, 40)));
    }
    if features.has(Feature::PlainFlags) && dice.chance(35) {
        let words = [
            "trust-address",
            "symmetric",
            "asymmetric",
            "strict-source",
            "media-handover",
            "port-latching",
            "no-rtcp-attribute",
            "full-rtcp-attribute",
            "original-sendrecv",
            "single-codec",
            "reorder-codecs",
            "symmetric-codecs",
            "asymmetric-codecs",
            "unidirectional",
            "no-port-latching",
            "pierce-NAT",
        ];
        let mut words = dice.some(&words, 10);
        words.truncate(4);
        keys.insert("flags".into(), json!(words));
    }
    if features.has(Feature::IceFlags) && dice.chance(30) {
        keys.insert("ICE".into(), dice.pick(&["remove", "force", "default"]).into());
    }
    if features.has(Feature::MediaAddress) && dice.chance(8) {
        keys.insert(dice.pick(&["media address", "media-address"]).into(), "203.0.113.99".into());
    }
    if features.has(Feature::Labels) && dice.chance(10) {
        keys.insert("label".into(), format!("label{}", dice.below(3)).into());
    }
    keys
}

fn codec_dictionary(dice: &mut Dice, features: &Features) -> Map<String, Value> {
    let names = ["PCMU", "PCMA", "G722", "GSM", "opus", "speex", "telephone-event", "iLBC", "X-codec"];
    let mut codec = Map::new();
    let mut list = |key: &str, percent: u64, each: u64, all: u64, dice: &mut Dice| {
        if dice.chance(percent) {
            let words = if dice.chance(all) { vec!["all"] } else { dice.some(&names, each) };
            if !words.is_empty() {
                codec.insert(key.to_owned(), json!(words));
            }
        }
    };
    if features.has(Feature::CodecFlags) {
        list("strip", 14, 25, 20, dice);
        list("offer", 10, 30, 5, dice);
        list("except", 6, 30, 0, dice);
    }
    if features.has(Feature::Transcoding) {
        list("mask", 6, 25, 20, dice);
        list("accept", 4, 25, 10, dice);
        list("consume", 4, 25, 10, dice);
        if dice.chance(15) {
            let words = dice.some(&["PCMU", "PCMA", "G722", "GSM"], 35);
            if !words.is_empty() {
                codec.insert("transcode".into(), json!(words));
            }
        }
    }
    codec
}
