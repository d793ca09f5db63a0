//! Transcoding by another instance: groups of `transcode-config` with `transform`.
//!
//! ```text
//! edge of a plan ─ codecs that a group names ─▶ Away: a port of ours ─ AwayRequest ─▶ control::ng::client
//!                                                                                       └─▶ Engine::transformed ─▶ new plan:
//! party ─ unchanged ─▶ that port ─▶ other instance ─ converted ─▶ that port ─▶ the other party
//! ```
//!
//! Nobody waits for the other instance: until it has answered, and for good when it refuses or when nothing comes back from it any more,
//! the call is transcoded here. Signalling
//! towards it follows the life of an [`Away`], which is dropped by a plan that does not need it any more and by the end of the call.

use std::net::SocketAddr;
use std::sync::Arc;

use codec::PayloadFormat;
use smol_str::SmolStr;
use tokio::sync::mpsc;

use super::engine::Engine;
use super::model::{Call, Media};
use super::store::{lock, next_id};
use crate::config::{EndpointLearning, InterfaceId, IpFamily, TransformGroup, TransformTarget};
use crate::media::plan::{CallKey, CallPlan, DropReason, EdgePlan, Expect, Handling, StreamId, StreamPlan};
use crate::media::port_pool::LocalPort;
use crate::media::stats::StreamShared;
use crate::negotiate::signal::AddressFamily;
use crate::proto::value::{Dict, Value};

/// Requests to other instances that may wait to be sent.
pub const AWAY_QUEUE: usize = 1024;

/// What the client of other instances is to do.
#[derive(Debug)]
pub enum AwayRequest {
    /// The answer goes to [`Engine::transformed`] with the same numbers; if that does not want it, or nothing comes, `delete` is sent.
    Transform { call: CallKey, number: u64, remote: SocketAddr, transform: Dict, delete: Dict },
    /// Nobody waits for the answer.
    Delete { remote: SocketAddr, delete: Dict },
}

/// Media of one direction that travel through another instance, or are about to.
pub struct Away {
    number: u64,
    conversion: Conversion,
    /// Our end of the way there.
    stream: StreamId,
    port: Arc<LocalPort>,
    interface: InterfaceId,
    shared: Arc<StreamShared>,
    state: State,
    watch: Watch,
    /// Call-id and tag there.
    names: [SmolStr; 2],
    requests: mpsc::Sender<AwayRequest>,
}

/// What is converted, and where.
#[derive(Clone, Debug, PartialEq)]
struct Conversion {
    from: StreamId,
    to: StreamId,
    target: TransformTarget,
    pairs: Vec<Pair>,
}

/// A payload type as it comes and as it is to leave.
#[derive(Clone, Debug, PartialEq)]
struct Pair {
    input: PayloadFormat,
    output: PayloadFormat,
    /// For the encoder.
    options: String,
}

/// Packets that went there and came back until the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    sent: u64,
    received: u64,
    /// Sent since something came back last.
    unanswered: u64,
}

/// So many packets in a row that nothing comes back for, and the other instance counts as dead: two seconds of usual packets.
const UNANSWERED: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Ready(SocketAddr),
    /// Not asked again for the same conversion.
    Failed,
}

impl Engine {
    /// Sends through other instances what groups of the configuration want to be converted there, as far as those have agreed.
    pub(super) fn divert(&self, call: &Call, plan: &mut CallPlan) {
        let Some(requests) = &self.away else { return };
        let groups = &self.config.transcoding.transforms;
        let mut present = call.away.borrow_mut();
        let mut before = std::mem::take(&mut *present);
        for (from, to) in ways(call) {
            let ids = [from, to].map(|media| media.streams[0].id);
            let is_way = |edge: &&EdgePlan| edge.from == ids[0] && edge.rtp_to.is_none_or(|to| to == ids[1]);
            let Some(edge) = plan.edges.iter().find(is_way) else { continue };
            if edge.rtp_to.is_none() {
                // On hold; it will go on.
                present
                    .extend(before.extract_if(.., |away| [away.conversion.from, away.conversion.to] == ids));
                continue;
            }
            let is_mixed = plan.streams.iter().any(|stream| stream.id == ids[1] && stream.mixer.is_some());
            let conversion = (!is_mixed).then(|| conversion(edge, from, groups)).flatten();
            let Some(conversion) = conversion else { continue };
            let known = before.iter().position(|away| away.conversion == conversion);
            let away = match known {
                Some(index) => Some(before.swap_remove(index)),
                None => self.send_away(call, conversion, requests),
            };
            if let Some(away) = away {
                away.apply(plan);
                present.push(away);
            }
        }
    }

