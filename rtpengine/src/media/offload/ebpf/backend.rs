//! One worker's view of the program: targets and tracks in its maps.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::super::{
    Backend, BackendError, Carries, Counters, Handle, Reason, Rung, Source, Target, Track, TrackCount,
};
use super::interface::Interface;
use super::layout::{
    ANY_SOURCE, DATAGRAMS, Endpoint, Format, MAX_FORMATS, PINNED, STAYS_HERE, TAP_EGRESS, TAP_INGRESS,
    TargetValue, TrackKey, TrackValue,
};
use super::map::clock_offset_us;
use super::program::Shared;
use super::route::{Route, Routes};

/// See the module.
pub struct EbpfBackend {
    shared: Arc<Shared>,
    routes: Routes,
    entries: HashMap<Handle, Entry>,
}

/// A target of this worker.
struct Entry {
    local: Endpoint,
    /// As it was written.
    value: TargetValue,
    ssrcs: SmallVec<[u32; 1]>,
    addresses: Addresses,
    /// Routes are those of this time.
    generation: u64,
    /// Copies that were lost behind the program.
    behind: u64,
    is_removed: bool,
}

/// What decides about the way.
#[derive(Clone, Copy)]
struct Addresses {
    local: SocketAddr,
    source: Option<SocketAddr>,
    from: SocketAddr,
    to: SocketAddr,
}

/// The way through this host.
struct Way {
    out: Route,
    mtu: u32,
}

impl EbpfBackend {
    pub fn new(shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self { shared, routes: Routes::open()?, entries: HashMap::new() })
    }

    /// Finds the way and sees to it that the program is where packets come in.
    fn way(&mut self, addresses: &Addresses) -> Result<Way, Reason> {
        let Addresses { local, source, from, to } = *addresses;
        let unroutable = |_: io::Error| Reason::Route;
        let out = self.routes.find(from.ip(), to.ip()).map_err(unroutable)?;
        let back = match source {
            Some(source) => self.routes.find(local.ip(), source.ip()).map_err(unroutable)?,
            // From wherever: the loopback interface has nothing but its own.
            None => Route { is_local: local.ip().is_loopback(), ifindex: 0 },
        };
        if out.is_local != back.is_local {
            return Err(Reason::Route);
        }
        let interface = Interface::read(out.ifindex).map_err(unroutable)?;
        if !interface.is_ethernet && !out.is_local {
            return Err(Reason::Route);
        }
        // What comes from this host comes through the loopback interface, whatever its address.
        let comes_in_by = if back.is_local { Some(LOOPBACK) } else { Some(back.ifindex).filter(|i| *i != 0) };
        if let Some(ifindex) = comes_in_by {
            self.shared.attach(ifindex).map_err(|_| Reason::Route)?;
        }
        Ok(Way { out, mtu: interface.mtu })
    }

    fn value(&self, id: u32, target: &Target, way: &Way) -> Result<TargetValue, Reason> {
        let [output] = target.outputs.as_slice() else { return Err(Reason::SeveralOutputs) };
        let mut flags = if way.out.is_local { STAYS_HERE } else { 0 };
        flags |= match target.source {
            Source::Any => ANY_SOURCE,
            Source::Only(_) => 0,
            Source::Pinned(_) => PINNED,
        };
        flags |= target.tap.map_or(0, |_| TAP_INGRESS) | output.tap.map_or(0, |_| TAP_EGRESS);
        let mut formats = [Format::default(); MAX_FORMATS];
        let formats_used = match &target.carries {
            Carries::Datagrams => {
                flags |= DATAGRAMS;
                0
            }
            Carries::Rtp(wanted) if wanted.len() > MAX_FORMATS => return Err(Reason::PayloadTypes),
            Carries::Rtp(wanted) => {
                for (format, wanted) in formats.iter_mut().zip(wanted) {
                    let renamed = output.renamed.iter().find(|(from, _)| *from == wanted.payload_type);
                    *format = Format {
                        payload_type: wanted.payload_type,
                        leaves_as: renamed.map_or(wanted.payload_type, |(_, to)| *to),
                        reserved: 0,
                        clock_rate: wanted.clock_rate,
                    };
                }
                wanted.len() as u16
            }
        };
        let is_v6 = output.peer.is_ipv6();
        Ok(TargetValue {
            id,
            flags,
            source: target.source.address().map(Endpoint::from).unwrap_or_default(),
            from: output.local.into(),
            to: output.peer.into(),
            ifindex: way.out.ifindex,
            mtu: way.mtu,
            ssrc_mask: output.ssrc_mask.to_be_bytes(),
            ttl: if is_v6 { self.shared.hop_limit } else { self.shared.ttl },
            tos: output.tos,
            formats_used,
            formats,
            recording_in: target.tap.map_or(0, |tap| tap.recording),
            stream_in: target.stream.0,
            recording_out: output.tap.map_or(0, |tap| tap.recording),
            stream_out: output.stream.0,
            ..TargetValue::default()
        })
    }

    /// Routes may have changed: the target goes by the present one, or not at all.
    fn reroute(&mut self, handle: Handle) -> Result<(), Reason> {
        let generation = self.shared.generation.load(Relaxed);
        let Some(entry) = self.entries.get(&handle) else { return Ok(()) };
        if entry.generation == generation || entry.is_removed {
            return Ok(());
        }
        let addresses = entry.addresses;
        let way = self.way(&addresses)?;
        let Some(entry) = self.entries.get_mut(&handle) else { return Ok(()) };
        entry.generation = generation;
        let stays = if way.out.is_local { STAYS_HERE } else { 0 };
        let value = TargetValue {
            ifindex: way.out.ifindex,
            mtu: way.mtu,
            flags: entry.value.flags & !STAYS_HERE | stays,
            ..entry.value
        };
        if value != entry.value {
            entry.value = value;
            // The shield begins anew; what it has counted so far is lost with the old way.
            self.shared.targets.set(&entry.local, &value).map_err(|_| Reason::Refused)?;
        }
        Ok(())
    }
}

