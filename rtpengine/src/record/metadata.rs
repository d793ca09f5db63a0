//! The text beside a pcap file.

use std::path::Path;
use std::time::SystemTime;

use super::sys::{local_time, millis};
use super::{CallEnd, RecordedSdp};

/// First lines: where the packets are.
pub(super) fn pcap_path(out: &mut Vec<u8>, path: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    out.extend_from_slice(path.as_os_str().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// An SDP as it was sent. `next_packet` is the number that the next recorded packet will have.
pub(super) fn sdp(out: &mut Vec<u8>, sdp: &RecordedSdp, next_packet: u64) {
    if let Some(label) = &sdp.label {
        text(out, &format!("\nLabel: {label}"));
    }
    text(out, &format!("\nTimestamp started ms: {}", millis(sdp.party_started)));
    text(out, &format!("\nSDP mode: {}", sdp.mode));
    text(out, &format!("\nSDP before RTP packet: {next_packet}\n\n"));
    out.extend_from_slice(&sdp.after);
}

pub(super) fn paused(out: &mut Vec<u8>, at: SystemTime) {
    text(out, &format!("\nRecording paused at: {} ({} ms)\n", local_time(at), millis(at)));
}

pub(super) fn resumed(out: &mut Vec<u8>, at: SystemTime) {
    text(out, &format!("\nRecording resumed at: {} ({} ms)\n", local_time(at), millis(at)));
}

/// Last lines.
pub(super) fn end(out: &mut Vec<u8>, created: SystemTime, end: &CallEnd, metadata: Option<&str>) {
    text(out, &format!("\nTimestamp terminated ms(first monologue): {}", millis(end.first_party_ended)));
    text(out, &format!("\n\ncall start time: {}\n", local_time(created)));
    text(out, &format!("call end time: {}\n", local_time(end.at)));
    if let Some(metadata) = metadata {
        text(out, &format!("\n\n{metadata}\n"));
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(micros: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
    }

    /// Same inputs as the sample that was recorded from the reference daemon, in its form.
    #[test]
    fn text_is_that_of_the_reference() {
        let offer = RecordedSdp {
            mode: "offer",
            tag: 0,
            label: Some("labA".into()),
            party_started: at(1_795_224_880_887_907),
            before: b"not shown".to_vec(),
            after: b"v=0\r\na=rtcp:41179\r\n".to_vec(),
        };
        let answer = RecordedSdp {
            mode: "answer",
            label: None,
            party_started: at(1_795_224_880_887_911),
            ..offer.clone()
        };
        let (created, ended) = (at(1_795_224_880_000_000), at(1_795_224_882_437_962));
        let mut out = Vec::new();
        pcap_path(&mut out, Path::new("/spool/pcaps/x.pcap"));
        sdp(&mut out, &offer, 1);
        sdp(&mut out, &answer, 7);
        end(&mut out, created, &CallEnd { first_party_ended: ended, at: ended }, Some("caller:alice"));
        let expected = format!(
            "/spool/pcaps/x.pcap\n\n\
             \nLabel: labA\nTimestamp started ms: 1795224880887.907\nSDP mode: offer\n\
             SDP before RTP packet: 1\n\nv=0\r\na=rtcp:41179\r\n\
             \nTimestamp started ms: 1795224880887.911\nSDP mode: answer\n\
             SDP before RTP packet: 7\n\nv=0\r\na=rtcp:41179\r\n\
             \nTimestamp terminated ms(first monologue): 1795224882437.962\n\
             \ncall start time: {}\ncall end time: {}\n\n\ncaller:alice\n",
            local_time(created),
            local_time(ended)
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn pauses_are_lines_of_their_own() {
        let time = at(1_795_224_880_887_907);
        let mut out = Vec::new();
        paused(&mut out, time);
        resumed(&mut out, time);
        let local = local_time(time);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            format!(
                "\nRecording paused at: {local} (1795224880887.907 ms)\n\
                 \nRecording resumed at: {local} (1795224880887.907 ms)\n"
            )
        );
    }
}