    fn send_away(
        &self,
        call: &Call,
        conversion: Conversion,
        requests: &mpsc::Sender<AwayRequest>,
    ) -> Option<Away> {
        let target = &conversion.target;
        let family = target.family.map(|family| match family {
            IpFamily::V4 => AddressFamily::Ip4,
            IpFamily::V6 => AddressFamily::Ip6,
        });
        let attachment = self.interfaces.attach(target.local_interface.as_deref(), family)?;
        let ports = self.pool.allocate(&attachment.local, 2);
        let ports =
            ports.inspect_err(|error| tracing::error!(%error, "no port for the way to another instance"));
        let port = ports.ok()?.into_iter().next()?;
        let name = |own: &str| -> SmolStr { format!("{:08x} for {own}", rand::random::<u32>()).into() };
        let tag = ways(call)
            .find(|(from, _)| from.streams[0].id == conversion.from)
            .and_then(|(from, _)| {
                call.parties.iter().find(|party| party.media.iter().any(|m| m.number == from.number))
            })
            .and_then(|party| party.tag.clone())
            .unwrap_or_default();
        let mut away = Away {
            number: next_id(),
            stream: StreamId(next_id()),
            interface: attachment.id,
            shared: Arc::new(StreamShared::default()),
            state: State::Asked,
            watch: Watch::default(),
            names: [name(&call.id), name(&tag)],
            requests: requests.clone(),
            conversion,
            port,
        };
        let here = SocketAddr::new(attachment.local.advertised, away.port.local.port());
        let request = AwayRequest::Transform {
            call: call.key,
            number: away.number,
            remote: away.conversion.target.remote,
            transform: away.transform(here, &self.instance),
            delete: away.delete(),
        };
        if requests.try_send(request).is_err() {
            tracing::warn!(call_id = %call.id, "too many requests wait for other instances, transcoding here");
            away.state = State::Failed;
        }
        Some(away)
    }

    /// Once a second: what other instances do not send back any more is transcoded here.
    pub(super) fn watch_others(&self, call: &Call) {
        let mut has_failed = false;
        for away in call.away.borrow_mut().iter_mut() {
            if !away.is_dead() {
                continue;
            }
            has_failed = true;
            let remote = away.conversion.target.remote;
            tracing::warn!(
                call_id = %call.id, %remote, packets = away.watch.unanswered,
                "nothing comes back from another instance, transcoding here instead of there"
            );
            away.ask_to_delete();
            away.state = State::Failed;
        }
        if has_failed {
            self.install(call);
        }
    }

    /// Another instance has answered; `false`: nobody wants to know any more.
    pub fn transformed(&self, key: CallKey, number: u64, answer: Result<SocketAddr, &str>) -> bool {
        let Some(handle) = self.by_key(&key) else { return false };
        let call = lock(&handle);
        let wanted = {
            let mut present = call.away.borrow_mut();
            let Some(away) = present.iter_mut().find(|away| away.number == number) else { return false };
            let remote = away.conversion.target.remote;
            away.state = match answer {
                Ok(there) => {
                    tracing::info!(call_id = %call.id, %remote, %there, "another instance transcodes");
                    State::Ready(there)
                }
                Err(reason) => {
                    tracing::warn!(call_id = %call.id, %remote, reason, "transcoding here instead of there");
                    State::Failed
                }
            };
            away.state != State::Failed && !call.ended
        };
        if wanted {
            self.install(&call);
        }
        wanted
    }
}

/// Audio of two parties that talk to each other, both ways.
fn ways(call: &Call) -> impl Iterator<Item = (&Media, &Media)> {
    let open = call.parties.iter().filter(|party| !party.closed);
    let talking = open.filter_map(|party| Some((party, call.party(party.partner?))));
    let pairs = talking.flat_map(|(party, partner)| party.media.iter().zip(&partner.media));
    pairs.filter(|(from, to)| from.media_type == "audio" && from.is_rtp() && to.is_rtp())
}

