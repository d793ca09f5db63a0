//! `media` of `create` and `transform` (section 17 of the protocol).

use super::read::{dictionary, each_string, family, set_text, text};
use super::{Key, codecs, ignored};
use crate::negotiate::signal::{CodecTransform, Destination, MediaEntry, PayloadTypeEntry};
use crate::proto::value::{Dict, Value};

pub(super) const KEYS: &[Key] = &[(&["media", "medias"], |d, v| {
    let Value::List(entries) = v else { return ignored("media", "not a list") };
    d.signal.media.extend(entries.iter().filter_map(|entry| Some(media_entry(dictionary("media", entry)?))));
})];

fn media_entry(entry: &Dict) -> MediaEntry {
    let mut media = MediaEntry::default();
    for (key, value) in &entry.0 {
        match key.as_slice() {
            b"id" => set_text(&mut media.id, value),
            b"type" => set_text(&mut media.media_type, value),
            b"codec" | b"codecs" => take_codecs(&mut media, value),
            b"destination" => media.destination = dictionary("destination", value).map(destination),
            other => ignored("media", &other.escape_ascii().to_string()),
        }
    }
    media
}

/// Names, or pairs of payload types.
fn take_codecs(media: &mut MediaEntry, value: &Value) {
    each_string(value, |spec| media.codecs.extend(codecs::parse(spec)));
    let Value::List(items) = value else { return };
    for item in items {
        let Value::Dict(pair) = item else { continue };
        let side = |key| match pair.get(key) {
            Some(Value::Dict(entry)) => payload_type(entry),
            _ => PayloadTypeEntry::default(),
        };
        media.transforms.push(CodecTransform { input: side("input"), output: side("output") });
    }
}

fn payload_type(entry: &Dict) -> PayloadTypeEntry {
    let mut payload_type = PayloadTypeEntry::default();
    for (key, value) in &entry.0 {
        match key.as_slice() {
            b"codec" => set_text(&mut payload_type.codec, value),
            b"payload type" => payload_type.payload_type = number(value).filter(|&number| number < 128),
            b"clock rate" => payload_type.clock_rate = number(value),
            b"channels" => payload_type.channels = number(value),
            b"format" => set_text(&mut payload_type.format, value),
            b"options" => set_text(&mut payload_type.options, value),
            other => ignored("payload type", &other.escape_ascii().to_string()),
        }
    }
    payload_type
}

fn destination(entry: &Dict) -> Destination {
    let mut destination = Destination::default();
    for (key, value) in &entry.0 {
        match key.as_slice() {
            b"family" | b"address family" | b"address-family" => {
                destination.family = family("family", value);
            }
            b"address" => destination.address = text(value),
            b"port" => destination.port = number(value),
            other => ignored("destination", &other.escape_ascii().to_string()),
        }
    }
    destination
}

fn number<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    value.as_int().and_then(|number| T::try_from(number).ok())
}
