//! RTCP (RFC 3550 §6, RFC 4585, RFC 3611): walking compound packets, mapping them between the two sides of a
//! transcoder, and writing sender reports of our own.
//!
//! Everything works in buffers of the caller, without allocation, and survives any octets: a compound packet
//! whose lengths do not add up is refused as a whole, a packet type that is not known passes as it is.
//!
//! | type | what is mapped |
//! | --- | --- |
//! | SR, RR | SSRC, sender information, report blocks (those without a counterpart are left out) |
//! | SDES, BYE | SSRCs |
//! | APP, XR, RTPFB, PSFB | sender SSRC; SSRC of the media source, also in XR blocks, FIR and TMMBR entries |
//! | others | nothing |
//!
//! Sequence numbers inside negative acknowledgements and XR loss blocks stay as they are: they have no
//! counterpart behind a transcoder.

pub mod bye;
pub mod feedback;
pub mod read;
pub mod receiver_report;
pub mod rewrite;
pub mod sdes;
pub mod sender_report;
pub mod xr;

/// Why octets are not a compound RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// A packet is longer than what is left, or its content is longer than the packet.
    #[error("RTCP packet is truncated")]
    Truncated,
    /// Version is not 2.
    #[error("RTCP version is not 2")]
    Version,
}

/// Octets of the header that all packets begin with.
pub const HEADER: usize = 4;

/// The common header of a packet (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Reception report count, source count, feedback message type or sub-type: the low five bits.
    pub count: u8,
    /// Packet type, 200 is a sender report.
    pub packet_type: u8,
    /// Octets of the whole packet with this header; at least [`HEADER`], a multiple of four.
    pub length: usize,
}

impl Header {
    /// Reads the header at the start of `octets` and checks that the packet fits in.
    pub fn parse(octets: &[u8]) -> Result<Self, RtcpError> {
        let [first, packet_type, high, low, ..] = *octets else { return Err(RtcpError::Truncated) };
        if first >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        if length > octets.len() {
            return Err(RtcpError::Truncated);
        }
        Ok(Self { count: first & 0x1f, packet_type, length })
    }

    /// Changes count, type and length of the packet that starts at `packet[0]`; the padding bit stays.
    fn write(self, packet: &mut [u8]) {
        if let [first, packet_type, high, low, ..] = packet {
            *first = *first & 0xe0 | self.count & 0x1f;
            *packet_type = self.packet_type;
            [*high, *low] = ((self.length / 4).saturating_sub(1) as u16).to_be_bytes();
        }
    }
}

/// The word that begins at an octet; `None` if it is not all there.
pub fn word(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn set_word(octets: &mut [u8], at: usize, value: u32) {
    if let Some(word) = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *word = value.to_be_bytes();
    }
}

/// Replaces the word at `at`, if the octets reach that far.
fn map_word(octets: &mut [u8], at: usize, map: impl FnOnce(u32) -> u32) {
    if let Some(before) = word(octets, at) {
        set_word(octets, at, map(before));
    }
}
