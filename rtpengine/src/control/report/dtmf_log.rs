//! Digits are told about: a JSON datagram each, and an event for ng clients over TCP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::UNIX_EPOCH;

use crate::call::DtmfReport;
use crate::control::ng::events::Events;
use crate::proto::json;
use crate::proto::value::{Dict, Value};

/// Where reports go.
pub struct DtmfLog {
    destination: Option<SocketAddr>,
    events: Option<Events>,
    /// One socket for IPv4 and one for IPv6, each bound when it is needed first.
    sockets: [Option<UdpSocket>; 2],
}

impl DtmfLog {
    /// `destination` is for calls without one of their own; without `events` ng clients are not told.
    pub fn new(destination: Option<SocketAddr>, events: Option<Events>) -> Self {
        Self { destination, events, sockets: [None, None] }
    }

    /// Tells about a digit. Never waits.
    pub fn report(&mut self, report: &DtmfReport) {
        if let Some(destination) = report.destination.or(self.destination) {
            let mut octets = Vec::new();
            json::encode_dict(&datagram(report), &mut octets);
            self.send(destination, &octets);
        }
        if let Some(events) = &self.events {
            events.send("onDTMF", event(report));
        }
    }

    fn send(&mut self, destination: SocketAddr, octets: &[u8]) {
        let Some(socket) = self.socket(destination) else { return };
        if let Err(error) = socket.send_to(octets, destination) {
            tracing::debug!(%destination, %error, "DTMF report not sent");
        }
    }

    fn socket(&mut self, destination: SocketAddr) -> Option<&UdpSocket> {
        let slot = &mut self.sockets[usize::from(destination.is_ipv6())];
        if slot.is_none() {
            let any = match destination {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let bound = UdpSocket::bind(any).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            *slot = bound.inspect_err(|error| tracing::warn!(%error, "no socket for DTMF reports")).ok();
        }
        slot.as_ref()
    }
}

/// The report as one line.
pub fn text(report: &DtmfReport) -> String {
    let mut octets = Vec::new();
    json::encode_dict(&datagram(report), &mut octets);
    String::from_utf8_lossy(&octets).into_owned()
}

/// In the order that readers of the log know.
fn datagram(report: &DtmfReport) -> Dict {
    let mut dict = names(report);
    dict.push("tags", tags(report)).push("type", "DTMF");
    dict.push("timestamp", seconds(report)).push("source_ip", report.source.to_string());
    numbers(report, &mut dict);
    dict
}

/// The same for ng clients.
fn event(report: &DtmfReport) -> Dict {
    let mut dict = Dict::new();
    dict.push("tags", tags(report));
    dict.0.extend(names(report).0);
    dict.push("type", "DTMF").push("source_ip", report.source.to_string());
    dict.push("timestamp", seconds(report));
    numbers(report, &mut dict);
    dict
}

fn names(report: &DtmfReport) -> Dict {
    let mut dict = Dict::new();
    dict.push("callid", report.call_id.as_str()).push("source_tag", report.source_tag.as_str());
    if let Some(label) = &report.source_label {
        dict.push("source_label", label.as_str());
    }
    dict
}

fn numbers(report: &DtmfReport, dict: &mut Dict) {
    dict.push("event", u64::from(report.event));
    dict.push("duration", u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX));
    dict.push("volume", u64::from(report.volume));
}

fn tags(report: &DtmfReport) -> Vec<Value> {
    report.tags.iter().map(|tag| tag.as_str().into()).collect()
}

fn seconds(report: &DtmfReport) -> u64 {
    report.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn report_reaches_the_calls_own_destination_in_the_known_order() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
        receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
        let report = DtmfReport {
            call_id: "call-1@host/x".into(),
            source_tag: "ft1".into(),
            source_label: Some("labA".into()),
            tags: vec!["ft1".into(), "tt1".into()],
            time: UNIX_EPOCH + Duration::from_millis(1_795_226_514_900),
            source: Ipv4Addr::LOCALHOST.into(),
            event: 5,
            duration: Duration::from_millis(60),
            volume: 10,
            destination: receiver.local_addr().ok(),
        };
        let events = Events::new();
        let mut client = events.subscribe();
        DtmfLog::new(None, Some(events)).report(&report);
        let mut buffer = [0; 500];
        let length = receiver.recv(&mut buffer).expect("a datagram");
        let expected = r#"{"callid":"call-1@host/x","source_tag":"ft1","source_label":"labA","tags":["ft1","tt1"],"type":"DTMF","timestamp":1795226514,"source_ip":"127.0.0.1","event":5,"duration":60,"volume":10}"#;
        assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(expected));
        let told = client.try_recv().expect("an event");
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.contains("6:notify6:onDTMF4:datad4:tagsl3:ft13:tt1e6:callid13:call-1@host/x"), "{told}");
    }
}