/// Number of the loopback interface in every network namespace.
pub const LOOPBACK: u32 = 1;

fn addresses_of(target: &Target) -> Result<Addresses, Reason> {
    let [output] = target.outputs.as_slice() else { return Err(Reason::SeveralOutputs) };
    if target.local.is_ipv4() != output.peer.is_ipv4() || output.local.is_ipv4() != output.peer.is_ipv4() {
        return Err(Reason::Families);
    }
    Ok(Addresses {
        local: target.local,
        source: target.source.address(),
        from: output.local,
        to: output.peer,
    })
}

impl Backend for EbpfBackend {
    fn rung(&self) -> Rung {
        Rung::Ebpf
    }

    fn accepts(&mut self, target: &Target) -> Result<(), Reason> {
        let addresses = addresses_of(target)?;
        let way = self.way(&addresses)?;
        self.value(0, target, &way).map(|_| ())
    }

    fn add(&mut self, target: &Target, tracks: &[Track]) -> Result<Handle, BackendError> {
        let generation = self.shared.generation.load(Relaxed);
        let addresses = addresses_of(target).map_err(BackendError::Unsuitable)?;
        let way = self.way(&addresses).map_err(BackendError::Unsuitable)?;
        let id = self.shared.next_id.fetch_add(1, Relaxed);
        let value = self.value(id, target, &way).map_err(BackendError::Unsuitable)?;
        let offset = clock_offset_us();
        let datagrams = [Track::default()];
        let tracks = if target.carries == Carries::Datagrams { &datagrams } else { tracks };
        let entry = Entry {
            local: target.local.into(),
            value,
            ssrcs: tracks.iter().map(|track| track.ssrc).collect(),
            addresses,
            generation,
            behind: 0,
            is_removed: false,
        };
        // Tracks first: with the target packets begin to be forwarded.
        let written = tracks
            .iter()
            .try_for_each(|track| {
                let key = TrackKey { target: id, ssrc: track.ssrc };
                self.shared.tracks.set(&key, &to_value(track, offset))
            })
            .and_then(|()| self.shared.targets.set(&entry.local, &value));
        let handle = Handle(id.into());
        let has_tap = value.flags & (TAP_INGRESS | TAP_EGRESS) != 0;
        self.entries.insert(handle, entry);
        if let Err(source) = written {
            self.forget(handle);
            return Err(BackendError::System { operation: "writing into the eBPF maps", source });
        }
        if has_tap {
            self.shared.tapped.fetch_add(1, Relaxed);
        }
        Ok(handle)
    }

