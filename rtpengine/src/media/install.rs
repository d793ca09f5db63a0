//! Making a worker's streams, edges and players equal to a plan.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use codec::PayloadFormat;
use smallvec::SmallVec;

use super::apart;
use super::event::MediaEvent;
use super::inject::Injection;
use super::listeners;
use super::offload::Reason;
use super::plan::{CallKey, CallPlan, Expect, GatewayPlan, PlayerId, PlayerPlan, SrtpProgress, StreamId};
use super::player::Player;
use super::poll;
use super::port_pool::LocalPort;
use super::route::Edge;
use super::rtcp::RtcpRoute;
use super::sockets::with_position;
use super::stream::{Stream, Streams};
use super::worker::Worker;

/// The calls and players of a worker.
#[derive(Default)]
pub struct Calls {
    pub calls: HashMap<CallKey, Call>,
    /// By a number that is never used twice, so that a late turn of the schedule finds nobody.
    pub players: HashMap<u64, Player>,
    next_player: u64,
    /// Digits that are being added or wait for their turn, by a number that is never used twice.
    pub injections: HashMap<u64, Injection>,
    pub next_injection: u64,
}

#[derive(Default)]
pub struct Call {
    streams: Vec<(StreamId, u32)>,
    players: Vec<(PlayerId, u64)>,
}

impl Call {
    /// The stream in whose socket RTCP of an RTP stream belongs: that behind it in the plan, if it is not itself.
    fn rtcp_slot(&self, streams: &Streams, rtp: u32) -> Option<u32> {
        if streams.get(rtp)?.expect == Expect::RtpAndRtcp {
            return Some(rtp);
        }
        let position = self.streams.iter().position(|(_, slot)| *slot == rtp)?;
        let (_, next) = self.streams.get(position + 1)?;
        (streams.get(*next)?.expect == Expect::Rtcp).then_some(*next)
    }

    /// Where its streams are.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.streams.iter().map(|(_, slot)| *slot)
    }

    /// Numbers of its players.
    pub fn players(&self) -> impl Iterator<Item = u64> {
        self.players.iter().map(|(_, number)| *number)
    }

    /// The number of a player.
    pub fn player(&self, id: PlayerId) -> Option<u64> {
        self.players.iter().find(|(player, _)| *player == id).map(|(_, number)| *number)
    }

    pub fn slot(&self, id: StreamId) -> Option<u32> {
        self.streams.iter().find(|(stream, _)| *stream == id).map(|(_, slot)| *slot)
    }
}

