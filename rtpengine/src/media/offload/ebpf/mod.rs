//! Forwarding by a program of our own where packets come in (tc ingress), without a module.
//!
//! `ebpf/forward.bpf.c` has the packet's way, `ebpf/forward.h` what both sides share (`layout`). Targets are elements of one hash map,
//! their counters of other maps (`tracks`; one element an SSRC, under a spin lock), so that a target can be removed while its last packet is on
//! its way. Copies for recordings come through a ring that is looked into every few milliseconds. Every media port has a guard in another
//! map, and, once others have sent to it, what they may send and what of it was dropped in one more (`guards`).
//!
//! Of a target with several outputs the first is part of the target, the others are in a map of their own; the program makes a copy for each
//! and meets it again where the packet came in.
//!
//! Only packets from one interface to another, or from the loopback interface to it, are forwarded: what would turn around between an
//! interface and this host stays in user space. The program finds the neighbour by the kernel's tables for each packet; interface and next
//! hop are looked up anew when the kernel tells of changes. With the process everything goes: links and maps live by its file descriptors
//! (before Linux 6.6 the program stays; see `clsact`).

mod backend;
mod clsact;
mod guards;
mod interface;
mod layout;
mod map;
mod program;
mod route;
mod taps;
mod tracks;

pub use program::{EbpfError, Program, is_built};
