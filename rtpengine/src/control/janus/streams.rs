//! What a publisher sends, as other clients see it.

use serde_json::{Value, json};

use crate::proto::sdp::{ParseOptions, parse, text};

/// Which kinds of media a publisher wants to be received; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub audio: Option<bool>,
    pub video: Option<bool>,
}

impl Wanted {
    fn allows(self, kind: &str) -> bool {
        let wanted = match kind {
            "audio" => self.audio,
            "video" => self.video,
            _ => None,
        };
        wanted.unwrap_or(true)
    }
}

/// Directions of a section.
const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];

/// The offer without the sending direction of what is not wanted, so that nothing is received there while its port stays.
pub(super) fn restrict(offer: &str, wanted: Wanted) -> String {
    let mut restricted = String::with_capacity(offer.len() + 32);
    let mut is_muted = false;
    for line in offer.split_inclusive('\n') {
        let content = line.trim_end();
        if let Some(section) = content.strip_prefix("m=") {
            is_muted = !wanted.allows(section.split(' ').next().unwrap_or_default());
            restricted.push_str(line);
            if is_muted {
                restricted.push_str("a=inactive\r\n");
            }
        } else if !(is_muted && DIRECTIONS.contains(&content)) {
            restricted.push_str(line);
        }
    }
    restricted
}

/// The publisher's entry: its feed, its streams, the first codec of each kind; from the daemon's answer.
pub(super) fn entry(feed: u64, answer: &str, wanted: Wanted) -> Value {
    let mut entry = json!({"id": feed, "streams": []});
    let Ok(session) = parse(&text::decode(answer.as_bytes()), ParseOptions::default()) else { return entry };
    let mut streams = Vec::new();
    for (index, media) in session.media.iter().enumerate() {
        let kind = media.media_type.as_str();
        let mid = media.attributes.mid.clone().unwrap_or_else(|| index.to_string().into());
        let mut stream = json!({"type": kind, "mindex": index, "mid": mid});
        let codec = media.formats.first().map(|format| format.format.name.to_lowercase());
        match codec.filter(|_| media.port != 0 && wanted.allows(kind)) {
            None => stream["disabled"] = json!(true),
            Some(codec) => {
                let key = format!("{kind}_codec");
                if ["audio", "video"].contains(&kind) && entry.get(&key).is_none() {
                    entry[&key] = json!(codec);
                }
                stream["codec"] = json!(codec);
            }
        }
        streams.push(stream);
    }
    entry["streams"] = Value::Array(streams);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 8\r\na=mid:a\r\na=sendrecv\r\nm=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=sendrecv\r\n";

    #[test]
    fn entries_name_streams_and_first_codecs() {
        let expected = json!({
            "id": 7,
            "streams": [
                {"type": "audio", "mindex": 0, "mid": "a", "codec": "pcma"},
                {"type": "video", "mindex": 1, "mid": "1", "codec": "vp8"},
            ],
            "audio_codec": "pcma",
            "video_codec": "vp8",
        });
        assert_eq!(entry(7, SDP, Wanted::default()), expected);
        let without_video = entry(7, SDP, Wanted { video: Some(false), audio: None });
        let disabled = json!({"type": "video", "mindex": 1, "mid": "1", "disabled": true});
        assert_eq!((&without_video["streams"][1], without_video.get("video_codec")), (&disabled, None));
        assert_eq!(entry(7, "nonsense", Wanted::default()), json!({"id": 7, "streams": []}));
    }

    #[test]
    fn media_that_are_not_wanted_become_inactive() {
        assert_eq!(restrict(SDP, Wanted::default()), SDP);
        let muted = restrict(SDP, Wanted { audio: Some(false), video: Some(true) });
        let expected = SDP.replace(
            "m=audio 4000 RTP/AVP 8\r\na=mid:a\r\na=sendrecv",
            "m=audio 4000 RTP/AVP 8\r\na=inactive\r\na=mid:a",
        );
        assert_eq!(muted, expected);
    }
}
