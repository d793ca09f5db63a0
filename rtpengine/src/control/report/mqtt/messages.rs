//! What is published: JSON objects as their readers have always known them.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smol_str::SmolStr;

use crate::call::{LiveCall, LiveLeg, LiveMedia, LiveSsrc, TrafficSnapshot};
use crate::config::MqttScope;
use crate::control::statistics::{Branch, Node, Report, Statistics, live_tree};

/// Makes the messages of each interval; remembers the numbers of the last one for the rates.
pub struct Messages {
    scope: MqttScope,
    before: Option<(Instant, Report)>,
    ssrcs: HashMap<SsrcKey, Counts>,
}

/// Call, media number, SSRC, whether it is received.
type SsrcKey = (SmolStr, u32, u32, bool);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    packets: u64,
    octets: u64,
    lost: u64,
    duplicates: u64,
    lost_by_receiver: u64,
}

impl Messages {
    pub fn new(scope: MqttScope) -> Self {
        Self { scope, before: None, ssrcs: HashMap::new() }
    }

    /// The messages of now, the one with the statistics last.
    pub fn make(&mut self, statistics: &Statistics) -> Vec<String> {
        let now = Instant::now();
        let report = statistics.report();
        let before = self.before.take();
        let seconds = before.as_ref().map_or(Duration::ZERO, |(at, _)| now.duration_since(*at)).as_secs_f64();
        let mut objects = Objects { seconds, before: std::mem::take(&mut self.ssrcs), now: HashMap::new() };
        let mut messages = Vec::new();
        let mut calls = Vec::new();
        if self.scope != MqttScope::Summary {
            statistics.engine().live_calls(|call| match self.scope {
                MqttScope::Global => calls.push(Node::Branch(objects.call(&call))),
                MqttScope::Call => messages.push(objects.call(&call).to_json()),
                MqttScope::Media => messages.extend(objects.sections(&call)),
                MqttScope::Summary => {}
            });
        }
        let mut summary = timestamped();
        summary.append(live_tree(&report, before.as_ref().map(|(_, report)| report), seconds));
        if self.scope == MqttScope::Global {
            summary.push("calls", Node::List(calls));
        }
        messages.push(summary.to_json());
        self.ssrcs = objects.now;
        self.before = Some((now, report));
        messages
    }
}

fn timestamped() -> Branch {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut branch = Branch::default();
    branch.push("timestamp", Node::Decimal(now.as_secs_f64(), 6));
    branch
}

struct Objects {
    /// Since the last interval; 0 in the first one.
    seconds: f64,
    before: HashMap<SsrcKey, Counts>,
    now: HashMap<SsrcKey, Counts>,
}

impl Objects {
    fn call(&mut self, call: &LiveCall) -> Branch {
        let mut branch = timestamped();
        branch.push("call_id", Node::Text(call.id.to_string()));
        let legs = call.legs.iter().map(|leg| Node::Branch(self.leg(&call.id, leg))).collect();
        branch.push("legs", Node::List(legs));
        branch
    }

