//! UDP sockets that are not bound to anything yet, made while nobody waits for them.
//!
//! Making a socket takes longer than binding it. Nothing can arrive at one that is not bound, so that the call that gets it hears
//! nothing of others.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// Sockets of each family: a call with one media section, both sides with RTP and RTCP, takes four.
const STOCK: usize = 8;

/// The stock. Empty until the first socket of a family was asked for.
#[derive(Debug, Default)]
pub(super) struct BlankSockets {
    ipv4: Family,
    ipv6: Family,
}

#[derive(Debug, Default)]
struct Family {
    is_used: AtomicBool,
    sockets: Mutex<Vec<Socket>>,
}

impl BlankSockets {
    /// A non-blocking socket that programs we start do not inherit, from the stock or new.
    ///
    /// # Errors
    /// The system gives no socket.
    pub fn take(&self, domain: Domain) -> io::Result<Socket> {
        let family = if domain == Domain::IPV6 { &self.ipv6 } else { &self.ipv4 };
        let stocked = family.lock().pop();
        if let Some(socket) = stocked {
            return Ok(socket);
        }
        family.is_used.store(true, Relaxed);
        blank(domain)
    }

    /// Fills the stock up. What the system refuses is asked for again when it is needed.
    pub fn refill(&self) {
        for (family, domain) in [(&self.ipv4, Domain::IPV4), (&self.ipv6, Domain::IPV6)] {
            if !family.is_used.load(Relaxed) {
                continue;
            }
            let missing = STOCK.saturating_sub(family.lock().len());
            for _ in 0..missing {
                let Ok(socket) = blank(domain) else { return };
                family.lock().push(socket);
            }
        }
    }
}

impl Family {
    fn lock(&self) -> MutexGuard<'_, Vec<Socket>> {
        // Nothing inside can panic half-way.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn blank(domain: Domain) -> io::Result<Socket> {
    // `new_raw` makes the socket non-blocking and close-on-exec in the same system call.
    Socket::new_raw(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_that_are_used_are_stocked() {
        let sockets = BlankSockets::default();
        sockets.refill();
        let counts = || [&sockets.ipv4, &sockets.ipv6].map(|family| family.lock().len());
        assert_eq!(counts(), [0, 0]);
        for taken in 1..20 {
            let socket = sockets.take(Domain::IPV4).expect("a socket");
            socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("not bound before");
            assert!(socket.nonblocking().expect("an option"), "{taken}");
            if taken == 10 {
                sockets.refill();
            }
        }
        // Eight of the nine taken since then were there.
        assert_eq!(counts(), [0, 0]);
        sockets.refill();
        assert_eq!(counts(), [STOCK, 0]);
    }
}
