//! Tests over more than one file of this folder.

mod kernel_vectors;
mod lifetime;
mod oracle;
mod transform;
mod vectors;

use super::*;

/// A key of the suite whose octets count up from `seed`.
pub fn key(suite: &'static Suite, seed: u8, mki: &[u8], parameters: SessionParameters) -> MasterKey {
    let octets: Vec<u8> = (0..suite.key_salt_octets()).map(|i| seed.wrapping_add(i as u8)).collect();
    MasterKey::new(suite, &octets, mki, parameters).unwrap()
}

/// A key without identifier and parameters.
pub fn plain_key(name: &str) -> MasterKey {
    key(Suite::by_name(name).unwrap(), 7, &[], SessionParameters::default())
}

/// An RTP packet with `payload` octets.
pub fn rtp(ssrc: u32, sequence_number: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0x08];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend(0x0102_0304_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload).map(|i| i as u8 ^ 0x5a));
    packet
}

/// An RTCP receiver report with one block.
pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(0..24);
    packet
}

/// Protects a copy.
pub fn protected(protector: &mut Protector, rtp: bool, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0xee);
    let length = match rtp {
        true => protector.protect_rtp(&mut buffer, packet.len())?,
        false => protector.protect_rtcp(&mut buffer, packet.len())?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

/// Unprotects a copy.
pub fn unprotected(unprotector: &mut Unprotector, rtp: bool, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = packet.to_vec();
    let length = match rtp {
        true => unprotector.unprotect_rtp(&mut packet)?,
        false => unprotector.unprotect_rtcp(&mut packet)?,
    };
    packet.truncate(length);
    Ok(packet)
}
