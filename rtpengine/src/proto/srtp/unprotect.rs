//! The receiving direction.

use super::cipher::PacketId;
use super::master_key::MasterKey;
use super::protect::{associated_rtcp, f8_rtcp, f8_rtp};
use super::session::{Direction, GCM_TAG, Session, Transform};
use super::sources::{Sources, WhenFull};
use super::{ENCRYPTED, RTCP_CLEAR, SrtpError, rtp_header_length};

/// Verifies and decrypts what one party sends. What RTP packets touch is in front.
#[repr(C)]
pub struct Unprotector {
    rtp_sources: Sources,
    session: Session,
    rtcp_sources: Sources,
}

impl Unprotector {
    /// Derives the session keys. Allocates.
    pub fn new(master: &MasterKey) -> Self {
        let session = Session::new(master, Direction::Receive);
        let when_full = if session.rtp_tag > 0 { WhenFull::Refuse } else { WhenFull::Replace };
        Self { session, rtp_sources: Sources::new(when_full), rtcp_sources: Sources::new(WhenFull::Refuse) }
    }

    /// Asks for the memory of the SSRC that the last RTP packet had.
    #[inline]
    pub fn look_ahead(&self) {
        self.rtp_sources.look_ahead();
    }

    /// The index of a packet that was received with this SSRC and sequence number; `None` when there was none.
    pub fn rtp_index(&self, ssrc: u32, sequence_number: u16) -> Option<u64> {
        self.rtp_sources.rtp_index(ssrc, sequence_number)
    }

