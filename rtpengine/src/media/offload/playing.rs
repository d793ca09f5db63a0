//! A worker hands announcements down to the rung below, and takes them back.
//!
//! A player that is below sends nothing here: its turns read how far the kernel is, once a second, when it is to end, and when its sender
//! report is due. Whatever changes at its listener takes it back unless it changes nothing for the kernel; the kernel says with which packet, and when,
//! user space has to go on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::plan::{CallKey, PlayerId};
use super::super::security::{Direction, Security};
use super::super::ssrc::Seen;
use super::super::stream::Streams;
use super::super::worker::Worker;
use super::{
    Announcement, BackendError, Ladder, PlayerBackend, PlayerCount, PlayerHandle, PlayerNumbers, PlayerOrder,
    PlayerWay, Reason,
};

/// How far the kernel is is asked this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// When a player cannot be handed down, it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The kernel is given this time beyond the end, and again until it has ended.
const GRACE: Duration = Duration::from_millis(3);
/// Packets of an announcement under a key that may have left without our knowing: their numbers are not used again.
const UNKNOWN: u16 = 100;

/// How a rung sends announcements, if it does.
#[derive(Default)]
pub struct Announcing {
    backend: Option<Box<dyn PlayerBackend>>,
    /// It refused one before.
    complained: bool,
}

impl Ladder {
    /// The same, which also sends announcements.
    pub fn with_players(mut self, players: Option<Box<dyn PlayerBackend>>) -> Self {
        self.announcing.backend = players;
        self
    }
}

/// A player that the kernel has.
pub struct PlayedBelow {
    handle: PlayerHandle,
    way: PlayerWay,
    /// Frames that were handed out before.
    base: u64,
    /// What was read last.
    before: PlayerCount,
}

impl Worker {
    /// A player's announcement is there as a whole, and in the kernel.
    pub(in super::super) fn take_announcement(
        &mut self,
        call: CallKey,
        player: PlayerId,
        announcement: Announcement,
    ) {
        let can_play = self.ladder.as_ref().is_some_and(|ladder| ladder.announcing.backend.is_some());
        let number = self.calls.calls.get(&call).and_then(|call| call.player(player));
        let player = number.and_then(|number| self.calls.players.get_mut(&number));
        if let Some(player) = player.filter(|_| can_play) {
            player.take_announcement(announcement);
            player.look_at = self.output.now.instant;
        }
    }

    /// Gives a player to the kernel, behind the packet that it has just sent, if it can go there.
    pub(in super::super) fn hand_down(&mut self, number: u64) {
        let now = self.output.now.instant;
        let handed = self.try_hand_down(number);
        let Some(player) = self.calls.players.get_mut(&number) else { return };
        match handed {
            Ok(below) => {
                if let Some((announcement, taken)) = player.announcement() {
                    let due = now + player.numbers(now).due;
                    announcement.progress.goes_on(&announcement.loaded.media, taken, due);
                }
                tracing::debug!(local = %below.way.local, peer = %below.way.peer, "an announcement is sent by the kernel");
                if let Some(sink) = self.streams.resolve(player.sink).and_then(|slot| self.streams.get(slot))
                {
                    sink.shared.kernel_players.add(1);
                }
                player.below = Some(Box::new(below));
                self.look_after_player(number);
            }
            Err(reason) => {
                player.look_at = now + RETRY;
                tracing::trace!(reason = reason.text(), "an announcement stays in user space");
            }
        }
    }

    fn try_hand_down(&mut self, number: u64) -> Result<PlayedBelow, Reason> {
        let player = self.calls.players.get(&number).ok_or(Reason::NoOutput)?;
        let (announcement, taken) = player.announcement().ok_or(Reason::Off)?;
        let way = way_of(&self.streams, player.sink)?;
        // The last packet has left: there is nothing to hand over.
        announcement.frame(taken).ok_or(Reason::NoOutput)?;
        let media = &announcement.loaded.media;
        let (play, first_frame) = media.place(taken);
        let plays = match announcement.plays {
            u32::MAX => 0,
            plays => plays.saturating_sub(u32::try_from(play).unwrap_or(u32::MAX)),
        };
        let keys = self.streams.resolve(player.sink).and_then(|slot| self.streams.get(slot)?.present_keys());
        let order = PlayerOrder {
            media: announcement.loaded.number,
            first_frame: first_frame as u32,
            plays,
            ticks: announcement.limit.map_or(0, |limit| limit.saturating_sub(media.ticks_before(taken))),
            payload_type: player.payload_type(),
            ssrc: player.ssrc(),
            numbers: player.numbers(self.output.now.instant),
            index: keys.and_then(|keys| keys.position(Direction::Send, player.ssrc())),
            way,
        };
        let ladder = Ladder::in_use(&mut self.ladder)?;
        let players = ladder.announcing.backend.as_mut().ok_or(Reason::Off)?;
        let handle = players.start(&order).map_err(|error| match error {
            BackendError::Unsuitable(reason) => reason,
            error => {
                if !std::mem::replace(&mut ladder.announcing.complained, true) {
                    tracing::warn!(%error, "an announcement cannot be sent by the kernel; others may not, either");
                }
                Reason::Refused
            }
        })?;
        let next = order.numbers;
        let before = PlayerCount { next, ..PlayerCount::default() };
        Ok(PlayedBelow { handle, way: order.way, base: taken, before })
    }

