//! libsrtp 2, loaded at run time: an implementation of SRTP that shares nothing with ours. Debian's package is `libsrtp2-1`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr::null;
use std::sync::OnceLock;

use crate::srtp::{Key, is_rtcp};

/// Octets by which the library makes a packet longer, at most (`SRTP_MAX_TRAILER_LEN`, and the SRTCP index).
pub const MAX_TRAILER: usize = 16 + 128 + 4;
/// `sec_serv_conf`, `sec_serv_auth`
const ENCRYPT: c_int = 1;
const AUTHENTICATE: c_int = 2;
/// `ssrc_any_inbound`, `ssrc_any_outbound`
const ANY_INBOUND: c_int = 2;
const ANY_OUTBOUND: c_int = 3;

/// `srtp_crypto_policy_t`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct CryptoPolicy {
    cipher_type: c_uint,
    cipher_key_octets: c_int,
    auth_type: c_uint,
    auth_key_octets: c_int,
    auth_tag_octets: c_int,
    services: c_int,
}

/// `srtp_master_key_t`
#[repr(C)]
struct Master {
    key: *const u8,
    mki: *const u8,
    mki_octets: c_uint,
}

/// `srtp_policy_t`
#[repr(C)]
struct Policy {
    ssrc_type: c_int,
    ssrc: c_uint,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *const u8,
    keys: *const *const Master,
    key_count: c_ulong,
    reserved: *const c_void,
    window_size: c_ulong,
    allow_repeat: c_int,
    extensions: *const c_int,
    extension_count: c_int,
    next: *const c_void,
}

type SetPolicy = unsafe extern "C" fn(*mut CryptoPolicy);
type Create = unsafe extern "C" fn(*mut *mut c_void, *const Policy) -> c_int;
type Dealloc = unsafe extern "C" fn(*mut c_void) -> c_int;
type Protect = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, c_uint, c_uint) -> c_int;
type Unprotect = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, c_uint) -> c_int;

/// The functions that are called.
struct Library {
    handle: *mut c_void,
    create: Create,
    dealloc: Dealloc,
    protect_rtp: Protect,
    protect_rtcp: Protect,
    unprotect_rtp: Unprotect,
    unprotect_rtcp: Unprotect,
}

// SAFETY: the library's functions may be called by several threads as long as each session is used by one at a time.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They are protected.
    Outbound,
    /// They are unprotected.
    Inbound,
}

/// One direction of the library, for any number of SSRCs: it finds roll-over counters, detects replays and counts SRTCP by itself.
#[derive(Debug)]
pub struct Session {
    raw: *mut c_void,
    uses_mki: c_uint,
}

// SAFETY: a session holds no thread's own state, and `&mut self` keeps others away while it is used.
unsafe impl Send for Session {}

