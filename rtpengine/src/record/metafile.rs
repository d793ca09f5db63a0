//! Which chunks the metafile gets when, apart from writing them.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use spool::metafile::{Parsed, append, parse};
use spool::names;

use super::{CallDescription, RecordedSdp, RecordedStream, RecordingDetails, RecordingFlags, sys};

/// The chunks about the call as a whole that a recording begins with. `once`: no packet is exposed in two streams.
pub(super) fn begin(
    out: &mut Vec<u8>,
    call_id: &str,
    prefix: &str,
    flags: RecordingFlags,
    details: &RecordingDetails,
    once: bool,
) {
    append(out, "CALL-ID", call_id.as_bytes());
    append(out, "PARENT", prefix.as_bytes());
    append(out, "RANDOM_TAG", names::random_tag(prefix).unwrap_or_default().as_bytes());
    switches(out, flags);
    texts(out, details);
    if once {
        append(out, "EXPOSED ONCE", b"");
    }
    append(out, "STARTED", b"");
}

/// Makes a metafile that another process wrote end with its last whole chunk. `false` when there is nothing to go on with.
pub(super) fn mend(path: &Path) -> bool {
    let Ok(octets) = std::fs::read(path) else { return false };
    let mut whole = 0;
    while let Parsed::Chunk(_, length) = parse(octets.get(whole..).unwrap_or_default()) {
        whole += length;
    }
    if whole == octets.len() {
        return whole > 0;
    }
    let cut = File::options().write(true).open(path).and_then(|file| file.set_len(whole as u64));
    whole > 0 && cut.is_ok()
}

/// When the recording ended, for a reader that learns of it later.
pub(super) fn ended(out: &mut Vec<u8>, at: SystemTime) {
    append(out, "ENDED", sys::unix_micros(at).to_string().as_bytes());
}

/// The call's switches, without those of the streams.
pub(super) fn switches(out: &mut Vec<u8>, flags: RecordingFlags) {
    append(out, if flags.recording { "RECORDING 1" } else { "RECORDING 0" }, b"");
    append(out, if flags.forwarding { "FORWARDING 1" } else { "FORWARDING 0" }, b"");
}

/// The call's texts.
pub(super) fn texts(out: &mut Vec<u8>, details: &RecordingDetails) {
    if details.skip_database {
        append(out, "SKIP_DATABASE", b"");
    }
    for (label, text) in [
        ("METADATA", &details.metadata),
        ("RECORDING_FILE", &details.file),
        ("RECORDING_PATH", &details.path),
        ("RECORDING_PATTERN", &details.pattern),
    ] {
        if let Some(text) = text {
            append(out, label, text.as_bytes());
        }
    }
}

/// A stream's switch.
pub(super) fn stream_forwarding(out: &mut Vec<u8>, stream: u32, forwarding: bool) {
    append(out, &format!("STREAM {stream} FORWARDING {}", u8::from(forwarding)), b"");
}

/// Parties and media that are new in `now` or other than `before`.
pub(super) fn parties_and_media(out: &mut Vec<u8>, before: &CallDescription, now: &CallDescription) {
    for tag in &now.tags {
        let old = before.tags.iter().find(|old| old.number == tag.number);
        if old.is_none_or(|old| old.tag != tag.tag) {
            append(out, &format!("TAG {}", tag.number), tag.tag.as_bytes());
        }
        for (label, text, old) in [
            ("METADATA-TAG", &tag.metadata, old.and_then(|old| old.metadata.as_ref())),
            ("LABEL", &tag.label, old.and_then(|old| old.label.as_ref())),
        ] {
            if let Some(text) = text.as_ref().filter(|&text| Some(text) != old) {
                append(out, &format!("{label} {}", tag.number), text.as_bytes());
            }
        }
    }
    for media in &now.media {
        let number = media.number;
        let old = before.media.iter().find(|old| old.number == number);
        if old.is_none_or(|old| old.ptime_ms != media.ptime_ms) {
            append(out, &format!("MEDIA {number} PTIME {}", media.ptime_ms), b"");
        }
        if old.is_some_and(|old| old.formats == media.formats) {
            continue;
        }
        for format in &media.formats {
            let mut text = format!("{}/{}", format.name, format.clock_rate);
            if format.channels > 1 {
                let _ = write!(text, "/{}", format.channels);
            }
            append(out, &format!("MEDIA {number} PAYLOAD TYPE {}", format.payload_type), text.as_bytes());
            append(out, &format!("MEDIA {number} FMTP {}", format.payload_type), format.fmtp.as_bytes());
        }
    }
}

