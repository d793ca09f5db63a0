//! Local ports: taken at random from the free ones of a range, bound, and given back when the last handle goes.
//!
//! One bitmap of 65 536 bits per local IP address, a set bit meaning *free*; finding an even/odd pair is a scan
//! over at most 1024 words from a random one, so it costs about the same whether the range is empty or nearly
//! full. The lock of a bitmap is held for that scan only, never across a system call.

mod bitmap;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use socket2::Domain;

use self::bitmap::Bitmap;
use super::blank_sockets::BlankSockets;
use crate::config::{LocalAddress, LogicalInterface};
use crate::netfilter::{PortRule, PortRules};

/// A bound, non-blocking UDP socket and the lease on its port.
#[derive(Debug)]
pub struct LocalPort {
    /// The socket.
    pub socket: UdpSocket,
    /// Its local address.
    pub local: SocketAddr,
    tos: AtomicU8,
    /// Lets packets to it in.
    rule: OnceLock<PortRule>,
    // Declared last: fields drop in order, so the socket is closed before somebody else can get the port.
    _lease: Lease,
}

impl LocalPort {
    /// Changes the IPv4 TOS or IPv6 traffic class of what leaves from this port. One system call.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        set_tos(socket2::SockRef::from(&self.socket), self.local.is_ipv6(), tos)?;
        self.tos.store(tos, Ordering::Relaxed);
        Ok(())
    }

    /// IPv4 TOS or IPv6 traffic class of what leaves from this port.
    pub fn tos(&self) -> u8 {
        self.tos.load(Ordering::Relaxed)
    }

    /// Has what arrives handled by a core. One system call.
    pub fn set_core(&self, core: u16) -> io::Result<()> {
        socket2::SockRef::from(&self.socket).set_cpu_affinity(core.into())
    }
}

/// Ports of all local addresses.
pub struct PortPool {
    addresses: HashMap<IpAddr, Arc<AddressPorts>>,
    global: (u16, u16),
    tos: u8,
    /// Lets packets to open ports in.
    rules: OnceLock<PortRules>,
    /// Open sockets of a former instance, for calls that go on with them.
    inherited: Mutex<HashMap<SocketAddr, UdpSocket>>,
    blank: BlankSockets,
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
    /// The port that is wanted is in use, or no media port.
    #[error("port {address} is in use or outside the range of media ports")]
    Unavailable {
        /// The wanted address.
        address: SocketAddr,
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
        let mut bitmaps: HashMap<IpAddr, Bitmap> = HashMap::new();
        for local in interfaces.iter().flat_map(|i| &i.addresses) {
            let (first, last) = local.ports.unwrap_or(global);
            bitmaps
                .entry(local.address)
                .or_default()
                .release(first, usize::from(last) + 1 - usize::from(first.min(last)));
        }
        for listener in excluded {
            for (address, bitmap) in &mut bitmaps {
                if listener.ip() == *address || listener.ip().is_unspecified() {
                    bitmap.take(listener.port(), 1);
                }
            }
        }
        let addresses = bitmaps
            .into_iter()
            .map(|(address, bitmap)| (address, Arc::new(AddressPorts::new(bitmap))))
            .collect();
        Arc::new(Self {
            addresses,
            global,
            tos,
            inherited: Mutex::default(),
            rules: OnceLock::new(),
            blank: BlankSockets::default(),
        })
    }

