//! Why a call has the codecs that it has, as `list sessions <callid> explain` shows it.

use std::fmt::Write;

use crate::call::{ExplainedMedia, ExplainedParty};
use crate::media::offload::Place;
use crate::negotiate::codecs::explain::Fate;

/// Each party with what its last message led to. Writing to a string cannot fail, so results are not looked at here and below.
pub fn call(call_id: &str, parties: &[ExplainedParty]) -> String {
    let mut text = format!("\ncallid: {call_id}\n");
    for ExplainedParty { tag, partner, media: sections } in parties {
        let [tag, partner] = [tag, partner].map(|tag| tag.as_deref().unwrap_or_default());
        let _ = writeln!(text, "--- Tag '{tag}' towards '{partner}'");
        sections.iter().for_each(|each| media(&mut text, each));
    }
    text.push('\n');
    text
}

fn media(text: &mut String, media: &ExplainedMedia) {
    let ExplainedMedia { index, media_type, codecs, streams } = media;
    let _ = writeln!(text, "------ Media #{index} ({media_type})");
    for codec in codecs {
        let fate = match codec.fate {
            Fate::Kept => "kept".to_owned(),
            Fate::Dropped => "dropped".to_owned(),
            Fate::Added => "added".to_owned(),
            Fate::Renumbered(number) => format!("renumbered {number}"),
        };
        let (number, name) = (codec.format.payload_type, codec.name());
        let _ = writeln!(text, "-------- {number:3} {name} {fate}: {}", codec.reason);
    }
    // The way back is told with the other party.
    let Some(stream) = streams.first() else { return };
    for (number, what) in &stream.payload_types {
        let _ = writeln!(text, "-------- sent as {number}: {what}");
    }
    for restriction in &stream.restrictions {
        let _ = writeln!(text, "-------- restricted: {restriction}");
    }
    let _ = match stream.place {
        Place::Kernel(rung) => writeln!(text, "-------- off-loaded: {}", rung.name()),
        Place::UserSpace(reason) => writeln!(text, "-------- not off-loaded: {}", reason.text()),
    };
}
