//! The codec graph: decode → resample → encode → packetise, for one direction of one media.

use std::time::{Duration, Instant};

use crate::{CodecError, EncoderOptions, PayloadFormat};

/// What is to become of one ingress payload type that is not passed through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TranscodePlan {
    /// What arrives.
    pub source: PayloadFormat,
    /// What leaves.
    pub sink: PayloadFormat,
    /// Packet time, bit rate and the like of the sink.
    pub options: EncoderOptions,
}

/// A packet that leaves the graph. RTP header fields are complete; SSRC is the sink's.
#[derive(Clone, Copy, Debug)]
pub struct OutPacket<'a> {
    /// Send not before this instant (4.4 of the media rules: first at once, later ones paced).
    pub send_at: Instant,
    /// Marker bit.
    pub marker: bool,
    /// Payload type of the sink.
    pub payload_type: u8,
    /// Sequence number, continuous.
    pub sequence_number: u16,
    /// Timestamp in the sink's clock.
    pub timestamp: u32,
    /// SSRC of the sink's stream.
    pub ssrc: u32,
    /// Encoded payload.
    pub payload: &'a [u8],
}

/// Counters of one transcoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscodeCounters {
    /// Packets given to the decoder.
    pub packets_in: u64,
    /// Packets made.
    pub packets_out: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Packets that came twice or too late.
    pub duplicates: u64,
    /// Payloads that the decoder refused.
    pub decode_errors: u64,
}

/// All state of one ingress SSRC towards one sink: sequencing, decoders by payload type, resampling,
/// encoding, packetising, and the continuity of the outgoing sequence numbers and timestamps.
///
/// Packets whose payload type has no plan (passed-through companions such as telephone-event) go through
/// [`Transcoder::forward`], so that their sequence numbers and timestamps fit between the transcoded ones.
pub struct Transcoder {
    _private: (),
}

impl Transcoder {
    /// `ssrc_out` is the SSRC of everything that leaves; `first_sequence` the first sequence number.
    pub fn new(plan: &TranscodePlan, ssrc_out: u32, first_sequence: u16) -> Result<Self, CodecError> {
        let _ = (plan, ssrc_out, first_sequence);
        Err(CodecError::Unsupported { name: plan.source.name.clone(), direction: "decoder" })
    }

    /// Takes one ingress packet of the plan's source payload type; every packet that becomes ready is
    /// handed to `emit`. Never allocates once warmed up.
    pub fn push(
        &mut self,
        now: Instant,
        packet: crate::rtp::RtpPacket<'_>,
        emit: &mut dyn FnMut(OutPacket<'_>),
    ) {
        let _ = (now, packet, emit);
    }

    /// Takes a packet that keeps its payload and only gets the sink's numbering (telephone-event).
    pub fn forward(
        &mut self,
        now: Instant,
        packet: crate::rtp::RtpPacket<'_>,
        payload_type_out: u8,
        emit: &mut dyn FnMut(OutPacket<'_>),
    ) {
        let _ = (now, packet, payload_type_out, emit);
    }

    /// Changes the plan in mid-stream (re-offer): outgoing numbering goes on without a break.
    pub fn replan(&mut self, plan: &TranscodePlan) -> Result<(), CodecError> {
        let _ = plan;
        Ok(())
    }

    /// What happened so far.
    pub fn counters(&self) -> TranscodeCounters {
        TranscodeCounters::default()
    }

    /// How long a packet may have to wait for its turn at most.
    pub const MAX_SCHEDULE: Duration = Duration::from_secs(1);
}