    /// `count` consecutive ports, the first one even (an even/odd pair for 2), bound and ready.
    ///
    /// A port that somebody outside this process holds is skipped and another one tried, [`MAX_ATTEMPTS`] times
    /// at most.
    pub fn allocate(
        self: &Arc<Self>,
        address: &LocalAddress,
        count: u16,
    ) -> Result<Vec<Arc<LocalPort>>, PortError> {
        let exhausted = || PortError::Exhausted { address: address.address };
        let system = |source| PortError::System { address: address.address, source };
        let ports = self
            .addresses
            .get(&address.address)
            .ok_or_else(|| system(io::Error::from(io::ErrorKind::AddrNotAvailable)))?;
        let range = address.ports.unwrap_or(self.global);
        // Leases of ports that turned out to be taken stay until the end, so that they are not tried again.
        let mut occupied = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let first = ports.lock().take_even(range, count).ok_or_else(exhausted)?;
            let leases = Lease { ports: Arc::clone(ports), first, count };
            match self.bind_all(address.address, leases) {
                Ok(bound) => return Ok(bound),
                Err((error, leases)) if error.kind() == io::ErrorKind::AddrInUse => occupied.push(leases),
                Err((error, _)) => return Err(system(error)),
            }
        }
        Err(exhausted())
    }

    /// A certain port, bound and ready: for calls that are taken over.
    ///
    /// # Errors
    /// [`PortError`]: it is in use, outside the range, or the system refuses it.
    pub fn allocate_exactly(
        self: &Arc<Self>,
        address: &LocalAddress,
        port: u16,
    ) -> Result<Arc<LocalPort>, PortError> {
        let system = |source| PortError::System { address: address.address, source };
        if let Some(inherited) = self.inherited(address, port) {
            return Ok(inherited);
        }
        let ports = self
            .addresses
            .get(&address.address)
            .ok_or_else(|| system(io::Error::from(io::ErrorKind::AddrNotAvailable)))?;
        {
            let mut free = ports.lock();
            if !free.is_free(port) {
                return Err(PortError::Unavailable { address: SocketAddr::new(address.address, port) });
            }
            free.take(port, 1);
        }
        let lease = Lease { ports: Arc::clone(ports), first: port, count: 1 };
        let mut bound = self.bind_all(address.address, lease).map_err(|(error, _)| system(error))?;
        bound.pop().ok_or(PortError::Exhausted { address: address.address })
    }

    /// From now on ports have rules of the firewall.
    pub fn set_rules(&self, rules: PortRules) {
        let _ = self.rules.set(rules);
    }

    /// Lets packets of a call in at a port, as long as that is open.
    pub fn let_in(&self, port: &LocalPort, call_id: &str) {
        if let Some(rules) = self.rules.get() {
            port.rule.get_or_init(|| rules.open(port.local, call_id));
        }
    }

    /// Sockets of a former instance, which are used instead of new ones where exactly these ports are asked for.
    pub fn inherit(&self, sockets: HashMap<SocketAddr, UdpSocket>) {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).extend(sockets);
    }

    /// Closes those that were not asked for.
    pub fn disinherit(&self) {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The socket of a former instance, which may lie outside of today's range.
    fn inherited(&self, address: &LocalAddress, port: u16) -> Option<Arc<LocalPort>> {
        let local = SocketAddr::new(address.address, port);
        let socket = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).remove(&local)?;
        let ports = self.addresses.get(&address.address).map(Arc::clone)?;
        let is_free = {
            let mut free = ports.lock();
            let is_free = free.is_free(port);
            free.take(port, 1);
            is_free
        };
        let lease = Lease { ports, first: port, count: u16::from(is_free) };
        let options = socket2::SockRef::from(&socket);
        let tos = if local.is_ipv6() { options.tclass_v6() } else { options.tos_v4() };
        let tos = tos.ok().and_then(|tos| u8::try_from(tos).ok()).unwrap_or(self.tos);
        Some(Arc::new(LocalPort {
            socket,
            local,
            tos: AtomicU8::new(tos),
            rule: OnceLock::new(),
            _lease: lease,
        }))
    }

    /// A port that a control protocol names, which may lie outside the range that ports are otherwise taken from.
    ///
    /// # Errors
    /// [`PortError`]: it is in use, or the system refuses it.
    pub fn allocate_named(
        self: &Arc<Self>,
        address: &LocalAddress,
        port: u16,
    ) -> Result<Arc<LocalPort>, PortError> {
        let (first, last) = address.ports.unwrap_or(self.global);
        if (first..=last).contains(&port) {
            return self.allocate_exactly(address, port);
        }
        if let Some(inherited) = self.inherited(address, port) {
            return Ok(inherited);
        }
        let system = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => {
                PortError::Unavailable { address: SocketAddr::new(address.address, port) }
            }
            _ => PortError::System { address: address.address, source },
        };
        let socket = self.open(address.address, port).map_err(system)?;
        let ports = self.addresses.get(&address.address).map(Arc::clone);
        let ports = ports.ok_or_else(|| system(io::ErrorKind::AddrNotAvailable.into()))?;
        let lease = Lease { ports, first: port, count: 0 };
        let tos = AtomicU8::new(self.tos);
        Ok(Arc::new(LocalPort {
            socket,
            local: SocketAddr::new(address.address, port),
            tos,
            rule: OnceLock::new(),
            _lease: lease,
        }))
    }

    /// (free, used) ports of an address. Ports excluded for listeners count as used.
    pub fn usage(&self, address: &LocalAddress) -> (usize, usize) {
        let (first, last) = address.ports.unwrap_or(self.global);
        let Some(ports) = self.addresses.get(&address.address) else { return (0, 0) };
        if first > last {
            return (0, 0);
        }
        let free = ports.lock().count_free(first, last);
        (free, usize::from(last - first) + 1 - free)
    }

    /// Binds every port of a lease and splits it into one lease a port.
    fn bind_all(&self, address: IpAddr, lease: Lease) -> Result<Vec<Arc<LocalPort>>, (io::Error, Lease)> {
        let mut sockets = Vec::with_capacity(usize::from(lease.count));
        for offset in 0..lease.count {
            match self.open(address, lease.first + offset) {
                Ok(socket) => sockets.push(socket),
                Err(error) => return Err((error, lease)),
            }
        }
        Ok(lease
            .split()
            .zip(sockets)
            .map(|(lease, socket)| {
                let local = SocketAddr::new(address, lease.first);
                Arc::new(LocalPort {
                    socket,
                    local,
                    tos: AtomicU8::new(self.tos),
                    rule: OnceLock::new(),
                    _lease: lease,
                })
            })
            .collect())
    }

    fn open(&self, address: IpAddr, port: u16) -> io::Result<UdpSocket> {
        let local = SocketAddr::new(address, port);
        let socket = self.blank.take(Domain::for_address(local))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if self.tos != 0 {
            set_tos(socket2::SockRef::from(&socket), local.is_ipv6(), self.tos)?;
        }
        socket.bind(&local.into())?;
        Ok(socket.into())
    }

    /// Does in advance what the next calls will need.
    pub fn prepare(&self) {
        self.blank.refill();
    }
}

