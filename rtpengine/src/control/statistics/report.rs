//! The numbers of one moment, collected from where they are kept.

use std::net::IpAddr;
use std::sync::Arc;

use crate::call::{Engine, Gauges};
use crate::control::ng::command::{ClientCounters, CommandCounters};
use crate::control::report::IntervalReport;
use crate::media::stats::TrafficCount;
use crate::media::totals::{InterfaceCount, PlaneTotals};
use crate::record::RecorderStats;
use crate::statistics::{CallTotals, Quality, Rates};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub uptime_s: u64,
    pub gauges: Gauges,
    pub rates: Rates,
    /// Packets that came in, and errors of both directions, since the start.
    pub relayed: TrafficCount,
    pub calls: CallTotals,
    pub rejected: u64,
    pub quality: Quality,
    /// Traffic that the kernel forwarded by itself.
    pub kernel: TrafficCount,
    pub plane: PlaneTotals,
    pub clients: Vec<(IpAddr, ClientCounters)>,
    pub total: ClientCounters,
    pub interfaces: Vec<InterfaceReport>,
    /// Octets of the workers' packet buffers.
    pub packet_buffers: usize,
    /// What Graphite was told last.
    pub interval: Option<Arc<IntervalReport>>,
    /// Octets of media kept in memory.
    pub media_cache: u64,
    /// Octets of encoded announcements that are kept.
    pub player_cache: u64,
    pub recorder: RecorderStats,
}

/// One local address of a logical interface.
#[derive(Clone, Debug)]
pub struct InterfaceReport {
    pub name: String,
    pub address: IpAddr,
    /// Both inclusive.
    pub ports: (u16, u16),
    pub free: usize,
    pub used: usize,
    pub count: InterfaceCount,
    pub quality: Quality,
}

impl Report {
    pub fn take(engine: &Engine, commands: &CommandCounters) -> Self {
        let statistics = engine.statistics();
        let plane = engine.plane().totals();
        Self {
            uptime_s: statistics.uptime().as_secs(),
            gauges: engine.gauges(),
            rates: statistics.rates(),
            relayed: plane.relayed(),
            calls: statistics.calls(),
            rejected: statistics.rejected(),
            quality: Quality::from(&plane.quality()),
            kernel: plane.kernel(),
            clients: commands.clients(),
            total: commands.total(),
            interfaces: interfaces(engine, &plane),
            packet_buffers: engine.plane().packet_buffers(),
            media_cache: engine.sources().library().octets(),
            player_cache: engine.sources().encodings().octets(),
            recorder: engine.recorder.stats(),
            plane,
            interval: None,
        }
    }

    /// Sequence numbers that never came, on all addresses.
    pub fn packets_lost(&self) -> u64 {
        self.plane.interfaces.iter().map(|interface| interface.lost).sum()
    }

    /// User space and kernel together.
    pub fn relayed_total(&self) -> TrafficCount {
        let mut sum = self.relayed;
        sum += self.kernel;
        sum
    }
}

impl InterfaceReport {
    /// Share of the ports that is in use.
    pub fn used_percent(&self) -> f64 {
        match self.free + self.used {
            0 => 0.0,
            all => self.used as f64 * 100.0 / all as f64,
        }
    }
}

fn interfaces(engine: &Engine, plane: &PlaneTotals) -> Vec<InterfaceReport> {
    let config = engine.config();
    let interface = |(index, (logical, local)): (usize, (&crate::config::LogicalInterface, &_))| {
        let local: &crate::config::LocalAddress = local;
        let (free, used) = engine.ports().usage(local);
        InterfaceReport {
            name: logical.name.clone(),
            address: local.address,
            ports: local.ports.unwrap_or((config.port_min, config.port_max)),
            free,
            used,
            count: plane.interfaces.get(index).copied().unwrap_or_default(),
            quality: plane
                .interfaces
                .get(index)
                .map(|count| Quality::from(&count.quality))
                .unwrap_or_default(),
        }
    };
    config.local_addresses().enumerate().map(interface).collect()
}
