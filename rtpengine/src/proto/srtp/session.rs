//! Session keys and the transforms that they make (RFC 3711 §4, RFC 7714).

use hmac::{Hmac, KeyInit, Mac};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::SrtpError;
use super::cipher::{KeyStream, derive};
use super::master_key::MasterKey;
use super::suite::CipherKind;

/// Octets of a GCM tag.
pub(super) const GCM_TAG: usize = 16;

/// Labels of RFC 3711 §4.3.2.
const RTP: Labels = Labels { key: 0, authentication: 1, salt: 2 };
const RTCP: Labels = Labels { key: 3, authentication: 4, salt: 5 };

struct Labels {
    key: u8,
    authentication: u8,
    salt: u8,
}

/// What both directions need: transforms, lengths, key identifier.
#[repr(C)]
pub(super) struct Session {
    /// 0: packets carry no tag.
    pub rtp_tag: usize,
    pub rtcp_tag: usize,
    pub mki: Box<[u8]>,
    pub rtp_encrypted: bool,
    pub rtcp_encrypted: bool,
    pub rtp: Transform,
    pub rtcp: Transform,
}

impl Session {
    pub fn new(master: &MasterKey, direction: Direction) -> Self {
        let (suite, parameters) = (master.suite(), master.parameters());
        let unauthenticated = parameters.unauthenticated_srtp;
        Self {
            rtp: Transform::new(master, &RTP, direction),
            rtcp: Transform::new(master, &RTCP, direction),
            rtp_tag: if unauthenticated { 0 } else { suite.rtp_tag_octets },
            rtcp_tag: suite.rtcp_tag_octets,
            rtp_encrypted: !parameters.unencrypted_srtp,
            rtcp_encrypted: !parameters.unencrypted_srtcp && suite.cipher != CipherKind::Null,
            mki: master.mki().into(),
        }
    }
}

/// Encryption and authentication of one kind of packets.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and packets save a cache miss"
)]
pub(super) enum Transform {
    Hmac { key_stream: KeyStream, authentication: Authentication },
    Gcm(Gcm),
}

impl Transform {
    fn new(master: &MasterKey, labels: &Labels, direction: Direction) -> Self {
        match KeyStream::new(master, labels.key, labels.salt) {
            None => Self::Gcm(Gcm::new(master, labels, direction)),
            Some(key_stream) => {
                let mut key = Zeroizing::new([0; 20]);
                derive(master, labels.authentication, &mut *key);
                Self::Hmac { key_stream, authentication: Authentication::new(&key) }
            }
        }
    }
}

/// HMAC-SHA1 with the key worked in.
pub(super) struct Authentication(Hmac<Sha1>);

impl Authentication {
    fn new(key: &[u8; 20]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// Tag of two parts that follow each other; as many octets of it are used as the suite says.
    pub fn tag(&self, packet: &[u8], behind: &[u8]) -> [u8; 20] {
        let mut hmac = self.0.clone();
        hmac.update(packet);
        hmac.update(behind);
        hmac.finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub fn verify(&self, packet: &[u8], behind: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        let expected = self.tag(packet, behind);
        let expected = expected.get(..tag.len()).ok_or(SrtpError::NotAuthentic)?;
        if bool::from(expected.ct_eq(tag)) { Ok(()) } else { Err(SrtpError::NotAuthentic) }
    }
}

/// AES-GCM with the key worked in.
pub(super) struct Gcm {
    /// Keyed for the one direction; a packet sets the nonce only. Overwritten by the library when it goes.
    context: CipherCtx,
    direction: Direction,
    salt: Zeroizing<[u8; 12]>,
}

impl Gcm {
    fn new(master: &MasterKey, labels: &Labels, direction: Direction) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..master.suite().key_octets];
        derive(master, labels.key, key);
        let mut salt = Zeroizing::new([0; 12]);
        derive(master, labels.salt, &mut *salt);
        Self::with_session_key(key, *salt, direction)
    }

    pub fn with_session_key(key: &[u8], salt: [u8; 12], direction: Direction) -> Self {
        let context = gcm_context(key, direction).expect("OpenSSL has AES-GCM with the suites' key sizes");
        Self { context, direction, salt: Zeroizing::new(salt) }
    }

    /// RFC 7714 §8.1, §9.1: two zero octets, SSRC, 48 bits of index, all masked by the salt.
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = *self.salt;
        for (octet, ssrc) in nonce[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
            *octet ^= ssrc;
        }
        for (octet, index) in nonce[6..].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *octet ^= index;
        }
        nonce
    }

    /// Encrypts in place; `associated` is authenticated as well.
    pub fn seal(
        &mut self,
        ssrc: u32,
        index: u64,
        associated: &[u8],
        octets: &mut [u8],
    ) -> Result<[u8; GCM_TAG], SrtpError> {
        let mut tag = [0; GCM_TAG];
        let sealed = self.run(ssrc, index, associated, octets).and_then(|()| {
            self.context.cipher_final(&mut [])?;
            self.context.tag(&mut tag)
        });
        // Cannot fail on the lengths of datagrams.
        sealed.map(|()| tag).map_err(|_| SrtpError::NoRoom)
    }

    /// Decrypts in place; what turns out not to be authentic has then been changed, too.
    pub fn open(
        &mut self,
        ssrc: u32,
        index: u64,
        associated: &[u8],
        octets: &mut [u8],
        tag: &[u8],
    ) -> Result<(), SrtpError> {
        let opened = self.run(ssrc, index, associated, octets).and_then(|()| {
            self.context.set_tag(tag)?;
            self.context.cipher_final(&mut [])
        });
        opened.map(|_| ()).map_err(|_| SrtpError::NotAuthentic)
    }

    fn run(&mut self, ssrc: u32, index: u64, associated: &[u8], octets: &mut [u8]) -> Result<(), ErrorStack> {
        let nonce = self.nonce(ssrc, index);
        match self.direction {
            Direction::Send => self.context.encrypt_init(None, None, Some(&nonce))?,
            Direction::Receive => self.context.decrypt_init(None, None, Some(&nonce))?,
        }
        self.context.cipher_update(associated, None)?;
        if !octets.is_empty() {
            let length = octets.len();
            self.context.cipher_update_inplace(octets, length)?;
        }
        Ok(())
    }
}

/// Which way packets of a session go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Send,
    Receive,
}

fn gcm_context(key: &[u8], direction: Direction) -> Result<CipherCtx, ErrorStack> {
    let cipher = if key.len() == 16 { Cipher::aes_128_gcm() } else { Cipher::aes_256_gcm() };
    let mut context = CipherCtx::new()?;
    match direction {
        Direction::Send => context.encrypt_init(Some(cipher), Some(key), None)?,
        Direction::Receive => context.decrypt_init(Some(cipher), Some(key), None)?,
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_rtp_packet_touches_is_within_what_is_asked_for_ahead() {
        // Sources come before the session.
        let end = size_of::<super::super::sources::Sources>()
            + std::mem::offset_of!(Session, rtp)
            + size_of::<Transform>();
        assert!(end <= crate::prefetch::MOST * crate::prefetch::LINE, "{end}");
    }
}
