//! The program: compiled with the daemon, loaded once, attached to interfaces as they are needed.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use aya::maps::{MapData, RingBuf};
use aya::programs::tc::{NlOptions, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};

use super::super::super::tap::Producer;
use super::super::Backend;
use super::backend::{EbpfBackend, LOOPBACK};
use super::clsact;
use super::interface::Interface;
use super::layout::{Endpoint, GuardValue, OutputKey, OutputValue, SprayValue, TargetValue};
use super::map::Map;
use super::route::Changes;
use super::taps::Taps;
use super::tracks::{SLOTS, Tracks};

/// Empty when there was no clang.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/forward.bpf.o"));

/// The program was compiled when this was built.
pub fn is_built() -> bool {
    !OBJECT.is_empty()
}

/// Its name in the object, and of its filters.
const PROGRAM: &str = "rtpengine";
/// Streams that may be forwarded at the same time.
const MOST_TARGETS: u32 = 1 << 20;
/// Octets of copies that may wait for the reader, with and without recording.
const TAP_RING: u32 = 16 << 20;
const NO_TAPS: u32 = 1 << 16;
/// How often the reader looks, in milliseconds, while something is recorded and otherwise.
const LOOK_OFTEN: i32 = 10;
const LOOK_SELDOM: i32 = 200;

/// Why nothing is forwarded by eBPF.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// There was no clang when the daemon was built.
    #[error("this build has no eBPF program (clang was missing)")]
    NotBuilt,
    /// No right, no kernel support, or the verifier does not like it.
    #[error("the kernel does not take the eBPF program ({0}); it needs CAP_BPF and CAP_NET_ADMIN")]
    Load(String),
    /// The interface is gone, or programs cannot be attached to it.
    #[error("cannot attach the eBPF program to {interface}: {reason}")]
    Attach {
        /// Its name or number.
        interface: String,
        /// What the kernel says.
        reason: String,
    },
    /// The system refused a socket or thread.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The loaded program. Dropping it takes it out of the kernel.
pub struct Program {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

/// What workers and the watcher share.
pub struct Shared {
    pub targets: Map<Endpoint, TargetValue>,
    pub tracks: Tracks,
    pub outputs: Map<OutputKey, OutputValue>,
    pub guards: Map<Endpoint, GuardValue>,
    pub sprays: Map<Endpoint, SprayValue>,
    /// One element: when something was dropped last.
    pub dropped_at: Map<u32, u64>,
    pub next_id: AtomicU32,
    /// Counts changes of routes and interfaces.
    pub generation: AtomicU64,
    /// Targets with taps.
    pub tapped: AtomicUsize,
    pub ttl: u8,
    pub hop_limit: u8,
    /// Held to attach, which happens once an interface.
    attached: Mutex<Attached>,
    /// Held by whoever moves copies on.
    taps: Mutex<Taps>,
    is_over: AtomicBool,
}

struct Attached {
    ebpf: Ebpf,
    interfaces: HashSet<u32>,
}

impl Program {
    /// Loads the program and attaches it where the media addresses are. Copies of packets go to `recorder`.
    ///
    /// # Errors
    /// [`EbpfError`]; nothing stays behind.
    pub fn start(addresses: &[IpAddr], recorder: Option<Producer>) -> Result<Self, EbpfError> {
        if OBJECT.is_empty() {
            return Err(EbpfError::NotBuilt);
        }
        let ring = if recorder.is_some() { TAP_RING } else { NO_TAPS };
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("TARGETS", MOST_TARGETS)
            .map_max_entries("TRACKS", MOST_TARGETS)
            .map_max_entries("FIRST_TRACKS", SLOTS)
            .map_max_entries("OUTPUTS", MOST_TARGETS)
            .map_max_entries("GUARDS", MOST_TARGETS)
            .map_max_entries("SPRAYS", MOST_TARGETS)
            .map_max_entries("TAPS", ring)
            .load(OBJECT)
            .map_err(|error| EbpfError::Load(with_causes(&error)))?;
        program(&mut ebpf)?.load().map_err(|error| EbpfError::Load(with_causes(&error)))?;
        let targets = Map::new(map_fd(&mut ebpf, "TARGETS")?);
        let first_tracks = Map::with_lock(map_fd(&mut ebpf, "FIRST_TRACKS")?);
        let tracks = Tracks::new(first_tracks, Map::with_lock(map_fd(&mut ebpf, "TRACKS")?));
        let outputs = Map::new(map_fd(&mut ebpf, "OUTPUTS")?);
        let guards = Map::new(map_fd(&mut ebpf, "GUARDS")?);
        let sprays = Map::new(map_fd(&mut ebpf, "SPRAYS")?);
        let dropped_at = Map::new(map_fd(&mut ebpf, "DROPPED_AT")?);
        let missing = || EbpfError::Load("the program has no map TAPS".into());
        let ring = ebpf.take_map("TAPS").ok_or_else(missing)?;
        let ring: RingBuf<MapData> =
            RingBuf::try_from(ring).map_err(|error| EbpfError::Load(error.to_string()))?;
        let shared = Arc::new(Shared {
            targets,
            tracks,
            outputs,
            guards,
            sprays,
            dropped_at,
            next_id: AtomicU32::new(1),
            generation: AtomicU64::new(0),
            tapped: AtomicUsize::new(0),
            ttl: default_of("/proc/sys/net/ipv4/ip_default_ttl"),
            hop_limit: default_of("/proc/sys/net/ipv6/conf/default/hop_limit"),
            attached: Mutex::new(Attached { ebpf, interfaces: HashSet::new() }),
            taps: Mutex::new(Taps::new(ring, recorder)),
            is_over: AtomicBool::new(false),
        });
        for ifindex in interfaces_of(addresses)? {
            shared.attach(ifindex)?;
        }
        let (watched, changes) = (Arc::clone(&shared), Changes::open()?);
        let watcher = service::process::threads::builder("offload").spawn(move || watched.watch(&changes))?;
        Ok(Self { shared, watcher: Some(watcher) })
    }