    /// The turn of a player that is below.
    pub(in super::super) fn turn_below(&mut self, number: u64) {
        let Some(count) = self.read_player(number) else { return };
        if count.has_ended {
            self.finish_player(number);
            return;
        }
        self.compare_player(number);
        self.report_player(number);
        if self.is_played_below(number) {
            self.look_after_player(number);
        }
    }

    /// Players of a call that are below come back unless nothing has changed for them.
    pub(in super::super) fn compare_players(&mut self, call: CallKey) {
        self.players_below(call).into_iter().for_each(|number| self.compare_player(number));
    }

    /// Makes the counters of a call's announcements those of this moment.
    pub(super) fn refresh_players(&mut self, call: CallKey) {
        for number in self.players_below(call) {
            self.read_player(number);
        }
    }

    /// Takes all announcements of a call back.
    pub(in super::super) fn lift_players(&mut self, call: CallKey) {
        self.players_below(call).into_iter().for_each(|number| self.lift_player(number));
    }

    /// Takes a player back that is about to end, with its last numbers.
    pub(in super::super) fn take_player_back(&mut self, number: u64) {
        let now = self.output.now.instant;
        let Some(player) = self.calls.players.get_mut(&number) else { return };
        let Some(mut below) = player.below.take() else { return };
        let sink = player.sink;
        let Some(ladder) = &mut self.ladder else { return };
        player.look_at = now + ladder.delay;
        let stopped = ladder.announcing.backend.as_mut().map(|players| players.stop(below.handle));
        match stopped {
            Some(Ok(count)) => self.account_player(number, &mut below, &count),
            _ => self.lose_player(number, &below),
        }
        let ssrc = self.calls.players.get(&number).map(|player| player.ssrc());
        let sink = self.streams.resolve(sink).and_then(|slot| self.streams.get_mut(slot));
        if let Some(sink) = sink {
            sink.shared.kernel_players.sub(1);
            let keys = sink.security.as_deref_mut();
            if let (Some(keys), Some(master), Some(ssrc), Some(index)) =
                (keys, &below.way.key, ssrc, below.before.index)
            {
                keys.went_on(Direction::Send, master, (ssrc, index), u64::MAX);
            }
        }
        if let Some((announcement, taken)) = self.calls.players.get(&number).and_then(|p| p.announcement()) {
            announcement.progress.handed_out(taken);
        }
    }

    fn lift_player(&mut self, number: u64) {
        self.take_player_back(number);
        let now = self.output.now.instant;
        if let Some(player) = self.calls.players.get_mut(&number) {
            player.turn_at = now + player.numbers(now).due;
            self.output.schedule.player(player.turn_at, number);
        }
    }

    fn compare_player(&mut self, number: u64) {
        let Some(player) = self.calls.players.get(&number) else { return };
        let Some(below) = &player.below else { return };
        if way_of(&self.streams, player.sink).as_ref() != Ok(&below.way) {
            self.lift_player(number);
        }
    }

    /// Adds what the kernel has sent since it was last asked. A player that it has lost goes on in user space.
    fn read_player(&mut self, number: u64) -> Option<PlayerCount> {
        let mut below = self.calls.players.get_mut(&number)?.below.take()?;
        let players = self.ladder.as_mut().and_then(|ladder| ladder.announcing.backend.as_mut());
        let count = players.and_then(|players| players.read(below.handle).ok());
        if let Some(count) = &count {
            self.account_player(number, &mut below, count);
        }
        self.calls.players.get_mut(&number)?.below = Some(below);
        if count.is_none() {
            self.lift_player(number);
        }
        count
    }

