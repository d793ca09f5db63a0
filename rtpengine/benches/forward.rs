//! Processor time of a passed-through RTP packet in a worker, beside a bare epoll relay in the same process.
//!
//! Both get the same packets on the same number of sockets; what counts is the processor time of the relaying
//! thread alone, and of that the ratio: it is what parsing, learning, counting and routing add to the system calls.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use codec::rtp::write_header;
use rtpengine::config::{Config, LocalAddress};
use rtpengine::media::plan::*;
use rtpengine::media::port_pool::PortPool;
use rtpengine::media::{MediaPlane, Work};
use tokio::sync::mpsc;

const CALLS: usize = 100;
const WARM_UP: u16 = 100;
const ROUNDS: u16 = 500;
const REPEATS: usize = 3;

/// The sockets of the two parties of each call and the relay's ports they send to.
struct Parties {
    sockets: Vec<UdpSocket>,
    relay: Vec<SocketAddr>,
}

fn sockets() -> Vec<UdpSocket> {
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    };
    (0..2 * CALLS).map(|_| socket()).collect()
}

impl Parties {
    /// Every party sends a packet, then every party takes one.
    fn exchange(&self, first: u16, rounds: u16) {
        let (mut header, mut packet, mut buffer) = ([0; 12], [0xd5; 172], [0; 2048]);
        for round in 0..rounds {
            let sequence_number = first.wrapping_add(round);
            write_header(&mut header, false, 0, sequence_number, u32::from(sequence_number) * 160, 0xabcd);
            packet[..12].copy_from_slice(&header);
            for (socket, relay) in self.sockets.iter().zip(&self.relay) {
                socket.send_to(&packet, relay).unwrap();
            }
            for socket in &self.sockets {
                assert_eq!(socket.recv(&mut buffer).unwrap(), packet.len());
            }
        }
    }

    /// Nanoseconds of processor time that the named thread spends on a packet.
    fn measure(&self, thread: &str) -> f64 {
        self.exchange(0, WARM_UP);
        let before = processor_time(thread);
        self.exchange(WARM_UP, ROUNDS);
        (processor_time(thread) - before) as f64 / (2 * CALLS * usize::from(ROUNDS)) as f64
    }
}

/// Processor time of a thread of this process, from the scheduler's accounts (first field of `schedstat`).
fn processor_time(name: &str) -> u64 {
    let of = |task: std::fs::DirEntry| {
        let path = task.path();
        (std::fs::read_to_string(path.join("comm")).ok()?.trim() == name).then_some(())?;
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().find_map(of).unwrap_or_else(|| panic!("no thread {name}"))
}

fn worker() -> f64 {
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    let local = LocalAddress { address: ip, advertised: ip, ports: None };
    let mut config = Config::for_address(ip, ip);
    config.num_threads = 1;
    let pool = PortPool::new(&config.interfaces, (40_000, 48_999), 0, &[]);
    let (events, _receiver) = mpsc::channel(2 * CALLS + 1);
    let plane = MediaPlane::start(&config, Vec::new(), events).unwrap();
    let sockets = sockets();
    let mut relay = Vec::new();
    for (call, pair) in sockets.chunks(2).enumerate() {
        let streams: Vec<StreamPlan> = pair
            .iter()
            .enumerate()
            .map(|(side, socket)| {
                let id = StreamId((2 * call + side) as u64 + 1);
                let port = pool.allocate(&local, 2).unwrap().remove(0);
                StreamPlan::new(id, Expect::Rtp, port, socket.local_addr().unwrap())
            })
            .collect();
        relay.extend(streams.iter().map(|stream| stream.socket.local));
        let edge = |from: usize, to: usize| EdgePlan::new(streams[from].id, streams[to].id);
        let edges = vec![edge(0, 1), edge(1, 0)];
        plane.install(
            plane.assign(Work::Forwarding),
            CallPlan { key: CallKey(call as u64), streams, edges, gateways: Vec::new(), tap: None },
        );
    }
    let cost = Parties { sockets, relay }.measure("media-0");
    plane.shutdown();
    cost
}

/// Wait, and for each ready socket receive until it is empty and send.
fn bare_relay() -> f64 {
    let sockets = sockets();
    let ports: Vec<UdpSocket> = (0..sockets.len()).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let relay = ports.iter().map(|port| port.local_addr().unwrap()).collect();
    let peers: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let run = move || {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        for (index, port) in ports.iter().enumerate() {
            port.set_nonblocking(true).unwrap();
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, index as u64);
            epoll.add(port, event).unwrap();
        }
        let mut events = vec![EpollEvent::empty(); 256];
        let mut buffer = [0; 2048];
        while !stopped.load(Relaxed) {
            let ready = epoll.wait(&mut events, EpollTimeout::from(100u8)).unwrap_or(0);
            for event in &events[..ready] {
                let index = event.data() as usize;
                while let Ok((length, _)) = ports[index].recv_from(&mut buffer) {
                    // Neighbours are the two sides of a call.
                    let _ = ports[index ^ 1].send_to(&buffer[..length], peers[index ^ 1]);
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("bare".into()).spawn(run).unwrap();
    let cost = Parties { sockets, relay }.measure("bare");
    stop.store(true, Relaxed);
    thread.join().unwrap();
    cost
}

fn main() {
    let mut costs: HashMap<&str, Vec<f64>> = HashMap::new();
    for _ in 0..REPEATS {
        costs.entry("worker").or_default().push(worker());
        costs.entry("bare epoll relay").or_default().push(bare_relay());
    }
    let mut median = |name: &str| {
        let costs = costs.get_mut(name).expect("measured above");
        costs.sort_by(f64::total_cmp);
        let cost = costs[costs.len() / 2];
        println!("{name:>16}: {cost:6.0} ns of processor time a packet");
        cost
    };
    let ratio = median("worker") / median("bare epoll relay");
    println!("{:>16}: {ratio:.2}", "ratio");
}
