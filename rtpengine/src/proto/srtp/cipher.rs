//! Key streams: AES in counter mode, AES in f8 mode, none; and the key derivation that counter mode serves for.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper,
};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::master_key::MasterKey;
use super::suite::CipherKind;

/// AES with any key size, for encryption only. The key schedule is overwritten when it goes.
pub(super) enum Aes {
    Key128(Aes128Enc),
    Key192(Aes192Enc),
    Key256(Aes256Enc),
}

impl Aes {
    /// `None` for a key size that AES does not have.
    pub fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Key128(Aes128Enc::new_from_slice(key).ok()?),
            24 => Self::Key192(Aes192Enc::new_from_slice(key).ok()?),
            32 => Self::Key256(Aes256Enc::new_from_slice(key).ok()?),
            _ => return None,
        })
    }

    /// Adds the key stream of counter mode that starts at `iv`.
    pub fn counter_mode(&self, iv: [u8; 16], octets: &mut [u8]) {
        match self {
            Self::Key128(aes) => counter_mode(aes, iv, octets),
            Self::Key192(aes) => counter_mode(aes, iv, octets),
            Self::Key256(aes) => counter_mode(aes, iv, octets),
        }
    }

    fn encrypt_block(&self, block: &mut [u8; 16]) {
        let block: &mut Array<u8, U16> = block.into();
        match self {
            Self::Key128(aes) => aes.encrypt_block(block),
            Self::Key192(aes) => aes.encrypt_block(block),
            Self::Key256(aes) => aes.encrypt_block(block),
        }
    }
}

fn counter_mode<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>>(
    aes: &C,
    iv: [u8; 16],
    octets: &mut [u8],
) {
    // A packet never has the 2^16 blocks after which this counter would carry into the packet index.
    let core = CtrCore::<&C, Ctr128BE>::inner_iv_init(aes, &iv.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(octets);
}

/// Derives a session key (RFC 3711 §4.3 with a key derivation rate of zero, RFC 6188 §3, RFC 7714 §11).
///
/// The pseudo-random function is AES-CM with the master key's size for all suites.
pub(super) fn derive(master: &MasterKey, label: u8, out: &mut [u8]) {
    out.zeroize();
    let mut iv = [0; 16];
    iv[..master.salt().len()].copy_from_slice(master.salt());
    iv[7] ^= label;
    // A suite's key sizes are those of AES.
    if let Some(aes) = Aes::new(master.key()) {
        aes.counter_mode(iv, out);
    }
    iv.zeroize();
}

/// Octets that make the initialisation vector of a packet.
#[derive(Clone, Copy)]
pub(super) struct PacketId {
    pub ssrc: u32,
    /// 48 bits (SRTP: roll-over counter and sequence number) or 31 bits (SRTCP).
    pub index: u64,
    /// The vector of f8 mode, which holds header fields.
    pub f8: [u8; 16],
}

/// The encryption of the suites that authenticate by HMAC.
pub(super) enum KeyStream {
    Null,
    CounterMode { aes: Aes, salt: Salt },
    F8 { aes: Aes, masked: Box<Aes> },
}

/// A session salt.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Salt(pub [u8; 14]);

impl KeyStream {
    /// Keys of the given labels. `None` for GCM, which is not a key stream.
    pub fn new(master: &MasterKey, key_label: u8, salt_label: u8) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..master.suite().key_octets];
        derive(master, key_label, key);
        let mut salt = Salt([0; 14]);
        derive(master, salt_label, &mut salt.0);
        Some(match master.suite().cipher {
            CipherKind::Null => Self::Null,
            CipherKind::CounterMode => Self::CounterMode { aes: Aes::new(key)?, salt },
            CipherKind::F8 => Self::f8(key, &salt.0)?,
            CipherKind::Gcm => return None,
        })
    }

    /// RFC 3711 §4.1.2.2: the second key is the first, masked by the salt that is filled up with 0x55.
    pub fn f8(key: &[u8], salt: &[u8]) -> Option<Self> {
        let mut masked = Zeroizing::new([0x55; 16]);
        masked.get_mut(..salt.len())?.copy_from_slice(salt);
        for (masked, key) in masked.iter_mut().zip(key) {
            *masked ^= key;
        }
        Some(Self::F8 { aes: Aes::new(key)?, masked: Box::new(Aes::new(&*masked)?) })
    }

    /// Encrypts or decrypts.
    pub fn apply(&self, packet: &PacketId, octets: &mut [u8]) {
        match self {
            Self::Null => {}
            Self::CounterMode { aes, salt } => {
                let mut iv = [0; 16];
                iv[..14].copy_from_slice(&salt.0);
                for (iv, ssrc) in iv[4..8].iter_mut().zip(packet.ssrc.to_be_bytes()) {
                    *iv ^= ssrc;
                }
                for (iv, index) in iv[6..14].iter_mut().zip(packet.index.to_be_bytes()) {
                    *iv ^= index;
                }
                aes.counter_mode(iv, octets);
            }
            Self::F8 { aes, masked } => f8(aes, masked, packet.f8, octets),
        }
    }
}

/// S(j) = E(k, IV' ⊕ j ⊕ S(j-1)) with IV' = E(k ⊕ m, IV).
fn f8(aes: &Aes, masked: &Aes, mut iv: [u8; 16], octets: &mut [u8]) {
    masked.encrypt_block(&mut iv);
    let iv = u128::from_be_bytes(iv);
    let mut block = [0; 16];
    for (number, chunk) in octets.chunks_mut(16).enumerate() {
        block = (iv ^ number as u128 ^ u128::from_be_bytes(block)).to_be_bytes();
        aes.encrypt_block(&mut block);
        for (octet, key) in chunk.iter_mut().zip(block) {
            *octet ^= key;
        }
    }
}
