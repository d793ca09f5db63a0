//! What a room's clients are told about their connections: that one is up, and that media come in.

use smol_str::{SmolStr, ToSmolStr};

use super::model::{Call, Media, Party};
use crate::media::plan::StreamId;
use crate::negotiate::security::Keying;

/// News of a party's connection to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    /// The party.
    pub tag: SmolStr,
    pub fact: ConnectionFact,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionFact {
    /// Every section that ICE or DTLS secures has a path and, with DTLS, keys. Told anew whenever one of them gets new ones.
    Up,
    /// The first RTP packet of a section has come.
    MediaArrived {
        /// Its `a=mid`, or without one its position from 0.
        mid: SmolStr,
        media_type: SmolStr,
    },
}

/// A stream of a call has got keys or a path: its party, if all of it is up now.
pub(super) fn up(call: &Call, stream: StreamId) -> Option<ConnectionReport> {
    let (party, _) = at(call, stream, None).filter(|_| call.tells_connections)?;
    is_up(party).then(|| report(party, ConnectionFact::Up)).flatten()
}

/// The first packet of a section has come in on a stream.
pub(super) fn arrived(call: &Call, stream: StreamId, section: Option<u8>) -> Option<ConnectionReport> {
    let (party, position) = at(call, stream, section).filter(|_| call.tells_connections)?;
    let media = party.media.get(position)?;
    let mid = media.mid.clone().unwrap_or_else(|| media.index.map_or(position, |i| i - 1).to_smolstr());
    report(party, ConnectionFact::MediaArrived { mid, media_type: media.media_type.clone() })
}

fn report(party: &Party, fact: ConnectionFact) -> Option<ConnectionReport> {
    Some(ConnectionReport { tag: party.tag.clone()?, fact })
}

/// The party of a stream, and the position of the section.
fn at(call: &Call, stream: StreamId, section: Option<u8>) -> Option<(&Party, usize)> {
    let has_stream = |media: &Media| media.streams.iter().any(|own| own.id == stream);
    call.parties.iter().find_map(|party| {
        let first = party.media.iter().position(has_stream)?;
        Some((party, section.map_or(first, usize::from)))
    })
}

/// At least one section has ICE or DTLS, and each that does has what it needs. A section behind another one's port shares its fate.
fn is_up(party: &Party) -> bool {
    let sections = party.media.iter().filter(|media| !media.is_rejected() && !media.is_carried());
    let mut states = sections.filter_map(section_is_up).peekable();
    states.peek().is_some() && states.all(|is_up| is_up)
}

/// `None`: there is nothing to wait for.
fn section_is_up(media: &Media) -> Option<bool> {
    match media.keying() {
        Keying::Dtls(_) => Some(media.streams[0].shared.handshake_suite().is_some()),
        Keying::Plain | Keying::Sdes { .. } | Keying::Blocked => {
            media.ice.is_active().then(|| media.ice.selected()[0].is_some())
        }
    }
}
