//! Local ports of one media: one set for each far endpoint that was ever bound to it.
//!
//! The ports that are shown to a party are bound to the endpoint of whoever talks to it: the same far endpoint in a later
//! message gets the same ports again, a new one gets new ports.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use crate::config::LocalAddress;
use crate::media::port_pool::LocalPort;
use crate::negotiate::ice::Foundation;

/// Sets remembered for one media; the oldest unused one goes first.
const MAX_SETS: usize = 8;

/// An even port with the odd one above it (more for `m=` lines with a port count).
#[derive(Clone, Debug)]
pub struct PortSet {
    pub rtp: Arc<LocalPort>,
    /// Absent once multiplexing is certain.
    pub rtcp: Option<Arc<LocalPort>>,
    /// Further pairs of an `m=` line with a port count; reserved, never used.
    pub further: Vec<Arc<LocalPort>>,
    /// The same on the other addresses of the interface, for ICE.
    pub alternates: Vec<Alternate>,
}

/// Ports on another local address than the one that is printed.
#[derive(Clone, Debug)]
pub struct Alternate {
    pub local: LocalAddress,
    pub foundation: Foundation,
    pub rtp: Arc<LocalPort>,
    pub rtcp: Option<Arc<LocalPort>>,
}

#[derive(Clone, Debug)]
struct Bound {
    /// `None`: reserved at the party's own offer, waiting for an answerer.
    far: Option<SocketAddr>,
    set: PortSet,
    /// The RTCP port that was given back; workers may still be about to let it go.
    former_rtcp: Weak<LocalPort>,
}

impl Bound {
    fn new(far: Option<SocketAddr>, set: PortSet) -> Self {
        Self { far, set, former_rtcp: Weak::new() }
    }
}

/// All sets of one media, and which is in use.
#[derive(Clone, Debug, Default)]
pub struct PortSets {
    sets: Vec<Bound>,
    current: Option<usize>,
    /// The one in use before.
    former: Option<usize>,
}

/// Whether a new far endpoint may keep the present ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latching {
    /// New endpoint, new ports.
    Renew,
    /// Keep what is there.
    Keep,
}

impl PortSets {
    /// The ports in use.
    pub fn current(&self) -> Option<&PortSet> {
        self.current.map(|index| &self.sets[index].set)
    }

    /// The ports that were in use before. The party sends there until it has read of the others, and stays there if it refuses them.
    pub fn former(&self) -> Option<&PortSet> {
        self.former.map(|index| &self.sets[index].set)
    }

    /// All sets with the endpoints that they are bound to.
    pub fn sets(&self) -> impl Iterator<Item = (Option<SocketAddr>, &PortSet)> {
        self.sets.iter().map(|bound| (bound.far, &bound.set))
    }

    /// Position of the set in use among [`Self::sets`].
    pub fn current_index(&self) -> Option<usize> {
        self.current
    }

    /// Position of [`Self::former`] among [`Self::sets`].
    pub fn former_index(&self) -> Option<usize> {
        self.former
    }

    /// Sets that another instance had, with those in use and before. `None`: there are no such ones, or there are too many.
    pub fn restore(
        sets: Vec<(Option<SocketAddr>, PortSet)>,
        [current, former]: [Option<usize>; 2],
    ) -> Option<Self> {
        if sets.len() > MAX_SETS || [current, former].iter().flatten().any(|index| *index >= sets.len()) {
            return None;
        }
        let sets = sets.into_iter().map(|(far, set)| Bound::new(far, set)).collect();
        Some(Self { sets, current, former })
    }

    fn change_to(&mut self, index: usize) {
        if self.current != Some(index) {
            self.former = self.current.replace(index);
        }
    }

    /// Any ports at all.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Closes everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Multiplexing is certain: the RTCP port in use is given back.
    pub fn drop_rtcp(&mut self) {
        if let Some(index) = self.current {
            let Bound { set, former_rtcp, .. } = &mut self.sets[index];
            if let Some(rtcp) = set.rtcp.take() {
                *former_rtcp = Arc::downgrade(&rtcp);
            }
            set.alternates.iter_mut().for_each(|alternate| alternate.rtcp = None);
        }
    }

    /// Opens what the ports in use lack on further addresses; `open` gives `None` where there are none free.
    pub fn open_alternates(
        &mut self,
        addresses: impl Iterator<Item = (LocalAddress, Foundation)>,
        open: impl Fn(&LocalAddress) -> Option<(Arc<LocalPort>, Option<Arc<LocalPort>>)>,
    ) {
        let Some(set) = self.current.map(|index| &mut self.sets[index].set) else { return };
        for (local, foundation) in addresses {
            if set.alternates.iter().all(|alternate| alternate.local != local)
                && let Some((rtp, rtcp)) = open(&local)
            {
                let rtcp = rtcp.filter(|_| set.rtcp.is_some());
                set.alternates.push(Alternate { local, foundation, rtp, rtcp });
            }
        }
    }

