//! Writes the lines of one section; every attribute goes through the edits.

use std::fmt;
use std::net::IpAddr;

use super::SectionEdits;
use crate::proto::sdp::fmtp;
use crate::proto::sdp::model::{Bandwidth, Fingerprint, MediaFormat, Origin, RtcpAttribute};

/// Appends to the text of a description.
pub(super) struct Writer<'w> {
    out: &'w mut String,
    edits: &'w SectionEdits,
}

impl<'w> Writer<'w> {
    pub fn new(out: &'w mut String, edits: &'w SectionEdits) -> Self {
        Self { out, edits }
    }

    /// Any line but an attribute.
    pub fn line(&mut self, letter: char, text: &str) {
        self.out.push(letter);
        self.out.push('=');
        self.out.push_str(text);
        self.out.push_str("\r\n");
    }

    pub fn connection(&mut self, address: IpAddr) {
        self.line('c', &network_address(address));
    }

    /// Printed also when the value is 0.
    pub fn bandwidth(&mut self, bandwidth: &Bandwidth) {
        for (kind, value) in [
            ("AS", bandwidth.application_specific),
            ("RR", bandwidth.rtcp_receivers),
            ("RS", bandwidth.rtcp_senders),
            ("CT", bandwidth.conference_total),
            ("TIAS", bandwidth.transport_independent),
        ] {
            if let Some(value) = value {
                self.line('b', &format!("{kind}:{value}"));
            }
        }
    }

    /// An attribute that the daemon makes.
    pub fn generated(&mut self, line: &str) {
        if let Some(line) = self.edits.generated(line) {
            self.line('a', line);
        }
    }

    /// An attribute of the source.
    pub fn passed_on(&mut self, line: &str) {
        if let Some(line) = self.edits.passed_on(line) {
            self.line('a', line);
        }
    }

    /// `a=<name>:<value>`, if there is a value.
    pub fn value(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.generated(&format!("{name}:{value}"));
        }
    }

    /// `a=<name>`, if it is set.
    pub fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.generated(name);
        }
    }

    pub fn rtcp(&mut self, rtcp: &RtcpAttribute) {
        match rtcp.address {
            Some(address) => self.generated(&format!("rtcp:{} {}", rtcp.port, network_address(address))),
            None => self.generated(&format!("rtcp:{}", rtcp.port)),
        }
    }

    /// `rtpmap`, `fmtp` and `rtcp-fb` lines of one payload type.
    pub fn format(&mut self, format: &MediaFormat) {
        let MediaFormat { format, feedback } = format;
        let number = format.payload_type;
        if !format.name.is_empty() {
            let channels = if format.channels > 1 { format!("/{}", format.channels) } else { String::new() };
            self.generated(&format!("rtpmap:{number} {}/{}{channels}", format.name, format.clock_rate));
        }
        let parameters = fmtp::printed(format);
        if !parameters.is_empty() {
            self.generated(&format!("fmtp:{number} {parameters}"));
        }
        for line in feedback {
            self.generated(&format!("rtcp-fb:{number} {line}"));
        }
    }

    /// The lines that the client wants added.
    pub fn additions(&mut self) {
        let edits = self.edits;
        edits.additions().iter().for_each(|line| self.line('a', line));
    }
}

fn network_address(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!("IN {family} {address}")
}

impl fmt::Display for Origin {
    /// The text of `o=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { username, session_id, version, network, family, address } = self;
        write!(f, "{username} {session_id} {version} {network} {family} {address}")
    }
}

impl fmt::Display for Fingerprint {
    /// The attribute value: hash and upper-case octets with colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (index, octet) in self.digest.iter().enumerate() {
            write!(f, "{}{octet:02X}", if index == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}
