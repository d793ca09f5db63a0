//! For the fuzzer: reads a stored call, with ports on loopback.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use super::super::identities::Identities;
use super::super::interfaces::Interfaces;
use super::Reader;
use crate::config::Config;
use crate::media::port_pool::PortPool;
use crate::proto::dtls::Identity;
use crate::proto::value::Dict;

struct Bench {
    interfaces: Interfaces,
    pool: Arc<PortPool>,
    identities: Identities,
}

/// Reads a dictionary as a call.
pub fn fuzz(dict: &Dict) {
    static BENCH: OnceLock<Option<Bench>> = OnceLock::new();
    let bench = BENCH.get_or_init(|| {
        let loopback = [127, 0, 0, 1].into();
        let config = Config::for_address(loopback, loopback);
        let identity = Identity::generate(&config.dtls, "fuzz", SystemTime::now()).ok()?;
        Some(Bench {
            interfaces: Interfaces::new(&config),
            pool: PortPool::new(&config.interfaces, (30_000, 39_999), 0, &[]),
            identities: Identities::new(identity, config.dtls.clone(), Instant::now()),
        })
    });
    if let Some(Bench { interfaces, pool, identities }) = bench {
        let _ = Reader { interfaces, pool, identities }.read("fuzz", dict);
    }
}
