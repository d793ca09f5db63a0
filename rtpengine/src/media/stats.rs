//! Counters of a stream: written by its worker alone (plain relaxed stores), read by anybody.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::offload::Place;
use super::plan::DropReason;
use super::quality::{QualitySnapshot, StreamQuality};
use crate::prefetch::prefetch;
use crate::proto::srtp::SUITES;

/// A counter with one writer: no locked instruction, no lost update.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes back; only the owning worker may call this. Stops at zero.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(n), Relaxed);
    }

    /// Replaces the value; only the owning worker may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Packets, octets and errors of one direction. Octets are UDP payload octets.
#[derive(Debug, Default)]
pub struct Traffic {
    pub packets: Counter,
    pub octets: Counter,
    pub errors: Counter,
}

impl Traffic {
    /// Packets, octets and errors at present.
    pub fn read(&self) -> TrafficCount {
        TrafficCount { packets: self.packets.get(), octets: self.octets.get(), errors: self.errors.get() }
    }

    /// Adds what another counter, written by the same worker, has grown by since it was `before`.
    pub fn add_growth(&self, other: &Traffic, before: TrafficCount) {
        let now = other.read();
        self.packets.add(now.packets.wrapping_sub(before.packets));
        self.octets.add(now.octets.wrapping_sub(before.octets));
        if now.errors != before.errors {
            self.errors.add(now.errors.wrapping_sub(before.errors));
        }
    }
}

/// Packets, octets and errors as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCount {
    pub packets: u64,
    pub octets: u64,
    pub errors: u64,
}

impl std::ops::AddAssign for TrafficCount {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
        self.errors += other.errors;
    }
}

/// What a worker publishes about one SSRC. One cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SsrcShared {
    /// 0 = slot unused.
    pub ssrc: AtomicU32,
    /// Payload type seen last.
    pub payload_type: AtomicU32,
    pub packets: Counter,
    pub octets: Counter,
    pub lost: Counter,
    pub duplicates: Counter,
    /// Extended highest sequence number.
    pub last_sequence: Counter,
    pub last_timestamp: Counter,
    /// RFC 3550 §6.4.1 interarrival jitter in microseconds.
    pub jitter_us: Counter,
}

impl StreamShared {
    /// Microseconds since the Unix epoch of the last packet accepted, 0 = none.
    pub fn last_packet_us(&self) -> u64 {
        self.last_user_packet_us.get().max(self.last_kernel_packet_us.get())
    }

    /// Who forwards what comes in.
    pub fn place(&self) -> Place {
        Place::decode(self.place.load(Relaxed))
    }

    /// Datagrams that the handshake thread refused for this reason.
    pub fn handshake_drops(&self, reason: DropReason) -> u64 {
        self.rare.get().map_or(0, |rare| rare.handshake_drops[reason as usize].get())
    }

    /// Packets that did not go on, by reason, as far as there are any.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let of = |reason| (reason, self.drops[reason as usize].get() + self.handshake_drops(reason));
        DropReason::ALL.into_iter().map(of).filter(|(_, packets)| *packets > 0)
    }

    /// Counts one more; only the handshake thread may call this.
    pub fn count_handshake_drop(&self, reason: DropReason) {
        self.rare.get_or_init(Box::default).handshake_drops[reason as usize].add(1);
    }

    /// Where the worker notes what receivers report.
    pub fn quality(&self) -> &StreamQuality {
        self.rare.get_or_init(Box::default).quality.get_or_init(Box::default)
    }

    /// What the other side's receivers report about an SSRC that comes in here.
    pub fn ingress_quality(&self, position: usize, ssrc: u32) -> Option<QualitySnapshot> {
        self.rare.get()?.quality.get()?.ingress.get(position)?.get()?.read(ssrc)
    }

    /// What the party reports about an SSRC that it is sent.
    pub fn egress_quality(&self, position: usize, ssrc: u32) -> Option<QualitySnapshot> {
        self.rare.get()?.quality.get()?.egress.get(position)?.get()?.read(ssrc)
    }

    /// The suite of the DTLS association, once it is established.
    pub fn handshake_suite(&self) -> Option<&'static str> {
        let number = self.dtls_suite.load(Relaxed).checked_sub(1)?;
        SUITES.get(usize::try_from(number).ok()?).map(|suite| suite.name)
    }

    /// Payload type of the last packet received; `None` before the first one.
    pub fn payload_type_in_use(&self) -> Option<u8> {
        let newest = self.ingress_ssrc.iter().filter(|slot| slot.ssrc.load(Relaxed) != 0);
        let newest = newest.max_by_key(|slot| slot.packets.get())?;
        u8::try_from(newest.payload_type.load(Relaxed)).ok()
    }
}

