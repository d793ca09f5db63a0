//! What the written SDP looks like: `replace`, `extmap`, `moh`, media removal (sections 4, 5 and 11 of the flag
//! reference).

use super::read::{choose, dictionary, each_string, text};
use super::{Apply, Decoder, Key, ignored, sdp_attr};
use crate::control::ng::request::RequestError;
use crate::negotiate::signal::{MediaTypeSelector, MohMode, MusicOnHold, PlaybackOptions, Replace};
use crate::proto::value::Value;

pub(super) const KEYS: &[Key] = &[
    (&["replace"], |d, v| each_string(v, |word| replace(d, word))),
    (&["sdp-attr", "SDP-attr", "sdp attr", "SDP attr"], sdp_attr::dictionary),
    (MEDIA_REMOVE, remove_media),
    (&["extmap"], extmap),
    (&["moh", "MoH", "MOH"], music_on_hold),
];

pub(super) const MEDIA_REMOVE: &[&str] = &[
    "sdp-media-remove",
    "SDP-media-remove",
    "sdp_media_remove",
    "SDP_media_remove",
    "sdp media remove",
    "SDP media remove",
];

pub(super) const REPLACE: &[Apply<Replace>] = &[
    (&["origin"], |r| r.origin = true),
    (&["origin-full", "origin_full", "origin full"], |r| r.origin_full = true),
    (&["sdp-version", "SDP-version", "sdp version", "SDP version"], |r| r.sdp_version = true),
    (
        &[
            "force-increment-sdp-ver",
            "force-increment-SDP-ver",
            "force increment sdp ver",
            "force increment SDP ver",
        ],
        |r| r.force_increment_sdp_version = true,
    ),
    (&["username"], |r| r.username = true),
    (&["session-name", "session name"], |r| r.session_name = true),
    (&["zero-address", "zero address"], |r| r.zero_address = true),
];

/// A word of the `replace` list, or what follows the flag prefix.
pub(super) fn replace(decoder: &mut Decoder<'_>, word: &str) {
    if let Some(apply) = choose("replace", word, REPLACE) {
        apply(&mut decoder.signal.replace);
    }
}

/// Media types registered for SDP.
pub(super) const MEDIA_TYPES: [&str; 6] = ["audio", "video", "image", "text", "message", "application"];

fn remove_media(decoder: &mut Decoder<'_>, value: &Value) {
    let Value::List(types) = value else { return decoder.fail(RequestError::WrongType) };
    for name in types.iter().filter_map(text) {
        let selector = match name.as_str() {
            "other" => MediaTypeSelector::Other,
            name if MEDIA_TYPES.contains(&name) => MediaTypeSelector::Named(name.into()),
            _ => return decoder.fail(RequestError::UnsupportedSection),
        };
        decoder.signal.output.remove_media.push(selector);
    }
}

fn extmap(decoder: &mut Decoder<'_>, value: &Value) {
    let Some(operations) = dictionary("extmap", value) else { return };
    let output = &mut decoder.signal.output;
    for (operation, names) in &operations.0 {
        let (list, all) = match operation.as_slice() {
            b"strip" => (&mut output.extmap_strip, &mut output.extmap_strip_all),
            b"mask" => (&mut output.extmap_mask, &mut output.extmap_mask_all),
            other => {
                ignored("extmap", &other.escape_ascii().to_string());
                continue;
            }
        };
        each_string(names, |name| match name {
            "all" => *all = true,
            name => list.push(name.into()),
        });
    }
}

fn music_on_hold(decoder: &mut Decoder<'_>, value: &Value) {
    let Some(settings) = dictionary("moh", value) else { return };
    let mut source = PlaybackOptions::default();
    let mut music = MusicOnHold::default();
    for (key, value) in &settings.0 {
        match key.as_slice() {
            b"file" => source.file = text(value),
            b"blob" => source.blob = value.as_bytes().map(<[u8]>::to_vec),
            b"db-id" => source.db_id = value.as_int(),
            b"mode" => {
                music.mode = match value.as_bytes() {
                    Some(b"sendrecv") => MohMode::SendRecv,
                    Some(b"reflect") => MohMode::Reflect,
                    _ => MohMode::SendOnly,
                }
            }
            b"connection" => music.zero_connection = value.as_bytes() == Some(b"zero"),
            other => ignored("moh", &other.escape_ascii().to_string()),
        }
    }
    music.source = source.source();
    decoder.signal.output.moh = Some(music);
}
