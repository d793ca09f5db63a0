//! One worker's view of the program: targets and tracks in its maps.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::super::{
    Backend, BackendError, Carries, Counters, Handle, Reason, Rung, Shield, Source, Target, TargetFormat,
    TargetOutput, Track, TrackCount,
};
use super::guards::Guards;
use super::interface::Interface;
use super::layout::{
    ANY_SOURCE, DATAGRAMS, Endpoint, Format, LEAVING, MAX_FORMATS, MAX_OUTPUTS, NextHop, OUTPUT_TAP,
    OutputKey, OutputValue, STAYS_HERE, TAP, TRANSLATED, TargetValue, TrackKey, TrackValue,
};
use super::map::clock_offset_us;
use super::program::Shared;
use super::route::{Route, Routes};
use super::tracks::TrackPlace;

/// See the module.
pub struct EbpfBackend {
    shared: Arc<Shared>,
    routes: Routes,
    entries: HashMap<Handle, Entry>,
    guards: Guards,
}

/// A target of this worker.
struct Entry {
    local: Endpoint,
    /// As they were written; of the outputs those behind the first.
    value: TargetValue,
    outputs: SmallVec<[OutputValue; 0]>,
    ssrcs: SmallVec<[u32; 1]>,
    ends: Ends,
    /// Routes are those of this time.
    generation: u64,
    /// Copies that were lost behind the program.
    behind: u64,
    is_removed: bool,
}

/// What decides about the ways through this host.
#[derive(Clone)]
struct Ends {
    local: SocketAddr,
    source: Option<SocketAddr>,
    /// From where and to where packets leave, for each output.
    outputs: SmallVec<[(SocketAddr, SocketAddr); 1]>,
}

/// The way to the party behind an output.
struct Way {
    out: Route,
    /// Longest UDP payload that the interface takes.
    room: u32,
}

type Ways = SmallVec<[Way; 1]>;

