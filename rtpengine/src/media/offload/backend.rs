//! What a rung below user space is asked to do.

use smallvec::SmallVec;

use super::{Reason, Rung, Shield, Target};

/// The kernel's side of off-loading, as one worker sees it. Calls may make system calls, but never wait.
pub trait Backend: Send {
    fn rung(&self) -> Rung;

    /// Keeps floods from the daemon; `None` when this rung cannot.
    fn shield(&mut self) -> Option<&mut dyn Shield> {
        None
    }

    /// Whether such a stream can be off-loaded at all. Cheap; nothing is changed.
    ///
    /// # Errors
    /// The reason for which it has to stay in user space.
    fn accepts(&mut self, target: &Target) -> Result<(), Reason>;

    /// Begins to forward. `tracks` are the SSRCs that are expected, with where user space has got to; a stream of datagrams has none.
    /// From here on [`Counters`] count from zero.
    ///
    /// # Errors
    /// The kernel refused; nothing is forwarded.
    fn add(&mut self, target: &Target, tracks: &[Track]) -> Result<Handle, BackendError>;

    /// SSRCs that a target may have.
    fn most_tracks(&self) -> usize {
        usize::MAX
    }

    /// Whether targets are taken whose packets are protected.
    fn takes_secured(&self) -> bool {
        false
    }

    /// The same for a target some of whose packets are protected; `indices` are those of the tracks. Only asked of a rung that
    /// [takes](Self::takes_secured) such targets.
    ///
    /// # Errors
    /// As [`Self::add`].
    fn add_secured(
        &mut self,
        target: &Target,
        tracks: &[Track],
        indices: &[Indices],
    ) -> Result<Handle, BackendError> {
        let _ = (target, tracks, indices);
        Err(BackendError::Unsuitable(Reason::Secured))
    }

    /// How far the keys of a removed target were used, in the order of its tracks.
    fn indices(&mut self, handle: Handle) -> SmallVec<[Indices; 1]> {
        let _ = handle;
        SmallVec::new()
    }

    /// What has been forwarded since [`Self::add`].
    ///
    /// # Errors
    /// The kernel has lost the target: nothing is forwarded any more.
    fn read(&mut self, handle: Handle, counters: &mut Counters) -> Result<(), BackendError>;

    /// Ends forwarding: packets that arrive from now on go up. Counters stay readable until [`Self::forget`], since a packet may be
    /// on its way through the kernel.
    fn remove(&mut self, handle: Handle);

    /// Gives up the counters of a target that was removed [`SETTLING`] ago.
    fn forget(&mut self, handle: Handle);
}

/// How long after its removal a target's counters are read for the last time.
pub const SETTLING: std::time::Duration = std::time::Duration::from_millis(50);

/// A target in the kernel, as the backend numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// Where the bookkeeping of one SSRC has got to; see RFC 3550 §6.4.1 and appendix A.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    pub ssrc: u32,
    /// Of the last packet.
    pub payload_type: u8,
    /// Of that payload type, in Hz; 0 = unknown.
    pub clock_rate: u32,
    /// Extended highest sequence number.
    pub highest: u64,
    /// Bit i: `highest - i` was received.
    pub window: u64,
    /// Of the last packet, in microseconds since the Unix epoch.
    pub arrival_us: u64,
    /// RTP timestamp of the last packet.
    pub timestamp: u32,
    /// Jitter in microseconds, scaled by 16.
    pub jitter_16us: u64,
}

/// Highest packet indices of one SSRC (RFC 3711 §3.3.1); `None` = none was used yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// Under the key that packets come under.
    pub received: Option<u64>,
    /// Under the key of each output.
    pub sent: SmallVec<[Option<u64>; 1]>,
}

/// One SSRC of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackCount {
    /// As it is now.
    pub track: Track,
    /// Packets that came and were forwarded to all outputs.
    pub packets: u64,
    /// Octets of UDP payload, in the clear.
    pub octets: u64,
    /// May fall: late packets were not lost.
    pub lost: i64,
    pub duplicates: u64,
}

/// What a target has done since it was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// In the order of the tracks that were handed over; one without an SSRC for datagrams.
    pub tracks: SmallVec<[TrackCount; 1]>,
    /// Packets from other sources that were dropped where they came in.
    pub wrong_source: u64,
    /// Forwarded packets of which there was no room for a copy.
    pub tap_lost: u64,
    /// SRTP packets that had come before, and were dropped.
    pub replayed: u64,
    /// Octets that protection had added to what came, and adds to what leaves by each output.
    pub protection: u64,
    pub protection_sent: SmallVec<[u64; 1]>,
    /// Of those in `tracks`, packets that could not be sent, by output.
    pub failed: SmallVec<[u64; 1]>,
}

impl Counters {
    /// When the last packet came, in microseconds since the Unix epoch; 0 = never.
    pub fn last_packet_us(&self) -> u64 {
        let used = self.tracks.iter().filter(|count| count.packets > 0);
        used.map(|count| count.track.arrival_us).max().unwrap_or(0)
    }
}

/// The kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A system call failed.
    #[error("{operation}: {source}")]
    System {
        /// What was asked of the kernel.
        operation: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
    /// The target does not exist (any more).
    #[error("the kernel does not know the target")]
    Unknown,
    /// Nothing that can be off-loaded, whatever [`Backend::accepts`] said.
    #[error("{}", .0.text())]
    Unsuitable(Reason),
}
