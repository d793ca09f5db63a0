//! What is known of a recorded call: typed state, fed by the chunks of its metafile. Pure.
//!
//! Both generations of the format are understood (with and without `RANDOM_TAG`, `STARTED` and the long form of
//! `STREAM … details`); unknown labels change nothing.

use std::collections::BTreeMap;

use codec::PayloadFormat;
use spool::metafile::Chunk;

/// Tags, streams and media that are believed for one call.
const MAX_NUMBER: u32 = 65_535;

/// A participant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The SIP tag.
    pub name: String,
    /// Label from signalling; empty when there is none.
    pub label: String,
    /// Metadata of this participant.
    pub metadata: String,
}

/// A stream of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Number of the participant who sends it.
    pub tag: Option<u32>,
    /// Number of the media section that it belongs to.
    pub media: Option<u32>,
    /// Position of its media description in the SDP, from 0.
    pub media_sdp_id: Option<u32>,
    /// Slot of the mix that it belongs to, from 1.
    pub slot: u32,
    /// How many slots there are.
    pub slots: u32,
    /// Audio of this stream is to be forwarded.
    pub forwarding: bool,
    /// File name below the call's directory of exposed packets.
    pub interface: Option<String>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            tag: None,
            media: None,
            media_sdp_id: None,
            slot: 1,
            slots: 1,
            forwarding: false,
            interface: None,
        }
    }
}

/// Names of outputs that signalling asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputNames {
    /// `RECORDING_FILE`
    pub file: Option<String>,
    /// `RECORDING_PATH`
    pub directory: Option<String>,
    /// `RECORDING_PATTERN`
    pub pattern: Option<String>,
}

/// What a chunk changed, as far as somebody has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the state.
    State,
    /// Recording was switched on or off.
    Recording,
    /// The metadata of the call came (again).
    Metadata,
    /// The call-level information is complete.
    Started,
    /// The packets of this stream can be had.
    Interface(u32),
    /// A chunk that this reader does not know.
    Unknown,
    /// A chunk whose numbers or content make no sense; it was not used.
    Invalid,
}

/// Everything the metafile said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallInfo {
    /// Call-ID.
    pub call_id: String,
    /// Name of the call's directory of exposed packets.
    pub parent: String,
    /// 16 hexadecimal digits.
    pub random_tag: Option<String>,
    /// Audio is to be written.
    pub recording: bool,
    /// Audio of the whole call is to be forwarded.
    pub forwarding: bool,
    /// The call's metadata as they came.
    pub metadata_text: String,
    /// No database rows are wanted.
    pub skip_database: bool,
    /// `key:value` pairs of the call's metadata, in order, repeated keys included.
    pub metadata: Vec<(String, String)>,
    /// Names asked for.
    pub names: OutputNames,
    /// No packet comes in two streams, so that the same SSRC of two parties is two sources.
    pub exposed_once: bool,
    /// The call-level information is complete.
    pub started: bool,
    /// When the recording ended, microseconds since the epoch; told when it has.
    pub ended_us: Option<u64>,
    /// Participants by number.
    pub tags: BTreeMap<u32, Tag>,
    /// Streams by number.
    pub streams: BTreeMap<u32, Stream>,
    /// What payload types of a media section mean.
    pub media_formats: BTreeMap<(u32, u8), PayloadFormat>,
    /// What they mean somewhere in the call, the newest of each.
    pub payload_formats: BTreeMap<u8, PayloadFormat>,
}

