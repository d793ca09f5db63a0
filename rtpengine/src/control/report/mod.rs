//! What the daemon tells others by itself: records for syslog, RTCP and ng for Homer, numbers for Graphite and MQTT, call-backs for proxies.
//!
//! ```text
//! call ends ─ EndedReport ──→ Reporter ─ log (final statistics), record (CDR), xmlrpc (own task)
//! worker ─── MediaEvent ────→ Reporter ─ ends of announcements → ng clients; connections → Janus; DTMF, RTCP → record, Homer (own task, bounded queue)
//! call ends ─ EndedReport ──→ otlp (own task, bounded queue)
//! ng ─────── request, reply ───────────→ Homer
//! each second ──→ graphite (own task)
//! each interval ─→ mqtt (own tasks)
//! ```
//!
//! Nothing here is waited for by calls, media or ng: whoever does not keep up misses something, and the log says so.

mod cdr;
mod dtmf_log;
mod final_statistics;
mod graphite;
mod homer;
mod interval;
mod mqtt;
mod otlp;
mod playback;
mod rtcp_record;
mod xmlrpc;

use std::sync::Arc;

use service::log::{Facility, LogHandle};
use tokio::sync::mpsc;

pub use dtmf_log::DtmfLog;
pub use graphite::run as run_graphite;
pub use homer::{Homer, NgSide};
pub use interval::IntervalReport;
pub use mqtt::{live, start as start_mqtt};

use otlp::Otlp;

use crate::call::{ConnectionReport, EndReason, EndedReport, Engine, News, StreamWhereabouts};
use crate::config::{Config, XmlRpcConfig};
use crate::control::ng::events::Events;
use crate::media::event::MediaEvent;

/// Severities of syslog.
const NOTICE: u8 = 5;
const INFO: u8 = 6;

/// Takes what happens and tells it.
pub struct Reporter {
    log: LogHandle,
    cdr: Option<Facility>,
    rtcp: Option<Facility>,
    dtmf: Option<Facility>,
    dtmf_log: DtmfLog,
    playback_events: Option<Events>,
    connections: mpsc::Sender<ConnectionReport>,
    homer: Option<Arc<Homer>>,
    xmlrpc: Option<XmlRpcConfig>,
    otlp: Option<Otlp>,
}

impl Reporter {
    /// Must be called within a runtime. `connections` goes to the clients of rooms.
    pub fn new(
        config: &Config,
        log: LogHandle,
        dtmf_log: DtmfLog,
        playback_events: Option<Events>,
        connections: mpsc::Sender<ConnectionReport>,
        homer: Option<Arc<Homer>>,
    ) -> Self {
        let reporting = &config.reporting;
        Self {
            log,
            cdr: reporting.cdr_facility,
            rtcp: reporting.rtcp_facility,
            dtmf: reporting.dtmf_facility,
            dtmf_log,
            playback_events,
            connections,
            homer: homer.filter(|_| reporting.homer.is_some_and(|homer| homer.rtcp)),
            xmlrpc: reporting.xmlrpc.clone(),
            otlp: reporting.otlp.clone().map(Otlp::start),
        }
    }

    /// Tells until nothing comes any more.
    pub async fn run(
        mut self,
        engine: Arc<Engine>,
        mut events: mpsc::Receiver<MediaEvent>,
        mut ended: mpsc::Receiver<Box<EndedReport>>,
    ) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.event(&engine, event),
                    None => return,
                },
                Some(report) = ended.recv() => self.ended(&report),
            }
        }
    }

    fn event(&mut self, engine: &Engine, event: MediaEvent) {
        if let MediaEvent::Rtcp { call, stream, octets } = event {
            if let Some(at) = engine.whereabouts(&call, stream) {
                self.rtcp(&at, &octets);
            }
            return;
        }
        match engine.on_event(&event) {
            Some(News::Digit(report)) => {
                if let Some(facility) = self.dtmf {
                    self.log.record(facility, NOTICE, dtmf_log::text(&report));
                }
                self.dtmf_log.report(&report);
            }
            Some(News::PlaybackEnd(report)) => {
                if let Some(events) = &self.playback_events {
                    events.send("onPlaybackEnd", playback::event(&report));
                }
            }
            Some(News::Connection(report)) => {
                if let Err(mpsc::error::TrySendError::Full(report)) = self.connections.try_send(report) {
                    tracing::warn!(tag = %report.tag, "too much happens to connections of rooms: event lost");
                }
            }
            None => {}
        }
    }

    fn rtcp(&self, at: &StreamWhereabouts, octets: &[u8]) {
        if let Some(facility) = self.rtcp
            && let Some(text) = rtcp_record::text(octets)
        {
            self.log.record(facility, INFO, format!("[{}] {text}", at.call_id));
        }
        if let Some(homer) = &self.homer
            && let Some(json) = rtcp_record::object(octets)
        {
            homer.rtcp(at, json);
        }
    }

    fn ended(&self, report: &EndedReport) {
        let call_id = report.call.id.as_str();
        for line in final_statistics::lines(report) {
            tracing::info!(target: "core", call_id, "{line}");
        }
        if let Some(facility) = self.cdr {
            self.log.record(facility, INFO, cdr::text(report));
        }
        if let Some(otlp) = &self.otlp {
            otlp.call(report);
        }
        if let Some(config) = &self.xmlrpc
            && matches!(report.reason, EndReason::Timeout | EndReason::FinalTimeout)
            && let Some(calls) = xmlrpc::calls(config, report)
        {
            tokio::spawn(calls.carry_out());
        }
    }
}
