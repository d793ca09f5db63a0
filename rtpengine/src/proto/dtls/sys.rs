//! The calls of OpenSSL's DTLS timers, which have no wrapper. The only `unsafe` of DTLS.

use std::ffi::{c_int, c_long, c_uint};
use std::ptr;
use std::time::Duration;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::x509::X509VerifyResult;
use openssl_sys as ffi;

const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
const DTLS_CTRL_HANDLE_TIMEOUT: c_int = 74;
const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;
const SSL_CTRL_SET_MAX_SEND_FRAGMENT: c_int = 52;

/// First time-out of a flight. Media wait for the handshake; RFC 6347 §4.2.4.1 allows less than a second then.
const FIRST: c_uint = 200_000;
/// Longest time-out, reached by doubling. With OpenSSL's twelve attempts a handshake is given up after about half a minute.
const LONGEST: c_uint = 4_000_000;

type TimerCallback = extern "C" fn(*mut ffi::SSL, c_uint) -> c_uint;

unsafe extern "C" {
    fn DTLS_set_timer_cb(ssl: *mut ffi::SSL, callback: TimerCallback);
}

/// Microseconds of the next time-out after one of `before`; 0 stands for none.
extern "C" fn next_timeout(_ssl: *mut ffi::SSL, before: c_uint) -> c_uint {
    if before == 0 { FIRST } else { before.saturating_mul(2).min(LONGEST) }
}

/// Makes flights be repeated as this module's constants say.
pub fn set_timer(ssl: &mut SslRef) {
    // SAFETY: a live SSL; the callback is a plain function without state.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), next_timeout) }
}

/// Time until the present flight is to be repeated; `None` when no timer runs.
pub fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: a live SSL; the command writes one timeval if it returns 1.
    let running =
        unsafe { ffi::SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, ptr::from_mut(&mut left).cast()) };
    (running == 1).then(|| {
        let seconds = Duration::from_secs(u64::try_from(left.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(left.tv_usec).unwrap_or(0))
    })
}

/// Repeats the present flight if it is time; false when there were enough attempts.
pub fn handle_timeout(ssl: &SslRef) -> bool {
    // SAFETY: a live SSL, which nobody else uses meanwhile (it is not `Sync`); the command takes no arguments.
    let in_time = unsafe { ffi::SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_HANDLE_TIMEOUT, 0, ptr::null_mut()) >= 0 };
    if !in_time {
        // Errors that nobody takes would be taken for those of the next call, of another association.
        drop(ErrorStack::get());
    }
    in_time
}

/// Octets of certificates that a peer may send.
pub fn set_max_certificates(context: &mut SslContextBuilder, octets: c_long) {
    // SAFETY: a live context; the command takes a number.
    unsafe { ffi::SSL_CTX_ctrl(context.as_ptr(), SSL_CTRL_SET_MAX_CERT_LIST, octets, ptr::null_mut()) };
}

/// Most octets of a record that is sent, for which each association has a buffer.
pub fn set_max_fragment(context: &mut SslContextBuilder, octets: c_long) {
    // SAFETY: a live context; the command takes a number.
    unsafe { ffi::SSL_CTX_ctrl(context.as_ptr(), SSL_CTRL_SET_MAX_SEND_FRAGMENT, octets, ptr::null_mut()) };
}

/// A result of the verification of certificates.
pub fn verify_result(code: c_int) -> X509VerifyResult {
    // SAFETY: a plain number in OpenSSL's table.
    unsafe { X509VerifyResult::from_raw(code) }
}