/// SSRCs remembered per direction; more replace the oldest. Three layers of simulcast with RTX and FEC are nine, twice that are those of
/// both sides of a change of source.
pub const SSRC_SLOTS: usize = 18;

/// The SSRCs of one direction. The place of the first is at hand; those of the others are made when a second one appears.
#[derive(Debug, Default)]
pub struct SsrcSlots {
    first: SsrcShared,
    others: OnceLock<Box<[SsrcShared; SSRC_SLOTS - 1]>>,
}

impl SsrcSlots {
    /// `None` for a slot that was never made.
    pub fn get(&self, slot: usize) -> Option<&SsrcShared> {
        match slot.checked_sub(1) {
            None => Some(&self.first),
            Some(other) => self.others.get()?.get(other),
        }
    }

    /// The same, and makes it; `None` beyond [`SSRC_SLOTS`].
    pub fn make(&self, slot: usize) -> Option<&SsrcShared> {
        match slot.checked_sub(1) {
            None => Some(&self.first),
            Some(other) => self.others.get_or_init(Box::default).get(other),
        }
    }

    /// Asks for the memory of the first, which most streams leave it at.
    #[inline]
    pub(super) fn look_ahead(&self) {
        prefetch(&self.first, [0]);
    }

    /// SSRC, packets and losses at present, by slot.
    pub(super) fn counts(&self) -> [(u32, u64, u64); SSRC_SLOTS] {
        let mut counts = [(0, 0, 0); SSRC_SLOTS];
        for (count, slot) in counts.iter_mut().zip(self.iter()) {
            *count = (slot.ssrc.load(Relaxed), slot.packets.get(), slot.lost.get());
        }
        counts
    }

    /// All that were made, used or not.
    pub fn iter(&self) -> impl Iterator<Item = &SsrcShared> {
        let others = self.others.get().map_or(&[][..], |others| &others[..]);
        std::iter::once(&self.first).chain(others)
    }
}

/// Everything published about one stream. What a forwarded packet touches lies in front, in one cache line per
/// direction: a packet on a socket of its own is a cache miss per line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct StreamShared {
    /// Packets that were accepted: known kind, right source. Refused ones are in `errors` and `drops`.
    pub ingress: Traffic,
    /// Microseconds since the Unix epoch of the last packet accepted in user space, 0 = none; see [`Self::last_packet_us`].
    pub last_user_packet_us: Counter,
    /// 1 once the source has been confirmed by a packet.
    pub confirmed: AtomicU32,
    /// Packets that left from this port, and in `errors` those that should have (no peer, refused by the system).
    pub egress: Traffic,
    /// RTCP among `ingress`: on a multiplexed stream a part of it, on an RTCP stream all.
    pub rtcp_ingress: Traffic,
    /// Packets that arrived on this stream and did not go on, by reason.
    pub drops: [Counter; DropReason::COUNT],
    /// 0: no DTLS association is established; else the number of its suite in [`crate::proto::srtp::SUITES`], counted from 1.
    pub dtls_suite: AtomicU32,
    /// Microseconds since the Unix epoch of the last authentic STUN message, while ICE was looking for a path; 0 = none.
    pub ice_activity_us: Counter,
    /// A [`super::offload::Place`]: who forwards what comes in.
    pub place: AtomicU32,
    /// Of `ingress`, what the kernel forwarded.
    pub kernel: Traffic,
    /// Microseconds since the Unix epoch of the last packet that the kernel forwarded, 0 = none.
    pub last_kernel_packet_us: Counter,
    /// Announcements to the party that the kernel sends at present.
    pub kernel_players: Counter,
    /// Packets that a full tap ring refused.
    pub tap_lost: Counter,
    /// Nothing before there is some of it.
    rare: OnceLock<Box<Rare>>,
    /// Unused on streams that carry no RTP.
    pub ingress_ssrc: SsrcSlots,
    pub egress_ssrc: SsrcSlots,
}

/// What most streams never have.
#[derive(Debug, Default)]
struct Rare {
    /// As `drops`, for datagrams that the worker passed on to the handshake thread; only that one writes here.
    handshake_drops: [Counter; DropReason::COUNT],
    /// What receivers report.
    quality: OnceLock<Box<StreamQuality>>,
}

// With the counts of its Arc in front, one line more takes 128 octets more from the allocator, for each of a call's four streams.
const _: () = assert!(size_of::<StreamShared>() <= 576);
