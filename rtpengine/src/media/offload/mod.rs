//! Off-loading: established streams are forwarded by the kernel, below the worker's sockets.
//!
//! ```text
//!               confirmed, eligible, quiet for the delay
//!   user space ──────────────────────────────────────────► kernel (module or eBPF)
//!        ▲   plan changed, player, unexpected packet, failure   │
//!        └──────────────────────────────────────────────────────┘   at once, with the last counters
//! ```
//!
//! Every stream lives in user space first. [`describe`] says what the kernel would have to do for it, or for what [`Reason`] it cannot;
//! a [`Backend`] (one a worker) does it. Which rung that is, nobody else knows. The worker (`ladder`) moves streams, reads the backend's
//! counters once a second and whenever somebody asks ([`super::MediaPlane::refresh`]), and adds their growth to the counters of the
//! stream, so that whoever reads those sees one stream and not two halves.
//!
//! **Contract of a rung.** It forwards a packet only if source, kind, payload type and SSRC are those of the [`Target`]; everything else,
//! and RTCP always, goes up to the stream's socket as if the rung were not there. A packet is either forwarded and counted, or goes up;
//! never both. What goes up from the target's own source is a surprise and moves the stream up, RTCP and STUN excepted. Of what others
//! send, a rung may drop what goes beyond any use ([`Shield`]).
//!
//! **Announcements** of which every frame is encoded ([`CompleteMedia`]) can be sent by a rung that has a [`PlayerBackend`]: the worker
//! (`playing`) hands them down between two packets, and takes them back in the same way.

mod announcement;
mod backend;
mod describe;
#[cfg(feature = "ebpf")]
pub mod ebpf;
mod give_up;
mod ground;
mod ladder;
pub mod module;
mod playing;
mod reason;
mod shield;
#[cfg(test)]
pub mod simulated;
mod target;
#[cfg(test)]
mod tests;

pub use announcement::{
    Announcement, CompleteMedia, LoadedMedia, PlayerBackend, PlayerCount, PlayerHandle, PlayerNumbers,
    PlayerOrder, PlayerWay, Progress,
};
pub use backend::{Backend, BackendError, Counters, Handle, Indices, SETTLING, Track, TrackCount};
pub use describe::describe;
pub use ground::{Ground, NoFallback, has_ebpf};
pub use ladder::{Ladder, Offloading};
pub use playing::PlayedBelow;
pub use reason::{Place, Reason, Rung};
pub use shield::{Dropped, GUARD_SOURCES, GUARD_SSRCS, Guard, Guarded, Policy, Shield};
pub use target::{Carries, Source, Target, TargetFormat, TargetOutput};