/// How many ports that others hold are skipped before the range counts as exhausted.
pub const MAX_ATTEMPTS: usize = 512;

fn set_tos(socket: socket2::SockRef<'_>, ipv6: bool, tos: u8) -> io::Result<()> {
    if ipv6 { socket.set_tclass_v6(u32::from(tos)) } else { socket.set_tos_v4(u32::from(tos)) }
}

/// The free ports of one IP address.
#[derive(Debug)]
struct AddressPorts {
    free: Mutex<Bitmap>,
}

impl AddressPorts {
    fn new(bitmap: Bitmap) -> Self {
        Self { free: Mutex::new(bitmap) }
    }

    fn lock(&self) -> MutexGuard<'_, Bitmap> {
        // Nothing inside can panic half-way; a poisoned bitmap is still a consistent one.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ports taken from a bitmap; dropping gives them back.
#[derive(Debug)]
struct Lease {
    ports: Arc<AddressPorts>,
    first: u16,
    count: u16,
}

impl Lease {
    fn split(mut self) -> impl Iterator<Item = Lease> {
        let (first, count) = (self.first, self.count);
        let ports = Arc::clone(&self.ports);
        self.count = 0;
        (0..count).map(move |offset| Lease { ports: Arc::clone(&ports), first: first + offset, count: 1 })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.count > 0 {
            self.ports.lock().release(self.first, usize::from(self.count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: &str, ports: Option<(u16, u16)>) -> LocalAddress {
        let address = address.parse().unwrap();
        LocalAddress { address, advertised: address, ports }
    }

    fn pool(addresses: &[LocalAddress], global: (u16, u16), excluded: &[SocketAddr]) -> Arc<PortPool> {
        let interface = LogicalInterface { name: "default".into(), addresses: addresses.to_vec() };
        PortPool::new(&[interface], global, 0, excluded)
    }

    #[test]
    fn pair_is_even_then_odd_and_in_range() {
        let address = local("127.9.0.1", None);
        let pool = pool(&[address], (21_001, 21_100), &[]);
        for _ in 0..20 {
            let ports = pool.allocate(&address, 2).unwrap();
            let (rtp, rtcp) = (ports[0].local.port(), ports[1].local.port());
            assert!(rtp % 2 == 0 && rtcp == rtp + 1, "{rtp} {rtcp}");
            assert!(rtp >= 21_002 && rtcp <= 21_100);
        }
    }

    #[test]
    fn whole_range_can_be_used_and_comes_back() {
        let address = local("127.9.0.2", None);
        let pool = pool(&[address], (22_000, 22_019), &[]);
        let mut held: Vec<_> = (0..10).map(|_| pool.allocate(&address, 2).unwrap()).collect();
        assert_eq!(pool.usage(&address), (0, 20));
        assert!(matches!(pool.allocate(&address, 2), Err(PortError::Exhausted { .. })));
        held.pop();
        assert_eq!(pool.usage(&address), (2, 18));
        pool.allocate(&address, 2).unwrap();
        drop(held);
        assert_eq!(pool.usage(&address), (20, 0));
    }

    #[test]
    fn lease_lives_as_long_as_the_last_handle() {
        let address = local("127.9.0.3", None);
        let pool = pool(&[address], (22_100, 22_101), &[]);
        let ports = pool.allocate(&address, 2).unwrap();
        let other = Arc::clone(&ports[1]);
        drop(ports);
        assert_eq!(pool.usage(&address), (1, 1));
        drop(other);
        assert_eq!(pool.usage(&address), (2, 0));
    }

    #[test]
    fn ports_of_listeners_are_left_out() {
        let address = local("127.9.0.4", None);
        let listener = "0.0.0.0:22203".parse().unwrap();
        let elsewhere = "127.9.9.9:22200".parse().unwrap();
        let pool = pool(&[address], (22_200, 22_203), &[listener, elsewhere]);
        assert_eq!(pool.allocate(&address, 2).unwrap()[0].local.port(), 22_200);
        assert_eq!(pool.usage(&address), (3, 1));
    }

    #[test]
    fn port_held_by_somebody_else_is_skipped() {
        let address = local("127.9.0.5", None);
        let _other = UdpSocket::bind("127.9.0.5:22301").unwrap();
        let pool = pool(&[address], (22_300, 22_303), &[]);
        for _ in 0..8 {
            assert_eq!(pool.allocate(&address, 2).unwrap()[0].local.port(), 22_302);
        }
        assert_eq!(pool.usage(&address), (4, 0));
    }

    #[test]
    fn own_range_of_an_address_wins() {
        let (narrow, wide) = (local("127.9.0.6", Some((22_400, 22_401))), local("127.9.0.7", None));
        let pool = pool(&[narrow, wide], (22_500, 22_509), &[]);
        assert_eq!(pool.usage(&narrow), (2, 0));
        assert_eq!(pool.allocate(&narrow, 2).unwrap()[0].local.port(), 22_400);
        assert_eq!(pool.usage(&wide), (10, 0));
    }

    #[test]
    fn ipv6_ports_and_traffic_class() {
        let address = local("::1", None);
        let interface = LogicalInterface { name: "default".into(), addresses: vec![address] };
        let pool = PortPool::new(&[interface], (22_600, 22_601), 0xb8, &[]);
        let ports = pool.allocate(&address, 2).unwrap();
        let socket = socket2::SockRef::from(&ports[0].socket);
        assert_eq!(socket.tclass_v6().unwrap(), 0xb8);
        assert!(socket.only_v6().unwrap());
        ports[0].set_tos(0).unwrap();
        assert_eq!(socket.tclass_v6().unwrap(), 0);
    }

    #[test]
    fn a_named_port_may_lie_outside_the_range_and_is_held_once() {
        let address = local("127.9.0.8", None);
        let pool = pool(&[address], (22_700, 22_703), &[]);
        for port in [22_702, 22_711] {
            let held = pool.allocate_named(&address, port).unwrap();
            assert_eq!(held.local.port(), port);
            assert!(matches!(pool.allocate_named(&address, port), Err(PortError::Unavailable { .. })));
            drop(held);
            pool.allocate_named(&address, port).unwrap();
        }
        assert_eq!(pool.usage(&address), (4, 0), "ports outside the range are not counted");
    }

    #[test]
    fn address_that_is_not_ours_is_a_system_error() {
        let address = local("203.0.113.77", None);
        let pool = pool(&[address], (22_700, 22_703), &[]);
        assert!(matches!(pool.allocate(&address, 2), Err(PortError::System { .. })));
        assert_eq!(pool.usage(&address), (4, 0));
    }
}
