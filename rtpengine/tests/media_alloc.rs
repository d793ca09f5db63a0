//! The pass-through path of a worker neither allocates nor frees, with SRTP or without: counted by the allocator of
//! this program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use codec::PayloadFormat;
use codec::rtp::write_header;
use e2e::srtp::{Endpoint, Key};
use rtpengine::config::{Config, LocalAddress};
use rtpengine::media::plan::*;
use rtpengine::media::port_pool::{LocalPort, PortPool};
use rtpengine::media::treatment::{MediaTreatment, Treatment};
use rtpengine::media::{MediaPlane, Work, tap};
use rtpengine::proto::ice::{
    Base, CandidateKind, Component, LocalCredentials, Mode, RemoteAgent, RemoteCandidate, RemoteCredentials,
    Role, Settings, priority,
};
use rtpengine::proto::srtp::{MasterKey, SessionParameters, Suite};
use tokio::sync::mpsc;

/// Allocations, re-allocations and releases of all threads but those that opted out.
static EVENTS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Set on threads that play the parties. Constant initialiser, no destructor: safe inside the allocator.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if !EXEMPT.with(Cell::get) {
        EVENTS.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call goes on to the system allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: by the caller's contract; `pointer` came from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: by the caller's contract; `pointer` came from the system allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds before counting: first packets, learning, the window that decides about gathering.
const WARM_UP: u16 = 600;
/// Rounds counted; each is one RTP and one RTCP packet in each direction.
const ROUNDS: u16 = 2000;

struct Party {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    streams: [StreamPlan; 2],
    /// How the party protects what it sends; `None`: not at all.
    security: Option<RefCell<Endpoint>>,
}

fn stream(id: u64, expect: Expect, socket: Arc<LocalPort>, peer: SocketAddr) -> StreamPlan {
    let formats = Arc::from([PayloadFormat::new(0, "PCMU", 8000, 1)]);
    StreamPlan { formats, recorded: true, ..StreamPlan::new(StreamId(id), expect, socket, peer) }
}

impl Party {
    fn new(pool: &Arc<PortPool>, local: &LocalAddress, id: u64) -> Self {
        let bind = || {
            let socket = UdpSocket::bind((local.address, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        let (rtp, rtcp) = (bind(), bind());
        let ports = pool.allocate(local, 2).unwrap();
        let streams = [
            stream(id, Expect::Rtp, ports[0].clone(), rtp.local_addr().unwrap()),
            stream(id + 1, Expect::Rtcp, ports[1].clone(), rtcp.local_addr().unwrap()),
        ];
        Self { rtp, rtcp, streams, security: None }
    }

    fn secure(&mut self, suite: &str) {
        let suite = Suite::by_name(suite).unwrap();
        let keys = |octet| {
            let octets = vec![octet; suite.key_salt_octets()];
            let key = MasterKey::new(suite, &octets, &[], SessionParameters::default()).unwrap();
            (Some(Arc::new(key)), Key::new(suite.name, &octets))
        };
        let ((receive, theirs), (send, ours)) = (keys(1), keys(2));
        for stream in &mut self.streams {
            stream.security = StreamSecurity::Srtp { receive: receive.clone(), send: send.clone() };
        }
        self.security = Some(RefCell::new(Endpoint::new(theirs, ours)));
    }

    fn send(&self, rtp: &[u8], report: &[u8]) {
        let protect = |packet: &[u8]| match &self.security {
            None => packet.to_vec(),
            Some(security) => security.borrow_mut().protect(packet),
        };
        self.rtp.send_to(&protect(rtp), self.streams[0].socket.local).unwrap();
        self.rtcp.send_to(&protect(report), self.streams[1].socket.local).unwrap();
    }

    fn expect(&self, rtp: &[u8], report: &[u8]) {
        // A party whose sections share a port is told which one a packet is for.
        let mut with_mid = rtp.to_vec();
        let rtp = match &self.streams[0].bundle {
            None => rtp,
            Some(_) => {
                with_mid.resize(rtp.len() + 24, 0);
                let length = codec::header_extension::set(&mut with_mid, rtp.len(), 4, b"m0").unwrap();
                &with_mid[..length]
            }
        };
        for (socket, expected) in [(&self.rtp, rtp), (&self.rtcp, report)] {
            let mut buffer = [0; 2048];
            let length = socket.recv(&mut buffer).unwrap();
            match &self.security {
                None => assert!(buffer[..length] == *expected, "packet changed"),
                Some(security) => {
                    let clear = security.borrow_mut().unprotect(&buffer[..length]);
                    assert!(clear.as_deref() == Some(expected), "packet changed");
                }
            }
        }
    }
}

fn edges(from: &Party, to: &Party, treatment: &Treatment) -> [EdgePlan; 2] {
    let edge = |component: usize| EdgePlan {
        rtcp_to: Some(to.streams[1].id),
        treatment: treatment.clone(),
        ..EdgePlan::new(from.streams[component].id, to.streams[0].id)
    };
    [edge(0), edge(1)]
}

/// The party's RTP port is that of several media sections.
fn bundle(party: &mut Party, edges: &mut [EdgePlan]) {
    let section = |section, payload_type| SectionPlan {
        section,
        mid: Some(format!("m{section}").into()),
        ssrcs: Arc::default(),
        payload_types: [payload_type].into(),
    };
    let plan = BundlePlan { mid_extension: Some(4), sections: vec![section(0, 0), section(1, 96)] };
    let stream = &mut party.streams[0];
    stream.bundle = Some(Arc::new(plan));
    stream.hidden_extensions = [5].into_iter().collect();
    edges.iter_mut().filter(|edge| edge.from == stream.id).for_each(|edge| edge.section = Some(0));
}

/// The party speaks ICE. Two lite agents send no checks, so that the pair stands at once.
fn speak_ice(party: &mut Party) {
    let components = [(Component::Rtp, &party.rtp), (Component::Rtcp, &party.rtcp)];
    let candidates = components.map(|(component, socket)| RemoteCandidate {
        foundation: "1".into(),
        component,
        priority: priority(126, 65535, component),
        address: socket.local_addr().unwrap(),
        kind: CandidateKind::Host,
    });
    let remote = RemoteAgent {
        credentials: RemoteCredentials { ufrag: "abcd".into(), password: "efghijklmnopqrstuvwxyz".into() },
        lite: true,
        trickle: false,
        candidates: candidates.into(),
        end_of_candidates: true,
    };
    let bases = components.iter().zip(&party.streams).map(|((component, _), stream)| IceBase {
        candidate: Base {
            component: *component,
            address: stream.socket.local,
            priority: priority(126, 65535, *component),
            foundation: 0,
        },
        socket: Arc::clone(&stream.socket),
    });
    let settings = Settings {
        local: LocalCredentials::generate(&mut rand::rng()),
        remote: Some(Arc::new(remote)),
        role: Role::Controlled,
        mode: Mode::Lite,
        generation: 0,
    };
    let plan = Arc::new(IcePlan { settings, is_demanded: true, selected: [None; 2], bases: bases.collect() });
    party.streams.iter_mut().for_each(|stream| stream.ice = Some(Arc::clone(&plan)));
}

/// One round trip of RTP and RTCP at a time, both ways.
fn exchange(a: &Party, b: &Party, first: u16, rounds: u16) {
    // Sender report without report blocks (RFC 3550 §6.4.1), and a source description item would not matter here.
    let mut report = [0; 28];
    report[..4].copy_from_slice(&[0x80, 200, 0, 6]);
    // Silence in PCMU.
    let mut packet = [0xff; 172];
    let mut header = [0; 12];
    for round in 0..rounds {
        let sequence_number = first.wrapping_add(round);
        let timestamp = u32::from(sequence_number) * 160;
        for (from, to, ssrc) in [(a, b, 0x1111_u32), (b, a, 0x2222)] {
            write_header(&mut header, false, 0, sequence_number, timestamp, ssrc);
            packet[..12].copy_from_slice(&header);
            report[4..8].copy_from_slice(&ssrc.to_be_bytes());
            from.send(&packet, &report);
            to.expect(&packet, &report);
        }
    }
}

/// Heap operations of the worker for [`ROUNDS`] rounds.
fn heap_operations(tapped: bool, suite: Option<&str>, treatment: &Treatment) -> u64 {
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    let local = LocalAddress { address: ip, advertised: ip, ports: None };
    let mut config = Config::for_address(ip, ip);
    config.num_threads = 1;
    let pool = PortPool::new(&config.interfaces, (49_000, 49_999), 0, &[]);
    let (producer, mut consumer) = tap::ring(64 << 20);
    let (sender, _events) = mpsc::channel(64);
    let plane = MediaPlane::start(&config, vec![producer], sender).unwrap();
    let (mut a, mut b) = (Party::new(&pool, &local, 1), Party::new(&pool, &local, 3));
    suite.into_iter().for_each(|suite| b.secure(suite));
    let mut edges: Vec<_> = edges(&a, &b, treatment).into_iter().chain(edges(&b, &a, treatment)).collect();
    if tapped {
        bundle(&mut a, &mut edges);
        speak_ice(&mut a);
        speak_ice(&mut b);
    }
    let plan = CallPlan {
        key: CallKey(1),
        streams: a.streams.iter().chain(&b.streams).cloned().collect(),
        edges,
        gateways: Vec::new(),
        tap: tapped.then_some(TapPlan { recording: 7, ingress: true, egress: true }),
    };
    plane.install(plane.assign(Work::Forwarding), plan);
    exchange(&a, &b, 0, WARM_UP);
    let before = EVENTS.load(Relaxed);
    exchange(&a, &b, WARM_UP, ROUNDS);
    let operations = EVENTS.load(Relaxed) - before;

    let rounds = u64::from(WARM_UP + ROUNDS);
    let forwarded: u64 = a.streams.iter().chain(&b.streams).map(|s| s.shared.ingress.packets.get()).sum();
    assert_eq!(forwarded, 4 * rounds);
    let mut recorded = 0;
    while consumer.drain(&mut |_| recorded += 1) > 0 {}
    plane.shutdown();
    while consumer.drain(&mut |_| recorded += 1) > 0 {}
    assert_eq!(recorded, if tapped { 8 * rounds } else { 0 }, "in and out, each packet");
    operations
}

/// One test for both: the count is the program's, so nothing else may run beside it.
#[test]
fn passed_through_packets_cost_no_heap_operation() {
    EXEMPT.with(|exempt| exempt.set(true));
    let control = std::thread::spawn(|| drop(std::hint::black_box(Box::new(1))));
    control.join().unwrap();
    assert!(EVENTS.load(Relaxed) >= 2, "the count does not count");
    let none = Treatment::default();
    let silenced = Treatment { media: MediaTreatment::Silence, injectable: true, ..Treatment::default() };
    for (tapped, suite, treatment) in [
        (false, None, &none),
        (true, None, &none),
        (false, Some("AES_CM_128_HMAC_SHA1_80"), &none),
        (false, Some("AEAD_AES_256_GCM"), &none),
        (true, Some("F8_128_HMAC_SHA1_32"), &none),
        (false, None, &silenced),
        (true, Some("AES_CM_128_HMAC_SHA1_80"), &silenced),
    ] {
        let operations = heap_operations(tapped, suite, treatment);
        let packets = 4 * u32::from(ROUNDS);
        let case = (tapped, suite, treatment);
        assert_eq!(
            operations, 0,
            "heap operations for {packets} packets, (tapped, suite, treatment): {case:?}"
        );
    }
}
