//! The answer to `explain`: dictionaries of texts for whoever wonders why a call has the media that it has.

use smol_str::SmolStr;

use crate::call::{ExplainedMedia, ExplainedStream};
use crate::media::offload::Place;
use crate::negotiate::codecs::explain::{ExplainedCodec, Fate};
use crate::proto::value::{Dict, Value};

/// One media section.
pub fn explained_media(media: &ExplainedMedia) -> Value {
    let mut dict = Dict::new();
    dict.push("index", media.index as u64).push("type", media.media_type.as_str());
    dict.push("codecs", media.codecs.iter().map(codec).collect::<Vec<Value>>());
    dict.push("streams", media.streams.iter().map(stream).collect::<Vec<Value>>());
    dict.into()
}

fn codec(codec: &ExplainedCodec) -> Value {
    let mut dict = Dict::new();
    dict.push("payload type", u64::from(codec.format.payload_type)).push("codec", codec.name());
    match codec.fate {
        Fate::Kept => dict.push("is", "kept"),
        Fate::Dropped => dict.push("is", "dropped"),
        Fate::Added => dict.push("is", "added"),
        Fate::Renumbered(number) => dict.push("is", "renumbered").push("as", u64::from(number)),
    };
    dict.push("why", codec.reason);
    dict.into()
}

fn stream(stream: &ExplainedStream) -> Value {
    let mut dict = Dict::new();
    dict.push("from", stream.from_tag.as_deref().unwrap_or_default());
    dict.push("to", stream.to_tag.as_deref().unwrap_or_default());
    dict.push("restrictions", stream.restrictions.iter().map(|&text| text.into()).collect::<Vec<Value>>());
    let payload_type = |(number, text): &(u8, SmolStr)| -> Value {
        let mut entry = Dict::new();
        entry.push("payload type", u64::from(*number)).push("what happens", text.as_str());
        entry.into()
    };
    dict.push("payload types", stream.payload_types.iter().map(payload_type).collect::<Vec<Value>>());
    match stream.place {
        Place::Kernel(rung) => dict.push("off-loaded", rung.name()),
        Place::UserSpace(reason) => dict.push("off-loaded", "no").push("why not", reason.text()),
    };
    dict.into()
}