/// `STREAM <s> details`, if the stream is new or other than before.
pub(super) fn stream_details(out: &mut Vec<u8>, before: Option<&RecordedStream>, stream: &RecordedStream) {
    if before == Some(stream) {
        return;
    }
    // A slot beyond the number of slots has been clamped by whoever read the options.
    let text = format!(
        "TAG {} MEDIA {} COMPONENT {} FLAGS {} MEDIA-SDP-ID {} MEDIA-REC-SLOT {} MEDIA-REC-SLOTS {}",
        stream.tag,
        stream.media,
        stream.component,
        stream.flags,
        stream.media.saturating_sub(1),
        stream.slot.max(1),
        stream.slots.max(1)
    );
    append(out, &format!("STREAM {} details", stream.number), text.as_bytes());
}

/// The stream can be connected to.
pub(super) fn stream_interface(out: &mut Vec<u8>, stream: &RecordedStream) {
    stream_named(out, stream.number, &stream_name(stream));
}

/// The same of a stream of which only number and name are known.
pub(super) fn stream_named(out: &mut Vec<u8>, number: u32, name: &str) {
    append(out, &format!("STREAM {number} interface"), name.as_bytes());
}

/// File name of the stream below its call.
pub(super) fn stream_name(stream: &RecordedStream) -> String {
    names::stream_name(stream.tag, stream.media_index, stream.component, stream.rtcp_only, stream.number)
}

/// A signalling message. A body that is empty (a message without one) is left out.
pub(super) fn sdp(out: &mut Vec<u8>, sdp: &RecordedSdp) {
    for (when, body) in [("before", &sdp.before), ("after", &sdp.after)] {
        if !body.is_empty() {
            append(out, &format!("SDP from {} {when} {}", sdp.tag, sdp.mode), body);
        }
    }
}

#[cfg(test)]
mod tests {
    use codec::PayloadFormat;

    use super::*;
    use crate::record::{RecordedMedia, RecordedTag};

    fn format(payload_type: u8, name: &str, channels: u8, fmtp: &str) -> PayloadFormat {
        PayloadFormat { payload_type, name: name.into(), clock_rate: 8000, channels, fmtp: fmtp.into() }
    }

    fn tag(number: u32, tag: &str, label: &str) -> RecordedTag {
        RecordedTag { number, tag: tag.into(), label: Some(label.into()), metadata: None }
    }

    fn media(number: u32) -> RecordedMedia {
        RecordedMedia {
            number,
            ptime_ms: 20,
            formats: vec![format(0, "PCMU", 1, ""), format(8, "PCMA", 1, "")],
        }
    }

    fn stream(number: u32, tag: u32, media: u32) -> RecordedStream {
        RecordedStream {
            number,
            stream: 100 + u64::from(number),
            tag,
            media,
            media_index: 1,
            component: 1,
            rtcp_only: false,
            flags: 3,
            slot: 1,
            slots: 1,
        }
    }

    fn two_parties() -> CallDescription {
        CallDescription {
            tags: vec![tag(0, "ftag", "labA"), tag(1, "ttag", "labB")],
            media: vec![media(1), media(2)],
            streams: vec![stream(0, 0, 1), stream(1, 1, 2)],
        }
    }

    const FLAGS: RecordingFlags = RecordingFlags { recording: true, forwarding: true };

