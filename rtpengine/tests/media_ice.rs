//! ICE through the data plane: a peer with real sockets, whose agent is driven here.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use codec::rtp::write_header;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtpengine::config::{Config, LocalAddress};
use rtpengine::media::event::{IceNews, MediaEvent};
use rtpengine::media::plan::*;
use rtpengine::media::port_pool::{LocalPort, PortPool};
use rtpengine::media::{MediaPlane, WorkerId, tap};
use rtpengine::proto::ice::{
    Agent, AgentState, Base, BaseId, CandidateKind, Component, Handled, LocalCredentials, Mode, RemoteAgent,
    RemoteCandidate, RemoteCredentials, Role, Settings, priority,
};
use tokio::sync::mpsc;

static NEXT: AtomicU64 = AtomicU64::new(1);
const WORKER: WorkerId = WorkerId(0);
const KEY: CallKey = CallKey(1);
const PATIENCE: Duration = Duration::from_secs(5);

struct Relay {
    plane: MediaPlane,
    pool: Arc<PortPool>,
    events: mpsc::Receiver<MediaEvent>,
    _tap: tap::Consumer,
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn local(last: u8) -> LocalAddress {
    LocalAddress { address: address(last), advertised: address(last), ports: None }
}

fn relay() -> Relay {
    let mut config = Config::for_address(address(1), address(1));
    config.num_threads = 1;
    config.interfaces[0].addresses = vec![local(1), local(2)];
    let pool = PortPool::new(&config.interfaces, (40_000, 44_999), 0, &[]);
    let (producer, tap) = tap::ring(1 << 16);
    let (sender, events) = mpsc::channel(64);
    let plane = MediaPlane::start(&config, vec![producer], sender).expect("workers");
    Relay { plane, pool, events, _tap: tap }
}

fn credentials() -> LocalCredentials {
    LocalCredentials::generate(&mut StdRng::seed_from_u64(NEXT.fetch_add(1, Relaxed)))
}

fn remote(local: &LocalCredentials, candidates: Vec<RemoteCandidate>, lite: bool) -> Arc<RemoteAgent> {
    Arc::new(RemoteAgent {
        credentials: RemoteCredentials { ufrag: local.ufrag().into(), password: local.password().into() },
        lite,
        trickle: false,
        candidates,
        end_of_candidates: true,
    })
}

fn candidate(address: SocketAddr, rank: u16) -> RemoteCandidate {
    RemoteCandidate {
        foundation: rank.to_string(),
        component: Component::Rtp,
        priority: priority(126, u16::MAX - rank, Component::Rtp),
        address,
        kind: CandidateKind::Host,
    }
}

/// The party with ICE: one socket, RTP and RTCP multiplexed.
struct Peer {
    socket: UdpSocket,
    agent: Agent,
    base: Base,
    buffer: Vec<u8>,
    media: Vec<(SocketAddr, Vec<u8>)>,
}

/// Both ends of one party: what the daemon does, and the party.
struct Party {
    stream: StreamPlan,
    ports: Vec<Arc<LocalPort>>,
    ours: LocalCredentials,
    theirs: LocalCredentials,
    peer: Peer,
}

struct How {
    mode: Mode,
    /// Which of our two addresses the peer knows.
    known_to_peer: &'static [usize],
    /// The daemon knows the peer's candidate.
    known_to_us: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { mode: Mode::Full, known_to_peer: &[0, 1], known_to_us: true }
    }
}

impl Party {
    fn new(relay: &Relay, how: &How) -> Self {
        let socket = UdpSocket::bind((address(1), 0)).expect("bind");
        let ports: Vec<_> = [local(1), local(2)]
            .iter()
            .map(|local| relay.pool.allocate(local, 2).expect("ports").swap_remove(0))
            .collect();
        let own = socket.local_addr().expect("address");
        let base = Base {
            component: Component::Rtp,
            address: own,
            priority: priority(126, u16::MAX, Component::Rtp),
            foundation: 0,
        };
        let (ours, theirs) = (credentials(), credentials());
        let stream = StreamPlan {
            ice: Some(ice_plan(ours, &ports, how.mode, None, 0)),
            ..StreamPlan::new(StreamId(NEXT.fetch_add(1, Relaxed)), Expect::RtpAndRtcp, ports[0].clone(), own)
        };
        let known = how.known_to_peer.iter().map(|&at| candidate(ports[at].local, at as u16)).collect();
        let settings = Settings {
            local: theirs,
            remote: Some(remote(&ours, known, how.mode == Mode::Lite)),
            role: Role::Controlling,
            mode: Mode::Full,
            generation: 0,
        };
        let agent = Agent::new(Instant::now(), settings, vec![base], StdRng::seed_from_u64(4));
        let peer = Peer { socket, agent, base, buffer: Vec::new(), media: Vec::new() };
        let mut party = Self { stream, ports, ours, theirs, peer };
        let candidates = if how.known_to_us { vec![candidate(own, 0)] } else { Vec::new() };
        let told = remote(&party.theirs, candidates, false);
        party.stream.ice = Some(ice_plan(ours, &party.ports, how.mode, Some(told), 0));
        party
    }
}