    fn read(&mut self, handle: Handle, counters: &mut Counters) -> Result<(), BackendError> {
        self.reroute(handle).map_err(BackendError::Unsuitable)?;
        let entry = self.entries.get_mut(&handle).ok_or(BackendError::Unknown)?;
        if !entry.is_removed {
            let now = self.shared.targets.get(&entry.local).map_err(|_| BackendError::Unknown)?;
            (entry.value.wrong_source, entry.value.tap_lost) = (now.wrong_source, now.tap_lost);
        }
        let offset = clock_offset_us();
        for ssrc in &entry.ssrcs {
            let key = TrackKey { target: entry.value.id, ssrc: *ssrc };
            let value = self.shared.tracks.get(&key).map_err(|_| BackendError::Unknown)?;
            counters.tracks.push(from_value(*ssrc, &value, offset));
        }
        if entry.value.flags & (TAP_INGRESS | TAP_EGRESS) != 0 {
            entry.behind += self.shared.take_tap_lost(entry.value.stream_in);
        }
        counters.wrong_source = entry.value.wrong_source;
        counters.tap_lost = entry.value.tap_lost + entry.behind;
        counters.failed.push(0);
        Ok(())
    }

    fn remove(&mut self, handle: Handle) {
        let Some(entry) = self.entries.get_mut(&handle).filter(|entry| !entry.is_removed) else { return };
        if let Ok(now) = self.shared.targets.get(&entry.local) {
            (entry.value.wrong_source, entry.value.tap_lost) = (now.wrong_source, now.tap_lost);
        }
        // If it is not there, nothing is forwarded.
        let _ = self.shared.targets.delete(&entry.local);
        entry.is_removed = true;
        if entry.value.flags & (TAP_INGRESS | TAP_EGRESS) != 0 {
            self.shared.tapped.fetch_sub(1, Relaxed);
            // Before what user space copies from now on.
            self.shared.drain_taps();
        }
    }

    fn forget(&mut self, handle: Handle) {
        self.remove(handle);
        let Some(entry) = self.entries.remove(&handle) else { return };
        for ssrc in entry.ssrcs {
            let _ = self.shared.tracks.delete(&TrackKey { target: entry.value.id, ssrc });
        }
    }
}

fn to_value(track: &Track, offset_us: u64) -> TrackValue {
    TrackValue {
        clock_rate: track.clock_rate,
        timestamp: track.timestamp,
        payload_type: track.payload_type.into(),
        highest: track.highest,
        window: track.window,
        arrival_us: track.arrival_us.wrapping_sub(offset_us),
        jitter_16us: track.jitter_16us,
        ..TrackValue::default()
    }
}

fn from_value(ssrc: u32, value: &TrackValue, offset_us: u64) -> TrackCount {
    TrackCount {
        track: Track {
            ssrc,
            payload_type: value.payload_type as u8,
            clock_rate: value.clock_rate,
            highest: value.highest,
            window: value.window,
            arrival_us: value.arrival_us.wrapping_add(offset_us),
            timestamp: value.timestamp,
            jitter_16us: value.jitter_16us,
        },
        packets: value.packets,
        octets: value.octets,
        lost: value.lost,
        duplicates: value.duplicates,
    }
}
