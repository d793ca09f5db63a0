//! SRTP of the test's parties: libsrtp where that knows the suite; and a second implementation, on OpenSSL's primitives, written for
//! reading, for the rest. That one allocates at will, derives keys anew for each packet and keeps nothing but roll-over counters.

use std::collections::HashMap;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{Cipher, Crypter, Mode, decrypt_aead, encrypt, encrypt_aead};

use crate::libsrtp::{self, Direction, MAX_TRAILER};

/// Master key and what belongs to it, of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Suite name.
    pub suite: String,
    /// Master key.
    pub master_key: Vec<u8>,
    /// Master salt.
    pub master_salt: Vec<u8>,
    /// Master key identifier, empty when there is none.
    pub mki: Vec<u8>,
    /// `UNENCRYPTED_SRTP`
    pub unencrypted_srtp: bool,
    /// `UNENCRYPTED_SRTCP`
    pub unencrypted_srtcp: bool,
    /// `UNAUTHENTICATED_SRTP`
    pub unauthenticated_srtp: bool,
}

/// Session keys of SRTP or SRTCP.
struct Session<'a> {
    suite: &'a str,
    key: Vec<u8>,
    salt: Vec<u8>,
    authentication: Vec<u8>,
}

impl Key {
    /// A key without identifier and parameters.
    ///
    /// # Panics
    /// When key and salt do not have the suite's length.
    pub fn new(suite: &str, key_salt: &[u8]) -> Self {
        let key = match suite {
            _ if suite.contains("256") => 32,
            _ if suite.contains("192") => 24,
            _ => 16,
        };
        let salt = if suite.starts_with("AEAD") { 12 } else { 14 };
        assert_eq!(key_salt.len(), key + salt, "{suite}");
        Self {
            suite: suite.into(),
            master_key: key_salt[..key].into(),
            master_salt: key_salt[key..].into(),
            mki: Vec::new(),
            unencrypted_srtp: false,
            unencrypted_srtcp: false,
            unauthenticated_srtp: false,
        }
    }

    /// A random key.
    pub fn random(suite: &str) -> Self {
        let salt = if suite.starts_with("AEAD") { 12 } else { 14 };
        let key = if suite.contains("256") { 32 } else { 24 - 8 * usize::from(!suite.contains("192")) };
        let octets: Vec<u8> = (0..key + salt).map(|_| rand::random()).collect();
        Self::new(suite, &octets)
    }

