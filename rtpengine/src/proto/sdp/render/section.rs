//! Writes the lines of one section; every attribute goes through the edits.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::{MediaSectionOut, SectionBody, SectionEdits};
use crate::proto::address_text::AddressText;
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

    /// A line of some parts; what most descriptions consist of is not formatted.
    fn parts(&mut self, letter: char, parts: &[&str]) {
        self.out.push(letter);
        self.out.push('=');
        parts.iter().for_each(|part| self.out.push_str(part));
        self.out.push_str("\r\n");
    }

    pub fn connection(&mut self, address: IpAddr) {
        self.parts('c', &network_address(address, &mut AddressText::new()));
    }

    /// `o=`
    pub fn origin(&mut self, origin: &Origin) {
        let Origin { username, session_id, version, network, family, address } = origin;
        let words = [username, " ", session_id, " ", version, " ", network, " ", family, " ", address];
        self.parts('o', &words);
    }

    /// `m=`
    pub fn media_line(&mut self, media: &MediaSectionOut) {
        let mut number = itoa::Buffer::new();
        for part in ["m=", &media.media_type, " ", number.format(media.port), " ", media.transport.name()] {
            self.out.push_str(part);
        }
        match &media.body {
            SectionBody::Generated(section) if media.format_tokens.is_empty() => {
                for MediaFormat { format, .. } in &section.formats {
                    self.out.push(' ');
                    self.out.push_str(number.format(format.payload_type));
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
    pub fn generated_of(&mut self, parts: &[&str]) {
        if self.edits.is_empty() {
            return self.parts('a', parts);
        }
        if let Some(line) = self.edits.generated(&parts.concat()) {
            self.line('a', line);
        }
    }

    /// The same of what can be shown.
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
    pub fn value(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.generated_of(&[name, ":", value]);
        }
    }

    /// The same for a number.
    pub fn number(&mut self, name: &str, value: Option<u16>) {
        if let Some(value) = value {
            self.generated_of(&[name, ":", itoa::Buffer::new().format(value)]);
        }
    }

    /// `a=<name>`, if it is set.
    pub fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.generated_of(&[name]);
        }
    }

    pub fn rtcp(&mut self, rtcp: &RtcpAttribute) {
        let (mut number, mut text) = (itoa::Buffer::new(), AddressText::new());
        let port = number.format(rtcp.port);
        match rtcp.address.map(|address| network_address(address, &mut text)) {
            Some([family, address]) => self.generated_of(&["rtcp:", port, " ", family, address]),
            None => self.generated_of(&["rtcp:", port]),
        }
    }

    /// `rtpmap`, `fmtp` and `rtcp-fb` lines of one payload type.
    pub fn format(&mut self, format: &MediaFormat) {
        let MediaFormat { format, feedback } = format;
        let mut buffers = [(); 3].map(|()| itoa::Buffer::new());
        let [number, clock_rate, channels] = &mut buffers;
        let number = number.format(format.payload_type);
        if !format.name.is_empty() {
            let channels =
                if format.channels > 1 { ["/", channels.format(format.channels)] } else { [""; 2] };
            let rate = clock_rate.format(format.clock_rate);
            self.generated_of(&["rtpmap:", number, " ", &format.name, "/", rate, channels[0], channels[1]]);
        }
        let parameters = fmtp::printed(format);
        if !parameters.is_empty() {
            self.generated_of(&["fmtp:", number, " ", &parameters]);
        }
        for line in feedback {
            self.generated_of(&["rtcp-fb:", number, " ", line]);
        }
    }

    /// The lines that the client wants added.
    pub fn additions(&mut self) {
        let edits = self.edits;
        edits.additions().iter().for_each(|line| self.line('a', line));
    }
}

/// `IN IP4 ` and `192.0.2.1`
fn network_address(address: IpAddr, text: &mut AddressText) -> [&str; 2] {
    [if address.is_ipv4() { "IN IP4 " } else { "IN IP6 " }, text.format(address)]
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