    /// A worker's view.
    ///
    /// # Errors
    /// When the system has no sockets left.
    pub fn backend(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(EbpfBackend::new(Arc::clone(&self.shared))?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        // Workers may still hold the maps; nothing comes to the program any more.
        self.shared.detach();
    }
}

impl Shared {
    /// Sees to it that packets that come in by an interface come by the program.
    ///
    /// # Errors
    /// The kernel refuses, or there is no such interface or none with Ethernet headers.
    pub fn attach(&self, ifindex: u32) -> Result<(), EbpfError> {
        let mut attached = lock(&self.attached);
        if attached.interfaces.contains(&ifindex) {
            return Ok(());
        }
        let refused = |interface: String, reason: String| EbpfError::Attach { interface, reason };
        let interface =
            Interface::read(ifindex).map_err(|error| refused(ifindex.to_string(), error.to_string()))?;
        if !interface.is_ethernet {
            return Err(refused(interface.name, "its packets have no Ethernet header".into()));
        }
        let name = interface.name;
        // Before 6.6 programs hang on this queueing discipline, which may be there already. Adding it stops the interface for a moment,
        // so that packets are lost: not where it is not needed.
        let is_old = KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0));
        let options = if is_old {
            let _ = tc::qdisc_add_clsact(&name);
            if clsact::remove_orphans(ifindex, PROGRAM).is_ok_and(|removed| removed > 0) {
                tracing::warn!(interface = %name, "removed the eBPF program of a daemon that was killed");
            }
            let handle = TcHandle::from(std::process::id());
            TcAttachOptions::Netlink(NlOptions { handle, ..NlOptions::default() })
        } else {
            TcAttachOptions::TcxOrder(LinkOrder::default())
        };
        let program = program(&mut attached.ebpf)?;
        let result = program.attach_with_options(&name, TcAttachType::Ingress, options);
        result.map_err(|error| refused(name.clone(), with_causes(&error)))?;
        attached.interfaces.insert(ifindex);
        tracing::info!(interface = %name, "media are forwarded by eBPF here");
        Ok(())
    }

    /// Moves copies on to the recorder.
    pub fn drain_taps(&self) {
        lock(&self.taps).drain();
    }

    /// Copies of a stream's packets that were lost behind the program since this was asked last.
    pub fn take_tap_lost(&self, stream: u64) -> u64 {
        lock(&self.taps).take_lost(stream)
    }

    fn detach(&self) {
        let mut attached = lock(&self.attached);
        attached.interfaces.clear();
        if let Ok(program) = program(&mut attached.ebpf) {
            let _ = program.unload();
        }
    }

