//! Time to protect and unprotect a packet of 172 octets, for each suite, beside libsrtp where that is installed.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::hint::black_box;
use std::time::Instant;

use rtpengine::proto::srtp::{MAX_OVERHEAD, MasterKey, Protector, SUITES, SessionParameters, Unprotector};

const PACKETS: u32 = 100_000;
const REPEATS: usize = 5;
const LENGTH: usize = 172;

type Buffer = [u8; LENGTH + MAX_OVERHEAD];

fn packet(buffer: &mut Buffer, number: u32) {
    let mut header = [0; 12];
    codec::rtp::write_header(&mut header, false, 0, number as u16, 160 * number, 77);
    buffer[..12].copy_from_slice(&header);
    buffer[12..LENGTH].fill(0xd5);
}

/// Nanoseconds of one packet, of the best of several runs with a state of their own.
fn best<S>(state: impl Fn() -> S, mut round: impl FnMut(&mut S, &mut Buffer)) -> f64 {
    let mut buffer = [0; LENGTH + MAX_OVERHEAD];
    let mut run = || {
        let mut state = state();
        let start = Instant::now();
        for number in 0..PACKETS {
            packet(&mut buffer, number);
            round(&mut state, black_box(&mut buffer));
        }
        start.elapsed().as_nanos() as f64 / f64::from(PACKETS)
    };
    (0..REPEATS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn ours(key: &MasterKey) -> f64 {
    best(
        || (Protector::new(key), Unprotector::new(key)),
        |(protector, unprotector), buffer| {
            let length = protector.protect_rtp(buffer, LENGTH).unwrap();
            assert_eq!(unprotector.unprotect_rtp(&mut buffer[..length]), Ok(LENGTH));
        },
    )
}

/// `srtp_crypto_policy_t`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CryptoPolicy {
    fields: [c_uint; 6],
}

/// `srtp_policy_t`
#[repr(C)]
struct Policy {
    ssrc_type: c_int,
    ssrc: c_uint,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *const u8,
    keys: *const c_void,
    key_count: c_ulong,
    reserved: *const c_void,
    window_size: c_ulong,
    allow_repeat: c_int,
    extensions: *const c_int,
    extension_count: c_int,
    next: *const c_void,
}

type Create = unsafe extern "C" fn(*mut *mut c_void, *const Policy) -> c_int;
type Transform = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int) -> c_int;

/// libsrtp, loaded at run time.
struct LibSrtp(*mut c_void);