    /// From the value of a crypto attribute: `<tag> <suite> inline:<key>[|<lifetime>][|<mki>:<length>] [parameters]`.
    ///
    /// # Panics
    /// When it is not one.
    pub fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        let (_tag, suite) = (words.next(), words.next().expect("suite"));
        let mut parts = words.next().and_then(|word| word.strip_prefix("inline:")).expect("key").split('|');
        let mut encoded = parts.next().expect("key").trim_end_matches('=').to_owned();
        while !encoded.len().is_multiple_of(4) {
            encoded.push('=');
        }
        let mut key = Self::new(suite, &openssl::base64::decode_block(&encoded).expect("base64"));
        if let Some((value, length)) = parts.find_map(|part| part.split_once(':')) {
            let value: u128 = value.parse().expect("a number");
            let length: usize = length.parse().expect("a length");
            key.mki = value.to_be_bytes()[16 - length..].to_vec();
        }
        for parameter in words {
            match parameter {
                "UNENCRYPTED_SRTP" => key.unencrypted_srtp = true,
                "UNENCRYPTED_SRTCP" => key.unencrypted_srtcp = true,
                "UNAUTHENTICATED_SRTP" => key.unauthenticated_srtp = true,
                other => panic!("unknown session parameter {other}"),
            }
        }
        key
    }

    /// The value of a crypto attribute.
    pub fn to_line(&self, tag: u32) -> String {
        let octets = [&self.master_key[..], &self.master_salt].concat();
        let encoded = openssl::base64::encode_block(&octets);
        let mut line = format!("{tag} {} inline:{}", self.suite, encoded.trim_end_matches('='));
        if !self.mki.is_empty() {
            let value = self.mki.iter().fold(0_u128, |value, octet| value << 8 | u128::from(*octet));
            line.push_str(&format!("|{value}:{}", self.mki.len()));
        }
        for (set, name) in [
            (self.unencrypted_srtp, " UNENCRYPTED_SRTP"),
            (self.unencrypted_srtcp, " UNENCRYPTED_SRTCP"),
            (self.unauthenticated_srtp, " UNAUTHENTICATED_SRTP"),
        ] {
            line.push_str(if set { name } else { "" });
        }
        line
    }

    /// An RTP packet protected with this roll-over counter.
    pub fn protect_rtp(&self, packet: &[u8], roll_over: u32) -> Vec<u8> {
        let session = self.session(0);
        let clear = if self.unencrypted_srtp { packet.len() } else { rtp_header(packet) };
        let (head, rest) = packet.split_at(clear);
        let index = rtp_index(packet, roll_over);
        if self.is_gcm() {
            return [head, &session.seal(word(packet, 8), index, head, rest), &self.mki].concat();
        }
        let body = [head, &session.mask(word(packet, 8), index, f8_rtp(packet, roll_over), rest)].concat();
        let tag = session.hmac(&[&body[..], &roll_over.to_be_bytes()].concat(), self.rtp_tag());
        [&body[..], &self.mki, &tag].concat()
    }

    /// An RTCP packet protected with this index.
    pub fn protect_rtcp(&self, packet: &[u8], index: u32) -> Vec<u8> {
        let session = self.session(3);
        let encrypted = !self.unencrypted_srtcp && !self.suite.starts_with("NULL");
        let index_word = (index | u32::from(encrypted) << 31).to_be_bytes();
        let (head, rest) = packet.split_at(if encrypted { 8 } else { packet.len() });
        let ssrc = word(packet, 4);
        if self.is_gcm() {
            let sealed = session.seal(ssrc, index.into(), &[head, &index_word].concat(), rest);
            return [head, &sealed, &index_word, &self.mki].concat();
        }
        let rest = session.mask(ssrc, index.into(), f8_rtcp(packet, index_word), rest);
        let body = [head, &rest, &index_word].concat();
        [&body[..], &self.mki, &session.hmac(&body, 10)].concat()
    }

    /// The RTP packet in a protected one; `None` when it is not authentic.
    pub fn unprotect_rtp(&self, packet: &[u8], roll_over: u32) -> Option<Vec<u8>> {
        let session = self.session(0);
        let (body, tag) = self.split(packet, self.rtp_tag())?;
        let clear = if self.unencrypted_srtp { body.len() } else { rtp_header(body) };
        let (head, rest) = body.split_at(clear);
        let index = rtp_index(body, roll_over);
        if self.is_gcm() {
            return Some([head, &session.open(word(body, 8), index, head, rest, tag)?].concat());
        }
        let expected = session.hmac(&[body, &roll_over.to_be_bytes()].concat(), self.rtp_tag());
        let rest = session.mask(word(body, 8), index, f8_rtp(body, roll_over), rest);
        (expected == tag).then(|| [head, &rest].concat())
    }

    /// The RTCP packet in a protected one; `None` when it is not authentic.
    pub fn unprotect_rtcp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let session = self.session(3);
        if self.is_gcm() {
            let (packet, mki) = packet.split_at_checked(packet.len().checked_sub(self.mki.len())?)?;
            let (rest, index_word) = packet.split_at_checked(packet.len().checked_sub(4)?)?;
            let (rest, tag) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
            let encrypted = index_word[0] & 0x80 != 0;
            let (head, rest) = rest.split_at(if encrypted { 8 } else { rest.len() });
            let index = u64::from(word(index_word, 0) & 0x7fff_ffff);
            let clear = session.open(word(head, 4), index, &[head, index_word].concat(), rest, tag)?;
            return (mki == self.mki).then(|| [head, &clear].concat());
        }
        let (body, tag) = self.split(packet, 10)?;
        let (rest, index_word) = body.split_at_checked(body.len().checked_sub(4)?)?;
        let index = word(index_word, 0);
        let (head, rest) = rest.split_at(if index >> 31 == 1 { 8 } else { rest.len() });
        let iv = f8_rtcp(body, index.to_be_bytes());
        let rest = session.mask(word(head, 4), u64::from(index & 0x7fff_ffff), iv, rest);
        (session.hmac(body, 10) == tag).then(|| [head, &rest].concat())
    }

    fn is_gcm(&self) -> bool {
        self.suite.starts_with("AEAD")
    }

    fn rtp_tag(&self) -> usize {
        match &self.suite {
            _ if self.unauthenticated_srtp => 0,
            suite if suite.starts_with("AEAD") => 16,
            suite if suite.ends_with("_32") => 4,
            _ => 10,
        }
    }

    /// What is in front of key identifier and tag, and the tag.
    fn split<'a>(&self, packet: &'a [u8], tag: usize) -> Option<(&'a [u8], &'a [u8])> {
        let (body, trailer) = packet.split_at_checked(packet.len().checked_sub(tag + self.mki.len())?)?;
        let (tag, mki) = if self.is_gcm() {
            trailer.split_at(tag)
        } else {
            let (mki, tag) = trailer.split_at(self.mki.len());
            (tag, mki)
        };
        (mki == self.mki).then_some((body, tag))
    }

    /// `first_label` is 0 for SRTP, 3 for SRTCP (RFC 3711 §4.3.2).
    fn session(&self, first_label: u8) -> Session<'_> {
        let mut salt = [0; 16];
        salt[..self.master_salt.len()].copy_from_slice(&self.master_salt);
        let derive = |label: u8, octets| {
            let x = u128::from_be_bytes(salt) ^ u128::from(label) << 64;
            counter_mode(&self.master_key, x, &vec![0; octets])
        };
        Session {
            suite: &self.suite,
            key: derive(first_label, self.master_key.len()),
            authentication: derive(first_label + 1, 20),
            salt: derive(first_label + 2, self.master_salt.len()),
        }
    }
}

