//! Control protocols from before ng: of the rtpproxy (UDP) and of the OpenSER mediaproxy (TCP). A line says which streams of which call
//! go where; there is no SDP. Both work on the same calls as ng.

mod mediaproxy;
mod mediaproxy_request;
mod rtpproxy;
mod rtpproxy_request;

pub use mediaproxy::MediaproxyListeners;
pub use rtpproxy::Rtpproxy;
