//! DTLS-SRTP of the test's parties, over a UDP socket that may carry other packets beside: on OpenSSL's own API, and on dimpl, which
//! shares nothing with OpenSSL and speaks DTLS 1.3 as well.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::ssl::{Ssl, SslContextBuilder, SslMethod, SslOptions, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};

use crate::srtp::{Endpoint, Key};

/// Protection profiles in OpenSSL's names with those of SDES.
pub const PROFILES: [(&str, &str); 4] = [
    ("SRTP_AEAD_AES_256_GCM", "AEAD_AES_256_GCM"),
    ("SRTP_AEAD_AES_128_GCM", "AEAD_AES_128_GCM"),
    ("SRTP_AES128_CM_SHA1_80", "AES_CM_128_HMAC_SHA1_80"),
    ("SRTP_AES128_CM_SHA1_32", "AES_CM_128_HMAC_SHA1_32"),
];

/// A party's certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

/// Who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The party does.
    Client,
    /// The daemon does.
    Server,
}

/// A party's end of an association.
#[derive(Debug)]
pub struct Association {
    /// The keys that came of it.
    pub srtp: Endpoint,
    /// The certificate that the daemon showed, as in SDP with SHA-256.
    pub shown: String,
    /// Octets sent before the handshake was done.
    pub sent: usize,
    /// Octets received before the handshake was done.
    pub received: usize,
    /// The largest datagram among them.
    pub largest: usize,
    /// Type and size of the key in the daemon's certificate.
    pub key: String,
    /// How that certificate is signed.
    pub signature: String,
    /// OpenSSL's name of the cipher; unknown by the second implementation.
    pub cipher: String,
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    OpenSsl(Box<SslStream<Wire>>),
    /// Kept for what the daemon may repeat.
    Dimpl(Box<Dtls>),
}

/// Which versions a party of the second implementation speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// DTLS 1.2.
    V12,
    /// DTLS 1.3 too.
    V12And13,
}