    fn leg(&mut self, call_id: &SmolStr, leg: &LiveLeg) -> Branch {
        let mut branch = named(Branch::default(), leg);
        if let Some(player) = leg.player {
            let mut object = Branch::default();
            if let Some(duration) = player.duration {
                object.int("duration", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
            }
            object.int("frame_time", player.position_ms).int("SSRC", u64::from(player.ssrc));
            branch.push("media_player", Node::Branch(object));
        }
        let mut medias = Vec::with_capacity(leg.media.len());
        for media in &leg.media {
            let mut object = Branch::default();
            self.section(call_id, media, &mut object);
            medias.push(Node::Branch(object));
        }
        branch.push("medias", Node::List(medias));
        branch
    }

    /// Each media section as a message.
    fn sections(&mut self, call: &LiveCall) -> Vec<String> {
        let mut messages = Vec::new();
        for leg in &call.legs {
            for media in &leg.media {
                let mut branch = timestamped();
                branch.push("call_id", Node::Text(call.id.to_string()));
                let mut branch = named(branch, leg);
                self.section(&call.id, media, &mut branch);
                messages.push(branch.to_json());
            }
        }
        messages
    }

    fn section(&mut self, call_id: &SmolStr, media: &LiveMedia, branch: &mut Branch) {
        branch
            .int("media_index", media.index as u64)
            .push("type", Node::Text(media.media_type.to_string()))
            .push("interface", Node::Text(media.interface.to_string()));
        if let Some(protocol) = &media.protocol {
            branch.push("protocol", Node::Text(protocol.to_string()));
        }
        branch.push("status", Node::Text(media.status.to_owned()));
        let ways = [
            ("ingress", media.ingress, &media.ingress_ssrcs, true),
            ("egress", media.egress, &media.egress_ssrcs, false),
        ];
        for (name, traffic, ssrcs, is_ingress) in ways {
            let TrafficSnapshot { packets, octets, errors } = traffic;
            let mut object = Branch::default();
            object.int("bytes", octets).int("packets", packets).int("errors", errors);
            let mut list = Vec::with_capacity(ssrcs.len());
            for ssrc in ssrcs {
                let key = (call_id.clone(), media.number, ssrc.ssrc, is_ingress);
                list.push(Node::Branch(self.ssrc(key, ssrc)));
            }
            object.push("SSRC", Node::List(list));
            branch.push(name, Node::Branch(object));
        }
        if let Some(local) = media.local {
            branch.push("address", Node::Text(local.ip().to_string())).int("port", u64::from(local.port()));
        }
        if let Some(remote) = media.remote {
            branch
                .push("endpoint_address", Node::Text(remote.ip().to_string()))
                .int("endpoint_port", u64::from(remote.port()));
        }
        if let Some(suite) = media.crypto_suite {
            branch.push("crypto_suite", Node::Text(suite.to_owned()));
        }
        branch.push("transcoding", Node::Flag(media.transcoding));
    }

    fn ssrc(&mut self, key: SsrcKey, ssrc: &LiveSsrc) -> Branch {
        let mut branch = Branch::default();
        branch.int("SSRC", u64::from(ssrc.ssrc));
        if let Some(format) = &ssrc.format {
            let channels = if format.channels > 1 { format.channels.to_string() } else { String::new() };
            branch
                .push("codec", Node::Text(format.name.to_string()))
                .int("clock_rate", u64::from(format.clock_rate))
                .push("codec_params", Node::Text(channels))
                .push("codec_format", Node::Text(format.fmtp.to_string()));
        }
        let LiveSsrc { packets, octets, lost, duplicates, .. } = *ssrc;
        let lost_by_receiver = match ssrc.reported {
            Some(report) => packets.saturating_mul(u64::from(report.loss_percent)) / 100,
            None => 0,
        };
        let counts = Counts { packets, octets, lost, duplicates, lost_by_receiver };
        let before = self.before.get(&key).copied().unwrap_or_default();
        self.now.insert(key, counts);
        let mut metrics = Branch::default();
        metrics
            .int("packets", packets)
            .int("bytes", octets)
            .int("lost", lost)
            .int("lost_rtcp", lost_by_receiver)
            .int("duplicates", duplicates);
        let rates = [
            ("packets_per_second", counts.packets, before.packets),
            ("bytes_per_second", counts.octets, before.octets),
            ("lost_per_second", counts.lost, before.lost),
            ("lost_rtcp_per_second", counts.lost_by_receiver, before.lost_by_receiver),
            ("duplicates_per_second", counts.duplicates, before.duplicates),
        ];
        for (name, now, before) in rates {
            let growth = now.saturating_sub(before) as f64;
            metrics.decimal(name, if self.seconds > 0.0 { growth / self.seconds } else { 0.0 });
        }
        metrics.decimal("jitter", ssrc.jitter_us as f64 / 1000.0);
        if let Some(report) = ssrc.reported {
            metrics.decimal("MOS", f64::from(report.mos) / 10.0);
            for (name, microseconds) in [("RTT", report.round_trip_us), ("RTT_leg", report.round_trip_leg_us)]
            {
                if microseconds > 0 {
                    metrics.decimal(name, f64::from(microseconds));
                }
            }
        }
        branch.push("metrics", Node::Branch(metrics));
        branch
    }
}

fn named(mut branch: Branch, leg: &LiveLeg) -> Branch {
    branch.push("tag", Node::Text(leg.tag.as_deref().unwrap_or_default().to_owned()));
    if let Some(label) = &leg.label {
        branch.push("label", Node::Text(label.to_string()));
    }
    branch
}
