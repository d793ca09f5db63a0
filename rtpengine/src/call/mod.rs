//! The call model and what commands do to it.
//!
//! A [`Call`] is found by its call-id and locked once per command. It has [`Party`]s, known by tag; a party has numbered
//! [`Media`]; offer and answer associate two parties. A command works on copies of the two parties it is about and puts
//! them back only when everything succeeded: an offer that fails leaves the call as it was, ports included, because
//! the ports that it opened go with the copies.
//!
//! ```text
//! engine (command) → dialogue (who talks to whom) → exchange (media by media) → output (SDP) → compile (CallPlan)
//! ```

/// What becomes of a call, for the log. Calls of another instance are told about there; here they are for who looks for a fault.
macro_rules! tell {
    ($foreign:expr, $($line:tt)+) => {
        if $foreign { tracing::debug!($($line)+) } else { tracing::info!($($line)+) }
    };
}

mod alarms;
mod audio_player;
mod away;
mod bare;
mod bundling;
mod changes;
mod coding;
mod compile;
mod connect;
mod connection;
mod delete;
mod dialogue;
mod digits;
mod dtmf;
mod dtmf_security;
mod dump;
mod echo;
mod ended;
mod engine;
mod error;
mod exchange;
mod exchange_command;
mod explain;
mod fax;
mod fragments;
mod hand_out;
mod ice;
mod identities;
mod interfaces;
mod lifecycle;
mod live;
mod model;
mod music_on_hold;
mod offered;
mod operate;
mod origin;
mod output;
mod own_side;
mod pairing;
mod persistence;
mod playback;
mod ports;
mod publish;
mod recording;
mod recording_announcement;
mod relay;
mod snapshot;
mod star_codes;
mod store;
mod stored;
mod subscribe;
mod subscription;
mod switches;
mod timers;
mod transform;

pub use away::{AWAY_QUEUE, AwayRequest};
pub use bare::{BareStream, MAX_BARE_STREAMS};
pub use changes::{Change, Changes};
pub use connection::{ConnectionFact, ConnectionReport};
pub use delete::Deletion;
pub use dtmf::DtmfReport;
pub use dump::{CallDump, MediaDump, MediaOf, PartyDump, PartyRole, StreamDump, StreamWhereabouts};
pub use ended::EndedReport;
pub use engine::{Deleted, Engine, Services};
pub use error::CommandError;
pub use exchange_command::SdpReply;
pub use explain::{ExplainedMedia, ExplainedParty, ExplainedStream, Message, Relation};
pub use hand_out::HandedCall;
pub use lifecycle::News;
pub use live::{LiveCall, LiveLeg, LiveMedia, LivePlayer, LiveSsrc};
pub use model::{Call, Media, Party, PartyId};
pub use operate::{CallLine, Gauges, Ownership, Sessions};
pub use persistence::{Owner, Restored};
pub use playback::{PlaybackCause, PlaybackEnd, PlaybackReport};
pub use publish::Published;
pub use recording::RecordingCommand;
pub use relay::{RelayEnd, RelayRequest, RelaySelection, RelaySession, RelaySide};
pub use snapshot::{
    AssociateSnapshot, CallSnapshot, MediaSnapshot, PartySnapshot, SsrcSnapshot, StreamSnapshot,
    TrafficSnapshot,
};
#[cfg(fuzzing)]
pub use stored::fuzz as fuzz_stored;
pub use stored::{FORMAT_VERSION, RestoreError};
pub use subscribe::{Subscribed, SubscribedSection};
pub use switches::{MediaSwitch, Position};
pub use timers::EndReason;
pub use transform::{TransformPort, Transformed};

#[cfg(test)]
mod tests;
