//! The sending direction.

use super::cipher::PacketId;
use super::master_key::MasterKey;
use super::session::{Direction, GCM_TAG, Session, Transform};
use super::sources::{Sources, WhenFull};
use super::{ENCRYPTED, RTCP_CLEAR, SrtpError, rtp_header_length};

/// Protects what one party is sent. What RTP packets touch is in front.
#[repr(C)]
pub struct Protector {
    sources: Sources,
    session: Session,
    /// Index of the next SRTCP packet, of whatever SSRC: one count for all is unique for each.
    rtcp_index: u32,
}

impl Protector {
    /// Derives the session keys. Allocates.
    pub fn new(master: &MasterKey) -> Self {
        // Also without authentication an index must not come twice.
        Self {
            session: Session::new(master, Direction::Send),
            sources: Sources::new(WhenFull::Refuse),
            rtcp_index: 0,
        }
    }

    /// Asks for the memory of the SSRC that the last packet had.
    #[inline]
    pub fn look_ahead(&self) {
        self.sources.look_ahead();
    }

    /// The index under which the next packet with this SSRC and sequence number is encrypted; `None` when all have been used.
    pub fn rtp_index(&self, ssrc: u32, sequence_number: u16) -> Option<u64> {
        if self.sources.knows(ssrc) {
            self.sources.rtp_index(ssrc, sequence_number)
        } else {
            Some(sequence_number.into())
        }
    }