impl Worker {
    /// Makes the routes of a call equal to the plan; what both have in common goes on.
    pub(super) fn install(&mut self, plan: CallPlan) {
        // What the kernel has forwarded so far was forwarded under the old plan.
        self.refresh(plan.key);
        let mut call = self.calls.calls.remove(&plan.key).unwrap_or_default();
        let mut streams = Vec::with_capacity(plan.streams.len());
        let rtcp_positions: Vec<_> = call
            .streams
            .iter()
            .filter_map(|(_, slot)| self.streams.get_mut(*slot)?.keys()?.rtcp_position())
            .collect();
        for wanted in &plan.streams {
            let slot = call.slot(wanted.id).and_then(|slot| {
                let stream = self.streams.get(slot)?;
                let is_there = Arc::ptr_eq(stream.socket(), &wanted.socket);
                // Where others read the socket first, another one makes another stream.
                if stream.is_behind != wanted.behind.is_some() || stream.is_behind && !is_there {
                    return None;
                }
                self.move_to(slot, &wanted.socket);
                let stream = self.streams.get_mut(slot)?;
                stream.update(wanted);
                stream.twin = None;
                Some(slot)
            });
            let slot = slot.or_else(|| self.open(Stream::new(wanted, plan.key, &self.output.totals)));
            let Some(slot) = slot else { continue };
            streams.push((wanted.id, slot));
            self.shake_hands(slot, wanted);
            if let Some(stream) = self.streams.get_mut(slot) {
                stream.tap = plan.tap.filter(|_| wanted.recorded);
                if let Some(keys) = stream.keys() {
                    rtcp_positions.iter().for_each(|position| keys.continue_rtcp_of(position));
                    keys.keep_apart_from(plan.streams.iter().filter_map(|other| other.security.receive()));
                }
            }
        }
        let former = std::mem::replace(&mut call.streams, streams);
        self.pair(&call);
        self.link_twins(&call, &plan);
        self.install_ice(&call, &plan);
        for (_, slot) in former {
            if !call.streams.iter().any(|(_, kept)| *kept == slot) {
                self.close(slot);
            }
        }
        for stream in &plan.streams {
            if let (Some(former), Some(slot)) = (&stream.former_socket, call.slot(stream.id)) {
                self.hear_former(slot, former);
            }
        }
        self.connect(&call, &plan);
        for (_, slot) in &call.streams {
            if let Some(stream) = self.streams.get_mut(*slot) {
                stream.gateway = None;
            }
        }
        let slots = |wanted: &GatewayPlan| Some([call.slot(wanted.fax)?, call.slot(wanted.audio)?]);
        self.install_gateways(plan.key, &plan.gateways, slots);
        for (_, slot) in &call.streams {
            self.start_piercing(*slot);
            self.start_reporting(*slot);
            self.start_measuring(*slot);
            self.log_keys(*slot);
            self.start_mixing(*slot);
        }
        // Players of streams that are gone end.
        let orphans: Vec<u64> = call.players.iter().map(|(_, number)| *number).collect();
        let slots: Vec<u32> = call.streams.iter().map(|(_, slot)| *slot).collect();
        self.calls.calls.insert(plan.key, call);
        for slot in slots {
            self.tell_companion(slot);
            self.reconsider(slot);
            self.guard(slot);
        }
        self.compare_players(plan.key);
        for number in orphans {
            let sink = self.calls.players.get(&number).map(|p| p.sink);
            if sink.is_some_and(|sink| self.streams.resolve(sink).is_none()) {
                self.finish_player(number);
            }
        }
    }

    /// How far the keys of a call's streams were used.
    pub(super) fn srtp_progress(&self, call: CallKey) -> Vec<(StreamId, SrtpProgress)> {
        let streams = self.calls.calls.get(&call).map_or(&[][..], |call| &call.streams);
        let progress =
            |&(id, slot): &(StreamId, u32)| Some((id, self.streams.get(slot)?.present_keys()?.progress()));
        streams.iter().filter_map(progress).collect()
    }

    /// The stream that carries the RTCP of an RTP stream of the call.
    pub(super) fn rtcp_slot(&self, call: CallKey, rtp: u32) -> Option<u32> {
        self.calls.calls.get(&call)?.rtcp_slot(&self.streams, rtp)
    }

    /// Tells the stream of a party's RTCP from where its RTP comes.
    pub(super) fn tell_companion(&mut self, slot: u32) {
        let Some(stream) = self.streams.get(slot) else { return };
        let (call, home) = (stream.call, stream.learner.home());
        if let Some(home) = home
            && let Some(rtcp) = self.rtcp_slot(call, slot).filter(|rtcp| *rtcp != slot)
            && let Some(rtcp) = self.streams.get_mut(rtcp)
        {
            rtcp.learner.companion_is_at(home);
            rtcp.publish_peer();
        }
    }

    /// Tells each RTCP stream where its RTP is: directly before it.
    fn pair(&mut self, call: &Call) {
        let mut rtp = None;
        for &(_, slot) in &call.streams {
            let Some(stream) = self.streams.get_mut(slot) else { continue };
            if stream.expect == Expect::Rtcp {
                stream.rtp = rtp;
            } else {
                stream.rtp = None;
                rtp = Some(slot);
            }
        }
    }

    /// Tells streams with one socket of each other.
    fn link_twins(&mut self, call: &Call, plan: &CallPlan) {
        for wanted in &plan.streams {
            let slots = call.slot(wanted.id).zip(wanted.behind.and_then(|other| call.slot(other)));
            if let Some((slot, other)) = slots {
                self.streams.get_mut(other).into_iter().for_each(|stream| stream.twin = Some(slot));
            }
        }
    }

