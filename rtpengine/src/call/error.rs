//! Why a command was refused. The texts are `error-reason`s that clients match.

use crate::statistics::Limit;

/// A refused command; the call is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    #[error("No SDP body in message")]
    NoSdp,
    #[error("No call-id in message")]
    NoCallId,
    #[error("No from-tag in message")]
    NoFromTag,
    #[error("No to-tag in message")]
    NoToTag,
    #[error("Failed to parse SDP")]
    ParseSdp,
    #[error("Incomplete SDP specification")]
    IncompleteSdp,
    #[error("Unknown call-id")]
    UnknownCall,
    /// The other spelling of the same thing, used by the commands that select parties.
    #[error("Unknown call-ID")]
    UnknownCallSelecting,
    #[error("Call-ID not found or tags didn't match")]
    NothingToDelete,
    #[error("Invalid dialogue association")]
    Dialogue,
    #[error("Ran out of ports")]
    OutOfPorts,
    #[error("Error rewriting SDP")]
    Rewrite,
    #[error("Parallel session limit reached")]
    Limit(#[from] Limit),
    #[error("No participant party specified")]
    NoParty,
    #[error("No monologue matching the given label")]
    NoSuchLabel,
    #[error("Failed to parse network address")]
    BadAddress,
    #[error("Failed to match address to any tag")]
    NoSuchAddress,
    #[error("From-tag given, but no such tag exists")]
    NoSuchFromTag,
    #[error("No media file specified")]
    NoMediaFile,
    #[error("No 'body' in message")]
    NoBody,
    #[error("{0}")]
    Play(#[from] crate::play::PlayError),
    #[error("Not currently playing media")]
    NotPlaying,
    #[error("Currently MoH ongoing, ignore stop media.")]
    MusicOnHold,
    #[error("Media flow not found (to-tag not found)")]
    NoFlowToTag,
    #[error("Media flow not found (to-label not found)")]
    NoFlowToLabel,
    #[error("Media flow not found (to-tag not subscribed)")]
    FlowNotSubscribed,
    #[error("No eligible media subscriptions found")]
    NoFlows,
    #[error("Out of range 'code' specified")]
    NoSuchDigit,
    #[error("Monologue has no media capable of DTMF injection")]
    NoInjectionMedia,
    #[error("There is no sink media capable of DTMF playback")]
    NoInjectionSink,
    #[error("Media doesn't have an RTP stream")]
    NoInjectionStream,
    #[error("No SSRC context present for DTMF injection")]
    NoInjectionSsrc,
    #[error("No RTP payload type found to be in use")]
    NoInjectionPayloadType,
    #[error("No matching codec handler")]
    NoInjectionHandler,
    #[error("invalid limit, must be >= 0")]
    InvalidLimit,
    #[error("Unknown call-ID(s)")]
    UnknownCalls,
    #[error("Unknown call ID(s)")]
    UnknownMeshCalls,
    #[error("unknown call-ID")]
    UnknownCreatedCall,
    #[error("from-tag not found")]
    NoSuchCreatedParty,
    #[error("failed to perform answer")]
    CreateAnswer,
    #[error("Failed to create SDP")]
    CreateSdp,
    #[error("No medias found (no monologues matched)")]
    NoMedia,
    #[error("To-tag not found")]
    NoSuchToTag,
    #[error("From-tag not found")]
    NoSuchSource,
    #[error("Failed to request subscription")]
    SubscriptionRequest,
    #[error("Failed to process subscription answer")]
    SubscriptionAnswer,
    #[error("Failed to merge two calls into one (tag collision)")]
    TagCollision,
    #[error("Failed to merge calls (tag collision)")]
    MeshTagCollision,
    #[error("Failed to merge two calls into one")]
    InjectMerge,
    #[error("Given from-tag not found")]
    NoSuchMeshSource,
    #[error("Given to-tag not found")]
    NoSuchMeshSink,
    #[error("No source-tag in message")]
    NoSourceTag,
    #[error("Source-tag not found")]
    NoSuchSourceTag,
    #[error("Trying to inject to self")]
    InjectSelf,
    #[error("Failed to start inject")]
    InjectStart,
    #[error("Failed to stop inject")]
    InjectStop,
    #[error("Failed to set up transform")]
    Transform,
    #[error("Transform loop detected")]
    TransformLoop,
    /// A part of the protocol that this version does not have yet.
    #[error("Not supported: {0}")]
    NotBuilt(&'static str),
}
