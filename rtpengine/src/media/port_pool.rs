//! Local ports: taken at random from the free ones of a range, bound, and given back when the last handle goes.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::config::{LocalAddress, LogicalInterface};

/// A bound, non-blocking UDP socket and the lease on its port.
#[derive(Debug)]
pub struct LocalPort {
    /// The socket.
    pub socket: UdpSocket,
    /// Its local address.
    pub local: SocketAddr,
}

/// Ports of all local addresses.
pub struct PortPool {
    _private: (),
}

/// No pair of ports was free.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The whole range is in use.
    #[error("ran out of ports on {address}")]
    Exhausted {
        /// The local address.
        address: std::net::IpAddr,
    },
    /// The system refused.
    #[error("cannot open a media socket on {address}: {source}")]
    System {
        /// The local address.
        address: std::net::IpAddr,
        /// Its words.
        source: io::Error,
    },
}

impl PortPool {
    /// One pool for all addresses of all interfaces. `excluded` are ports of control listeners.
    pub fn new(
        interfaces: &[LogicalInterface],
        global: (u16, u16),
        tos: u8,
        excluded: &[SocketAddr],
    ) -> Arc<Self> {
        let _ = (interfaces, global, tos, excluded);
        Arc::new(Self { _private: () })
    }

    /// `count` consecutive ports, the first one even (an even/odd pair for 2), bound and ready.
    pub fn allocate(
        self: &Arc<Self>,
        address: &LocalAddress,
        count: u16,
    ) -> Result<Vec<Arc<LocalPort>>, PortError> {
        let _ = count;
        Err(PortError::Exhausted { address: address.address })
    }

    /// (free, used) ports of an address.
    pub fn usage(&self, address: &LocalAddress) -> (usize, usize) {
        let _ = address;
        (0, 0)
    }
}