impl LibSrtp {
    fn load() -> Option<Self> {
        // SAFETY: a constant, terminated name; the library's initialisers are harmless.
        let library = unsafe { libc::dlopen(c"libsrtp2.so.1".as_ptr(), libc::RTLD_NOW) };
        let library = (!library.is_null()).then_some(Self(library))?;
        // SAFETY: the function takes nothing and returns an int.
        let init: unsafe extern "C" fn() -> c_int = unsafe { library.function(c"srtp_init") }?;
        // SAFETY: called once, before anything else of the library.
        (unsafe { init() } == 0).then_some(library)
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `F` must be the type of a pointer to the function of that name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        let name: *const c_char = name.as_ptr();
        // SAFETY: the handle is open and the name terminated.
        let address = unsafe { libc::dlsym(self.0, name) };
        assert_eq!(size_of::<F>(), size_of_val(&address));
        // SAFETY: by the caller's contract a pointer of this type, of equal size.
        (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
    }

    fn measure(&self, suite: &str, key: &[u8], ours: &MasterKey) -> Option<f64> {
        let name = match suite {
            "AEAD_AES_256_GCM" => c"srtp_crypto_policy_set_aes_gcm_256_16_auth",
            "AEAD_AES_128_GCM" => c"srtp_crypto_policy_set_aes_gcm_128_16_auth",
            "AES_256_CM_HMAC_SHA1_80" => c"srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80",
            "AES_256_CM_HMAC_SHA1_32" => c"srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32",
            "AES_192_CM_HMAC_SHA1_80" => c"srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80",
            "AES_192_CM_HMAC_SHA1_32" => c"srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32",
            "AES_CM_128_HMAC_SHA1_80" => c"srtp_crypto_policy_set_rtp_default",
            "AES_CM_128_HMAC_SHA1_32" => c"srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32",
            "NULL_HMAC_SHA1_80" => c"srtp_crypto_policy_set_null_cipher_hmac_sha1_80",
            _ => return None,
        };
        // SAFETY: the functions of these names have these types in version 2 of the library.
        let (set_policy, create, protect, unprotect) = unsafe {
            (
                self.function::<unsafe extern "C" fn(*mut CryptoPolicy)>(name)?,
                self.function::<Create>(c"srtp_create")?,
                self.function::<Transform>(c"srtp_protect")?,
                self.function::<Transform>(c"srtp_unprotect")?,
            )
        };
        let mut crypto = CryptoPolicy::default();
        // SAFETY: writes the six fields.
        unsafe { set_policy(&raw mut crypto) };
        let session = |ssrc_type| {
            let null = std::ptr::null();
            let policy = Policy {
                ssrc_type,
                ssrc: 0,
                rtp: crypto,
                rtcp: crypto,
                key: key.as_ptr(),
                keys: null,
                key_count: 0,
                reserved: null,
                window_size: 128,
                allow_repeat: 0,
                extensions: std::ptr::null(),
                extension_count: 0,
                next: null,
            };
            let mut session = std::ptr::null_mut();
            // SAFETY: the policy is complete and the key as long as it says.
            let status = unsafe { create(&raw mut session, &raw const policy) };
            (status == 0).then_some(session)
        };
        let (sender, receiver) = (session(3)?, session(2)?);
        // What is measured is the same: each reads the other's packets.
        let mut buffer = [0; LENGTH + MAX_OVERHEAD];
        packet(&mut buffer, 1);
        let clear = buffer;
        let mut length = Protector::new(ours).protect_rtp(&mut buffer, LENGTH).unwrap() as c_int;
        // SAFETY: the session lives and the buffer holds `length` octets.
        assert_eq!(unsafe { unprotect(receiver, buffer.as_mut_ptr().cast(), &raw mut length) }, 0, "{suite}");
        assert_eq!(buffer[..length as usize], clear[..LENGTH]);
        // SAFETY: the session lives and the buffer has room for a tag.
        assert_eq!(unsafe { protect(sender, buffer.as_mut_ptr().cast(), &raw mut length) }, 0, "{suite}");
        let read = Unprotector::new(ours).unprotect_rtp(&mut buffer[..length as usize]);
        assert_eq!((read, &buffer[..LENGTH]), (Ok(LENGTH), &clear[..LENGTH]));
        Some(best(
            // 2: any incoming SSRC, 3: any outgoing.
            || (session(3).unwrap(), session(2).unwrap()),
            |(sender, receiver), buffer| {
                let mut length = LENGTH as c_int;
                let octets: *mut c_void = buffer.as_mut_ptr().cast();
                // SAFETY: the sessions live and the buffer has room for a tag.
                let status = unsafe {
                    protect(*sender, octets, &raw mut length) | unprotect(*receiver, octets, &raw mut length)
                };
                assert_eq!((status, length), (0, LENGTH as c_int));
            },
        ))
    }
}

fn main() {
    let library = LibSrtp::load();
    println!("{:>24}: ns to protect and unprotect {LENGTH} octets, ours, libsrtp, ratio", "suite");
    for suite in &SUITES {
        let octets: Vec<u8> = (1..=suite.key_salt_octets() as u8).collect();
        let key = MasterKey::new(suite, &octets, &[], SessionParameters::default()).unwrap();
        let own = ours(&key);
        match library.as_ref().and_then(|library| library.measure(suite.name, &octets, &key)) {
            Some(other) => println!("{:>24}: {own:6.0} {other:6.0}  {:.2}", suite.name, own / other),
            None => println!("{:>24}: {own:6.0}      –", suite.name),
        }
    }
}
