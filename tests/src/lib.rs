//! What the end-to-end tests, the conformance run, the demonstration and the load test share: starting the real
//! daemons, speaking the ng protocol to them, and being the two parties of a call.
//!
//! Nothing in here is taken from the daemons' own code (the audio codecs aside): a mistake that both ends made alike
//! would go unseen.
#![warn(missing_docs)]

pub mod attacker;
pub mod bencode;
pub mod call;
pub mod chromium;
pub mod conformance;
pub mod counting;
pub mod daemon;
pub mod descriptors;
pub mod differential;
pub mod dtls;
pub mod evs;
pub mod failover;
pub mod fax;
pub mod files;
pub mod http;
pub mod ice;
pub mod lan;
pub mod libsrtp;
pub mod machine;
pub mod mariadb;
pub mod measured;
pub mod mosquitto;
pub mod ng;
pub mod numbered;
pub mod offload;
pub mod party;
pub mod pcap;
pub mod ports;
pub mod python;
pub mod redis;
pub mod replacement;
pub mod rtp;
pub mod sdp;
pub mod signal;
pub mod speech;
pub mod srtp;
pub mod threads;
pub mod tls;
pub mod transcoding;
pub mod wav;
pub mod waveform;
pub mod websocket;