    /// Multiplexing is not certain any more: opens the RTCP port above the RTP port in use again, if it was given back. `false`: somebody
    /// else has it by now.
    pub fn reopen_rtcp(
        &mut self,
        local: LocalAddress,
        open: impl Fn(&LocalAddress, u16) -> Option<Arc<LocalPort>>,
    ) -> bool {
        let Some(Bound { set, former_rtcp, .. }) = self.current.map(|index| &mut self.sets[index]) else {
            return true;
        };
        let above = |rtp: &LocalPort, local: &LocalAddress| open(local, rtp.local.port().checked_add(1)?);
        if set.rtcp.is_none() {
            set.rtcp = former_rtcp.upgrade().or_else(|| above(&set.rtp, &local));
        }
        for alternate in set.alternates.iter_mut().filter(|alternate| alternate.rtcp.is_none()) {
            // One candidate less, if not.
            alternate.rtcp = above(&alternate.rtp, &alternate.local);
        }
        set.rtcp.is_some()
    }

    /// Reserves ports before it is known who will answer. Does nothing when there are some.
    pub fn reserve<E>(&mut self, open: impl FnOnce() -> Result<PortSet, E>) -> Result<(), E> {
        if self.sets.is_empty() {
            self.sets.push(Bound::new(None, open()?));
            self.current = Some(0);
        }
        Ok(())
    }

    /// Makes the ports for a far endpoint the current ones, opening new ones only where the rules ask for it.
    pub fn bind<E>(
        &mut self,
        far: SocketAddr,
        latching: Latching,
        open: impl FnOnce() -> Result<PortSet, E>,
    ) -> Result<(), E> {
        if let Some(index) =
            self.sets.iter().position(|bound| bound.far.is_some_and(|other| same(other, far)))
        {
            self.change_to(index);
            return Ok(());
        }
        if let Some(index) = self.sets.iter().position(|bound| bound.far.is_none()) {
            self.sets[index].far = Some(far);
            self.change_to(index);
            return Ok(());
        }
        if latching == Latching::Keep && self.current.is_some() {
            return Ok(());
        }
        let set = open()?;
        if self.sets.len() >= MAX_SETS {
            self.sets.remove(0);
            self.current = self.current.and_then(|index| index.checked_sub(1));
            self.former = self.former.and_then(|index| index.checked_sub(1));
        }
        self.sets.push(Bound::new(Some(far), set));
        self.change_to(self.sets.len() - 1);
        Ok(())
    }
}

/// Same endpoint; an unspecified address (hold) compares by port only.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::media::port_pool::{PortError, PortPool};

    fn opener() -> impl Fn() -> Result<PortSet, PortError> {
        let loopback = [127, 0, 0, 1].into();
        let config = Config::for_address(loopback, loopback);
        let pool = PortPool::new(&config.interfaces, (20_000, 29_999), 0, &[]);
        move || {
            let mut ports = pool.allocate(&config.interfaces[0].addresses[0], 2)?.into_iter();
            let rtp = ports.next().expect("two ports");
            Ok(PortSet { rtp, rtcp: ports.next(), further: Vec::new(), alternates: Vec::new() })
        }
    }

    fn far(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    fn port(sets: &PortSets) -> u16 {
        sets.current().expect("current").rtp.local.port()
    }

    #[test]
    fn an_endpoint_that_returns_gets_its_earlier_ports() {
        let (mut sets, open) = (PortSets::default(), opener());
        sets.reserve(&open).expect("reserve");
        let reserved = port(&sets);
        sets.bind(far("192.0.2.1:1000"), Latching::Renew, &open).expect("bind");
        assert_eq!(port(&sets), reserved, "the first endpoint takes what was reserved");
        sets.bind(far("192.0.2.1:2000"), Latching::Renew, &open).expect("bind");
        assert_ne!(port(&sets), reserved);
        sets.bind(far("192.0.2.1:1000"), Latching::Renew, &open).expect("bind");
        assert_eq!(port(&sets), reserved);
        sets.bind(far("0.0.0.0:1000"), Latching::Renew, &open).expect("bind");
        assert_eq!(port(&sets), reserved, "a zero address compares by port");
    }

    #[test]
    fn latching_keeps_the_present_ports() {
        let (mut sets, open) = (PortSets::default(), opener());
        sets.bind(far("192.0.2.1:1000"), Latching::Keep, &open).expect("bind");
        let first = port(&sets);
        sets.bind(far("192.0.2.1:2000"), Latching::Keep, &open).expect("bind");
        assert_eq!(port(&sets), first);
    }
}