impl Session<'_> {
    fn hmac(&self, octets: &[u8], length: usize) -> Vec<u8> {
        let key = PKey::hmac(&self.authentication).expect("a key");
        let mut signer = Signer::new(MessageDigest::sha1(), &key).expect("SHA-1");
        let mut tag = signer.sign_oneshot_to_vec(octets).expect("HMAC");
        tag.truncate(length);
        tag
    }

    /// Encrypts or decrypts by a key stream.
    fn mask(&self, ssrc: u32, index: u64, f8_iv: [u8; 16], octets: &[u8]) -> Vec<u8> {
        if self.suite.starts_with("NULL") {
            return octets.to_vec();
        }
        if !self.suite.starts_with("F8") {
            let salt = number(&self.salt) << 16;
            let iv = salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
            return counter_mode(&self.key, iv, octets);
        }
        let filled = [&self.salt[..], &[0x55, 0x55]].concat();
        let masked: Vec<u8> = filled.iter().zip(&self.key).map(|(m, k)| m ^ k).collect();
        let iv = number(&aes_block(&masked, f8_iv));
        let (mut last, mut out) = (0, Vec::new());
        for (j, chunk) in octets.chunks(16).enumerate() {
            let block = aes_block(&self.key, (iv ^ j as u128 ^ last).to_be_bytes());
            last = number(&block);
            out.extend(chunk.iter().zip(block).map(|(octet, key)| octet ^ key));
        }
        out
    }

    fn gcm(&self, ssrc: u32, index: u64) -> (Cipher, Vec<u8>) {
        let nonce = number(&self.salt) ^ u128::from(ssrc) << 48 ^ u128::from(index);
        let cipher = if self.key.len() == 16 { Cipher::aes_128_gcm() } else { Cipher::aes_256_gcm() };
        (cipher, nonce.to_be_bytes()[4..].to_vec())
    }

    fn seal(&self, ssrc: u32, index: u64, associated: &[u8], octets: &[u8]) -> Vec<u8> {
        let ((cipher, nonce), mut tag) = (self.gcm(ssrc, index), [0; 16]);
        let sealed = encrypt_aead(cipher, &self.key, Some(&nonce), associated, octets, &mut tag);
        [sealed.expect("GCM"), tag.to_vec()].concat()
    }

    fn open(&self, ssrc: u32, index: u64, associated: &[u8], octets: &[u8], tag: &[u8]) -> Option<Vec<u8>> {
        let (cipher, nonce) = self.gcm(ssrc, index);
        decrypt_aead(cipher, &self.key, Some(&nonce), associated, octets, tag).ok()
    }
}

