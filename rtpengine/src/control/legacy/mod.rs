//! Control protocols from before ng: of the rtpproxy (UDP), of the OpenSER mediaproxy (TCP), and of lrkproxy (UDP, UNIX sockets). A line
//! says which streams of which call go where; there is no SDP. All work on the same calls as ng.

mod lrkp;
mod lrkp_request;
mod mediaproxy;
mod mediaproxy_request;
mod rtpproxy;
mod rtpproxy_request;

pub use lrkp::{Lrkp, LrkpUnixListeners};
pub use mediaproxy::MediaproxyListeners;
pub use rtpproxy::Rtpproxy;

/// For the fuzzer: reads a datagram of lrkproxy.
#[cfg(fuzzing)]
pub fn fuzz_lrkp(datagram: &[u8]) {
    if let Some((_, request)) = lrkp_request::split_cookie(datagram) {
        let _ = lrkp_request::parse(request);
    }
}