    /// Compiles the edges; those that were there before keep their codec state.
    fn connect(&mut self, call: &Call, plan: &CallPlan) {
        let formats = |id: Option<StreamId>| -> &[PayloadFormat] {
            plan.streams.iter().find(|stream| Some(stream.id) == id).map_or(&[], |stream| &stream.formats)
        };
        let now = self.output.now.instant;
        // (slot, index, RTCP sink)
        let mut mapping_edges: Vec<(u32, usize, u32)> = Vec::new();
        for (id, slot) in &call.streams {
            let hides =
                plan.streams.iter().any(|stream| stream.id == *id && !stream.hidden_extensions.is_empty());
            // As many as there will be: a list that grows first has room for four.
            let from_here = || plan.edges.iter().filter(|edge| edge.from == *id);
            let mut edges: Vec<Edge> = Vec::with_capacity(from_here().count());
            edges.extend(from_here().map(|edge| {
                let formats = [formats(Some(edge.from)), formats(edge.rtp_to)];
                Edge::compile(edge, formats, |sink| call.slot(sink), &self.output.graph)
            }));
            let Some(stream) = self.streams.get_mut(*slot) else { continue };
            let mut old = std::mem::take(&mut stream.edges);
            let mut before = SmallVec::<[Option<usize>; 4]>::new();
            for edge in &mut edges {
                if hides {
                    edge.gets_changed_packets();
                }
                let continued = old.iter().position(|old| edge.continues(old));
                if let Some(transcoding) = &mut edge.transcoding {
                    transcoding.enter(&self.shared.chains);
                }
                if let Some(old) = continued.and_then(|index| old.get(index)) {
                    edge.adopt_ssrcs(old);
                    edge.adopt_filter(now, old, formats(Some(*id)));
                }
                before.push(continued);
            }
            for edge in &mut edges {
                apart::prepare(&self.streams, *slot, edge);
            }
            listeners::share(&mut edges, &before, &mut old);
            for (index, edge) in edges.iter().enumerate() {
                let maps = edge.transcoding.is_some() || edge.follows.is_some() || edge.may_change_ssrcs();
                if let Some(rtcp_to) = edge.rtcp_to.filter(|_| maps) {
                    mapping_edges.push((*slot, edge.follows.map_or(index, usize::from), rtcp_to));
                }
            }
            if let Some(stream) = self.streams.get_mut(*slot) {
                stream.edges = edges;
            }
        }
        for (_, slot) in &call.streams {
            let Some(stream) = self.streams.get_mut(*slot) else { continue };
            for edge in &mut stream.edges {
                edge.rtcp = edge.rtcp_to.and_then(|to| RtcpRoute::compile(*slot, to, &mapping_edges));
            }
        }
    }

    fn open(&mut self, stream: Stream) -> Option<u32> {
        let (socket, is_behind) = (Arc::clone(stream.socket()), stream.is_behind);
        let slot = self.streams.insert(stream);
        if is_behind {
            return Some(slot);
        }
        let Err(error) = self.poll.add(socket.socket.as_raw_fd(), self.streams.token(slot)) else {
            return Some(slot);
        };
        self.deaf(&socket, &error);
        self.streams.remove(slot);
        None
    }

    /// Out of kernel memory or watches: the call goes on without what comes in there.
    pub(super) fn deaf(&self, socket: &LocalPort, error: &std::io::Error) {
        let failures = self.shared.deaf_streams.fetch_add(1, Relaxed) + 1;
        if failures.is_power_of_two() {
            tracing::error!(local = %socket.local, %error, failures, "media socket cannot be registered with epoll");
        }
    }