#[derive(Debug)]
struct Wire {
    socket: UdpSocket,
    to: SocketAddr,
    sent: usize,
    received: usize,
    largest: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = self.socket.recv_from(buffer)?;
        // Media are lost meanwhile.
        if !matches!(buffer.first(), Some(20..=63)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.received += length;
        self.largest = self.largest.max(length);
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.sent += datagram.len();
        self.socket.send_to(datagram, self.to)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Identity {
    /// A new one, self-signed, with a key on P-256.
    pub fn new() -> Self {
        let make = || -> Result<Self, openssl::error::ErrorStack> {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
            let mut name = X509NameBuilder::new()?;
            name.append_entry_by_nid(Nid::COMMONNAME, "party")?;
            let name = name.build();
            let mut builder = X509::builder()?;
            builder.set_version(2)?;
            builder.set_subject_name(&name)?;
            builder.set_issuer_name(&name)?;
            let (before, after) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(30)?);
            builder.set_not_before(&before)?;
            builder.set_not_after(&after)?;
            builder.set_pubkey(&key)?;
            builder.sign(&key, MessageDigest::sha256())?;
            Ok(Self { certificate: builder.build(), key })
        };
        make().expect("a certificate")
    }

    /// The value of a fingerprint attribute.
    pub fn fingerprint(&self, hash: &str) -> String {
        let digest = MessageDigest::from_name(&hash.replace('-', "")).expect("a hash");
        format!("{hash} {}", hexadecimal(&self.certificate.digest(digest).expect("a digest")))
    }

    /// The octets of that fingerprint.
    pub fn digest(&self, digest: MessageDigest) -> Vec<u8> {
        self.certificate.digest(digest).expect("a digest").to_vec()
    }

    /// Shakes hands on this socket.
    ///
    /// # Errors
    /// What went wrong, a time-out among it.
    pub fn shake(
        &self,
        socket: &UdpSocket,
        to: SocketAddr,
        role: Role,
        profiles: &str,
        limit: Duration,
    ) -> Result<Association, String> {
        let text = |error: openssl::error::ErrorStack| error.to_string();
        let mut context = SslContextBuilder::new(SslMethod::dtls()).map_err(text)?;
        context.set_options(SslOptions::NO_QUERY_MTU);
        context.set_certificate(&self.certificate).map_err(text)?;
        context.set_private_key(&self.key).map_err(text)?;
        // The daemon must show a certificate; which one the caller compares.
        context.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
        context.set_tlsext_use_srtp(profiles).map_err(text)?;
        let mut ssl = Ssl::new(&context.build()).map_err(text)?;
        ssl.set_mtu(1100).map_err(text)?;
        match role {
            Role::Client => ssl.set_connect_state(),
            Role::Server => ssl.set_accept_state(),
        }
        let own = socket.try_clone().map_err(|error| error.to_string())?;
        let before = socket.read_timeout().map_err(|error| error.to_string())?;
        let wait = |time| own.set_read_timeout(time).map_err(|error| error.to_string());
        // OpenSSL repeats its flights when it is asked again.
        wait(Some(Duration::from_millis(20)))?;
        let wire = Wire {
            socket: socket.try_clone().map_err(|error| error.to_string())?,
            to,
            sent: 0,
            received: 0,
            largest: 0,
        };
        let mut stream = SslStream::new(ssl, wire).map_err(text)?;
        let end = Instant::now() + limit;
        let done = loop {
            match stream.do_handshake() {
                Ok(()) => break Ok(()),
                Err(error) if error.code() == openssl::ssl::ErrorCode::WANT_READ => {}
                Err(error) => break Err(error.to_string()),
            }
            if Instant::now() > end {
                break Err("the handshake takes too long".into());
            }
        };
        wait(before)?;
        done?;
        let selected = stream.ssl().selected_srtp_profile().ok_or("no SRTP profile")?.name().to_owned();
        let suite = PROFILES.iter().find(|(name, _)| *name == selected).map(|(_, suite)| *suite);
        let suite = suite.ok_or_else(|| format!("profile {selected}"))?;
        let shown = stream.ssl().peer_certificate().ok_or("no certificate")?;
        let (key_of, signature) = (key_of(&shown), signature_of(&shown));
        let cipher =
            stream.ssl().current_cipher().map_or_else(String::new, |cipher| cipher.name().to_owned());
        let shown = hexadecimal(&shown.digest(MessageDigest::sha256()).map_err(text)?);
        let (key, salt) = lengths(suite);
        let mut octets = vec![0; 2 * (key + salt)];
        stream.ssl().export_keying_material(&mut octets, "EXTRACTOR-dtls_srtp", None).map_err(text)?;
        let srtp = endpoint(suite, &octets, role);
        let Wire { sent, received, largest, .. } = *stream.get_ref();
        Ok(Association {
            srtp,
            shown: format!("sha-256 {shown}"),
            sent,
            received,
            largest,
            key: key_of,
            signature,
            cipher,
            stream: Stream::OpenSsl(Box::new(stream)),
        })
    }

    /// Shakes hands on this socket by the second implementation.
    ///
    /// # Errors
    /// What went wrong, a time-out among it.
    pub fn shake_by_dimpl(
        &self,
        socket: &UdpSocket,
        to: SocketAddr,
        role: Role,
        versions: Versions,
        limit: Duration,
    ) -> Result<Association, String> {
        let der = |key: &PKey<Private>| key.private_key_to_pkcs8().map_err(|error| error.to_string());
        let certificate = DtlsCertificate {
            certificate: self.certificate.to_der().map_err(|error| error.to_string())?,
            private_key: der(&self.key)?,
        };
        let config = Arc::new(Config::default());
        let mut dtls = match versions {
            Versions::V12 => Dtls::new_12(config, certificate, Instant::now()),
            Versions::V12And13 => Dtls::new_auto(config, certificate, Instant::now()),
        };
        dtls.set_active(role == Role::Client);
        let before = socket.read_timeout().map_err(|error| error.to_string())?;
        let wait = |time| socket.set_read_timeout(time).map_err(|error| error.to_string());
        wait(Some(Duration::from_millis(10)))?;
        let (mut out, mut datagram) = (vec![0; 4096], vec![0; 2048]);
        let (mut shown, mut srtp, mut connected) = (None, None, false);
        let (mut sent, mut received, mut largest) = (0, 0, 0);
        let (mut key_type, mut signature) = (String::new(), String::new());
        let end = Instant::now() + limit;
        while srtp.is_none() || shown.is_none() || !connected {
            if Instant::now() > end {
                wait(before)?;
                return Err("the handshake takes too long".into());
            }
            dtls.handle_timeout(Instant::now()).map_err(|error| error.to_string())?;
            loop {
                match dtls.poll_output(&mut out) {
                    Output::Packet(packet) => {
                        sent += packet.len();
                        socket.send_to(packet, to).map_err(|error| error.to_string())?;
                    }
                    Output::BufferTooSmall { needed } => out.resize(needed, 0),
                    Output::Connected => connected = true,
                    Output::PeerCert(der) => {
                        let certificate = X509::from_der(der).map_err(|error| error.to_string())?;
                        (key_type, signature) = (key_of(&certificate), signature_of(&certificate));
                        let digest = certificate.digest(MessageDigest::sha256());
                        shown = Some(hexadecimal(&digest.map_err(|error| error.to_string())?));
                    }
                    Output::KeyingMaterial(octets, profile) => {
                        let suite = match profile {
                            SrtpProfile::AEAD_AES_256_GCM => "AEAD_AES_256_GCM",
                            SrtpProfile::AEAD_AES_128_GCM => "AEAD_AES_128_GCM",
                            _ => "AES_CM_128_HMAC_SHA1_80",
                        };
                        srtp = Some(endpoint(suite, &octets, role));
                    }
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            if let Ok((length, _)) = socket.recv_from(&mut datagram)
                && matches!(datagram[0], 20..=63)
            {
                received += length;
                largest = largest.max(length);
                dtls.handle_packet(&datagram[..length]).map_err(|error| error.to_string())?;
            }
        }
        // The last flight.
        while let Output::Packet(packet) = dtls.poll_output(&mut out) {
            socket.send_to(packet, to).map_err(|error| error.to_string())?;
        }
        wait(before)?;
        let (shown, srtp) = (shown.ok_or("no certificate")?, srtp.ok_or("no keys")?);
        let stream = Stream::Dimpl(Box::new(dtls));
        Ok(Association {
            srtp,
            shown: format!("sha-256 {shown}"),
            sent,
            received,
            largest,
            key: key_type,
            signature,
            cipher: String::new(),
            stream,
        })
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Association {
    /// Waits until the daemon says that it is over; whether it did.
    ///
    /// # Panics
    /// When the association is not OpenSSL's.
    pub fn is_ended_by_daemon(&mut self, limit: Duration) -> bool {
        let Stream::OpenSsl(stream) = &mut self.stream else { panic!("OpenSSL's only") };
        let end = Instant::now() + limit;
        let _ = stream.get_ref().socket.set_read_timeout(Some(Duration::from_millis(20)));
        while Instant::now() < end {
            match stream.ssl_read(&mut [0; 64]) {
                Err(error) if error.code() == openssl::ssl::ErrorCode::ZERO_RETURN => return true,
                Err(error) if error.code() == openssl::ssl::ErrorCode::WANT_READ => {}
                _ => return false,
            }
        }
        false
    }

    /// Tells the daemon that it is over.
    pub fn close(&mut self) {
        match &mut self.stream {
            Stream::OpenSsl(stream) => drop(stream.shutdown()),
            Stream::Dimpl(dtls) => drop(dtls.close()),
        }
    }
}

/// Octets of key and salt.
fn lengths(suite: &str) -> (usize, usize) {
    let key = if suite.contains("256") { 32 } else { 16 };
    (key, if suite.starts_with("AEAD") { 12 } else { 14 })
}

/// RFC 5764 §4.2: client key, server key, client salt, server salt.
fn endpoint(suite: &str, octets: &[u8], role: Role) -> Endpoint {
    let (key, salt) = lengths(suite);
    let of = |which: usize| {
        Key::new(suite, &[&octets[which * key..][..key], &octets[2 * key + which * salt..][..salt]].concat())
    };
    match role {
        Role::Client => Endpoint::new(of(0), of(1)),
        Role::Server => Endpoint::new(of(1), of(0)),
    }
}

fn key_of(certificate: &X509) -> String {
    let key = certificate.public_key().expect("a key");
    let kind = match key.id() {
        Id::EC => "EC",
        Id::RSA => "RSA",
        _ => "another",
    };
    format!("{kind} {}", key.bits())
}

fn signature_of(certificate: &X509) -> String {
    let name = certificate.signature_algorithm().object().nid().short_name();
    name.expect("a known algorithm").to_owned()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}