impl CallInfo {
    /// Takes in one chunk.
    pub fn apply(&mut self, chunk: Chunk<'_>) -> Change {
        let text = || String::from_utf8_lossy(chunk.content).into_owned();
        let words: Vec<&str> = chunk.label.split(' ').collect();
        match words[..] {
            ["CALL-ID"] => self.call_id = text(),
            ["PARENT"] => self.parent = text(),
            ["RANDOM_TAG"] => self.random_tag = Some(text()),
            ["RECORDING", flag] => {
                self.recording = flag != "0";
                return Change::Recording;
            }
            ["SKIP_DATABASE"] => self.skip_database = true,
            ["METADATA"] => {
                self.metadata_text = text();
                self.metadata = parse_metadata(&self.metadata_text);
                return Change::Metadata;
            }
            ["RECORDING_FILE"] => self.names.file = Some(text()),
            ["RECORDING_PATH"] => self.names.directory = Some(text()),
            ["RECORDING_PATTERN"] => self.names.pattern = Some(text()),
            ["EXPOSED", "ONCE"] => self.exposed_once = true,
            ["STARTED"] => {
                self.started = true;
                return Change::Started;
            }
            ["ENDED"] => match text().parse() {
                Ok(at) => self.ended_us = Some(at),
                Err(_) => return Change::Invalid,
            },
            ["TAG", number] => return self.with_tag(number, |tag| tag.name = text()),
            ["LABEL", number] => return self.with_tag(number, |tag| tag.label = text()),
            ["METADATA-TAG", number] => return self.with_tag(number, |tag| tag.metadata = text()),
            ["MEDIA", media, "PAYLOAD", "TYPE", number] => return self.payload_type(media, number, &text()),
            ["MEDIA", media, "FMTP", number] => return self.format_parameters(media, number, text()),
            ["STREAM", number, "details"] => return self.stream_details(number, &text()),
            ["STREAM", number, "interface"] => {
                let Some(number) = parse_number(number) else { return Change::Invalid };
                let name = text();
                if !is_file_name(&name) {
                    return Change::Invalid;
                }
                self.streams.entry(number).or_default().interface = Some(name);
                return Change::Interface(number);
            }
            ["FORWARDING", flag] => self.forwarding = flag != "0",
            ["STREAM", number, "FORWARDING", flag] => {
                let Some(number) = parse_number(number) else { return Change::Invalid };
                self.streams.entry(number).or_default().forwarding = flag != "0";
            }
            ["SDP", ..] | ["MEDIA", _, "PTIME", _] => {}
            _ => return Change::Unknown,
        }
        Change::State
    }

    /// What a payload type means in a stream: what its media section says (RFC 3264 §5.1: each has numbers of its own), then the static
    /// types of RFC 3551 §6, then what other sections of the call say.
    pub fn payload_format(&self, stream: u32, payload_type: u8) -> Option<PayloadFormat> {
        let media = self.streams.get(&stream).and_then(|stream| stream.media);
        let own = media.and_then(|media| self.media_formats.get(&(media, payload_type)));
        let fixed = || {
            let (name, clock_rate, channels) = codec::def::static_payload_type(payload_type)?;
            let name = name.into();
            Some(PayloadFormat { payload_type, name, clock_rate, channels, fmtp: Default::default() })
        };
        own.cloned().or_else(fixed).or_else(|| self.payload_formats.get(&payload_type).cloned())
    }

    /// Label of the participant who sends a stream; empty when there is none.
    pub fn stream_label(&self, stream: u32) -> &str {
        let tag = self.streams.get(&stream).and_then(|stream| stream.tag);
        tag.and_then(|tag| self.tags.get(&tag)).map_or("", |tag| tag.label.as_str())
    }

    /// The participant who sends a stream.
    pub fn stream_party(&self, stream: u32) -> Option<(u32, &Tag)> {
        let number = self.streams.get(&stream)?.tag?;
        Some((number, self.tags.get(&number)?))
    }

    /// Whether audio of a stream is to be forwarded.
    pub fn is_forwarded(&self, stream: u32) -> bool {
        self.forwarding || self.streams.get(&stream).is_some_and(|stream| stream.forwarding)
    }

    fn with_tag(&mut self, number: &str, set: impl FnOnce(&mut Tag)) -> Change {
        let Some(number) = parse_number(number) else { return Change::Invalid };
        set(self.tags.entry(number).or_default());
        Change::State
    }

    fn payload_type(&mut self, media: &str, number: &str, content: &str) -> Change {
        let Some((media, payload_type)) = section_and_type(media, number) else { return Change::Invalid };
        let mut parts = content.splitn(3, '/');
        let name = parts.next().unwrap_or_default().to_owned();
        let clock_rate = parts.next().and_then(|rate| rate.parse::<u32>().ok()).filter(|&rate| rate > 0);
        let channels =
            parts.next().map_or(Some(1), |channels| channels.parse::<u8>().ok().filter(|&n| n > 0));
        let (Some(clock_rate), Some(channels), false) = (clock_rate, channels, name.is_empty()) else {
            return Change::Invalid;
        };
        let mut format =
            PayloadFormat { payload_type, name: name.into(), clock_rate, channels, fmtp: Default::default() };
        let known = self.media_formats.get(&(media, payload_type));
        if let Some(known) = known.filter(|known| known.same_codec(&format)) {
            format.fmtp.clone_from(&known.fmtp);
        }
        self.set_format(media, format);
        Change::State
    }

    fn format_parameters(&mut self, media: &str, number: &str, fmtp: String) -> Change {
        let known = section_and_type(media, number)
            .and_then(|(media, number)| Some((media, self.media_formats.get(&(media, number))?.clone())));
        let Some((media, format)) = known else { return Change::Invalid };
        self.set_format(media, PayloadFormat { fmtp: fmtp.into(), ..format });
        Change::State
    }

