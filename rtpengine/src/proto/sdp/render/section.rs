//! Writes the lines of one section; every attribute goes through the edits.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::{MediaSectionOut, SectionBody, SectionEdits};
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

    /// The same for what can be shown.
    pub fn show(&mut self, letter: char, text: impl fmt::Display) {
        // A string takes whatever is written.
        let _ = write!(self.out, "{letter}={text}\r\n");
    }

    pub fn connection(&mut self, address: IpAddr) {
        self.show('c', NetworkAddress(address));
    }

    /// `m=`
    pub fn media_line(&mut self, media: &MediaSectionOut) {
        // A string takes whatever is written.
        let _ = write!(self.out, "m={} {} {}", media.media_type, media.port, media.transport);
        match &media.body {
            SectionBody::Generated(section) if media.format_tokens.is_empty() => {
                for MediaFormat { format, .. } in &section.formats {
                    let _ = write!(self.out, " {}", format.payload_type);
                }
            }
            _ => {
                for token in &media.format_tokens {
                    self.out.push(' ');
                    self.out.push_str(token);
                }
            }
        }
        self.out.push_str("\r\n");
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
                self.show('b', format_args!("{kind}:{value}"));
            }
        }
    }

    /// An attribute that the daemon makes.
    pub fn generated(&mut self, line: impl fmt::Display) {
        if self.edits.is_empty() {
            return self.show('a', line);
        }
        if let Some(line) = self.edits.generated(&line.to_string()) {
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
    pub fn value(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.generated(format_args!("{name}:{value}"));
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
            Some(address) => self.generated(format_args!("rtcp:{} {}", rtcp.port, NetworkAddress(address))),
            None => self.generated(format_args!("rtcp:{}", rtcp.port)),
        }
    }

    /// `rtpmap`, `fmtp` and `rtcp-fb` lines of one payload type.
    pub fn format(&mut self, format: &MediaFormat) {
        let MediaFormat { format, feedback } = format;
        let number = format.payload_type;
        if !format.name.is_empty() {
            self.generated(format_args!("rtpmap:{number} {format}"));
        }
        let parameters = fmtp::printed(format);
        if !parameters.is_empty() {
            self.generated(format_args!("fmtp:{number} {parameters}"));
        }
        for line in feedback {
            self.generated(format_args!("rtcp-fb:{number} {line}"));
        }
    }

    /// The lines that the client wants added.
    pub fn additions(&mut self) {
        let edits = self.edits;
        edits.additions().iter().for_each(|line| self.line('a', line));
    }
}

/// `IN IP4 192.0.2.1`
struct NetworkAddress(IpAddr);

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IN {} {}", if self.0.is_ipv4() { "IP4" } else { "IP6" }, self.0)
    }
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