impl Session {
    /// `None` when the library does not know the suite, or not with these session parameters.
    ///
    /// # Panics
    /// When the library is not installed.
    pub fn new(key: &Key, direction: Direction) -> Option<Self> {
        let library = Library::get();
        let (rtp, rtcp) = library.policies(key)?;
        let key_salt = [&key.master_key[..], &key.master_salt].concat();
        let master =
            Master { key: key_salt.as_ptr(), mki: key.mki.as_ptr(), mki_octets: key.mki.len() as c_uint };
        let masters: [*const Master; 1] = [&raw const master];
        let uses_mki = c_uint::from(!key.mki.is_empty());
        let policy = Policy {
            ssrc_type: if direction == Direction::Inbound { ANY_INBOUND } else { ANY_OUTBOUND },
            ssrc: 0,
            rtp,
            rtcp,
            key: if uses_mki == 0 { key_salt.as_ptr() } else { null() },
            keys: if uses_mki == 0 { null() } else { masters.as_ptr() },
            key_count: c_ulong::from(uses_mki),
            reserved: null(),
            window_size: 128,
            allow_repeat: 0,
            extensions: null(),
            extension_count: 0,
            next: null(),
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the policy is complete, keys are as long as it says, and the library copies what it keeps.
        let status = unsafe { (library.create)(&raw mut raw, &raw const policy) };
        assert_eq!(status, 0, "srtp_create: {}", key.suite);
        Some(Self { raw, uses_mki })
    }

    /// Protects the RTP or RTCP packet in `buffer[..length]` and returns its new length, or the library's status.
    ///
    /// # Errors
    /// `srtp_err_status_t`
    ///
    /// # Panics
    /// When there is less room behind the packet than [`MAX_TRAILER`].
    pub fn protect(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, i32> {
        assert!(length + MAX_TRAILER <= buffer.len(), "room for a trailer");
        let library = Library::get();
        let protect = if is_rtcp(buffer) { library.protect_rtcp } else { library.protect_rtp };
        let mut length = length as c_int;
        // SAFETY: the session lives, and the buffer has room for tag, index and key identifier.
        let status =
            unsafe { protect(self.raw, buffer.as_mut_ptr().cast(), &raw mut length, self.uses_mki, 0) };
        if status == 0 { Ok(length as usize) } else { Err(status) }
    }

    /// Verifies and decrypts an SRTP or SRTCP packet in place and returns the clear one's length, or the library's status.
    ///
    /// # Errors
    /// `srtp_err_status_t`
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, i32> {
        let library = Library::get();
        let unprotect = if is_rtcp(packet) { library.unprotect_rtcp } else { library.unprotect_rtp };
        let mut length = packet.len() as c_int;
        // SAFETY: the session lives and the buffer holds `length` octets.
        let status =
            unsafe { unprotect(self.raw, packet.as_mut_ptr().cast(), &raw mut length, self.uses_mki) };
        if status == 0 { Ok(length as usize) } else { Err(status) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made by `srtp_create`, and nobody uses it any more.
        unsafe { (Library::get().dealloc)(self.raw) };
    }
}

impl Library {
    fn get() -> &'static Self {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        LIBRARY.get_or_init(|| Self::load().expect("libsrtp2.so.1 is installed (scripts/install-deps)"))
    }

    fn load() -> Option<Self> {
        // SAFETY: a constant, terminated name; the library's initialisers are harmless.
        let handle = unsafe { libc::dlopen(c"libsrtp2.so.1".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return None;
        }
        // SAFETY: the functions of these names have these types in version 2 of the library.
        let (init, library) = unsafe {
            let init: unsafe extern "C" fn() -> c_int = function(handle, c"srtp_init")?;
            let library = Self {
                handle,
                create: function(handle, c"srtp_create")?,
                dealloc: function(handle, c"srtp_dealloc")?,
                protect_rtp: function(handle, c"srtp_protect_mki")?,
                protect_rtcp: function(handle, c"srtp_protect_rtcp_mki")?,
                unprotect_rtp: function(handle, c"srtp_unprotect_mki")?,
                unprotect_rtcp: function(handle, c"srtp_unprotect_rtcp_mki")?,
            };
            (init, library)
        };
        // SAFETY: called once, before anything else of the library.
        (unsafe { init() } == 0).then_some(library)
    }

    /// Policies of RTP and RTCP. SRTCP has the long tag in all suites.
    fn policies(&self, key: &Key) -> Option<(CryptoPolicy, CryptoPolicy)> {
        let (long, tag) = match key.suite.strip_suffix("_32") {
            Some(name) => (format!("{name}_80"), 4),
            None => (key.suite.clone(), 10),
        };
        // It looks for the key identifier of SRTCP in front of a tag as long as that of SRTP (release 2.5).
        if tag == 4 && !key.mki.is_empty() {
            return None;
        }
        // AES-192 is left out: with it, release 2.5 derives session keys by AES-256, of which the first octets of the salt become key,
        // and so speaks with itself only (RFC 6188 §7.2 has vectors).
        let name = match long.as_str() {
            "AEAD_AES_256_GCM" => c"srtp_crypto_policy_set_aes_gcm_256_16_auth",
            "AEAD_AES_128_GCM" => c"srtp_crypto_policy_set_aes_gcm_128_16_auth",
            "AES_256_CM_HMAC_SHA1_80" => c"srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80",
            "AES_CM_128_HMAC_SHA1_80" => c"srtp_crypto_policy_set_rtp_default",
            "NULL_HMAC_SHA1_80" => c"srtp_crypto_policy_set_null_cipher_hmac_sha1_80",
            _ => return None,
        };
        // SAFETY: the functions of these names have this type in version 2 of the library.
        let set: SetPolicy = unsafe { function(self.handle, name) }?;
        let mut rtcp = CryptoPolicy::default();
        // SAFETY: writes the six fields.
        unsafe { set(&raw mut rtcp) };
        let mut rtp = rtcp;
        if key.suite.starts_with("AEAD") {
            // It encrypts RTP with these whatever the policy says.
            if key.unencrypted_srtp {
                return None;
            }
        } else {
            rtp.auth_tag_octets = tag;
        }
        if key.unauthenticated_srtp {
            rtp = CryptoPolicy { auth_type: 0, auth_key_octets: 0, auth_tag_octets: 0, ..rtp };
            rtp.services &= !AUTHENTICATE;
        }
        for (clear, policy) in [(key.unencrypted_srtp, &mut rtp), (key.unencrypted_srtcp, &mut rtcp)] {
            if clear {
                policy.services &= !ENCRYPT;
            }
        }
        Some((rtp, rtcp))
    }
}

/// A function of the library.
///
/// # Safety
/// The handle is open, and `F` is the type of a pointer to the function of that name.
unsafe fn function<F: Copy>(handle: *mut c_void, name: &CStr) -> Option<F> {
    let name: *const c_char = name.as_ptr();
    // SAFETY: by the caller's contract the handle is open; the name is terminated.
    let address = unsafe { libc::dlsym(handle, name) };
    assert_eq!(size_of::<F>(), size_of_val(&address));
    // SAFETY: by the caller's contract a pointer of this type, of equal size.
    (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::Endpoint;

    const KNOWN: [&str; 8] = [
        "AEAD_AES_256_GCM",
        "AEAD_AES_128_GCM",
        "AES_256_CM_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_32",
        "AES_CM_128_HMAC_SHA1_80",
        "AES_CM_128_HMAC_SHA1_32",
        "NULL_HMAC_SHA1_80",
        "NULL_HMAC_SHA1_32",
    ];

    fn variants(key: Key) -> Vec<Key> {
        let aead = key.suite.starts_with("AEAD");
        let mut variants = vec![
            Key { mki: vec![1, 2, 3, 4], ..key.clone() },
            Key { unencrypted_srtcp: true, ..key.clone() },
            Key { unencrypted_srtp: true, ..key.clone() },
            Key { unauthenticated_srtp: true, ..key.clone() },
            key,
        ];
        variants.retain(|key| !aead || !key.unencrypted_srtp && !key.unauthenticated_srtp);
        variants.retain(|key| key.mki.is_empty() || !key.suite.ends_with("_32"));
        variants
    }

    /// The library and the second implementation read each other.
    #[test]
    fn library_and_second_implementation_agree() {
        for key in KNOWN.into_iter().flat_map(|suite| variants(Key::random(suite))) {
            let [mut own, mut by_library] =
                [Endpoint::written_out(key.clone(), key.clone()), Endpoint::new(key.clone(), key.clone())];
            assert!(by_library.is_independent(), "{key:?}");
            for sequence in [65_533_u16, 65_535, 65_534, 0, 1, 30_000, 60_000, 3] {
                let mut packet = vec![0x90, 0];
                packet.extend(sequence.to_be_bytes());
                packet.extend([9; 8]);
                packet.extend([0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
                packet.extend([sequence as u8; 41]);
                let sealed = own.protect(&packet);
                assert_eq!(by_library.unprotect(&sealed).as_ref(), Some(&packet), "{key:?} {sequence}");
                if !key.unauthenticated_srtp {
                    assert_eq!(by_library.unprotect(&sealed), None, "a replay");
                }
                let sealed = by_library.protect(&packet);
                assert_eq!(own.unprotect(&sealed), Some(packet), "{key:?} {sequence}");
            }
            for sender in 0..3 {
                let report = [&[0x80, 201, 0, 3, 0, 0, 0, sender][..], &[5; 8]].concat();
                let sealed = own.protect(&report);
                assert_eq!(by_library.unprotect(&sealed).as_ref(), Some(&report), "{key:?}");
                let sealed = by_library.protect(&report);
                assert_eq!(own.unprotect(&sealed), Some(report), "{key:?}");
            }
        }
    }
}