fn ice_plan(
    local: LocalCredentials,
    ports: &[Arc<LocalPort>],
    mode: Mode,
    remote: Option<Arc<RemoteAgent>>,
    generation: u32,
) -> Arc<IcePlan> {
    let bases = ports.iter().zip(0u8..).map(|(socket, foundation)| IceBase {
        candidate: Base {
            component: Component::Rtp,
            address: socket.local,
            priority: priority(126, u16::MAX - u16::from(foundation), Component::Rtp),
            foundation,
        },
        socket: Arc::clone(socket),
    });
    let is_demanded = remote.is_some();
    let settings = Settings { local, remote, role: Role::Controlled, mode, generation };
    Arc::new(IcePlan { settings, is_demanded, selected: [None; 2], bases: bases.collect() })
}

impl Peer {
    /// Lets the agent work until `done` is true; whether that was so in time.
    fn run(&mut self, patience: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + patience;
        let mut octets = [0; 2048];
        loop {
            let now = Instant::now();
            if self.agent.poll_timeout().is_some_and(|at| at <= now) {
                self.agent.handle_timeout(now);
            }
            while let Some(transmit) = self.agent.poll_transmit(now, &mut self.buffer) {
                self.socket.send_to(&self.buffer, transmit.to).expect("send");
            }
            while self.agent.poll_event().is_some() {}
            if done(self) {
                return true;
            }
            if now >= end {
                return false;
            }
            let next = self.agent.poll_timeout().map_or(end, |at| at.min(end));
            let wait = next.saturating_duration_since(now).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).expect("time-out");
            let Ok((count, from)) = self.socket.recv_from(&mut octets) else { continue };
            if octets[0] >= 128 {
                self.media.push((from, octets[..count].to_vec()));
                continue;
            }
            let datagram = &octets[..count];
            let handled =
                self.agent.handle_datagram(Instant::now(), BaseId(0), from, datagram, &mut self.buffer);
            assert!(!matches!(handled, Handled::Refused { .. }), "{handled:?}");
            if handled == Handled::Reply {
                self.socket.send_to(&self.buffer, from).expect("send");
            }
        }
    }

    fn establish(&mut self) {
        let done = |peer: &Self| peer.agent.state() == AgentState::Completed;
        assert!(self.run(PATIENCE, done), "no path");
    }

    /// Sends media on the path that the agent has found.
    fn send(&self, packet: &[u8]) {
        let path = self.agent.path(Component::Rtp).expect("a path");
        self.socket.send_to(packet, path.remote).expect("send");
    }
}

/// The other party, without ICE.
struct Plain {
    socket: UdpSocket,
    stream: StreamPlan,
}

impl Plain {
    fn new(relay: &Relay) -> Self {
        let socket = UdpSocket::bind((address(1), 0)).expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
        let port = relay.pool.allocate(&local(1), 2).expect("ports").swap_remove(0);
        let peer = socket.local_addr().expect("address");
        let id = StreamId(NEXT.fetch_add(1, Relaxed));
        Self { stream: StreamPlan::new(id, Expect::RtpAndRtcp, port, peer), socket }
    }

    fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.stream.socket.local).expect("send");
    }

    fn receive(&self) -> Vec<u8> {
        let mut octets = [0; 2048];
        let count = self.socket.recv(&mut octets).expect("a packet in time");
        octets[..count].to_vec()
    }
}

fn install(relay: &Relay, party: &Party, plain: &Plain) {
    install_as(relay, KEY, party, plain);
}

