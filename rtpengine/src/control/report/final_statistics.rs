//! The last lines that the log has about a call: what its streams carried, and how well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::call::{EndedReport, MediaDump, MediaOf, PartyDump, SsrcSnapshot, StreamDump};
use crate::media::quality::QualitySnapshot;

/// The lines, in order.
pub fn lines(report: &EndedReport) -> Vec<String> {
    let mut lines = vec!["Final packet stats:".to_owned()];
    for each in &report.call.parties {
        party(&mut lines, each, report.ended);
    }
    let created = seconds(report.call.created);
    for ssrc in &report.ssrcs {
        if let Some(quality) = &ssrc.quality {
            lines.extend(scores(ssrc, quality, created));
        }
    }
    lines
}

fn party(lines: &mut Vec<String>, party: &PartyDump, ended: SystemTime) {
    let age = ended.duration_since(party.created).unwrap_or_default();
    let label = match party.label.as_str() {
        "" => String::new(),
        label => format!(" (label '{label}')"),
    };
    lines.push(format!(
        "--- Tag '{}'{label}, created {} ago for branch '{}'",
        party.tag,
        minutes(age.as_secs()),
        party.branch
    ));
    lines.extend(party.aliases.iter().map(|alias| format!("---     Alias: '{alias}'")));
    for (relation, others) in [("subscribed to", &party.hears), ("subscription for", &party.heard_by)] {
        lines.extend(others.iter().map(|MediaOf { tag, index }| {
            format!("---     {relation} media with monologue tag '{tag}' (index: {index})")
        }));
    }
    for each in &party.media {
        media(lines, each, ended);
    }
}

fn media(lines: &mut Vec<String>, media: &MediaDump, ended: SystemTime) {
    let protocol = media.protocol.as_deref().unwrap_or("(unknown)");
    let codec = match (&media.codec, media.other_formats.as_slice()) {
        (Some(codec), _) => codec.to_string(),
        (None, []) => "unknown codec".into(),
        (None, formats) => formats.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(" "),
    };
    lines.push(format!("------ Media #{} ({} over {protocol}) using {codec}", media.index, media.media_type));
    lines.extend(media.streams.iter().map(|each| stream(each, ended)));
}

fn stream(stream: &StreamDump, ended: SystemTime) -> String {
    let (local, port) = stream.local.map_or_else(Default::default, |(ip, port)| (ip.to_string(), port));
    let (remote, remote_port) =
        stream.remote.map_or_else(Default::default, |remote| (remote.ip().to_string(), remote.port()));
    let StreamDump { ssrc, packets, octets, errors, last_packet_s, sent, .. } = stream;
    let rtcp = if stream.is_rtcp { " (RTCP)" } else { "" };
    let quiet = seconds(ended).saturating_sub(*last_packet_s);
    format!(
        "--------- Port {local:>15}:{port:<5} <> {remote:>15}:{remote_port:<5}{rtcp}, SSRC {ssrc:x}, \
         in {packets} p, {octets} b, {errors} e, {quiet} ts, out {} p, {} b, {} e",
        sent.packets, sent.octets, sent.errors
    )
}

fn scores(ssrc: &SsrcSnapshot, quality: &QualitySnapshot, created: u64) -> [String; 3] {
    let QualitySnapshot { average, lowest, highest, .. } = quality;
    let mos = |tenths: u8| format!("{}.{}", tenths / 10, tenths % 10);
    let at = |sample: &crate::media::quality::Sample| minutes(u64::from(sample.at_s).saturating_sub(created));
    let ms = |us: u32| format!("{}.{}", us / 1000, us % 1000 / 100);
    let three = |value: &dyn Fn(&crate::media::quality::Sample) -> String| {
        format!("{}/{}/{}", value(average), value(lowest), value(highest))
    };
    [
        format!("--- SSRC {:x}", ssrc.ssrc),
        format!(
            "------ Average MOS {}, lowest MOS {} (at {}), highest MOS {} (at {}) lost:{}",
            mos(average.mos),
            mos(lowest.mos),
            at(lowest),
            mos(highest.mos),
            at(highest),
            ssrc.lost
        ),
        format!(
            "------ respective (avg/min/max) jitter {} ms, RTT-e2e {} ms, RTT-dsct {} ms, packet loss {}%",
            three(&|sample| sample.jitter_ms.to_string()),
            three(&|sample| ms(sample.round_trip_us)),
            three(&|sample| ms(sample.round_trip_leg_us)),
            three(&|sample| sample.loss_percent.to_string())
        ),
    ]
}

fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::cdr::tests::report;
    use super::*;
    use crate::call::EndReason;
    use crate::media::quality::Sample;

    #[test]
    fn streams_and_scores_are_told() {
        let mut report = report(EndReason::Deleted);
        let sample = |seconds: u32, mos| Sample {
            at_s: 1_795_226_513 + seconds,
            mos,
            loss_percent: 1,
            jitter_ms: 2,
            round_trip_us: 12_100,
            round_trip_leg_us: 5000,
        };
        let quality = QualitySnapshot {
            samples: 3,
            average: sample(0, 43),
            lowest: sample(12, 41),
            highest: sample(65, 44),
            interval_s: 4,
            progression: Vec::new(),
        };
        report.ssrcs.push(SsrcSnapshot {
            ssrc: 0x1111_1111,
            packets: 80,
            octets: 12_980,
            last_timestamp: 0,
            last_sequence: 0,
            lost: 3,
            quality: Some(Box::new(quality)),
        });
        let expected = [
            "Final packet stats:",
            "--- Tag 'ft1', created 0:01 ago for branch ''",
            "---     subscribed to media with monologue tag 'tt1' (index: 1)",
            "---     subscription for media with monologue tag 'tt1' (index: 1)",
            "------ Media #1 (audio over RTP/AVP) using PCMU/8000",
            "--------- Port       127.0.0.1:43374 <>       127.0.0.1:41771, SSRC 11111111, in 80 p, 12980 b, 0 e, 0 ts, out 75 p, \
             12900 b, 0 e",
        ];
        let told = lines(&report);
        assert_eq!(told[..6], expected);
        assert!(told[6].contains(" (RTCP), SSRC 11111111, in 1 p, 76 b, 0 e, 1 ts,"), "{}", told[6]);
        assert_eq!(
            told[told.len() - 3..],
            [
                "--- SSRC 11111111",
                "------ Average MOS 4.3, lowest MOS 4.1 (at 0:12), highest MOS 4.4 (at 1:05) lost:3",
                "------ respective (avg/min/max) jitter 2/2/2 ms, RTT-e2e 12.1/12.1/12.1 ms, RTT-dsct 5.0/5.0/5.0 ms, packet \
                 loss 1/1/1%",
            ]
        );
    }
}
