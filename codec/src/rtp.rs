//! RTP fixed header and extensions (RFC 3550 §5.1, RFC 8285), read in place.

/// A view of a valid RTP packet: the length of every part has been checked.
#[derive(Clone, Copy, Debug)]
pub struct RtpPacket<'a> {
    octets: &'a [u8],
    payload_start: usize,
    payload_end: usize,
}

/// The octets are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its own header says.
    #[error("RTP packet is truncated")]
    Truncated,
    /// Version is not 2.
    #[error("RTP version is not 2")]
    Version,
    /// Padding count is zero or larger than the payload.
    #[error("RTP padding is invalid")]
    Padding,
}

impl<'a> RtpPacket<'a> {
    /// Checks the header, CSRC list, extension and padding lengths.
    pub fn parse(octets: &'a [u8]) -> Result<Self, RtpError> {
        if octets.len() < 12 {
            return Err(RtpError::Truncated);
        }
        if octets[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let mut start = 12 + 4 * usize::from(octets[0] & 0x0f);
        if octets[0] & 0x10 != 0 {
            let header = octets.get(start..start + 4).ok_or(RtpError::Truncated)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        }
        if start > octets.len() {
            return Err(RtpError::Truncated);
        }
        let mut end = octets.len();
        if octets[0] & 0x20 != 0 {
            let padding = usize::from(octets[end - 1]);
            if padding == 0 || padding > end - start {
                return Err(RtpError::Padding);
            }
            end -= padding;
        }
        Ok(Self { octets, payload_start: start, payload_end: end })
    }

    /// Marker bit.
    pub fn marker(&self) -> bool {
        self.octets[1] & 0x80 != 0
    }

    /// Payload type, 0–127.
    pub fn payload_type(&self) -> u8 {
        self.octets[1] & 0x7f
    }

    /// Sequence number.
    pub fn sequence_number(&self) -> u16 {
        u16::from_be_bytes([self.octets[2], self.octets[3]])
    }

    /// Timestamp in units of the payload type's clock rate.
    pub fn timestamp(&self) -> u32 {
        u32::from_be_bytes([self.octets[4], self.octets[5], self.octets[6], self.octets[7]])
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.octets[8], self.octets[9], self.octets[10], self.octets[11]])
    }

    /// Payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.octets[self.payload_start..self.payload_end]
    }

    /// Octets in front of the payload.
    pub fn header_len(&self) -> usize {
        self.payload_start
    }
}

/// Writes a fixed header without CSRC, extension or padding.
pub fn write_header(
    buf: &mut [u8; 12],
    marker: bool,
    payload_type: u8,
    sequence_number: u16,
    timestamp: u32,
    ssrc: u32,
) {
    buf[0] = 0x80;
    buf[1] = payload_type & 0x7f | if marker { 0x80 } else { 0 };
    buf[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    buf[4..8].copy_from_slice(&timestamp.to_be_bytes());
    buf[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// A muxed packet whose second octet is 64–95 (payload type with marker) is RTCP (RFC 5761 §4).
pub fn is_rtcp(octets: &[u8]) -> bool {
    octets.len() >= 8 && octets[0] >> 6 == 2 && (192..=223).contains(&octets[1])
}
