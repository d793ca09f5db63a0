//! Which media of the two parties of an exchange belong together.
//!
//! Media that offer and answer tied together stand at the same position in both parties. Their places in the SDPs of the two
//! ([`Media::index`](super::model::Media::index)) differ once a section was kept from one of them (`sdp-media-remove`).

use super::model::Party;
use crate::negotiate::signal::{MediaTypeSelector, Signal};
use crate::proto::sdp::model::{MediaDescription, SessionDescription};

/// For each section of an offer of `sender` the position of its media; new sections go behind all there are.
pub fn offer_order(sdp: &SessionDescription, sender: &Party) -> Vec<usize> {
    let known = sender.shown();
    let new = sender.media.len()..;
    known.into_iter().chain(new).take(sdp.media.len()).collect()
}

/// For each section of an answer the position of the media that it answers: that of the same `a=mid` in what the answerer was shown,
/// or else in what the offerer said; without one that at the same place of what the answerer was shown.
pub fn answer_order(sdp: &SessionDescription, answerer: &Party, offerer: &Party) -> Vec<usize> {
    let by_place = || -> Vec<usize> {
        let shown = answerer.shown();
        shown.into_iter().chain(answerer.media.len()..).take(sdp.media.len()).collect()
    };
    let by_mid = |section: &MediaDescription| {
        let mid = section.attributes.mid.as_deref()?;
        let of = |party: &Party| party.media.iter().position(|media| media.mid.as_deref() == Some(mid));
        of(answerer).or_else(|| of(offerer))
    };
    let order: Vec<usize> =
        sdp.media.iter().zip(by_place()).map(|(section, place)| by_mid(section).unwrap_or(place)).collect();
    let mut seen = order.clone();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() == order.len() { order } else { by_place() }
}

/// The client wants this section of an offer kept from the receiver.
pub fn is_removed(section: &MediaDescription, signal: &Signal) -> bool {
    let named = &section.media_type;
    signal.output.remove_media.iter().any(|selector| match selector {
        MediaTypeSelector::Named(media_type) => media_type == named,
        MediaTypeSelector::Other => !REGISTERED_TYPES.contains(&named.as_str()),
    })
}

/// Media types of SDP (RFC 8866 §8.2.2).
const REGISTERED_TYPES: [&str; 6] = ["audio", "video", "image", "text", "message", "application"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::model::Media;
    use crate::proto::sdp::parse::{ParseOptions, parse};

    fn sdp(sections: &[&str]) -> SessionDescription {
        let media: String = sections.iter().map(|kind| format!("m={kind} 4000 RTP/AVP 0\r\n")).collect();
        let text =
            format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
        parse(&text, ParseOptions::default()).expect("a valid description")
    }

    /// A party with media at these places of its SDP.
    fn party(places: &[Option<usize>]) -> Party {
        let now = std::time::SystemTime::UNIX_EPOCH;
        let mut party = Party::new(now);
        party.media = places.iter().map(|&index| Media { index, ..Media::new(1, "audio", now) }).collect();
        party
    }

    #[test]
    fn sections_find_their_media_by_the_place_that_the_party_knows() {
        let three = sdp(&["audio"; 3]);
        assert_eq!(offer_order(&three, &party(&[])), [0, 1, 2]);
        assert_eq!(offer_order(&three, &party(&[Some(1), None, Some(2)])), [0, 2, 3], "one was kept from it");
        assert_eq!(offer_order(&three, &party(&[Some(1), Some(3), Some(2)])), [0, 2, 1], "shown later");
        let two = sdp(&["audio"; 2]);
        assert_eq!(answer_order(&two, &party(&[Some(1), None, Some(2)]), &party(&[Some(1)])), [0, 2]);
        assert_eq!(answer_order(&two, &party(&[]), &party(&[])), [0, 1], "an answer that nobody asked for");
    }

    #[test]
    fn a_selector_names_its_type_or_all_that_have_no_name() {
        let sections = sdp(&["audio", "video", "foobar"]);
        for (selector, expected) in [
            (MediaTypeSelector::Named("video".into()), [false, true, false]),
            (MediaTypeSelector::Other, [false, false, true]),
        ] {
            let mut signal = Signal::default();
            signal.output.remove_media.push(selector);
            let removed: Vec<bool> = sections.media.iter().map(|m| is_removed(m, &signal)).collect();
            assert_eq!(removed, expected);
        }
    }
}
