//! Announcements: handed down between two packets, counted, taken back with the numbers that the kernel has got to.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Announcement, CompleteMedia, LoadedMedia, PlayerNumbers};
use super::{DELAY, Scene, rtp, scene};
use crate::media::plan::{CallKey, PlayerFrame, PlayerId, PlayerPlan};

const PTIME: Duration = Duration::from_millis(20);
const PLAYER: PlayerId = PlayerId(5);
const FIRST: u16 = 65_534;

fn frame() -> PlayerFrame {
    PlayerFrame { payload: Arc::from([0x11; 160]), duration: 160 }
}

/// Four frames, played twice; the media are number 3 of the rung.
fn announcement() -> Announcement {
    let media = CompleteMedia::new(8000, (0..4).map(|number| (frame(), 20 * number)).collect()).unwrap();
    let loaded = Arc::new(LoadedMedia::new(media, 3, Box::new(|_| ())));
    Announcement { loaded, plays: 2, limit: None, progress: Arc::default() }
}

impl Scene {
    /// The first party hears an announcement, of which the kernel is given what follows on the first two frames.
    fn announce(&mut self) {
        self.settle();
        let (mut frames, ring) = rtrb::RingBuffer::new(4);
        frames.push(frame()).unwrap();
        let plan = PlayerPlan {
            id: PLAYER,
            target: self.parties[0].stream.id,
            payload_type: 0,
            ssrc: 0x77,
            first_sequence: FIRST,
            first_timestamp: 1000,
            clock_rate: 8000,
            frames: ring,
            block_egress: true,
        };
        self.worker.play(CallKey(1), plan);
        self.worker.turn(Duration::ZERO);
        assert_eq!(self.heard(), [(FIRST, 1000)]);
        self.worker.take_announcement(CallKey(1), PLAYER, announcement());
        self.worker.turn(PTIME);
        assert_eq!(self.heard(), [(FIRST + 1, 1160)]);
    }

    /// Sequence numbers and timestamps of the announcement's packets that the first party has received.
    fn heard(&self) -> Vec<(u16, u32)> {
        let socket = &self.parties[0].socket;
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 2048];
        let packets = std::iter::from_fn(|| {
            let length = socket.recv(&mut buffer).ok()?;
            let packet = &buffer[..length];
            let number = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            Some((number(8), number(0) as u16, number(4)))
        });
        let heard =
            packets.filter(|(ssrc, ..)| *ssrc == 0x77).map(|(_, sequence, timestamp)| (sequence, timestamp));
        let heard = heard.collect();
        socket.set_nonblocking(false).unwrap();
        heard
    }

    /// The kernel has sent so many frames more than it had, the next one is due in 7 ms.
    fn kernel_plays(&self, frames: u32) {
        let mut state = self.kernel.lock();
        let playing = state.players.last_mut().unwrap();
        let count = &mut playing.count;
        count.frames += u64::from(frames);
        count.packets += u64::from(frames);
        count.octets += 172 * u64::from(frames);
        count.clear_octets += 172 * u64::from(frames);
        let next = count.next;
        count.next = PlayerNumbers {
            sequence_number: next.sequence_number.wrapping_add(frames as u16),
            timestamp: next.timestamp + 160 * frames,
            marker: false,
            due: Duration::from_millis(7),
        };
    }

    /// Players that the kernel has, and packets that the first party was sent.
    fn played(&self) -> (usize, u64, u64) {
        let shared = &self.parties[0].stream.shared;
        let running = self.kernel.lock().players.iter().filter(|playing| !playing.is_over).count();
        (running, shared.kernel_players.get(), shared.egress.packets.get())
    }
}