fn install_as(relay: &Relay, key: CallKey, party: &Party, plain: &Plain) {
    let (a, b) = (party.stream.id, plain.stream.id);
    let edge = |from, to| {
        let mut edge = EdgePlan::new(from, to);
        edge.rtcp_to = Some(to);
        edge
    };
    relay.plane.install(
        WORKER,
        CallPlan {
            key,
            streams: vec![party.stream.clone(), plain.stream.clone()],
            edges: vec![edge(a, b), edge(b, a)],
            gateways: Vec::new(),
            tap: None,
        },
    );
}

fn packet(sequence: u16, mark: u8) -> Vec<u8> {
    let mut packet = vec![mark; 172];
    let mut header = [0; 12];
    write_header(&mut header, false, 0, sequence, u32::from(sequence) * 160, 0x1234);
    packet[..12].copy_from_slice(&header);
    packet
}

fn drops(party: &Party, reason: DropReason) -> u64 {
    party.stream.shared.drops[reason as usize].get()
}

/// Waits for what the worker counts.
fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// Media both ways; `mark` tells the packets apart.
fn assert_flows(party: &mut Party, plain: &Plain, mark: u8) -> SocketAddr {
    party.peer.send(&packet(u16::from(mark), mark));
    assert_eq!(plain.receive(), packet(u16::from(mark), mark), "from the party");
    plain.send(&packet(u16::from(mark), mark));
    assert!(
        party.peer.run(PATIENCE, |peer| peer.media.iter().any(|(_, octets)| octets[171] == mark)),
        "to the party"
    );
    party.peer.media.pop().expect("a packet").0
}

fn selected(relay: &mut Relay) -> (SocketAddr, SocketAddr) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match relay.events.try_recv() {
            Ok(MediaEvent::Ice { news: IceNews::Selected { local, peer, .. }, .. }) => return (local, peer),
            _ => std::thread::yield_now(),
        }
    }
    panic!("control is not told");
}

#[test]
fn media_flow_once_the_path_is_verified_and_not_before() {
    for mode in [Mode::Full, Mode::Lite] {
        let mut relay = relay();
        let mut party = Party::new(&relay, &How { mode, ..How::default() });
        let plain = Plain::new(&relay);
        install(&relay, &party, &plain);
        let own = party.stream.socket.local;
        party.peer.socket.send_to(&packet(1, 1), own).expect("send");
        until("refused before", || drops(&party, DropReason::WrongSource) == 1);
        plain.send(&packet(1, 1));
        until("nowhere to send to", || plain.stream.shared.drops[DropReason::NoPeer as usize].get() == 1);
        party.peer.establish();
        let from = assert_flows(&mut party, &plain, 9);
        assert_eq!(from, own, "{mode:?}");
        let (local, peer) = selected(&mut relay);
        assert_eq!((local, peer), (own, party.peer.base.address));
        // Neither media nor STUN of others.
        let stranger = UdpSocket::bind((address(1), 0)).expect("bind");
        for octets in [&packet(10, 10)[..], &[22u8; 60], &packet(11, 11)] {
            stranger.send_to(octets, own).expect("send");
        }
        until("refused", || drops(&party, DropReason::WrongSource) == 4);
        assert_flows(&mut party, &plain, 12);
    }
}

#[test]
fn a_path_on_another_local_address_is_answered_and_used() {
    let mut relay = relay();
    let mut party = Party::new(&relay, &How { known_to_peer: &[1], known_to_us: false, ..How::default() });
    let plain = Plain::new(&relay);
    install(&relay, &party, &plain);
    party.peer.establish();
    let from = assert_flows(&mut party, &plain, 7);
    assert_eq!(from, party.ports[1].local);
    assert_eq!(selected(&mut relay).0, party.ports[1].local);
    // The same plan again changes nothing.
    install(&relay, &party, &plain);
    assert_eq!(assert_flows(&mut party, &plain, 8), party.ports[1].local);
}

#[test]
fn a_lite_agent_keeps_the_party_waiting_for_nothing() {
    let relay = relay();
    let mut party = Party::new(&relay, &How { mode: Mode::Lite, known_to_us: false, ..How::default() });
    let plain = Plain::new(&relay);
    install(&relay, &party, &plain);
    party.peer.establish();
    assert_flows(&mut party, &plain, 3);
}

