//! The daemon's self-signed certificate. Peers know it by the fingerprint in the SDP and by nothing else (RFC 5763 §5).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Builder, X509NameBuilder, X509Ref};
use zeroize::Zeroizing;

use crate::proto::sdp::model::{Fingerprint, FingerprintHash};

/// How the certificate is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateOptions {
    /// `dtls-cert-cipher` and `dtls-rsa-key-size`
    pub key: CertificateKey,
    /// `dtls-signature`
    pub signature: SignatureHash,
}

/// Type of the key pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateKey {
    /// ECDSA on P-256: 0.2 ms to make.
    #[default]
    P256,
    /// RSA with that many bits; 2048 take a quarter of a second to make.
    Rsa(u32),
}

/// Hash of the certificate's own signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureHash {
    Sha1,
    #[default]
    Sha256,
}

/// A certificate with its private key.
pub struct Certificate {
    certificate: X509,
    key: PKey<Private>,
    fingerprints: [Fingerprint; FingerprintHash::ALL.len()],
}

/// The cryptographic library refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a DTLS certificate: {0}")]
pub struct CertificateError(#[from] ErrorStack);

/// Longer than a daemon runs. Nobody checks it: trust is in the fingerprint.
const VALIDITY: i64 = 3650 * DAY;
/// Seconds.
const DAY: i64 = 86_400;

impl Certificate {
    /// Makes a new key pair and signs it, with the randomness of the cryptographic library.
    ///
    /// # Errors
    /// When the library refuses, for example an RSA key that is too short for it.
    pub fn generate(
        options: CertificateOptions,
        common_name: &str,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let key = match options.key {
            CertificateKey::P256 => {
                PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?
            }
            CertificateKey::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits)?)?,
        };
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
        let mut builder = X509Builder::new()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
        // A day back, for peers whose clock is behind ours.
        builder.set_not_before(&*Asn1Time::from_unix(now.saturating_sub(DAY))?)?;
        builder.set_not_after(&*Asn1Time::from_unix(now.saturating_add(VALIDITY))?)?;
        builder.set_pubkey(&key)?;
        builder.sign(
            &key,
            match options.signature {
                SignatureHash::Sha1 => MessageDigest::sha1(),
                SignatureHash::Sha256 => MessageDigest::sha256(),
            },
        )?;
        let certificate = builder.build();
        let [a, b, c, d, e] = FingerprintHash::ALL.map(|hash| fingerprint(&certificate, hash));
        Ok(Self { fingerprints: [a?, b?, c?, d?, e?], certificate, key })
    }

    /// One that another instance made; certificate and private key as DER.
    ///
    /// # Errors
    /// When they are not, or do not belong together.
    pub fn from_der(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let certificate = X509::from_der(certificate)?;
        let key = PKey::private_key_from_der(key)?;
        if !certificate.public_key()?.public_eq(&key) {
            return Err(CertificateError(ErrorStack::get()));
        }
        let [a, b, c, d, e] = FingerprintHash::ALL.map(|hash| fingerprint(&certificate, hash));
        Ok(Self { fingerprints: [a?, b?, c?, d?, e?], certificate, key })
    }

    /// Certificate and private key as DER. `None` when memory is short.
    pub fn to_der(&self) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
        let key = Zeroizing::new(self.key.private_key_to_der().ok()?);
        Some((self.certificate.to_der().ok()?, key))
    }

    /// What `a=fingerprint` says.
    pub fn fingerprint(&self, hash: FingerprintHash) -> &Fingerprint {
        // One for each hash, in the order of the enum.
        &self.fingerprints[hash as usize]
    }

    /// The certificate, for a DTLS endpoint.
    pub fn x509(&self) -> &X509 {
        &self.certificate
    }

    /// Its private key.
    pub fn private_key(&self) -> &PKey<Private> {
        &self.key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint(FingerprintHash::Sha256))
    }
}

/// The fingerprint of a certificate, ours or a peer's.
///
/// # Errors
/// When the library does not have the hash.
pub fn fingerprint(certificate: &X509Ref, hash: FingerprintHash) -> Result<Fingerprint, ErrorStack> {
    let digest = match hash {
        FingerprintHash::Sha1 => MessageDigest::sha1(),
        FingerprintHash::Sha224 => MessageDigest::sha224(),
        FingerprintHash::Sha256 => MessageDigest::sha256(),
        FingerprintHash::Sha384 => MessageDigest::sha384(),
        FingerprintHash::Sha512 => MessageDigest::sha512(),
    };
    Ok(Fingerprint { hash, digest: certificate.digest(digest)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_signed_with_its_own_key_as_configured() {
        for (options, signature) in [
            (CertificateOptions::default(), Nid::ECDSA_WITH_SHA256),
            (
                CertificateOptions { key: CertificateKey::Rsa(2048), signature: SignatureHash::Sha1 },
                Nid::SHA1WITHRSAENCRYPTION,
            ),
        ] {
            let made = Certificate::generate(options, "unit test", SystemTime::now()).unwrap();
            assert!(made.x509().verify(made.private_key()).unwrap(), "{options:?}");
            assert_eq!(made.x509().signature_algorithm().object().nid(), signature);
            assert_eq!(
                made.x509().issuer_name_hash(),
                made.x509().subject_name_hash(),
                "self-signed: {options:?}"
            );
        }
    }

    #[test]
    fn fingerprints_are_digests_of_the_encoded_certificate() {
        let made =
            Certificate::generate(CertificateOptions::default(), "unit test", SystemTime::now()).unwrap();
        let encoded = made.x509().to_der().unwrap();
        assert_eq!(made.fingerprint(FingerprintHash::Sha256).digest, openssl::sha::sha256(&encoded));
        assert_eq!(made.fingerprint(FingerprintHash::Sha1).digest, openssl::sha::sha1(&encoded));
        for hash in FingerprintHash::ALL {
            let found = made.fingerprint(hash);
            assert_eq!((found.hash, found.digest.len()), (hash, hash.octets()));
        }
    }

    #[test]
    fn two_certificates_differ_and_no_key_is_shown() {
        let [a, b] = [0, 1].map(|_| {
            Certificate::generate(CertificateOptions::default(), "unit test", SystemTime::now()).unwrap()
        });
        assert_ne!(a.fingerprint(FingerprintHash::Sha256), b.fingerprint(FingerprintHash::Sha256));
        assert!(format!("{a:?}").starts_with("Certificate(sha-256 "));
    }
}
