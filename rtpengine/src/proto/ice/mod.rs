//! ICE (RFC 8445, trickle RFC 8838, peers of RFC 5245, consent RFC 7675): the agent that finds out on which path media really flow.
//!
//! Sans-IO: one [`Agent`] for the components of one media section with one party. It owns no socket, clock or random source.
//!
//! ```text
//! handle_datagram(now, base, source, octets, reply)   STUN that arrived; the answer to it, if any
//! handle_timeout(now)                                 at poll_timeout()
//! poll_transmit(now, buffer)                          checks to send, until None, after each of the two
//! poll_event()                                        what changed, until None, after each of the two
//! poll_timeout()                                      when handle_timeout is wanted next
//! ```
//!
//! **Trust.** Only messages with a MESSAGE-INTEGRITY made with the right password change anything; all others are counted by the caller
//! (see [`Refusal`]) and answered, if at all, by an error that is not longer than the request, a few times a second. Candidates that a party
//! signals cost at most [`MAX_PAIRS`] paced checks.
//!
//! **Bounds.** [`MAX_PAIRS`] pairs, a fixed number of octets for each; no allocation on behalf of an unauthenticated message.
//!
//! Does not do: TCP, relaying, gathering of server reflexive candidates (the relay's addresses are public, or configured with what is
//! advertised for them).
//!
//! Simplifications, all without effect on what a peer sees: each media section's check list is paced and unfrozen by itself, since a
//! section's agent lives in the worker of its call alone; a valid pair is that of the check that found it, whatever mapped address
//! the peer reported, since both have the same base.

mod agent;
mod candidate;
mod checklist;
mod incoming;
mod selection;
mod settings;
#[cfg(test)]
mod tests;
mod transaction;

pub use agent::{Agent, AgentState, Event, Handled, Path, Refusal, Transmit};
pub use candidate::{CandidateKind, Component, RemoteCandidate, pair_priority, priority};
pub use checklist::MAX_PAIRS;
pub(crate) use settings::ice_characters_of;
pub use settings::{
    Base, BaseId, LocalCredentials, MAX_CANDIDATES, Mode, RemoteAgent, RemoteCredentials, Role, Settings,
};