#[test]
fn checks_before_the_party_is_known_are_answered_and_plain_media_pass() {
    let relay = relay();
    let mut party = Party::new(&relay, &How::default());
    let plain = Plain::new(&relay);
    let known = party.stream.ice.take();
    party.stream.ice = Some(ice_plan(party.ours, &party.ports, Mode::Full, None, 0));
    install(&relay, &party, &plain);
    assert!(party.peer.run(PATIENCE, |peer| peer.agent.path(Component::Rtp).is_some()), "answered");
    // It may turn out not to speak ICE at all.
    party.peer.socket.send_to(&packet(5, 5), party.stream.socket.local).expect("send");
    assert_eq!(plain.receive(), packet(5, 5));
    party.stream.ice = known;
    install(&relay, &party, &plain);
    party.peer.establish();
    assert_flows(&mut party, &plain, 6);
}

#[test]
fn media_go_on_during_a_restart_and_after_it() {
    let relay = relay();
    let mut party = Party::new(&relay, &How::default());
    let plain = Plain::new(&relay);
    install(&relay, &party, &plain);
    party.peer.establish();
    assert_flows(&mut party, &plain, 1);
    let (ours, theirs) = (credentials(), credentials());
    // The party has asked for it; it does not know the answer yet.
    let mut plan = ice_plan(ours, &party.ports, Mode::Full, None, 1);
    Arc::make_mut(&mut plan).is_demanded = true;
    party.stream.ice = Some(plan);
    install(&relay, &party, &plain);
    assert_flows(&mut party, &plain, 2);
    let stranger = UdpSocket::bind((address(1), 0)).expect("bind");
    stranger.send_to(&packet(9, 9), party.stream.socket.local).expect("send");
    until("a stranger stays one", || drops(&party, DropReason::WrongSource) == 1);
    let own = party.peer.base;
    let told = remote(&theirs, vec![candidate(own.address, 0)], false);
    party.stream.ice = Some(ice_plan(ours, &party.ports, Mode::Full, Some(told), 1));
    install(&relay, &party, &plain);
    let candidates = vec![candidate(party.ports[0].local, 0)];
    let settings = Settings {
        local: theirs,
        remote: Some(remote(&ours, candidates, false)),
        generation: 1,
        ..party.peer.agent.settings().clone()
    };
    party.peer.agent.update(Instant::now(), settings, vec![own]);
    assert!(party.peer.run(PATIENCE, |peer| peer.agent.state() != AgentState::Completed));
    party.peer.establish();
    assert_flows(&mut party, &plain, 3);
}

#[test]
fn a_stream_without_ice_any_more_is_a_plain_one() {
    let relay = relay();
    let mut party = Party::new(&relay, &How::default());
    let plain = Plain::new(&relay);
    install(&relay, &party, &plain);
    party.peer.establish();
    party.stream.ice = None;
    install(&relay, &party, &plain);
    party.peer.socket.send_to(&packet(5, 5), party.stream.socket.local).expect("send");
    assert_eq!(plain.receive(), packet(5, 5));
    plain.send(&packet(6, 6));
    assert!(party.peer.run(PATIENCE, |peer| !peer.media.is_empty()));
}

#[test]
fn a_call_that_becomes_part_of_another_keeps_its_path() {
    for mode in [Mode::Full, Mode::Lite] {
        let mut relay = relay();
        let mut party = Party::new(&relay, &How { mode, ..How::default() });
        let plain = Plain::new(&relay);
        install(&relay, &party, &plain);
        party.peer.establish();
        let (local, peer) = selected(&mut relay);
        assert_flows(&mut party, &plain, 4);
        relay.plane.release(WORKER, KEY);
        let plan = party.stream.ice.as_mut().expect("a plan");
        Arc::make_mut(plan).selected = [Some((local, peer)), None];
        install_as(&relay, CallKey(2), &party, &plain);
        // At once: nobody checks or nominates in between.
        party.peer.socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
        plain.send(&packet(5, 5));
        let mut octets = [0; 2048];
        let (count, from) = party.peer.socket.recv_from(&mut octets).expect("a packet");
        assert_eq!((&octets[..count], from), (&packet(5, 5)[..], local), "{mode:?}");
        assert_flows(&mut party, &plain, 6);
    }
}