    /// The example of the specification, chunk by chunk.
    #[test]
    fn two_party_call_gives_the_documented_file() {
        let call = two_parties();
        let nothing = CallDescription::default();
        let details =
            RecordingDetails { metadata: Some("caller:alice|callee:bob".into()), ..Default::default() };
        let mut out = Vec::new();
        begin(&mut out, "call-9@host", "call-9%40host-0011223344556677", FLAGS, &details, true);
        parties_and_media(&mut out, &nothing, &call);
        for stream in &call.streams {
            stream_details(&mut out, None, stream);
            stream_interface(&mut out, stream);
            stream_forwarding(&mut out, stream.number, true);
        }
        let mut expected = Vec::new();
        for (label, content) in [
            ("CALL-ID", "call-9@host"),
            ("PARENT", "call-9%40host-0011223344556677"),
            ("RANDOM_TAG", "0011223344556677"),
            ("RECORDING 1", ""),
            ("FORWARDING 1", ""),
            ("METADATA", "caller:alice|callee:bob"),
            ("EXPOSED ONCE", ""),
            ("STARTED", ""),
            ("TAG 0", "ftag"),
            ("LABEL 0", "labA"),
            ("TAG 1", "ttag"),
            ("LABEL 1", "labB"),
            ("MEDIA 1 PTIME 20", ""),
            ("MEDIA 1 PAYLOAD TYPE 0", "PCMU/8000"),
            ("MEDIA 1 FMTP 0", ""),
            ("MEDIA 1 PAYLOAD TYPE 8", "PCMA/8000"),
            ("MEDIA 1 FMTP 8", ""),
            ("MEDIA 2 PTIME 20", ""),
            ("MEDIA 2 PAYLOAD TYPE 0", "PCMU/8000"),
            ("MEDIA 2 FMTP 0", ""),
            ("MEDIA 2 PAYLOAD TYPE 8", "PCMA/8000"),
            ("MEDIA 2 FMTP 8", ""),
            (
                "STREAM 0 details",
                "TAG 0 MEDIA 1 COMPONENT 1 FLAGS 3 MEDIA-SDP-ID 0 MEDIA-REC-SLOT 1 MEDIA-REC-SLOTS 1",
            ),
            ("STREAM 0 interface", "tag-0-media-1-component-1-RTP-id-0"),
            ("STREAM 0 FORWARDING 1", ""),
            (
                "STREAM 1 details",
                "TAG 1 MEDIA 2 COMPONENT 1 FLAGS 3 MEDIA-SDP-ID 1 MEDIA-REC-SLOT 1 MEDIA-REC-SLOTS 1",
            ),
            ("STREAM 1 interface", "tag-1-media-1-component-1-RTP-id-1"),
            ("STREAM 1 FORWARDING 1", ""),
        ] {
            append(&mut expected, label, content.as_bytes());
        }
        assert_eq!(String::from_utf8(out), String::from_utf8(expected));
    }

    #[test]
    fn only_what_changed_is_written_again() {
        let before = two_parties();
        let mut out = Vec::new();
        parties_and_media(&mut out, &before, &before);
        stream_details(&mut out, before.streams.first(), &before.streams[0]);
        assert!(out.is_empty());

        let mut now = before.clone();
        now.tags[1].label = Some("new".into());
        now.media[0].formats = vec![format(96, "L16", 2, "a=b")];
        now.streams[1].slot = 0;
        parties_and_media(&mut out, &before, &now);
        stream_details(&mut out, before.streams.get(1), &now.streams[1]);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "LABEL 1\n3:\nnew\n\n\
             MEDIA 1 PAYLOAD TYPE 96\n10:\nL16/8000/2\n\nMEDIA 1 FMTP 96\n3:\na=b\n\n\
             STREAM 1 details\n83:\nTAG 1 MEDIA 2 COMPONENT 1 FLAGS 3 MEDIA-SDP-ID 1 \
             MEDIA-REC-SLOT 1 MEDIA-REC-SLOTS 1\n\n"
        );
    }

    #[test]
    fn a_file_of_another_process_is_cut_behind_its_last_whole_chunk() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.meta");
        assert!(!mend(&path));
        for (octets, left) in [
            ("", None),
            ("CALL-ID\n1", None),
            ("CALL-ID\n1:\na\n\n", Some("CALL-ID\n1:\na\n\n")),
            ("CALL-ID\n1:\na\n\nTAG 0\n5:\nx", Some("CALL-ID\n1:\na\n\n")),
        ] {
            std::fs::write(&path, octets).expect("file");
            assert_eq!(mend(&path), left.is_some(), "{octets}");
            if let Some(left) = left {
                assert_eq!(std::fs::read_to_string(&path).expect("file"), left);
            }
        }
    }

    #[test]
    fn texts_follow_the_order_of_the_table() {
        let details = RecordingDetails {
            metadata: Some("m".into()),
            file: Some("f".into()),
            path: Some("p".into()),
            pattern: Some("q".into()),
            skip_database: true,
        };
        let mut out = Vec::new();
        texts(&mut out, &details);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "SKIP_DATABASE\n0:\n\n\nMETADATA\n1:\nm\n\nRECORDING_FILE\n1:\nf\n\n\
             RECORDING_PATH\n1:\np\n\nRECORDING_PATTERN\n1:\nq\n\n"
        );
    }

    #[test]
    fn sdp_is_kept_before_and_after() {
        let message = RecordedSdp {
            mode: "subscribe request",
            tag: 2,
            label: None,
            party_started: std::time::SystemTime::UNIX_EPOCH,
            before: Vec::new(),
            after: b"v=0\r\n".to_vec(),
        };
        let mut out = Vec::new();
        sdp(&mut out, &message);
        sdp(&mut out, &RecordedSdp { before: b"v=1".to_vec(), after: Vec::new(), ..message });
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "SDP from 2 after subscribe request\n5:\nv=0\r\n\n\nSDP from 2 before subscribe request\n3:\nv=1\n\n"
        );
    }
}