impl EbpfBackend {
    pub fn new(shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            guards: Guards::new(Arc::clone(&shared)),
            shared,
            routes: Routes::open()?,
            entries: HashMap::new(),
        })
    }

    /// Finds the ways and sees to it that the program is where packets come in.
    fn ways(&mut self, ends: &Ends) -> Result<Ways, Reason> {
        let unroutable = |_: io::Error| Reason::Route;
        let local = ends.local.ip();
        let back = match ends.source {
            Some(source) => self.routes.find(local, source.ip()).map_err(unroutable)?,
            // From wherever: the loopback interface has nothing but its own.
            None => Route { is_local: local.is_loopback(), ifindex: 0, next_hop: None },
        };
        let mut ways = Ways::new();
        for (from, to) in &ends.outputs {
            let out = self.routes.find(from.ip(), to.ip()).map_err(unroutable)?;
            if out.is_local != back.is_local {
                return Err(Reason::Route);
            }
            // There the packet keeps the route that it has, which is one of its former family.
            if out.is_local && to.is_ipv4() != local.is_ipv4() {
                return Err(Reason::Families);
            }
            let interface = Interface::read(out.ifindex).map_err(unroutable)?;
            if !interface.is_ethernet && !out.is_local {
                return Err(Reason::Route);
            }
            let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
            ways.push(Way { out, room: interface.mtu.saturating_sub(headers) });
        }
        // What comes from this host comes through the loopback interface, whatever its address.
        let comes_in_by = if back.is_local { Some(LOOPBACK) } else { Some(back.ifindex).filter(|i| *i != 0) };
        if let Some(ifindex) = comes_in_by {
            self.shared.attach(ifindex).map_err(|_| Reason::Route)?;
        }
        Ok(ways)
    }

    /// The target, and its outputs behind the first.
    fn values(
        &self,
        id: u32,
        target: &Target,
        ways: &Ways,
    ) -> Result<(TargetValue, SmallVec<[OutputValue; 0]>), Reason> {
        let wanted: &[TargetFormat] = match &target.carries {
            Carries::Datagrams => &[],
            Carries::Rtp(wanted) if wanted.len() > MAX_FORMATS => return Err(Reason::PayloadTypes),
            Carries::Rtp(wanted) => wanted,
        };
        let mut formats = [Format::default(); MAX_FORMATS];
        for (format, wanted) in formats.iter_mut().zip(wanted) {
            let TargetFormat { payload_type, clock_rate } = *wanted;
            *format = Format { payload_type, clock_rate, ..Format::default() };
        }
        let outputs = target.outputs.iter().zip(ways).map(|(output, way)| self.output(output, way, wanted));
        let mut outputs: SmallVec<[OutputValue; 0]> = outputs.collect();
        if outputs.is_empty() {
            return Err(Reason::NoOutput);
        }
        let mut flags = if target.source == Source::Any { ANY_SOURCE } else { 0 };
        if target.carries == Carries::Datagrams {
            flags |= DATAGRAMS;
        }
        if target.tap.is_some() {
            flags |= TAP;
        }
        if target.outputs.iter().any(|output| output.peer.is_ipv4() != target.local.is_ipv4()) {
            flags |= TRANSLATED;
        }
        let outputs_used = outputs.len() as u16;
        let value = TargetValue {
            id,
            flags,
            source: target.source.address().map(Endpoint::from).unwrap_or_default(),
            room: room(ways),
            formats_used: wanted.len() as u16,
            outputs_used,
            formats,
            recording: target.tap.map_or(0, |tap| tap.recording),
            stream: target.stream.0,
            first: outputs.remove(0),
            ..TargetValue::default()
        };
        Ok((value, outputs))
    }

    fn output(&self, output: &TargetOutput, way: &Way, formats: &[TargetFormat]) -> OutputValue {
        let mut leaves_as = [0; MAX_FORMATS];
        for (leaves_as, format) in leaves_as.iter_mut().zip(formats) {
            let renamed = output.renamed.iter().find(|(from, _)| *from == format.payload_type);
            *leaves_as = renamed.map_or(format.payload_type, |(_, to)| *to);
        }
        OutputValue {
            from: output.local.into(),
            to: output.peer.into(),
            ifindex: way.out.ifindex,
            next_hop: next_hop(way),
            ssrc_mask: output.ssrc_mask.to_be_bytes(),
            ttl: if output.peer.is_ipv6() { self.shared.hop_limit } else { self.shared.ttl },
            tos: output.tos,
            flags: stays_here(way) | output.tap.map_or(0, |_| OUTPUT_TAP),
            leaves_as,
            recording: output.tap.map_or(0, |tap| tap.recording),
            stream: output.stream.0,
            ..OutputValue::default()
        }
    }

    /// Writes the outputs behind the first.
    fn write_outputs(&self, id: u32, outputs: &[OutputValue]) -> io::Result<()> {
        let mut keys = output_keys(id);
        outputs.iter().zip(&mut keys).try_for_each(|(output, key)| self.shared.outputs.set(&key, output))
    }

    /// Routes may have changed: the target goes by the present ones, or not at all.
    fn reroute(&mut self, handle: Handle) -> Result<(), Reason> {
        let generation = self.shared.generation.load(Relaxed);
        let Some(entry) = self.entries.get(&handle) else { return Ok(()) };
        if entry.generation == generation || entry.is_removed {
            return Ok(());
        }
        let ends = entry.ends.clone();
        let ways = self.ways(&ends)?;
        let Some(entry) = self.entries.get_mut(&handle) else { return Ok(()) };
        entry.generation = generation;
        let before = (entry.value, entry.outputs.clone());
        entry.value.room = room(&ways);
        let outputs = std::iter::once(&mut entry.value.first).chain(&mut entry.outputs);
        for (output, way) in outputs.zip(&ways) {
            output.ifindex = way.out.ifindex;
            output.next_hop = next_hop(way);
            output.flags = output.flags & !STAYS_HERE | stays_here(way);
        }
        if before != (entry.value, entry.outputs.clone()) {
            let (id, local, value, outputs) =
                (entry.value.id, entry.local, entry.value, entry.outputs.clone());
            let written = self.write_outputs(id, &outputs);
            written.and_then(|()| self.shared.targets.set(&local, &value)).map_err(|_| Reason::Refused)?;
        }
        Ok(())
    }

    /// Reads what the program counts beside the tracks.
    fn read_values(&mut self, handle: Handle) -> Result<(), BackendError> {
        let entry = self.entries.get_mut(&handle).ok_or(BackendError::Unknown)?;
        let now = self.shared.targets.get(&entry.local).map_err(|_| BackendError::Unknown)?;
        entry.value.tap_lost = now.tap_lost;
        for (output, key) in entry.outputs.iter_mut().zip(output_keys(entry.value.id)) {
            output.failed = self.shared.outputs.get(&key).map_err(|_| BackendError::Unknown)?.failed;
        }
        Ok(())
    }
}

impl Entry {
    /// SSRCs and where their tracks are.
    fn places(&self) -> impl Iterator<Item = (u32, TrackPlace)> {
        let (target, slot) = (self.value.id, self.value.slot);
        self.ssrcs.iter().map(move |ssrc| {
            let is_first = slot != 0 && *ssrc == self.value.ssrc;
            let place = TrackPlace::Other(TrackKey { target, ssrc: *ssrc });
            (*ssrc, if is_first { TrackPlace::First(slot) } else { place })
        })
    }

    fn is_tapped(&self) -> bool {
        let mut outputs = std::iter::once(&self.value.first).chain(&self.outputs);
        self.value.flags & TAP != 0 || outputs.any(|output| output.flags & OUTPUT_TAP != 0)
    }
}

/// Keys of the outputs behind the first.
fn output_keys(target: u32) -> impl Iterator<Item = OutputKey> {
    (1..).map(move |index| OutputKey { target, index })
}

fn room(ways: &Ways) -> u32 {
    ways.iter().map(|way| way.room).min().unwrap_or(0)
}

