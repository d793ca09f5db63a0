//! Why a call has the codecs that it has, as `list sessions <callid> explain` shows it.

use std::fmt::Write;

use smol_str::SmolStr;

use crate::call::{ExplainedMedia, ExplainedParty, Relation};
use crate::media::offload::Place;
use crate::negotiate::codecs::explain::Fate;

/// Each party with what its last message led to. Writing to a string cannot fail, so results are not looked at here and below.
pub fn call(call_id: &str, parties: &[ExplainedParty]) -> String {
    let mut text = format!("\ncallid: {call_id}\n");
    for ExplainedParty { tag, relation, media: sections } in parties {
        let tag = tag.as_deref().unwrap_or_default();
        let other = |tag: &Option<SmolStr>| tag.clone().unwrap_or_default();
        let _ = match relation {
            Relation::Towards(partner) => writeln!(text, "--- Tag '{tag}' towards '{}'", other(partner)),
            Relation::Publishes => writeln!(text, "--- Tag '{tag}' publishes"),
            Relation::Hears(source) => writeln!(text, "--- Tag '{tag}' hears '{}'", other(source)),
        };
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
    // The way back is told with the other party. Nothing is sent to the daemon alone.
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