    fn account_player(&mut self, number: u64, below: &mut PlayedBelow, count: &PlayerCount) {
        let before = std::mem::replace(&mut below.before, *count);
        let now = self.output.now.instant;
        let Some(player) = self.calls.players.get_mut(&number) else { return };
        let grown = |of: fn(&PlayerCount) -> u64| of(count).saturating_sub(of(&before));
        let taken = below.base + count.frames;
        player.went_on((taken, grown(|count| count.frames)), count.next, now);
        let (sink, payload_type, ssrc) = (player.sink, player.payload_type(), player.ssrc());
        let last = player.announcement().and_then(|(announcement, _)| {
            announcement.progress.goes_on(&announcement.loaded.media, taken, now + count.next.due);
            announcement.frame(taken.checked_sub(1)?)
        });
        let duration = last.map_or(0, |frame| frame.duration);
        let Some(sink) = self.streams.resolve(sink).and_then(|slot| self.streams.get_mut(slot)) else {
            return;
        };
        let (packets, clear) = (grown(|count| count.packets), grown(|count| count.clear_octets));
        for traffic in [&sink.shared.egress, &self.output.totals.interface(sink.interface).egress] {
            traffic.packets.add(packets);
            traffic.octets.add(grown(|count| count.octets));
            traffic.errors.add(grown(|count| count.failed));
        }
        let seen = Seen {
            ssrc,
            payload_type,
            sequence_number: count.next.sequence_number.wrapping_sub(1),
            timestamp: count.next.timestamp.wrapping_sub(duration),
            octets: 0,
            section: None,
        };
        sink.egress_ssrc.were_sent(seen, packets, clear, &sink.shared.egress_ssrc);
    }

    /// The kernel does not know the player any more: it is where it would be had nothing happened.
    fn lose_player(&mut self, number: u64, below: &PlayedBelow) {
        let now = self.output.now.instant;
        let Some(player) = self.calls.players.get_mut(&number) else { return };
        let numbers = player.numbers(now);
        let Some((announcement, taken)) = player.announcement() else { return };
        let media = &announcement.loaded.media;
        let elapsed = player.timestamp_at(now).wrapping_sub(numbers.timestamp).cast_signed();
        let before = media.ticks_before(taken);
        let ticks = before + u64::from(elapsed.max(0).cast_unsigned());
        let next = if elapsed > 0 { media.number_at(ticks) + 1 } else { taken };
        let skipped = media.ticks_before(next) - before;
        let margin = if below.way.key.is_some() { UNKNOWN } else { 0 };
        let due = media.time(media.ticks_before(next) - ticks);
        let next_numbers = PlayerNumbers {
            sequence_number: numbers.sequence_number.wrapping_add((next - taken) as u16).wrapping_add(margin),
            timestamp: numbers.timestamp.wrapping_add(skipped as u32),
            due: if elapsed > 0 { due } else { numbers.due },
            ..numbers
        };
        player.went_on((next, next - taken), next_numbers, now);
    }

    /// The next turn of a player that is below.
    fn look_after_player(&mut self, number: u64) {
        let now = self.output.now.instant;
        let Some(player) = self.calls.players.get_mut(&number) else { return };
        let left = player.announcement().and_then(|(announcement, taken)| announcement.left(taken));
        let end = left.map(|left| (now + player.numbers(now).due + left).max(now) + GRACE);
        player.turn_at = end.unwrap_or(now + INTERVAL).min(now + INTERVAL).min(player.report_at.max(now));
        self.output.schedule.player(player.turn_at, number);
    }

    fn is_played_below(&self, number: u64) -> bool {
        self.calls.players.get(&number).is_some_and(|player| player.below.is_some())
    }

    fn players_below(&self, call: CallKey) -> Vec<u64> {
        let numbers = self.calls.calls.get(&call).into_iter().flat_map(|call| call.players());
        numbers.filter(|number| self.is_played_below(*number)).collect()
    }
}

/// The way to a player's listener, if sending is all that happens on it.
fn way_of(streams: &Streams, sink: u64) -> Result<PlayerWay, Reason> {
    let sink = streams.resolve(sink).and_then(|slot| streams.get(slot)).ok_or(Reason::NoOutput)?;
    let obstacles = [
        (sink.mids.is_some(), Reason::Bundled),
        (sink.mixer.is_some(), Reason::Mixed),
        (sink.tap.is_some_and(|tap| tap.egress), Reason::Recorded),
        // The upper half of the indices is ours, of which the kernel knows nothing.
        (sink.present_keys().is_some_and(Security::shares_sending_key), Reason::Secured),
    ];
    if let Some((_, reason)) = obstacles.iter().find(|(is_there, _)| *is_there) {
        return Err(*reason);
    }
    let is_settled = sink.shared.confirmed.load(Relaxed) == 1 || !sink.learner.may_move();
    let peer = sink.reachable_peer().filter(|_| is_settled).ok_or(Reason::SinkNotConfirmed)?;
    let socket = sink.path_socket();
    if socket.local.is_ipv4() != peer.is_ipv4() {
        return Err(Reason::Families);
    }
    // Routes are looked up without an interface.
    if matches!(peer.ip(), std::net::IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Err(Reason::Route);
    }
    let key = match sink.secured {
        true => Some(sink.present_keys().and_then(Security::sending).map(Arc::clone).ok_or(Reason::NoKey)?),
        false => None,
    };
    Ok(PlayerWay { local: socket.local, peer, tos: socket.tos(), key })
}
