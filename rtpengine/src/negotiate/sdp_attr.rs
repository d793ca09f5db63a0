//! `sdp-attr` commands → changes of the rendered description (section 11 of the flag reference).

use super::signal::{SdpAttrAction, SdpAttrCommand, SdpSection};
use crate::proto::sdp::AttributeEdits;

/// Collects the commands of a message in their order.
pub fn edits(commands: &[SdpAttrCommand]) -> AttributeEdits {
    let mut edits = AttributeEdits::default();
    for SdpAttrCommand { section, action } in commands {
        let section = match section {
            SdpSection::Session => edits.session_mut(),
            SdpSection::Media(media_type) => edits.media_mut(media_type),
        };
        match action {
            SdpAttrAction::Add(text) => section.add(text),
            SdpAttrAction::Remove(text) => section.remove(text),
            SdpAttrAction::Substitute { from, to } => section.substitute(from, to),
        }
    }
    edits
}
