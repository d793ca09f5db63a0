//! `media-echo`: a party hears itself instead of the other one, or nobody is heard at all.

use serde::{Deserialize, Serialize};

use super::model::{Media, Party};
use crate::media::plan::{EdgePlan, Handling};
use crate::negotiate::signal::MediaEcho;

/// Where the media of a party go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routing {
    /// To whoever the party talks to.
    #[default]
    Associates,
    /// Back to the party itself.
    Echo,
    Nowhere,
}

/// Takes over what a message asks for; it stays until another message asks for something else.
pub fn apply(echo: MediaEcho, sender: &mut Party, receiver: &mut Party) {
    (sender.routing, receiver.routing) = match echo {
        MediaEcho::Blackhole => (Routing::Nowhere, Routing::Nowhere),
        MediaEcho::Forward => (Routing::Nowhere, Routing::Echo),
        MediaEcho::Backward => (Routing::Echo, Routing::Nowhere),
        MediaEcho::Both => (Routing::Echo, Routing::Echo),
    };
}

/// The way of a media back to its sender. RTCP stays here: it would report about a stream that its sender does not hear.
pub fn edge(media: &Media, drop_traffic: bool) -> Option<EdgePlan> {
    media.ports.current()?;
    let open = media.may_send() && media.may_receive() && !drop_traffic;
    let stream = media.streams[0].id;
    let sink = open.then_some(stream);
    Some(EdgePlan { rtcp_to: None, default: Handling::Echo, ..EdgePlan::new(stream, sink) })
}
