//! Blocks of UDP ports that no other test of this machine uses at the same time.
//!
//! Tests run as threads of one process and as processes side by side, so a counter is not enough: the first port of
//! a block is bound for as long as the block is in use. All blocks lie below the range from which Linux picks
//! ports for sockets that do not care, so that nobody wanders in.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports of one test. Given back when dropped.
#[derive(Debug)]
pub struct PortBlock {
    _guard: UdpSocket,
    first: u16,
}

impl PortBlock {
    /// Ports in a block.
    pub const SIZE: u16 = 200;

    /// Finds and takes a free block.
    pub fn take() -> Self {
        let start = (std::process::id() as u16).wrapping_mul(7);
        for attempt in 0..2 * BLOCKS {
            let index =
                start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).wrapping_add(attempt) % BLOCKS;
            let first = LOWEST + index * Self::SIZE;
            let Ok(guard) = UdpSocket::bind((Ipv4Addr::LOCALHOST, first)) else { continue };
            let block = Self { _guard: guard, first };
            if block.is_free() {
                return block;
            }
        }
        panic!("no free block of {} UDP ports on loopback", Self::SIZE);
    }

    /// A port for the ng protocol.
    pub fn control(&self) -> u16 {
        self.first + 1
    }

    /// Ports for the media of the daemon, both included; the first is even.
    pub fn media(&self) -> (u16, u16) {
        (self.first + 2, self.first + Self::SIZE - 1)
    }

    fn is_free(&self) -> bool {
        (self.first + 1..self.first + Self::SIZE)
            .step_by(7)
            .all(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, self.control())).is_ok()
    }
}

static NEXT: AtomicU16 = AtomicU16::new(0);
const LOWEST: u16 = 10_000;
const BLOCKS: u16 = (32_700 - LOWEST) / PortBlock::SIZE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_never_overlap() {
        let blocks: Vec<_> = (0..8).map(|_| PortBlock::take()).collect();
        let mut firsts: Vec<_> = blocks.iter().map(|block| block.first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 8);
    }
}