    fn watch(&self, changes: &Changes) {
        while !self.is_over.load(Relaxed) {
            let is_tapped = self.tapped.load(Relaxed) > 0;
            if changes.wait(if is_tapped { LOOK_OFTEN } else { LOOK_SELDOM }) {
                // An interface that comes back has another number, or has to be attached to again.
                lock(&self.attached).interfaces.retain(|ifindex| Interface::read(*ifindex).is_ok());
                self.generation.fetch_add(1, Relaxed);
            }
            self.drain_taps();
        }
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, EbpfError> {
    let program = ebpf.program_mut(PROGRAM).ok_or_else(|| EbpfError::Load("it has no program".into()))?;
    program.try_into().map_err(|error: aya::programs::ProgramError| EbpfError::Load(error.to_string()))
}

fn map_fd(ebpf: &mut Ebpf, name: &str) -> Result<std::os::fd::OwnedFd, EbpfError> {
    let missing = || EbpfError::Load(format!("the program has no map {name}"));
    let Some(aya::maps::Map::HashMap(map) | aya::maps::Map::Array(map)) = ebpf.map(name) else {
        return Err(missing());
    };
    Ok(map.fd().as_fd().try_clone_to_owned()?)
}

/// Interfaces through which packets to these addresses come, as far as that can be told from the addresses.
fn interfaces_of(addresses: &[IpAddr]) -> Result<HashSet<u32>, EbpfError> {
    let mut interfaces = HashSet::new();
    if addresses.iter().any(IpAddr::is_loopback) {
        interfaces.insert(LOOPBACK);
    }
    for known in nix::ifaddrs::getifaddrs().map_err(io::Error::from)? {
        let address = known.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        if address.is_some_and(|address| addresses.contains(&address)) {
            let index =
                nix::net::if_::if_nametoindex(known.interface_name.as_str()).map_err(io::Error::from)?;
            if Interface::read(index).is_ok_and(|interface| interface.is_ethernet) {
                interfaces.insert(index);
            }
        }
    }
    Ok(interfaces)
}

fn default_of(path: &str) -> u8 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(64)
}

/// An error with what lies beneath it; the verifier's log, which comes with it, is cut.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::layout::{TargetValue, TrackKey, TrackValue};
    use super::super::tracks::TrackPlace;
    use super::*;

    /// `None`, with a message, without the rights.
    fn program() -> Option<Program> {
        match Program::start(&[], None) {
            Ok(program) => Some(program),
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                None
            }
        }
    }

    fn endpoint(number: u32) -> Endpoint {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | number >> 12);
        std::net::SocketAddr::from((address, 1024 + (number & 0xfff) as u16)).into()
    }

    #[test]
    fn maps_give_back_what_was_put_in() {
        let Some(program) = program() else { return };
        let (targets, tracks) = (&program.shared.targets, &program.shared.tracks);
        let key = endpoint(1);
        let value = TargetValue { id: 7, formats_used: 3, stream: u64::MAX, ..TargetValue::default() };
        targets.set(&key, &value).unwrap();
        assert_eq!(targets.get(&key).unwrap(), value);
        targets.delete(&key).unwrap();
        assert_eq!(targets.get(&key).unwrap_err().kind(), io::ErrorKind::NotFound);
        let slot = tracks.take_slot().unwrap();
        for place in [TrackPlace::First(slot), TrackPlace::Other(TrackKey { target: 7, ssrc: 9 })] {
            let value = TrackValue { highest: 1 << 40, lost: -3, ..TrackValue::default() };
            tracks.set(place, &value).unwrap();
            assert_eq!(tracks.get(place).unwrap(), value, "the lock is not shown");
        }
        assert!(
            tracks.get(TrackPlace::First(SLOTS - 1)).is_ok() && tracks.get(TrackPlace::First(SLOTS)).is_err()
        );
    }

    #[test]
    #[ignore = "takes 600 MB of the kernel's memory and some seconds"]
    fn a_million_idle_targets() {
        let Some(program) = program() else { return };
        let (targets, tracks) = (&program.shared.targets, &program.shared.tracks);
        let place = |target: u32| TrackPlace::Other(TrackKey { target, ssrc: 1 });
        let fill = |from: u32, to: u32| {
            let begin = Instant::now();
            for number in from..to {
                let value = TargetValue { id: number, ..TargetValue::default() };
                targets.set(&endpoint(number), &value).unwrap();
                tracks.set(place(number), &TrackValue::default()).unwrap();
            }
            begin.elapsed()
        };
        let lookups = |tracks: &Tracks| {
            let begin = Instant::now();
            for target in 0..10_000 {
                tracks.get(place(target)).unwrap();
            }
            begin.elapsed()
        };
        fill(0, 10_000);
        let before = lookups(tracks);
        let filled = fill(10_000, 1_000_000);
        let after = lookups(tracks);
        println!("990000 targets in {filled:?}; 10000 lookups: {before:?} before, {after:?} after");
        assert!(after < before * 4 + std::time::Duration::from_millis(20), "{before:?} {after:?}");
    }
}
