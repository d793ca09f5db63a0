//! The ladder between a worker that is stepped by hand and a simulated kernel.

mod guards;
mod players;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use codec::PayloadFormat;

use super::simulated::Kernel;
use super::{Carries, Ladder, Place, Reason, Rung, SETTLING, Source, TargetFormat};
use crate::config::{Config, LocalAddress};
use crate::media::plan::{CallKey, CallPlan, EdgePlan, Expect, Handling, StreamId, StreamPlan};
use crate::media::port_pool::PortPool;
use crate::media::stats::TrafficCount;
use crate::media::stepped::SteppedWorker;

const DELAY: Duration = Duration::from_secs(3);
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Party {
    socket: UdpSocket,
    stream: StreamPlan,
}

struct Scene {
    worker: SteppedWorker,
    kernel: Kernel,
    parties: [Party; 2],
    plan: CallPlan,
}

fn scene() -> Scene {
    let config = Config::for_address(HOST, HOST);
    let pool = PortPool::new(&config.interfaces, (21_000, 21_999), 0, &[]);
    let kernel = Kernel::default();
    let ladder = Ladder::new(Box::new(kernel.clone()), DELAY).with_players(Some(Box::new(kernel.clone())));
    let worker = SteppedWorker::with_ladder(&config, Some(ladder)).unwrap();
    let local = LocalAddress { address: HOST, advertised: HOST, ports: None };
    let parties = [1, 2].map(|id| {
        let socket = UdpSocket::bind((HOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = pool.allocate(&local, 2).unwrap().remove(0);
        let formats = [(0, "PCMU"), (101, "telephone-event")];
        let formats = formats.map(|(pt, name)| PayloadFormat::new(pt, name, 8000, 1));
        let peer = socket.local_addr().unwrap();
        let stream = StreamPlan::new(StreamId(id), Expect::Rtp, port, peer);
        Party { socket, stream: StreamPlan { formats: Arc::from(formats), ..stream } }
    });
    let [a, b] = [StreamId(1), StreamId(2)];
    let plan = CallPlan {
        key: CallKey(1),
        streams: parties.iter().map(|party| party.stream.clone()).collect(),
        edges: vec![EdgePlan::new(a, b), EdgePlan::new(b, a)],
        gateways: Vec::new(),
        tap: None,
    };
    let mut scene = Scene { worker, kernel, parties, plan };
    scene.worker.install(scene.plan.clone());
    scene.worker.turn(Duration::ZERO);
    scene
}

fn rtp(payload_type: u8, sequence_number: u16, ssrc: u32) -> Vec<u8> {
    let mut header = [0; 12];
    let timestamp = u32::from(sequence_number) * 160;
    codec::rtp::write_header(&mut header, false, payload_type, sequence_number, timestamp, ssrc);
    [&header[..], &[0xd5; 160]].concat()
}

impl Scene {
    fn local(&self, party: usize) -> SocketAddr {
        self.parties[party].stream.socket.local
    }

    fn peer(&self, party: usize) -> SocketAddr {
        self.parties[party].socket.local_addr().unwrap()
    }

    fn place(&self, party: usize) -> Place {
        self.parties[party].stream.shared.place()
    }

    /// A packet goes in on one side and has to come out on the other.
    fn pass(&mut self, from: usize, datagram: &[u8]) {
        self.parties[from].socket.send_to(datagram, self.local(from)).unwrap();
        self.worker.turn(Duration::ZERO);
        let mut buffer = [0; 2048];
        let length = self.parties[1 - from].socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[12..length], datagram[12..]);
    }

    /// Both parties have been heard, and enough time has passed.
    fn settle(&mut self) {
        self.pass(0, &rtp(0, 10, 7));
        self.pass(1, &rtp(0, 500, 8));
        self.worker.turn(DELAY + Duration::from_millis(1));
    }

    /// The kernel forwards packets of party 0.
    fn kernel_forwards(&mut self, packets: u64, highest: u64, lost: i64) {
        let local = self.local(0);
        let mut state = self.kernel.lock();
        let count = &mut state.counters(local).unwrap().tracks[0];
        count.packets += packets;
        count.octets += packets * 172;
        count.lost += lost;
        count.track.highest = highest;
        count.track.timestamp = highest as u32 * 160;
        count.track.window = 1;
        count.track.arrival_us = 77_000_000_000_000_000;
    }

    fn traffic(&self, party: usize) -> (TrafficCount, TrafficCount) {
        let shared = &self.parties[party].stream.shared;
        (shared.ingress.read(), shared.egress.read())
    }
}

#[test]
fn confirmed_streams_move_down_after_the_delay() {
    let mut scene = scene();
    assert_eq!(scene.place(0), Place::UserSpace(Reason::Waiting));
    scene.pass(0, &rtp(0, 10, 7));
    scene.worker.turn(DELAY - Duration::from_millis(50));
    assert_eq!(scene.kernel.active(), 0);
    scene.worker.turn(Duration::from_millis(50));
    assert_eq!(scene.place(0), Place::UserSpace(Reason::SinkNotConfirmed));
    assert_eq!(scene.place(1), Place::UserSpace(Reason::NotConfirmed));
    scene.pass(1, &rtp(0, 500, 8));
    scene.worker.turn(Duration::from_secs(1));
    assert_eq!([scene.place(0), scene.place(1)], [Place::Kernel(Rung::Module); 2]);
    let state = scene.kernel.lock();
    let known = state.targets.values().find(|known| known.target.local == scene.local(0)).unwrap();
    let target = &known.target;
    assert_eq!(target.source, Source::Only(scene.peer(0)));
    // Events are read by the daemon.
    let formats = vec![TargetFormat { payload_type: 0, clock_rate: 8000 }];
    assert_eq!(target.carries, Carries::Rtp(formats));
    let output = &target.outputs[0];
    assert_eq!((output.local, output.peer, output.ssrc_mask), (scene.local(1), scene.peer(1), 0));
    assert_eq!((known.counters.tracks[0].track.ssrc, known.counters.tracks[0].track.highest), (7, 10));
}

#[test]
fn counters_are_those_of_one_stream() {
    let mut scene = scene();
    scene.settle();
    scene.kernel_forwards(5, 16, 1);
    scene.worker.refresh(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    let (ingress, _) = scene.traffic(0);
    assert_eq!(ingress, TrafficCount { packets: 6, octets: 6 * 172, errors: 0 });
    assert_eq!(scene.traffic(1).1, ingress);
    let shared = Arc::clone(&scene.parties[0].stream.shared);
    assert_eq!(shared.kernel.read(), TrafficCount { packets: 5, octets: 5 * 172, errors: 0 });
    assert_eq!(
        (shared.ingress_ssrc.get(0).unwrap().packets.get(), shared.ingress_ssrc.get(0).unwrap().lost.get()),
        (6, 1)
    );
    assert_eq!(shared.last_packet_us(), 77_000_000_000_000_000);
    let sent = &scene.parties[1].stream.shared.egress_ssrc.get(0).unwrap();
    assert_eq!((sent.packets.get(), sent.octets.get(), sent.last_sequence.get()), (6, 6 * 172, 16));
    // More while the target is being removed.
    scene.worker.remove(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    assert_eq!((scene.kernel.active(), scene.kernel.lock().targets.len()), (0, 2));
    scene.kernel_forwards(1, 17, 0);
    scene.worker.turn(Duration::from_millis(60));
    assert_eq!(scene.traffic(0).0.packets, 7);
    assert_eq!(scene.traffic(1).1.packets, 7);
    assert!(scene.kernel.lock().targets.is_empty());
}

#[test]
fn unexpected_packet_moves_its_stream_up_and_is_handled_there() {
    const CASES: &[(&str, u8, u16, u32)] =
        &[("digit", 101, 18, 7), ("payload type", 8, 18, 7), ("SSRC", 0, 4000, 9)];
    for (name, payload_type, sequence_number, ssrc) in CASES {
        let mut scene = scene();
        scene.settle();
        // The grace for packets that came before ends.
        scene.worker.turn(Duration::from_secs(1));
        scene.kernel_forwards(7, 17, 0);
        scene.pass(0, &rtp(*payload_type, *sequence_number, *ssrc));
        assert_eq!(scene.place(0), Place::UserSpace(Reason::Surprise), "{name}");
        assert_eq!(scene.place(1), Place::Kernel(Rung::Module), "{name}");
        let shared = &scene.parties[0].stream.shared;
        assert_eq!(shared.ingress.packets.get(), 9, "{name}");
        assert_eq!(shared.ingress_ssrc.get(0).unwrap().lost.get(), 0, "{name}");
        scene.worker.turn(DELAY + Duration::from_millis(1));
        assert_eq!(scene.place(0), Place::Kernel(Rung::Module), "{name}");
    }
}

#[test]
fn packets_that_wait_in_the_socket_are_not_lost_to_the_statistics() {
    let mut scene = scene();
    scene.settle();
    // 13 is forwarded by the kernel before 11 and 12 are read from the socket.
    scene.kernel_forwards(1, 13, 2);
    scene.pass(0, &rtp(0, 11, 7));
    scene.pass(0, &rtp(0, 12, 7));
    assert_eq!(scene.place(0), Place::UserSpace(Reason::Surprise), "the second one comes late");
    let shared = &scene.parties[0].stream.shared;
    assert_eq!((shared.ingress.packets.get(), shared.ingress_ssrc.get(0).unwrap().lost.get()), (4, 0));
}

#[test]
fn plan_that_changes_something_moves_streams_up_and_another_does_not() {
    let mut scene = scene();
    scene.settle();
    assert_eq!(scene.kernel.active(), 2);
    scene.worker.install(scene.plan.clone());
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.kernel.active(), 2, "nothing has changed");
    let mut plan = scene.plan.clone();
    plan.edges[0].default = Handling::Forward { payload_type: Some(8) };
    scene.worker.install(plan.clone());
    scene.worker.turn(Duration::ZERO);
    assert_eq!((scene.place(0), scene.kernel.active()), (Place::UserSpace(Reason::Waiting), 1));
    scene.worker.turn(DELAY + Duration::from_millis(1));
    let renamed = {
        let state = scene.kernel.lock();
        let known = state.targets.values().find(|k| k.target.local == scene.local(0) && !k.is_removed);
        known.unwrap().target.outputs[0].renamed.clone()
    };
    assert_eq!(renamed, [(0, 8)]);
    // On hold.
    plan.edges[0].rtp_to = None;
    scene.worker.install(plan);
    scene.worker.turn(Duration::ZERO);
    scene.worker.turn(DELAY + Duration::from_millis(1));
    assert_eq!((scene.place(0), scene.kernel.active()), (Place::UserSpace(Reason::NoOutput), 1));
}

#[test]
fn peer_that_moves_is_followed() {
    let mut scene = scene();
    scene.settle();
    scene.worker.turn(Duration::from_secs(1));
    let moved = UdpSocket::bind((HOST, 0)).unwrap();
    // The old source has been silent for a second; its numbers go on from elsewhere.
    for sequence_number in 11..14 {
        moved.send_to(&rtp(0, sequence_number, 7), scene.local(0)).unwrap();
        scene.worker.turn(Duration::from_millis(100));
    }
    assert_eq!(scene.kernel.active(), 0, "one has another source, the other another destination");
    scene.worker.turn(DELAY * 2);
    let state = scene.kernel.lock();
    let sources: Vec<_> = state.targets.values().filter(|k| !k.is_removed).map(|k| k.target.source).collect();
    assert!(sources.contains(&Source::Only(moved.local_addr().unwrap())), "{sources:?}");
}

#[test]
fn stream_that_the_kernel_refuses_stays_in_user_space() {
    let mut scene = scene();
    scene.kernel.lock().fails = true;
    scene.settle();
    assert_eq!(scene.place(0), Place::UserSpace(Reason::Refused));
    scene.kernel.lock().refuses = Some(Reason::Families);
    scene.worker.turn(Duration::from_secs(1));
    assert_eq!(scene.place(0), Place::UserSpace(Reason::Families));
    scene.pass(0, &rtp(0, 11, 7));
    assert_eq!(scene.parties[0].stream.shared.confirmed.load(Relaxed), 1);
}

#[test]
fn stream_whose_target_is_gone_comes_back() {
    let mut scene = scene();
    scene.settle();
    assert_eq!(scene.kernel.active(), 2);
    scene.kernel.lock().targets.clear();
    scene.kernel.lock().fails = true;
    scene.worker.turn(Duration::from_secs(1));
    assert_eq!([scene.place(0), scene.place(1)], [Place::UserSpace(Reason::Refused); 2]);
    scene.pass(0, &rtp(0, 11, 7));
}

#[test]
fn a_rung_that_is_given_up_is_left_for_good_with_all_that_it_has_counted() {
    let mut scene = scene();
    scene.settle();
    assert_eq!(scene.kernel.active(), 2);
    scene.kernel_forwards(5, 15, 0);
    scene.worker.give_up_rung();
    scene.worker.turn(Duration::ZERO);
    assert_eq!([scene.place(0), scene.place(1)], [Place::UserSpace(Reason::Off); 2]);
    assert_eq!((scene.kernel.active(), scene.traffic(0).0.packets), (0, 6));
    // On their way through the kernel at that time.
    scene.kernel_forwards(2, 17, 0);
    scene.worker.turn(SETTLING);
    scene.worker.give_up_rung();
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.traffic(0).0.packets, 8);
    scene.pass(0, &rtp(0, 18, 7));
    scene.worker.turn(DELAY * 3);
    scene.worker.install(scene.plan.clone());
    scene.worker.turn(Duration::ZERO);
    scene.worker.turn(DELAY * 3);
    assert_eq!((scene.kernel.active(), scene.place(0)), (0, Place::UserSpace(Reason::Off)));
}