/// Both directions of a party. By libsrtp where that knows the suite and the session parameters, else written out here.
#[derive(Debug)]
pub struct Endpoint {
    /// What the party encrypts with.
    pub send: Key,
    /// What the party is sent.
    pub receive: Key,
    sender: State,
    receiver: State,
}

/// What one direction remembers.
#[derive(Debug)]
enum State {
    Library(libsrtp::Session),
    WrittenOut {
        /// The packet index by SSRC.
        roll_over: HashMap<u32, u64>,
        rtcp_index: u32,
    },
}

impl State {
    fn new(key: &Key, direction: Direction) -> Self {
        libsrtp::Session::new(key, direction).map_or_else(Self::written_out, Self::Library)
    }

    fn written_out() -> Self {
        Self::WrittenOut { roll_over: HashMap::new(), rtcp_index: 0 }
    }
}

impl Endpoint {
    /// Keys that were not used before.
    pub fn new(send: Key, receive: Key) -> Self {
        let (sender, receiver) =
            (State::new(&send, Direction::Outbound), State::new(&receive, Direction::Inbound));
        Self { send, receive, sender, receiver }
    }

    /// The same without libsrtp.
    pub fn written_out(send: Key, receive: Key) -> Self {
        let (sender, receiver) = (State::written_out(), State::written_out());
        Self { send, receive, sender, receiver }
    }

    /// Both directions are libsrtp's.
    pub fn is_independent(&self) -> bool {
        matches!((&self.sender, &self.receiver), (State::Library(_), State::Library(_)))
    }

    /// An endpoint with the same keys that has neither sent nor received anything.
    pub fn afresh(&self) -> Self {
        Self::new(self.send.clone(), self.receive.clone())
    }

    /// Goes on with these keys; a direction whose key is another one starts afresh.
    pub fn rekey(&mut self, send: Key, receive: Key) {
        let fresh = Self::new(send, receive);
        if fresh.send != self.send {
            (self.send, self.sender) = (fresh.send, fresh.sender);
        }
        if fresh.receive != self.receive {
            (self.receive, self.receiver) = (fresh.receive, fresh.receiver);
        }
    }

    /// Protects RTP or RTCP.
    ///
    /// # Panics
    /// When libsrtp refuses the packet: its index was used before, or is too old.
    pub fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        match &mut self.sender {
            State::Library(session) => {
                let mut buffer = packet.to_vec();
                buffer.resize(packet.len() + MAX_TRAILER, 0);
                let length = session.protect(&mut buffer, packet.len());
                buffer.truncate(length.unwrap_or_else(|status| panic!("libsrtp does not protect: {status}")));
                buffer
            }
            State::WrittenOut { rtcp_index, .. } if is_rtcp(packet) => {
                *rtcp_index += 1;
                self.send.protect_rtcp(packet, *rtcp_index - 1)
            }
            State::WrittenOut { roll_over, .. } => self.send.protect_rtp(packet, estimate(roll_over, packet)),
        }
    }

    /// Unprotects SRTP or SRTCP; `None` when it is not authentic, or a replay that libsrtp detects.
    pub fn unprotect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match &mut self.receiver {
            State::Library(session) => {
                let mut buffer = packet.to_vec();
                let length = session.unprotect(&mut buffer).ok()?;
                buffer.truncate(length);
                Some(buffer)
            }
            State::WrittenOut { .. } if is_rtcp(packet) => self.receive.unprotect_rtcp(packet),
            State::WrittenOut { roll_over, .. } => {
                self.receive.unprotect_rtp(packet, estimate(roll_over, packet))
            }
        }
    }
}

