//! Call detail records: one line of `key=value, ` for each call. Programs read them by name and by order.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::call::{EndReason, EndedReport, MediaDump, PartyDump, PartyRole};

/// The record. Writing to a string cannot fail, so results are not looked at here and below.
pub fn text(report: &EndedReport) -> String {
    let call = &report.call;
    let mut text = format!(
        "ci={}, created_from={}, last_signal={}, tos={}, ",
        call.id,
        call.created_from.map(|address| address.to_string()).unwrap_or_default(),
        call.last_signal.map_or(0, |at| since_epoch(at).as_secs()),
        call.tos
    );
    for (number, each) in call.parties.iter().enumerate() {
        party(&mut text, number, each, report);
    }
    text
}

fn party(text: &mut String, number: usize, party: &PartyDump, report: &EndedReport) {
    let end = party.created + party.duration;
    let role = match party.role {
        PartyRole::Caller => "FROM_TAG",
        PartyRole::Callee => "TO_TAG",
        PartyRole::Unknown => "UNKNOWN",
    };
    let _ = write!(
        text,
        "ml{number}_start_time={}, ml{number}_end_time={}, ml{number}_duration={}, ml{number}_termination={}, \
         ml{number}_local_tag={}, ml{number}_local_tag_type={role}, ",
        seconds(since_epoch(party.created)),
        seconds(since_epoch(end)),
        seconds(party.duration),
        termination(report.reason),
        party.tag
    );
    let mut told: Vec<&str> = Vec::new();
    for other in &party.hears {
        if !told.contains(&other.tag.as_str()) {
            told.push(&other.tag);
            let _ = write!(text, "ml{number}_remote_tag={}, ", other.tag);
        }
    }
    for each in &party.media {
        media(text, number, each);
    }
}

fn media(text: &mut String, number: usize, media: &MediaDump) {
    match media.payload_type {
        Some(payload_type) => _ = write!(text, "payload_type={payload_type}, "),
        None => text.push_str("payload_type=unknown, "),
    }
    for stream in &media.streams {
        let kind = if stream.is_rtcp { "rtcp" } else { "rtp" };
        let prefix = format!("ml{number}_midx{}_{kind}", media.index);
        let address =
            |at: Option<std::net::IpAddr>| at.map(|address| address.to_string()).unwrap_or_default();
        let _ = write!(
            text,
            "{prefix}_endpoint_ip={}, {prefix}_endpoint_port={}, {prefix}_local_relay_ip={}, \
             {prefix}_local_relay_port={}, {prefix}_relayed_packets={}, {prefix}_relayed_bytes={}, \
             {prefix}_relayed_errors={}, {prefix}_last_packet={}, {prefix}_in_tos_tclass=0, ",
            address(stream.remote.map(|remote| remote.ip())),
            stream.remote.map_or(0, |remote| remote.port()),
            address(stream.local.map(|(address, _)| address)),
            stream.local.map_or(0, |(_, port)| port),
            stream.packets,
            stream.octets,
            stream.errors,
            stream.last_packet_s,
        );
    }
}