    /// Encrypts and authenticates the RTP packet in `buffer[..length]` in place and returns its new length.
    ///
    /// # Errors
    /// Any [`SrtpError`] but [`SrtpError::NotAuthentic`]; the packet is then unchanged and must not be sent.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let session = &mut self.session;
        let packet = buffer.get(..length).ok_or(SrtpError::NoRoom)?;
        let header = rtp_header_length(packet).ok_or(SrtpError::Truncated)?;
        let total = length + session.rtp_tag + session.mki.len();
        if buffer.len() < total {
            return Err(SrtpError::NoRoom);
        }
        let ssrc = u32::from_be_bytes([buffer[8], buffer[9], buffer[10], buffer[11]]);
        let sequence_number = u16::from_be_bytes([buffer[2], buffer[3]]);
        let index = match self.sources.find(ssrc) {
            None => u64::from(sequence_number),
            Some(window) => {
                let index = window.rtp_index(sequence_number).ok_or(SrtpError::KeyExhausted)?;
                if window.was_used(index) {
                    return Err(SrtpError::Replayed);
                }
                index
            }
        };
        self.sources.mark(ssrc, index)?;
        let roll_over = ((index >> 16) as u32).to_be_bytes();
        match &mut session.rtp {
            Transform::Hmac { key_stream, authentication } => {
                if session.rtp_encrypted {
                    let id = PacketId { ssrc, index, f8: f8_rtp(buffer, roll_over) };
                    key_stream.apply(&id, &mut buffer[header..length]);
                }
                let tag_at = length + session.mki.len();
                buffer[length..tag_at].copy_from_slice(&session.mki);
                if session.rtp_tag > 0 {
                    let tag = authentication.tag(&buffer[..length], &roll_over);
                    buffer[tag_at..total].copy_from_slice(&tag[..session.rtp_tag]);
                }
            }
            Transform::Gcm(gcm) => {
                let clear = if session.rtp_encrypted { header } else { length };
                let (associated, octets) = buffer[..length].split_at_mut(clear);
                let tag = gcm.seal(ssrc, index, associated, octets)?;
                buffer[length..length + GCM_TAG].copy_from_slice(&tag);
                buffer[length + GCM_TAG..total].copy_from_slice(&session.mki);
            }
        }
        Ok(total)
    }

    /// Encrypts and authenticates the RTCP packet in `buffer[..length]` in place and returns its new length.
    ///
    /// # Errors
    /// As [`Protector::protect_rtp`].
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let session = &mut self.session;
        if length < RTCP_CLEAR {
            return Err(SrtpError::Truncated);
        }
        let total = length + 4 + session.rtcp_tag + session.mki.len();
        if buffer.len() < total {
            return Err(SrtpError::NoRoom);
        }
        let index = self.rtcp_index;
        if index & ENCRYPTED != 0 {
            return Err(SrtpError::KeyExhausted);
        }
        self.rtcp_index += 1;
        let ssrc = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
        let flag = if session.rtcp_encrypted { ENCRYPTED } else { 0 };
        let index_word = (index | flag).to_be_bytes();
        let index = u64::from(index);
        match &mut session.rtcp {
            Transform::Hmac { key_stream, authentication } => {
                if session.rtcp_encrypted {
                    let id = PacketId { ssrc, index, f8: f8_rtcp(buffer, index_word) };
                    key_stream.apply(&id, &mut buffer[RTCP_CLEAR..length]);
                }
                let tag_at = length + 4 + session.mki.len();
                buffer[length..length + 4].copy_from_slice(&index_word);
                buffer[length + 4..tag_at].copy_from_slice(&session.mki);
                let tag = authentication.tag(&buffer[..length + 4], &[]);
                buffer[tag_at..total].copy_from_slice(&tag[..session.rtcp_tag]);
            }
            Transform::Gcm(gcm) => {
                let tag = if session.rtcp_encrypted {
                    let associated = associated_rtcp(buffer, index_word);
                    gcm.seal(ssrc, index, &associated, &mut buffer[RTCP_CLEAR..length])?
                } else {
                    buffer[length..length + 4].copy_from_slice(&index_word);
                    gcm.seal(ssrc, index, &buffer[..length + 4], &mut [])?
                };
                let index_at = length + GCM_TAG;
                buffer[length..index_at].copy_from_slice(&tag);
                buffer[index_at..index_at + 4].copy_from_slice(&index_word);
                buffer[index_at + 4..total].copy_from_slice(&session.mki);
            }
        }
        Ok(total)
    }

    /// Index of the next SRTCP packet.
    pub fn rtcp_index(&self) -> u32 {
        self.rtcp_index
    }

    /// SSRCs with the highest indices that they were sent with.
    pub fn positions(&self) -> Vec<(u32, u64)> {
        self.sources.positions()
    }

    /// Somebody else has protected packets of an SSRC, up to this index; bit i of `seen`: index - i was one of them.
    pub fn went_on(&mut self, ssrc: u32, index: u64, seen: u64) {
        self.sources.went_on(ssrc, index, seen);
    }

    /// Highest index of the RTP packets of an SSRC.
    pub fn position(&self, ssrc: u32) -> Option<u64> {
        self.sources.position(ssrc)
    }

    /// Goes on where another instance was: what it may have used of these is not used again.
    pub fn resume(&mut self, rtp: &[(u32, u64)], rtcp_index: u32) {
        self.sources.resume(rtp);
        self.raise_rtcp_index(rtcp_index);
    }

    /// Goes on behind indices that were used under the same key elsewhere, before RTCP moved here.
    pub fn raise_rtcp_index(&mut self, index: u32) {
        self.rtcp_index = self.rtcp_index.max(index);
    }

    /// A protector whose next packets have high indices.
    #[cfg(test)]
    pub(super) fn at(master: &MasterKey, ssrc: u32, rtp_index: u64, rtcp_index: u32) -> Self {
        let mut protector = Self::new(master);
        protector.sources.mark(ssrc, rtp_index).unwrap();
        protector.rtcp_index = rtcp_index;
        protector
    }
}

/// RFC 3711 §4.1.2.3. The packet has a whole fixed header.
pub(super) fn f8_rtp(packet: &[u8], roll_over: [u8; 4]) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[1..12].copy_from_slice(&packet[1..12]);
    iv[12..].copy_from_slice(&roll_over);
    iv
}

/// RFC 3711 §4.1.2.4. The packet has at least [`RTCP_CLEAR`] octets.
pub(super) fn f8_rtcp(packet: &[u8], index_word: [u8; 4]) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&index_word);
    iv[8..].copy_from_slice(&packet[..RTCP_CLEAR]);
    iv
}

/// RFC 7714 §9.2: what stays clear, and the index.
pub(super) fn associated_rtcp(packet: &[u8], index_word: [u8; 4]) -> [u8; RTCP_CLEAR + 4] {
    let mut associated = [0; RTCP_CLEAR + 4];
    associated[..RTCP_CLEAR].copy_from_slice(&packet[..RTCP_CLEAR]);
    associated[RTCP_CLEAR..].copy_from_slice(&index_word);
    associated
}