    /// Verifies and decrypts an SRTP packet in place and returns the length of the RTP packet.
    ///
    /// # Errors
    /// Any [`SrtpError`] but [`SrtpError::NoRoom`]; what the packet then holds is undefined.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let session = &mut self.session;
        let behind = session.rtp_tag + session.mki.len();
        let length = packet.len().checked_sub(behind).ok_or(SrtpError::Truncated)?;
        let (packet, trailer) = packet.split_at_mut(length);
        let header = rtp_header_length(packet).ok_or(SrtpError::Truncated)?;
        let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
        let sequence_number = u16::from_be_bytes([packet[2], packet[3]]);
        let index = match self.rtp_sources.find(ssrc) {
            None => u64::from(sequence_number),
            Some(window) => {
                let index = window.rtp_index(sequence_number).ok_or(SrtpError::KeyExhausted)?;
                if window.was_used(index) && session.rtp_tag > 0 {
                    return Err(SrtpError::Replayed);
                }
                index
            }
        };
        let roll_over = ((index >> 16) as u32).to_be_bytes();
        match &mut session.rtp {
            Transform::Hmac { key_stream, authentication } => {
                let (mki, tag) = trailer.split_at(session.mki.len());
                check_mki(mki, &session.mki)?;
                if session.rtp_tag > 0 {
                    authentication.verify(packet, &roll_over, tag)?;
                }
                self.rtp_sources.mark(ssrc, index)?;
                if session.rtp_encrypted {
                    let id = PacketId { ssrc, index, f8: f8_rtp(packet, roll_over) };
                    key_stream.apply(&id, &mut packet[header..]);
                }
            }
            Transform::Gcm(gcm) => {
                let (tag, mki) = trailer.split_at(GCM_TAG);
                check_mki(mki, &session.mki)?;
                let clear = if session.rtp_encrypted { header } else { length };
                let (associated, octets) = packet.split_at_mut(clear);
                gcm.open(ssrc, index, associated, octets, tag)?;
                self.rtp_sources.mark(ssrc, index)?;
            }
        }
        Ok(length)
    }

    /// Verifies and decrypts an SRTCP packet in place and returns the length of the RTCP packet.
    ///
    /// # Errors
    /// As [`Unprotector::unprotect_rtp`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let session = &mut self.session;
        let behind = 4 + session.rtcp_tag + session.mki.len();
        let length = packet.len().checked_sub(behind).filter(|length| *length >= RTCP_CLEAR);
        let length = length.ok_or(SrtpError::Truncated)?;
        let index_at = match &session.rtcp {
            Transform::Hmac { .. } => length,
            Transform::Gcm(_) => length + GCM_TAG,
        };
        let index_word = [packet[index_at], packet[index_at + 1], packet[index_at + 2], packet[index_at + 3]];
        let (encrypted, index) =
            (index_word[0] & 0x80 != 0, u64::from(u32::from_be_bytes(index_word) & !ENCRYPTED));
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        if self.rtcp_sources.find(ssrc).is_some_and(|window| window.was_used(index)) {
            return Err(SrtpError::Replayed);
        }
        match &mut session.rtcp {
            Transform::Hmac { key_stream, authentication } => {
                let (packet, trailer) = packet.split_at_mut(length + 4);
                let (mki, tag) = trailer.split_at(session.mki.len());
                check_mki(mki, &session.mki)?;
                authentication.verify(packet, &[], tag)?;
                self.rtcp_sources.mark(ssrc, index)?;
                if encrypted {
                    let id = PacketId { ssrc, index, f8: f8_rtcp(packet, index_word) };
                    key_stream.apply(&id, &mut packet[RTCP_CLEAR..length]);
                }
            }
            Transform::Gcm(gcm) => {
                check_mki(&packet[index_at + 4..], &session.mki)?;
                let mut tag = [0; GCM_TAG];
                tag.copy_from_slice(&packet[length..index_at]);
                if encrypted {
                    let associated = associated_rtcp(packet, index_word);
                    gcm.open(ssrc, index, &associated, &mut packet[RTCP_CLEAR..length], &tag)?;
                } else {
                    packet[length..length + 4].copy_from_slice(&index_word);
                    gcm.open(ssrc, index, &packet[..length + 4], &mut [], &tag)?;
                }
                self.rtcp_sources.mark(ssrc, index)?;
            }
        }
        Ok(length)
    }

    /// SSRCs with their highest indices, of RTP and RTCP.
    pub fn positions(&self) -> [Vec<(u32, u64)>; 2] {
        [self.rtp_sources.positions(), self.rtcp_sources.positions()]
    }

    /// Goes on where another instance was.
    pub fn resume(&mut self, rtp: &[(u32, u64)], rtcp: &[(u32, u64)]) {
        self.rtp_sources.resume(rtp);
        self.rtcp_sources.resume(rtcp);
    }

    /// Somebody else has unprotected packets of an SSRC, up to this index; bit i of `seen`: index - i was one of them.
    pub fn went_on(&mut self, ssrc: u32, index: u64, seen: u64) {
        self.rtp_sources.went_on(ssrc, index, seen);
    }

    /// Highest index of the RTP packets of an SSRC.
    pub fn position(&self, ssrc: u32) -> Option<u64> {
        self.rtp_sources.position(ssrc)
    }

    /// Whether SRTP packets are authenticated.
    pub fn authenticates_rtp(&self) -> bool {
        self.session.rtp_tag > 0
    }

    /// An unprotector that has just received these indices.
    #[cfg(test)]
    pub(super) fn at(master: &MasterKey, ssrc: u32, rtp_index: u64) -> Self {
        let mut unprotector = Self::new(master);
        unprotector.rtp_sources.mark(ssrc, rtp_index).unwrap();
        unprotector
    }

    /// SSRCs known for RTP and RTCP.
    #[cfg(test)]
    pub(super) fn sources(&self) -> (usize, usize) {
        (self.rtp_sources.len(), self.rtcp_sources.len())
    }
}

/// There is one master key at a time, so that another identifier is a key that we do not have.
fn check_mki(mki: &[u8], ours: &[u8]) -> Result<(), SrtpError> {
    if mki == ours { Ok(()) } else { Err(SrtpError::NotAuthentic) }
}