/// What an edge converts, if groups send all of that to the same place.
fn conversion(edge: &EdgePlan, from: &Media, groups: &[TransformGroup]) -> Option<Conversion> {
    let to = edge.rtp_to.filter(|_| edge.dtmf.is_none())?;
    let mut target: Option<&TransformTarget> = None;
    let mut pairs = Vec::new();
    for shown in from.coding.in_force().shown().iter().map(|format| &format.format) {
        let listed =
            edge.by_payload_type.iter().find(|(payload_type, _)| *payload_type == shown.payload_type);
        let (output, options) = match listed.map_or(&edge.default, |(_, handling)| handling) {
            Handling::Transcode(plan) if plan.source.payload_type == shown.payload_type => {
                let matches = |group: &&TransformGroup| {
                    group.source.matches(&plan.source) && group.destination.matches(&plan.sink)
                };
                let group = groups.iter().find(matches)?;
                if target.is_some_and(|target| *target != group.target) {
                    return None;
                }
                target = Some(&group.target);
                (plan.sink.clone(), plan.options.options.clone())
            }
            // Events and the like keep the numbering of what they belong to only if they take the same way.
            Handling::Forward { payload_type } => {
                let payload_type = payload_type.unwrap_or(shown.payload_type);
                (PayloadFormat { payload_type, ..shown.clone() }, String::new())
            }
            _ => continue,
        };
        pairs.push(Pair { input: shown.clone(), output, options });
    }
    Some(Conversion { from: edge.from, to, target: target?.clone(), pairs })
}

impl Away {
    /// Looks at what has passed since the last time.
    fn is_dead(&mut self) -> bool {
        let (egress, watch) = (&self.shared.egress, &mut self.watch);
        let sent = egress.packets.get() + egress.errors.get();
        let received = self.shared.ingress.packets.get();
        let more = sent.saturating_sub(watch.sent);
        let unanswered = if received == watch.received { watch.unanswered + more } else { 0 };
        *watch = Watch { sent, received, unanswered };
        matches!(self.state, State::Ready(_)) && unanswered >= UNANSWERED
    }

    /// The edge leads to our end of the way there, and what comes back there goes where the edge led to.
    fn apply(&self, plan: &mut CallPlan) {
        let State::Ready(there) = self.state else { return };
        let Conversion { from, to, pairs, .. } = &self.conversion;
        let Some(edge) = plan.edges.iter_mut().find(|edge| edge.from == *from && edge.rtp_to == Some(*to))
        else {
            return;
        };
        edge.rtp_to = Some(self.stream);
        edge.default = Handling::Drop(DropReason::PayloadType);
        edge.by_payload_type =
            pairs.iter().map(|pair| (pair.input.payload_type, Handling::FORWARD)).collect();
        plan.streams.push(StreamPlan {
            interface: self.interface,
            learning: EndpointLearning::Off,
            strict_source: true,
            formats: pairs.iter().map(|pair| pair.output.clone()).collect(),
            ..StreamPlan::with_shared(self.stream, Expect::Rtp, self.port.clone(), there, self.shared.clone())
        });
        plan.edges.push(EdgePlan { rtcp_to: None, ..EdgePlan::new(self.stream, *to) });
    }

    fn transform(&self, here: SocketAddr, instance: &str) -> Dict {
        let codec = |pair: &Pair| -> Value {
            let mut codec = Dict::new();
            codec.push("input", payload(&pair.input, ""));
            codec.push("output", payload(&pair.output, &pair.options));
            codec.into()
        };
        let mut destination = Dict::new();
        destination.push("family", if here.is_ipv4() { "IP4" } else { "IP6" });
        destination.push("address", here.ip()).push("port", u64::from(here.port()));
        let mut media = Dict::new();
        media.push("type", "audio");
        media.push("codec", self.conversion.pairs.iter().map(codec).collect::<Vec<_>>());
        media.push("destination", destination);
        let mut request = self.request("transform");
        request.push("media", vec![Value::from(media)]).push("instance", instance);
        if let Some(interface) = &self.conversion.target.remote_interface {
            request.push("interface", interface.as_str());
        }
        request
    }

    fn delete(&self) -> Dict {
        let mut request = self.request("delete");
        request.push("delete-delay", 0_u64);
        request
    }

    fn ask_to_delete(&self) {
        let request = AwayRequest::Delete { remote: self.conversion.target.remote, delete: self.delete() };
        if self.requests.try_send(request).is_err() {
            tracing::warn!(call_id = %self.names[0], "another instance is not told that a call has ended");
        }
    }

    fn request(&self, command: &str) -> Dict {
        let mut request = Dict::new();
        request.push("command", command);
        request.push("call-id", self.names[0].as_str()).push("from-tag", self.names[1].as_str());
        request
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // What was asked and not answered is deleted by whoever gets the answer.
        if let State::Ready(_) = self.state {
            self.ask_to_delete();
        }
    }
}

fn payload(format: &PayloadFormat, options: &str) -> Dict {
    let mut dict = Dict::new();
    dict.push("codec", format.name.as_str()).push("payload type", u64::from(format.payload_type));
    dict.push("clock rate", u64::from(format.clock_rate)).push("channels", u64::from(format.channels.max(1)));
    if !format.fmtp.is_empty() {
        dict.push("format", format.fmtp.as_str());
    }
    if !options.is_empty() {
        dict.push("options", options);
    }
    dict
}
