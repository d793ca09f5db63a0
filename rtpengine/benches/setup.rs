//! Processor time of offer → answer → delete inside the daemon, beside a process that only opens and closes the same four sockets.
//!
//! Requests go through everything but the control socket: cookie cache, decoding, call model, SDP, ports, workers. What counts is the
//! processor time of the whole process, and the ratio to the bare sockets. Heap operations are counted too: they are the cost
//! that creeps in unnoticed.

use std::alloc::{GlobalAlloc, Layout};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

use rtpengine::allocator::Allocator;
use rtpengine::call::{Engine, Services};
use rtpengine::config::Config;
use rtpengine::control::ng::{Commands, Responder, Templates};
use rtpengine::control::operations::Operations;
use rtpengine::control::{Answer, Respond};
use rtpengine::media::{MediaPlane, port_pool::PortPool, tap};
use rtpengine::proto::dtls::Identity;
use rtpengine::record::Recorder;

const WARM_UP: usize = 2_000;
const CALLS: usize = 20_000;
const REPEATS: usize = 3;

struct Counting;

static HEAP: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the allocator of the daemon, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(1, Relaxed);
        // SAFETY: by the caller's contract.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's contract.
        unsafe { Allocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HEAP.fetch_add(1, Relaxed);
        // SAFETY: by the caller's contract.
        unsafe { Allocator.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A caller's and a callee's description as Kamailio hands them over: three codecs and events.
fn sdp(address: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1001 1 IN IP4 {address}\r\ns=call\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=sendrecv\r\na=ptime:20\r\n"
    )
}

fn text(word: &str) -> String {
    format!("{}:{word}", word.len())
}

fn request(cookie: usize, pairs: &[(&str, &str)]) -> Vec<u8> {
    let body: String = pairs.iter().map(|(key, value)| text(key) + &text(value)).collect();
    format!("{cookie} d{body}5:flagsl13:trust-addresse7:replacel6:origine3:ICE6:removee").into_bytes()
}

/// The three requests of one call.
fn call(number: usize) -> [Vec<u8>; 3] {
    let id = format!("call-{number}@example.com");
    let (offer, answer) = (sdp("127.0.0.1", 6000), sdp("127.0.0.1", 7000));
    let common = [("call-id", id.as_str()), ("from-tag", "caller-tag")];
    let with = |cookie: usize, command: &str, more: &[(&str, &str)]| {
        let mut pairs = vec![("command", command)];
        pairs.extend(common);
        pairs.extend(more);
        request(3 * number + cookie, &pairs)
    };
    [
        with(0, "offer", &[("sdp", &offer)]),
        with(1, "answer", &[("to-tag", "callee-tag"), ("sdp", &answer)]),
        with(2, "delete", &[("delete-delay", "0")]),
    ]
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("own usage");
    let us = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    us(usage.user_time()) + us(usage.system_time())
}

/// Microseconds of processor time and heap operations for each of `CALLS` turns, the best of `REPEATS`.
fn measure(mut turn: impl FnMut(usize)) -> (f64, f64) {
    (0..WARM_UP).for_each(&mut turn);
    let mut next = WARM_UP;
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..REPEATS {
        let (time, heap) = (processor_time(), HEAP.load(Relaxed));
        (next..next + CALLS).for_each(&mut turn);
        next += CALLS;
        let spent = (processor_time() - time).as_secs_f64() * 1e6 / CALLS as f64;
        let heap = (HEAP.load(Relaxed) - heap) as f64 / CALLS as f64;
        if spent < best.0 {
            best = (spent, heap);
        }
    }
    best
}

fn bare() -> (f64, f64) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    measure(|number| {
        let first = 20_000 + (number % 5_000) as u16 * 4;
        let sockets: Vec<UdpSocket> =
            (0..4).filter_map(|offset| UdpSocket::bind(("127.0.0.1", first + offset)).ok()).collect();
        for socket in &sockets {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, socket.as_raw_fd() as u64);
            epoll.add(socket, event).expect("registered");
        }
    })
}

fn daemon() -> (f64, f64) {
    let loopback = [127, 0, 0, 1].into();
    let config = Arc::new(Config { num_threads: 1, ..Config::for_address(loopback, loopback) });
    let (events, _keep) = tokio::sync::mpsc::channel(64);
    let (producer, consumer) = tap::ring(4096);
    let plane = MediaPlane::start(&config, vec![producer], events).expect("workers");
    let engine = Arc::new(Engine::new(Services {
        ended: None,
        away: None,
        stored: false,
        pool: PortPool::new(&config.interfaces, (config.port_min, config.port_max), 0, &[]),
        plane: plane.clone(),
        recorder: Recorder::start(&config.recording, vec![consumer]).expect("recorder"),
        sources: rtpengine::play::Sources::without_library().expect("sources"),
        identity: Identity::generate(&config.dtls, &config.software_id, SystemTime::now())
            .expect("a certificate"),
        config: config.clone(),
    }));
    let operations = Arc::new(Operations::new(engine.clone(), None));
    let commands = Arc::new(Commands::new(engine, config.ssrc_reporting, operations));
    let responder = Responder::new(commands, Templates::default());
    let peer: SocketAddr = ([127, 0, 0, 1], 5060).into();
    let requests: Vec<[Vec<u8>; 3]> = (0..WARM_UP + REPEATS * CALLS).map(call).collect();
    let result = measure(|number| {
        for message in &requests[number] {
            match responder.respond(message, peer) {
                Answer::Now(reply) => assert!(reply.ends_with(b"6:result2:oke"), "{}", reply.escape_ascii()),
                _ => panic!("no reply"),
            }
        }
    });
    plane.shutdown();
    result
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _entered = runtime.enter();
    let (bare, _) = bare();
    let (daemon, heap) = daemon();
    println!("offer + answer + delete: {daemon:.1} us of processor time, {heap:.0} heap operations");
    println!("four sockets opened, registered and closed: {bare:.1} us");
    println!("ratio {:.2}", daemon / bare);
}