    fn set_format(&mut self, media: u32, format: PayloadFormat) {
        self.payload_formats.insert(format.payload_type, format.clone());
        self.media_formats.insert((media, format.payload_type), format);
    }

    fn stream_details(&mut self, number: &str, content: &str) -> Change {
        let Some(number) = parse_number(number) else { return Change::Invalid };
        let mut stream = Stream::default();
        let mut words = content.split_ascii_whitespace();
        while let Some(key) = words.next() {
            let Some(value) = words.next().and_then(|value| value.parse::<u64>().ok()) else {
                return Change::Invalid;
            };
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            match key {
                "TAG" => stream.tag = Some(value),
                "MEDIA" => stream.media = Some(value),
                "MEDIA-SDP-ID" => stream.media_sdp_id = Some(value),
                "MEDIA-REC-SLOT" => stream.slot = value.max(1),
                "MEDIA-REC-SLOTS" => stream.slots = value.max(1),
                _ => {}
            }
        }
        stream.slot = stream.slot.min(stream.slots);
        let entry = self.streams.entry(number).or_default();
        stream.interface = entry.interface.take();
        stream.forwarding = entry.forwarding;
        *entry = stream;
        Change::State
    }
}

/// Splits `key:value|key:value…`; parts without a colon are left out.
pub fn parse_metadata(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('|').filter_map(|part| part.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn section_and_type(media: &str, payload_type: &str) -> Option<(u32, u8)> {
    Some((parse_number(media)?, payload_type.parse().ok().filter(|&number: &u8| number < 128)?))
}

fn parse_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&number| number <= MAX_NUMBER)
}

