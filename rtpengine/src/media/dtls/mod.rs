//! DTLS handshakes: on a thread of their own, since one costs as much as a thousand packets.
//!
//! ```text
//! worker ── Gate: orders (open, path, close), and datagrams through a bounded ring ──→ handshake thread
//!   ↑                                                                                       │ sends through the stream's socket
//!   └──────────────────────── mailbox: the keys of both directions ─────────────────────────┘
//! ```
//!
//! The worker decides who may speak at all and how much ([`Gate::hand_over`]); [`associations`] decides which of several attempts
//! is the party's. What a datagram that is not authentic can change: nothing about an established association, and before that it
//! can occupy one of [`associations::MAX_ATTEMPTS`] places for some seconds. Only the certificate that was signalled gets keys into
//! the stream, from wherever it comes; the first who is there wins nothing (CVE-2023-51275).
//!
//! Every datagram that is refused is counted: by the worker in the stream's `drops`, by this thread in its `handshake_drops`.

mod associations;
mod gate;
mod keyed;
mod thread;

#[cfg(any(test, fuzzing))]
pub use gate::{Datagram, Order};
pub use gate::{Gate, Handshake};
pub use keyed::Keyed;
pub use thread::HandshakeThread;