fn termination(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Deleted => "REGULAR",
        EndReason::FinalTimeout => "FINAL_TIMEOUT",
        EndReason::Timeout => "TIMEOUT",
        EndReason::SilentTimeout => "SILENT_TIMEOUT",
        EndReason::OfferTimeout => "OFFER_TIMEOUT",
        EndReason::Forced => "FORCED",
        EndReason::Shutdown => "UNKNOWN",
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::call::{CallDump, MediaOf, StreamDump, TrafficSnapshot};

    /// A call of two parties, as it was when it ended.
    pub fn report(reason: EndReason) -> EndedReport {
        let at = |us| UNIX_EPOCH + Duration::from_micros(us);
        let stream = |local: u16, remote: u16, is_rtcp, packets, octets, last_packet_s| StreamDump {
            local: Some(([127, 0, 0, 1].into(), local)),
            remote: Some(([127, 0, 0, 1], remote).into()),
            is_rtcp,
            ssrc: 0x1111_1111,
            packets,
            octets,
            errors: 0,
            sent: TrafficSnapshot { packets: 75, octets: 12_900, errors: 0 },
            last_packet_s,
        };
        let party = |tag: &str, other: &str, role, created, duration, streams| PartyDump {
            tag: tag.into(),
            role,
            label: Default::default(),
            branch: Default::default(),
            created: at(created),
            duration: Duration::from_micros(duration),
            aliases: Vec::new(),
            hears: vec![MediaOf { tag: other.into(), index: 1 }],
            heard_by: vec![MediaOf { tag: other.into(), index: 1 }],
            media: vec![MediaDump {
                index: 1,
                media_type: "audio".into(),
                protocol: Some("RTP/AVP".into()),
                payload_type: Some(0),
                codec: Some("PCMU/8000".into()),
                other_formats: Vec::new(),
                streams,
            }],
        };
        EndedReport {
            call: CallDump {
                id: "call-1@host/x".into(),
                other_ids: Vec::new(),
                deleted: false,
                created: at(1_795_226_513_884_002),
                created_from: Some(([127, 0, 0, 1], 60_809).into()),
                tos: 0,
                last_signal: Some(at(1_795_226_515_000_000)),
                foreign: false,
                keyspace: -1,
                stored_us: 0,
                recording: false,
                parties: vec![
                    party(
                        "ft1",
                        "tt1",
                        PartyRole::Caller,
                        1_795_226_513_884_002,
                        1_556_718,
                        vec![
                            stream(43_374, 41_771, false, 80, 12_980, 1_795_226_515),
                            stream(43_375, 41_772, true, 1, 76, 1_795_226_514),
                        ],
                    ),
                    party("tt1", "ft1", PartyRole::Callee, 1_795_226_513_884_885, 1_555_835, Vec::new()),
                ],
            },
            reason,
            ended: at(1_795_226_515_440_720),
            callback: None,
            ssrcs: Vec::new(),
        }
    }

    #[test]
    fn record_is_as_it_always_was() {
        let expected = "ci=call-1@host/x, created_from=127.0.0.1:60809, last_signal=1795226515, tos=0, \
            ml0_start_time=1795226513.884002, ml0_end_time=1795226515.440720, ml0_duration=1.556718, \
            ml0_termination=REGULAR, ml0_local_tag=ft1, ml0_local_tag_type=FROM_TAG, ml0_remote_tag=tt1, payload_type=0, \
            ml0_midx1_rtp_endpoint_ip=127.0.0.1, ml0_midx1_rtp_endpoint_port=41771, \
            ml0_midx1_rtp_local_relay_ip=127.0.0.1, ml0_midx1_rtp_local_relay_port=43374, \
            ml0_midx1_rtp_relayed_packets=80, ml0_midx1_rtp_relayed_bytes=12980, ml0_midx1_rtp_relayed_errors=0, \
            ml0_midx1_rtp_last_packet=1795226515, ml0_midx1_rtp_in_tos_tclass=0, \
            ml0_midx1_rtcp_endpoint_ip=127.0.0.1, ml0_midx1_rtcp_endpoint_port=41772, \
            ml0_midx1_rtcp_local_relay_ip=127.0.0.1, ml0_midx1_rtcp_local_relay_port=43375, \
            ml0_midx1_rtcp_relayed_packets=1, ml0_midx1_rtcp_relayed_bytes=76, ml0_midx1_rtcp_relayed_errors=0, \
            ml0_midx1_rtcp_last_packet=1795226514, ml0_midx1_rtcp_in_tos_tclass=0, \
            ml1_start_time=1795226513.884885, ml1_end_time=1795226515.440720, ml1_duration=1.555835, \
            ml1_termination=REGULAR, ml1_local_tag=tt1, ml1_local_tag_type=TO_TAG, ml1_remote_tag=ft1, payload_type=0, ";
        assert_eq!(text(&report(EndReason::Deleted)), expected);
        assert!(text(&report(EndReason::OfferTimeout)).contains("ml1_termination=OFFER_TIMEOUT, "));
    }
}