/// The payload type field has a value of RTCP.
pub fn is_rtcp(packet: &[u8]) -> bool {
    (192..=223).contains(&packet[1])
}

/// The roll-over counter of the index nearest to the last one.
fn estimate(last: &mut HashMap<u32, u64>, packet: &[u8]) -> u32 {
    let sequence = u64::from(word(packet, 0) & 0xffff);
    let previous = last.get(&word(packet, 8)).copied().unwrap_or(sequence);
    let candidates = [0, 1, 2].map(|cycle| ((previous >> 16) + cycle) << 16 | sequence);
    let index = candidates.into_iter().filter_map(|index| index.checked_sub(1 << 16));
    let index = index.min_by_key(|index| index.abs_diff(previous)).unwrap_or(sequence);
    last.insert(word(packet, 8), index.max(previous));
    (index >> 16) as u32
}

fn rtp_header(packet: &[u8]) -> usize {
    let fixed = 12 + 4 * usize::from(packet[0] & 0x0f);
    let words = (packet[0] & 0x10 != 0).then(|| 1 + (word(packet, fixed) & 0xffff) as usize);
    fixed + 4 * words.unwrap_or(0)
}

fn rtp_index(packet: &[u8], roll_over: u32) -> u64 {
    u64::from(roll_over) << 16 | u64::from(word(packet, 0) & 0xffff)
}

fn f8_rtp(packet: &[u8], roll_over: u32) -> [u8; 16] {
    [&[0], &packet[1..12], &roll_over.to_be_bytes()].concat().try_into().expect("16 octets")
}

fn f8_rtcp(packet: &[u8], index_word: [u8; 4]) -> [u8; 16] {
    [&[0; 4], &index_word[..], &packet[..8]].concat().try_into().expect("16 octets")
}

fn word(octets: &[u8], at: usize) -> u32 {
    number(&octets[at..at + 4]) as u32
}

fn number(octets: &[u8]) -> u128 {
    octets.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
}

fn counter_mode(key: &[u8], iv: u128, octets: &[u8]) -> Vec<u8> {
    let cipher = match key.len() {
        16 => Cipher::aes_128_ctr(),
        24 => Cipher::aes_192_ctr(),
        _ => Cipher::aes_256_ctr(),
    };
    encrypt(cipher, key, Some(&iv.to_be_bytes()), octets).expect("AES")
}

fn aes_block(key: &[u8], block: [u8; 16]) -> [u8; 16] {
    let mut crypter = Crypter::new(Cipher::aes_128_ecb(), Mode::Encrypt, key, None).expect("AES");
    crypter.pad(false);
    let mut out = [0; 32];
    crypter.update(&block, &mut out).expect("AES");
    number(&out[..16]).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_over_a_roll_over() {
        for suite in
            ["AEAD_AES_256_GCM", "AES_192_CM_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80"]
        {
            let key = Key { mki: vec![1, 2], ..Key::random(suite) };
            let key = Key::parse(&key.to_line(3));
            let [mut here, mut there] = [(); 2].map(|()| Endpoint::written_out(key.clone(), key.clone()));
            for sequence in [65_533_u16, 65_535, 65_534, 0, 1, 30_000, 60_000, 3] {
                let mut packet = vec![0x80, 0];
                packet.extend(sequence.to_be_bytes());
                packet.extend([9; 40]);
                let sealed = here.protect(&packet);
                assert_eq!(there.unprotect(&sealed), Some(packet), "{suite} {sequence}");
            }
            let report = [&[0x80, 201, 0, 3][..], &[5; 12]].concat();
            let sealed = here.protect(&report);
            assert_eq!(there.unprotect(&sealed), Some(report), "{suite}");
        }
    }
}
