//! What commands return → reply dictionaries.

use crate::call::{Published, SdpReply, Subscribed, SubscribedSection, TransformPort, Transformed};
use crate::proto::value::{Dict, Value};

pub fn ok(mut reply: Dict) -> Dict {
    reply.push("result", "ok");
    reply
}

pub fn sdp_reply(sdp: SdpReply) -> Dict {
    let mut reply = Dict::new();
    reply.push("sdp", sdp.sdp);
    if !sdp.recordings.is_empty() {
        reply.push("recordings", sdp.recordings.into_iter().map(Value::from).collect::<Vec<Value>>());
    }
    reply
}

pub fn published(published: Published) -> Dict {
    let mut reply = Dict::new();
    reply.push("call-id", published.call_id);
    reply.push("from-tag", published.from_tag);
    reply.0.extend(sdp_reply(SdpReply { sdp: published.sdp, recordings: published.recordings }).0);
    reply
}

pub fn subscribed(subscribed: Subscribed, siprec: bool) -> Dict {
    let Subscribed { sdp, sections, heard, to_tag } = subscribed;
    let mut reply = Dict::new();
    reply.push("sdp", sdp);
    if let ([section], 1) = (sections.as_slice(), heard) {
        reply.push("from-tag", section.tag.as_str());
    }
    if siprec {
        reply.push("tag-medias", tag_medias(&sections));
        reply.push("media-labels", media_labels(&sections));
    }
    let tags: Vec<Value> = sections.iter().map(|section| section.tag.as_str().into()).collect();
    reply.push("from-tags", tags);
    reply.push("to-tag", to_tag);
    reply
}

/// The sections of each party; a section's label is its number in the description.
fn tag_medias(sections: &[SubscribedSection]) -> Vec<Value> {
    let mut parties: Vec<(&SubscribedSection, Vec<Value>)> = Vec::new();
    for (label, section) in sections.iter().enumerate() {
        let mut media = Dict::new();
        media.push("index", section.index as u64);
        media.push("type", section.media_type.as_str());
        media.push("label", label.to_string());
        media.push("mode", section.mode);
        match parties.iter_mut().find(|(first, _)| first.tag == section.tag) {
            Some((_, medias)) => medias.push(media.into()),
            None => parties.push((section, vec![media.into()])),
        }
    }
    let party = |(section, medias): (&SubscribedSection, Vec<Value>)| {
        let mut party = Dict::new();
        party.push("tag", section.tag.as_str());
        if let Some(label) = &section.label {
            party.push("label", label.as_str());
        }
        party.push("medias", medias);
        Value::from(party)
    };
    parties.into_iter().map(party).collect()
}

fn media_labels(sections: &[SubscribedSection]) -> Dict {
    let mut labels = Dict::new();
    for (label, section) in sections.iter().enumerate() {
        let mut media = Dict::new();
        media.push("tag", section.tag.as_str());
        media.push("index", section.index as u64);
        media.push("type", section.media_type.as_str());
        if let Some(label) = &section.label {
            media.push("label", label.as_str());
        }
        media.push("mode", section.mode);
        labels.push(label.to_string(), media);
    }
    labels
}

pub fn transformed(transformed: Transformed) -> Dict {
    let media = |port: TransformPort| {
        let mut media = Dict::new();
        media.push("id", port.id);
        media.push("family", if port.address.is_ipv4() { "IP4" } else { "IP6" });
        media.push("address", port.address.ip().to_string());
        media.push("port", u64::from(port.address.port()));
        Value::from(media)
    };
    let mut reply = Dict::new();
    reply.push("call-id", transformed.call_id);
    reply.push("from-tag", transformed.from_tag);
    reply.push("media", transformed.media.into_iter().map(media).collect::<Vec<Value>>());
    reply
}