fn stays_here(way: &Way) -> u16 {
    if way.out.is_local { STAYS_HERE } else { 0 }
}

fn next_hop(way: &Way) -> NextHop {
    way.out.next_hop.map(NextHop::from).unwrap_or_default()
}

/// Number of the loopback interface in every network namespace.
pub const LOOPBACK: u32 = 1;

fn ends_of(target: &Target) -> Result<Ends, Reason> {
    if target.outputs.len() > MAX_OUTPUTS {
        return Err(Reason::SeveralOutputs);
    }
    Ok(Ends {
        local: target.local,
        source: target.source.address(),
        outputs: target.outputs.iter().map(|output| (output.local, output.peer)).collect(),
    })
}

impl Backend for EbpfBackend {
    fn rung(&self) -> Rung {
        Rung::Ebpf
    }

    fn shield(&mut self) -> Option<&mut dyn Shield> {
        Some(&mut self.guards)
    }

    fn accepts(&mut self, target: &Target) -> Result<(), Reason> {
        let ways = self.ways(&ends_of(target)?)?;
        self.values(0, target, &ways).map(|_| ())
    }

    fn add(&mut self, target: &Target, tracks: &[Track]) -> Result<Handle, BackendError> {
        let generation = self.shared.generation.load(Relaxed);
        let ends = ends_of(target).map_err(BackendError::Unsuitable)?;
        let ways = self.ways(&ends).map_err(BackendError::Unsuitable)?;
        let id = self.shared.next_id.fetch_add(1, Relaxed);
        let (value, outputs) = self.values(id, target, &ways).map_err(BackendError::Unsuitable)?;
        let offset = clock_offset_us();
        let datagrams = [Track::default()];
        let tracks = if target.carries == Carries::Datagrams { &datagrams } else { tracks };
        let mut entry = Entry {
            local: target.local.into(),
            value,
            outputs,
            ssrcs: tracks.iter().map(|track| track.ssrc).collect(),
            ends,
            generation,
            behind: 0,
            is_removed: false,
        };
        // The one that is heard now has the short way.
        if let Some(newest) = tracks.iter().max_by_key(|track| track.arrival_us)
            && let Some(slot) = self.shared.tracks.take_slot()
        {
            (entry.value.slot, entry.value.ssrc) = (slot, newest.ssrc);
        }
        // The target last: with it packets begin to be forwarded.
        let written = entry
            .places()
            .zip(tracks)
            .try_for_each(|((_, place), track)| self.shared.tracks.set(place, &to_value(track, offset)))
            .and_then(|()| self.write_outputs(id, &entry.outputs))
            .and_then(|()| self.shared.targets.set(&entry.local, &entry.value));
        let handle = Handle(id.into());
        let has_tap = entry.is_tapped();
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
        if self.entries.get(&handle).is_some_and(|entry| !entry.is_removed) {
            self.read_values(handle)?;
        }
        let entry = self.entries.get_mut(&handle).ok_or(BackendError::Unknown)?;
        let offset = clock_offset_us();
        for (ssrc, place) in entry.places() {
            let value = self.shared.tracks.get(place).map_err(|_| BackendError::Unknown)?;
            counters.tracks.push(from_value(ssrc, &value, offset));
        }
        if entry.is_tapped() {
            let outputs = std::iter::once(&entry.value.first).chain(&entry.outputs);
            let streams = outputs.map(|output| output.stream).chain([entry.value.stream]);
            entry.behind += streams.map(|stream| self.shared.take_tap_lost(stream)).sum::<u64>();
        }
        counters.tap_lost = entry.value.tap_lost + entry.behind;
        counters.failed.push(0);
        counters.failed.extend(entry.outputs.iter().map(|output| output.failed));
        Ok(())
    }

    fn remove(&mut self, handle: Handle) {
        if self.entries.get(&handle).is_none_or(|entry| entry.is_removed) {
            return;
        }
        // Without them those of the last time stay.
        let _ = self.read_values(handle);
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        // If it is not there, nothing is forwarded.
        let _ = if entry.outputs.is_empty() {
            self.shared.targets.delete(&entry.local)
        } else {
            // Copies are on their way.
            entry.value.flags |= LEAVING;
            self.shared.targets.set(&entry.local, &entry.value)
        };
        entry.is_removed = true;
        if entry.is_tapped() {
            self.shared.tapped.fetch_sub(1, Relaxed);
            // Before what user space copies from now on.
            self.shared.drain_taps();
        }
    }

    fn forget(&mut self, handle: Handle) {
        self.remove(handle);
        let Some(entry) = self.entries.remove(&handle) else { return };
        for (_, place) in entry.places() {
            self.shared.tracks.free(place);
        }
        let is_used = |other: &Entry| other.local == entry.local && !other.is_removed;
        if !entry.outputs.is_empty() && !self.entries.values().any(is_used) {
            let _ = self.shared.targets.delete(&entry.local);
        }
        for (_, key) in entry.outputs.iter().zip(output_keys(entry.value.id)) {
            let _ = self.shared.outputs.delete(&key);
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