#[test]
fn an_announcement_goes_on_in_the_kernel_behind_the_packet_that_was_sent() {
    let mut scene = scene();
    scene.announce();
    {
        let state = scene.kernel.lock();
        let order = &state.players[0].order;
        assert_eq!((order.media, order.first_frame, order.plays, order.ticks), (3, 2, 2, 0));
        assert_eq!((order.ssrc, order.payload_type, order.index), (0x77, 0, None));
        assert_eq!((order.way.local, order.way.peer), (scene.local(0), scene.peer(0)));
        let next =
            PlayerNumbers { sequence_number: 0, timestamp: 1320, marker: false, due: order.numbers.due };
        assert_eq!(order.numbers, next);
        assert!(next.due <= PTIME, "{:?}", next.due);
    }
    let (_, _, before) = scene.played();
    scene.worker.turn(PTIME * 2);
    assert_eq!(scene.heard(), [], "nobody sends it twice");
    scene.kernel_plays(3);
    scene.worker.refresh(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.played(), (1, 1, before + 3));
    scene.worker.refresh(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.played(), (1, 1, before + 3), "counted once");
}

#[test]
fn it_ends_when_the_kernel_has_sent_all_of_it() {
    let mut scene = scene();
    scene.announce();
    let (_, _, before) = scene.played();
    scene.kernel_plays(6);
    scene.kernel.lock().players[0].count.has_ended = true;
    assert_eq!(scene.worker.turn(PTIME * 8), 1, "control is told");
    assert_eq!(scene.played(), (0, 0, before + 6));
    scene.worker.turn(Duration::from_secs(1));
    assert_eq!(scene.heard(), []);
}

#[test]
fn a_change_at_the_listener_takes_it_back_without_a_gap() {
    let mut scene = scene();
    scene.announce();
    scene.kernel_plays(3);
    // It is heard elsewhere from now on.
    let mut plan = scene.plan.clone();
    let elsewhere = std::net::UdpSocket::bind((super::HOST, 0)).unwrap();
    plan.streams[0].peer = Some(elsewhere.local_addr().unwrap());
    scene.worker.install(plan);
    scene.worker.turn(Duration::ZERO);
    assert_eq!((scene.played().0, scene.played().1), (0, 0));
    scene.worker.turn(Duration::from_millis(8));
    elsewhere.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 2048];
    let length = elsewhere.recv(&mut buffer).unwrap();
    assert_eq!((length, &buffer[2..8]), (172, &[0, 3, 0, 0, 7, 8][..]), "sequence number 3, timestamp 1800");
}

#[test]
fn one_that_is_stopped_has_its_last_numbers() {
    let mut scene = scene();
    scene.announce();
    let (_, _, before) = scene.played();
    scene.kernel_plays(2);
    scene.worker.stop_player(CallKey(1), PLAYER);
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.played(), (0, 0, before + 2));
    scene.worker.turn(Duration::from_secs(1));
    assert_eq!(scene.heard(), []);
}

#[test]
fn one_that_the_kernel_has_lost_goes_on_where_it_would_be() {
    let mut scene = scene();
    scene.announce();
    scene.kernel.lock().players[0].is_over = true;
    // Frame 2 was due at 20 ms, frame 3 at 40, frame 4 at 60.
    scene.worker.turn(Duration::from_millis(50));
    scene.worker.refresh(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.played().1, 0);
    scene.worker.turn(Duration::from_millis(11));
    assert_eq!(scene.heard(), [(2, 1640)], "numbers and media time as if nothing had happened");
}

#[test]
fn a_rung_that_is_given_up_gives_announcements_back() {
    let mut scene = scene();
    scene.announce();
    scene.kernel_plays(1);
    scene.worker.give_up_rung();
    scene.worker.turn(Duration::ZERO);
    assert_eq!((scene.played().0, scene.played().1), (0, 0));
    scene.worker.turn(Duration::from_millis(8));
    assert_eq!(scene.heard(), [(1, 1480)]);
    scene.worker.turn(DELAY * 2);
    assert_eq!(scene.kernel.lock().players.len(), 1, "it is not handed down again");
    scene.pass(0, &rtp(0, 11, 7));
}