/// Names one entry of a directory and nothing else.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spool::metafile::{self, Parsed};

    use super::*;

    fn apply(info: &mut CallInfo, label: &str, content: &str) -> Change {
        info.apply(Chunk { label, content: content.as_bytes() })
    }

    fn read(mut octets: &[u8]) -> (CallInfo, Vec<Change>) {
        let mut info = CallInfo::default();
        let mut changes = Vec::new();
        while let Parsed::Chunk(chunk, length) = metafile::parse(octets) {
            changes.push(info.apply(chunk));
            octets = &octets[length..];
        }
        (info, changes)
    }

    #[test]
    fn newest_stream_details_give_tag_and_slots() {
        let mut info = CallInfo::default();
        let long = "TAG 1 MEDIA 2 COMPONENT 1 FLAGS 18446744073709551615 MEDIA-SDP-ID 1 MEDIA-REC-SLOT 2 MEDIA-REC-SLOTS 2";
        assert_eq!(apply(&mut info, "STREAM 4 details", long), Change::State);
        let expected = Stream {
            tag: Some(1),
            media: Some(2),
            media_sdp_id: Some(1),
            slot: 2,
            slots: 2,
            ..Stream::default()
        };
        assert_eq!(info.streams[&4], expected);
    }

    #[test]
    fn older_stream_details_give_the_tag_too() {
        let mut info = CallInfo::default();
        apply(&mut info, "LABEL 1", "labB");
        apply(&mut info, "STREAM 2 interface", "tag-1-media-1-component-1-RTP-id-2");
        apply(&mut info, "STREAM 2 details", "TAG 1 MEDIA 2 TAG-MEDIA 1 COMPONENT 1 FLAGS 3");
        assert_eq!(info.stream_label(2), "labB");
        assert_eq!(info.streams[&2].interface.as_deref(), Some("tag-1-media-1-component-1-RTP-id-2"));
        assert_eq!((info.streams[&2].slot, info.streams[&2].slots), (1, 1));
    }

    #[test]
    fn forwarding_is_switched_for_the_call_or_a_stream() {
        let mut info = CallInfo::default();
        apply(&mut info, "STREAM 2 FORWARDING 1", "");
        apply(&mut info, "STREAM 2 details", "TAG 1 MEDIA 2 TAG-MEDIA 1 COMPONENT 1 FLAGS 3");
        assert!(info.is_forwarded(2) && !info.is_forwarded(3));
        apply(&mut info, "FORWARDING 1", "");
        assert!(info.is_forwarded(3));
    }

    #[test]
    fn payload_types_are_those_of_the_media_section_then_static_then_of_others() {
        let mut info = CallInfo::default();
        apply(&mut info, "STREAM 0 details", "TAG 0 MEDIA 1 COMPONENT 1");
        apply(&mut info, "STREAM 2 details", "TAG 1 MEDIA 2 COMPONENT 1");
        apply(&mut info, "MEDIA 1 PAYLOAD TYPE 96", "opus/48000/2");
        apply(&mut info, "MEDIA 1 FMTP 96", "useinbandfec=1");
        apply(&mut info, "MEDIA 2 PAYLOAD TYPE 96", "H264/90000");
        apply(&mut info, "MEDIA 2 PAYLOAD TYPE 0", "L16/16000");
        apply(&mut info, "MEDIA 2 PAYLOAD TYPE 97", "iLBC/8000");
        let opus = info.payload_format(0, 96).expect("opus");
        assert_eq!((opus.name.as_str(), opus.clock_rate, opus.channels), ("opus", 48_000, 2));
        assert_eq!(opus.fmtp, "useinbandfec=1");
        let name = |stream, payload_type| Some(info.payload_format(stream, payload_type)?.name.to_string());
        assert_eq!(name(2, 96).as_deref(), Some("H264"));
        assert_eq!((name(0, 0).as_deref(), name(2, 0).as_deref()), (Some("PCMU"), Some("L16")));
        // Nothing is said about 97 here, or about stream 7 at all: what there is.
        assert_eq!((name(0, 97).as_deref(), name(7, 97).as_deref()), (Some("iLBC"), Some("iLBC")));
        assert_eq!(name(0, 127), None);
    }

    #[test]
    fn metadata_is_split_and_replaced_when_sent_again() {
        let mut info = CallInfo::default();
        apply(&mut info, "METADATA", "caller:alice|junk|url:http://x|caller:bob");
        let pairs = [("caller", "alice"), ("url", "http://x"), ("caller", "bob")];
        assert_eq!(info.metadata, pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        apply(&mut info, "METADATA", "a:b");
        assert_eq!(info.metadata, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn nonsense_is_refused_and_the_unknown_ignored() {
        const CASES: &[(&str, &str, Change)] = &[
            ("NEW THING", "x", Change::Unknown),
            ("STREAM x details", "TAG 1", Change::Invalid),
            ("STREAM 1 details", "TAG", Change::Invalid),
            ("STREAM 1 details", "TAG one", Change::Invalid),
            ("STREAM 1 interface", "../../etc/passwd", Change::Invalid),
            ("STREAM 1 interface", "..", Change::Invalid),
            ("STREAM 4294967295 interface", "a", Change::Invalid),
            ("TAG -1", "a", Change::Invalid),
            ("MEDIA 1 PAYLOAD TYPE 128", "PCMU/8000", Change::Invalid),
            ("MEDIA 1 PAYLOAD TYPE 8", "PCMU/0", Change::Invalid),
            ("MEDIA 1 PAYLOAD TYPE 8", "PCMU", Change::Invalid),
            ("MEDIA 1 FMTP 99", "a", Change::Invalid),
        ];
        for (label, content, expected) in CASES {
            let mut info = CallInfo::default();
            assert_eq!(apply(&mut info, label, content), *expected, "{label}: {content}");
            assert_eq!(info, CallInfo::default(), "{label}: {content}");
        }
    }

    #[test]
    fn a_whole_metafile_gives_the_call() {
        let mut file = Vec::new();
        for (label, content) in [
            ("CALL-ID", "call-9@host"),
            ("PARENT", "call-9%40host-0011223344556677"),
            ("RANDOM_TAG", "0011223344556677"),
            ("RECORDING 1", ""),
            ("STARTED", ""),
            ("TAG 0", "ftag"),
            ("SDP from 0 before offer", "v=0\r\n\n\n"),
            ("STREAM 0 interface", "s0"),
            ("RECORDING 0", ""),
        ] {
            metafile::append(&mut file, label, content.as_bytes());
        }
        let (info, changes) = read(&file);
        assert_eq!(info.call_id, "call-9@host");
        assert_eq!(info.tags[&0].name, "ftag");
        assert!(info.started && !info.recording);
        assert_eq!(changes[3..5], [Change::Recording, Change::Started]);
        assert_eq!(changes[7..], [Change::Interface(0), Change::Recording]);
    }

    proptest! {
        #[test]
        fn no_chunk_makes_the_reader_panic(label in "(STREAM|MEDIA|TAG|LABEL|RECORDING|x)( [0-9a-zA-Z-]{0,12}){0,4}",
                content in "[ -~]{0,60}") {
            let _ = CallInfo::default().apply(Chunk { label: &label, content: content.as_bytes() });
        }

        #[test]
        fn octets_of_any_kind_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&octets);
        }
    }
}
