//! Sans-IO protocol cores: bytes in, values out. No sockets, no clock, no random source.

pub mod address_text;
pub mod bencode;
pub mod budget;
pub mod dtls;
pub mod dtmf;
pub mod ice;
pub mod json;
pub mod rtcp;
pub mod sdp;
pub mod srtp;
pub mod stored;
pub mod stun;
pub mod udptl;
pub mod value;