    fn close(&mut self, slot: u32) {
        self.unguard(slot);
        self.detach(slot);
        self.take_back(slot, Reason::NoOutput);
        if let Some(stream) = self.streams.remove(slot) {
            if stream.dtls.is_some() {
                self.output.dtls.close(stream.id, stream.path_socket());
            }
            // Control may hold a socket open for longer; it must not wake us any more. Where nobody does, closing it ends that.
            for (_, socket) in stream.all_sockets().filter(|(_, socket)| Arc::strong_count(socket) > 1) {
                let _ = self.poll.remove(socket.socket.as_raw_fd());
            }
        }
    }

    /// Forgets a call.
    pub(super) fn remove(&mut self, key: CallKey) {
        let Some(call) = self.calls.calls.get(&key) else { return };
        // Commands come before packets: what was sent before the call ended is still in the sockets, and belongs to the call.
        let sockets = |&(_, slot): &(StreamId, u32)| {
            let token = self.streams.token(slot);
            let sockets = self.streams.get(slot).into_iter().flat_map(Stream::all_sockets);
            sockets.map(move |(position, socket)| (socket.socket.as_raw_fd(), with_position(token, position)))
        };
        let waiting = poll::readable(call.streams.iter().flat_map(sockets));
        let players: Vec<u64> = call.players.iter().map(|(_, number)| *number).collect();
        for token in waiting {
            self.receive(token);
        }
        for number in players {
            self.finish_player(number);
        }
        let Some(call) = self.calls.calls.remove(&key) else { return };
        self.install_gateways(key, &[], |_| None);
        for (_, slot) in call.streams {
            self.close(slot);
        }
    }

    /// Forgets a call whose sockets somebody else goes on with: what waits in them stays there, and nobody is told that it is over.
    pub(super) fn detach_call(&mut self, key: CallKey) {
        self.install_gateways(key, &[], |_| None);
        let Some(call) = self.calls.calls.remove(&key) else { return };
        for (_, number) in call.players {
            self.take_player_back(number);
            self.calls.players.remove(&number);
        }
        for (_, slot) in call.streams {
            if let Some(stream) = self.streams.get_mut(slot) {
                stream.dtls = None;
            }
            self.close(slot);
        }
    }

    pub(super) fn start_player(&mut self, key: CallKey, plan: PlayerPlan) {
        let target = self.calls.calls.get(&key).and_then(|call| call.slot(plan.target));
        let Some((slot, call)) = target.zip(self.calls.calls.get_mut(&key)) else {
            // The call or stream went while the command was on its way.
            self.tell(MediaEvent::PlayerFinished {
                call: key,
                player: plan.id,
                frames_played: 0,
                next_sequence: plan.first_sequence,
                next_timestamp: plan.first_timestamp,
            });
            return;
        };
        let number = self.calls.next_player;
        self.calls.next_player += 1;
        call.players.push((plan.id, number));
        let now = self.output.now.instant;
        let player = Player::new(plan, key, self.streams.token(slot), now);
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.muted_by += u16::from(player.block_egress);
        }
        self.calls.players.insert(number, player);
        self.compare_call(key);
        self.output.schedule.player(now, number);
    }

    pub(super) fn stop_player(&mut self, key: CallKey, player: PlayerId) {
        let Some(call) = self.calls.calls.get(&key) else { return };
        if let Some((_, number)) = call.players.iter().find(|(id, _)| *id == player) {
            self.finish_player(*number);
        }
    }

    /// Ends a player and tells control where it stopped.
    pub(super) fn finish_player(&mut self, number: u64) {
        self.take_player_back(number);
        let Some(player) = self.calls.players.remove(&number) else { return };
        if let Some(call) = self.calls.calls.get_mut(&player.call) {
            call.players.retain(|(_, n)| *n != number);
        }
        let sink = self.streams.resolve(player.sink).and_then(|slot| self.streams.get_mut(slot));
        if let Some(stream) = sink {
            stream.muted_by -= u16::from(player.block_egress);
        }
        self.tell(MediaEvent::PlayerFinished {
            call: player.call,
            player: player.id,
            frames_played: player.frames_played,
            next_sequence: player.next_sequence(),
            next_timestamp: player.next_timestamp(),
        });
    }
}
