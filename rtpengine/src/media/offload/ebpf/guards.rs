//! Guards of media ports in the program's maps.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::{Dropped, Guard, Policy, Shield};
use super::layout::{ANY_DATAGRAM, Endpoint, GuardValue, OPEN, PINNED, SprayValue};
use super::program::Shared;

/// One worker's guards.
pub struct Guards {
    shared: Arc<Shared>,
    /// What others have sent to a port counts for who had the port then.
    ids: HashMap<SocketAddr, u32>,
}

impl Guards {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, ids: HashMap::new() }
    }
}

impl Shield for Guards {
    fn guard(&mut self, port: SocketAddr, guard: &Guard) -> io::Result<()> {
        let id = self.ids.get(&port).copied().unwrap_or_else(|| self.shared.next_id.fetch_add(1, Relaxed));
        self.shared.guards.set(&port.into(), &to_value(id, guard))?;
        self.ids.insert(port, id);
        Ok(())
    }

    fn unguard(&mut self, port: SocketAddr) -> Dropped {
        let Some(id) = self.ids.remove(&port) else { return Dropped::default() };
        let key = Endpoint::from(port);
        // If it is not there, nothing is dropped.
        let _ = self.shared.guards.delete(&key);
        self.shared.sprays.take(&key).map_or_else(|_| Dropped::default(), |spray| from_value(id, &spray))
    }

    fn dropped(&self, port: SocketAddr) -> Dropped {
        let Some(id) = self.ids.get(&port) else { return Dropped::default() };
        let spray = self.shared.sprays.get(&port.into());
        spray.map_or_else(|_| Dropped::default(), |spray| from_value(*id, &spray))
    }

    fn dropped_at(&self) -> u64 {
        self.shared.dropped_at.get(&0).unwrap_or(0)
    }
}

fn to_value(id: u32, guard: &Guard) -> GuardValue {
    let mut value = GuardValue {
        id,
        flags: match guard.policy {
            Policy::Open => OPEN,
            Policy::Learned => 0,
            Policy::Pinned => PINNED,
        },
        ..GuardValue::default()
    };
    if guard.any_datagram {
        value.flags |= ANY_DATAGRAM;
    }
    for (place, source) in value.sources.iter_mut().zip(&guard.sources) {
        *place = (*source).into();
    }
    for (place, ssrc) in value.ssrcs.iter_mut().zip(&guard.ssrcs) {
        *place = *ssrc;
        value.ssrcs_used += 1;
    }
    value
}

fn from_value(id: u32, spray: &SprayValue) -> Dropped {
    // It may be of who had the port before.
    if spray.id != id {
        return Dropped::default();
    }
    Dropped { wrong_source: spray.wrong_source, over_budget: spray.over_budget }
}

#[cfg(test)]
mod tests {
    use super::super::super::{GUARD_SOURCES, GUARD_SSRCS};
    use super::*;

    fn guard(policy: Policy, any_datagram: bool, sources: usize, ssrcs: u32) -> Guard {
        let source = |number: usize| SocketAddr::from(([192, 0, 2, number as u8], 4000));
        Guard {
            policy,
            any_datagram,
            sources: (0..sources).map(source).collect(),
            ssrcs: (10..10 + ssrcs).collect(),
        }
    }

    #[test]
    fn the_program_is_told_who_is_expected() {
        for (policy, any_datagram, flags) in [
            (Policy::Open, false, OPEN),
            (Policy::Learned, false, 0),
            (Policy::Pinned, false, PINNED),
            (Policy::Open, true, OPEN | ANY_DATAGRAM),
        ] {
            let value = to_value(9, &guard(policy, any_datagram, 2, 3));
            assert_eq!((value.id, value.flags), (9, flags), "{policy:?}");
            assert_eq!(SocketAddr::from(value.sources[1]), "192.0.2.1:4000".parse().unwrap());
            // No packet comes from a source without a family.
            assert_eq!([value.sources[2].family, value.sources[3].family], [0, 0]);
            assert_eq!((&value.ssrcs[..3], value.ssrcs_used), (&[10, 11, 12][..], 3));
        }
        let full = to_value(9, &guard(Policy::Learned, false, GUARD_SOURCES, GUARD_SSRCS as u32));
        assert_eq!(full.ssrcs_used, GUARD_SSRCS as u32);
        assert!(full.sources.iter().all(|source| source.family == 4));
    }

    #[test]
    fn numbers_of_a_former_owner_of_the_port_are_not_ours() {
        let spray = SprayValue { id: 9, wrong_source: 5, over_budget: 3, ..SprayValue::default() };
        assert_eq!(from_value(9, &spray), Dropped { wrong_source: 5, over_budget: 3 });
        assert_eq!(from_value(10, &spray), Dropped::default());
    }
}
