//! Text → [`SessionDescription`].
//!
//! Lines that cannot be read fail the whole body; attributes that cannot be read are dropped one by one. Cost is linear
//! in the length of the body, and numbers of lines and sections are bounded.

use smol_str::{SmolStr, ToSmolStr};
use thiserror::Error;

use super::attribute::simple::ip_address;
use super::attribute::{Collector, Level};
use super::model::{Bandwidth, Connection, MediaDescription, Origin, SessionDescription, Transport};
use super::text::split_at_first;

/// How strict to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// An empty line is an error instead of the end (option `reject-invalid-sdp`).
    pub reject_empty_line: bool,
    /// The body is a trickle fragment (RFC 8840): no `v=` and no addresses needed.
    pub fragment: bool,
}

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SdpError {
    /// The first line is not `v=0`.
    #[error("SDP does not begin with v=0")]
    Version,
    /// A line that is not `<letter>=…`, has an unknown letter or stands where it must not.
    #[error("SDP line {line} is malformed or out of place")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// An `o=` line with too few fields, or a second one.
    #[error("SDP line {line}: bad or repeated o=")]
    Origin {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A `c=` line without an IP address, or a second one at the same level.
    #[error("SDP line {line}: bad or repeated c=")]
    Connection {
        /// Number of the line, from 1.
        line: usize,
    },
    /// An `m=` line with missing fields, a bad port or a bad port count.
    #[error("SDP line {line}: bad m=")]
    Media {
        /// Number of the line, from 1.
        line: usize,
    },
    /// Option `reject-invalid-sdp`: an empty line.
    #[error("SDP line {line} is empty")]
    EmptyLine {
        /// Number of the line, from 1.
        line: usize,
    },
    /// More lines or sections than any phone sends.
    #[error("SDP has too many lines or media sections")]
    TooLong,
    /// No `c=` for a media section.
    #[error("SDP media section {media} has no address")]
    NoAddress {
        /// Index of the section, from 0.
        media: usize,
    },
    /// A payload type that is not 0–127.
    #[error("SDP media section {media} has bad payload type {token:?}")]
    PayloadType {
        /// Index of the section, from 0.
        media: usize,
        /// What stood there.
        token: SmolStr,
    },
}

impl SdpError {
    /// The text could be read but says too little or nonsense.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, SdpError::NoAddress { .. } | SdpError::PayloadType { .. })
    }

    /// The `error-reason` of the control protocol.
    pub fn reason(&self) -> &'static str {
        if self.is_incomplete() { "Incomplete SDP specification" } else { "Failed to parse SDP" }
    }
}

/// More than this many lines are refused.
const MAX_LINES: usize = 8192;
/// More than this many media sections are refused.
const MAX_MEDIA: usize = 128;

/// Parses a body that [`super::text::decode`] has turned into text.
///
/// An empty body is an empty description. Errors: [`SdpError::reason`] gives the reason that a client sees.
pub fn parse(body: &str, options: ParseOptions) -> Result<SessionDescription, SdpError> {
    let mut parser = Parser::new(options);
    let mut rest = body;
    let mut line = 0;
    // A remainder shorter than two characters is no line.
    while rest.len() >= 2 {
        let (text, tail) = split_at_first(rest, b'\n').unwrap_or((rest, ""));
        rest = tail;
        line += 1;
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            if options.reject_empty_line {
                return Err(SdpError::EmptyLine { line });
            }
            break;
        }
        if line > MAX_LINES {
            return Err(SdpError::TooLong);
        }
        parser.line(line, text)?;
    }
    parser.finish()
}

/// A media section while it is being read.
struct OpenMedia {
    description: MediaDescription,
    collector: Collector,
}

struct Parser {
    options: ParseOptions,
    /// Joined result; its typed session attributes are those of the session being read.
    session: SessionDescription,
    collector: Collector,
    media: Option<OpenMedia>,
    /// Number of `v=` lines.
    versions: usize,
    /// The session being read has had its `o=`.
    origin_seen: bool,
    /// Sections of `session.media` that belong to earlier sessions.
    settled: usize,
}

impl Parser {
    fn new(options: ParseOptions) -> Self {
        Self {
            options,
            session: SessionDescription::default(),
            collector: Collector::default(),
            media: None,
            versions: 0,
            origin_seen: false,
            settled: 0,
        }
    }

    fn line(&mut self, line: usize, text: &str) -> Result<(), SdpError> {
        let mut characters = text.chars();
        let (Some(letter), Some('=')) = (characters.next(), characters.next()) else {
            return Err(if line == 1 { SdpError::Version } else { SdpError::Line { line } });
        };
        let value = characters.as_str();
        if letter == 'v' {
            return self.version(value);
        }
        if self.versions == 0 && !self.options.fragment {
            return Err(SdpError::Version);
        }
        if self.media.is_some() && matches!(letter, 'o' | 's' | 't' | 'u' | 'e' | 'p') {
            return Err(SdpError::Line { line });
        }
        if let Some(slot) = self.text_line(letter) {
            // A line that counts once.
            slot.get_or_insert_with(|| value.into());
            return Ok(());
        }
        match letter {
            'o' => self.origin(value).ok_or(SdpError::Origin { line }),
            'c' => self.connection(value).ok_or(SdpError::Connection { line }),
            'b' => {
                let media = self.media.as_mut().map(|open| &mut open.description.bandwidth);
                bandwidth(media.unwrap_or(&mut self.session.bandwidth), value);
                Ok(())
            }
            'k' | 'r' | 'z' => Ok(()),
            'm' => self.media(line, value),
            'a' => {
                self.attribute(value);
                Ok(())
            }
            _ => Err(SdpError::Line { line }),
        }
    }

    /// Where the text of a line without structure goes.
    fn text_line(&mut self, letter: char) -> Option<&mut Option<SmolStr>> {
        match (letter, &mut self.media) {
            ('i', Some(open)) => Some(&mut open.description.information),
            ('i', None) => Some(&mut self.session.information),
            ('s', None) => Some(&mut self.session.session_name),
            ('t', None) => Some(&mut self.session.timing),
            ('u', None) => Some(&mut self.session.uri),
            ('e', None) => Some(&mut self.session.email),
            ('p', None) => Some(&mut self.session.phone),
            _ => None,
        }
    }

    fn version(&mut self, value: &str) -> Result<(), SdpError> {
        if value != "0" {
            return Err(SdpError::Version);
        }
        if self.versions > 0 {
            self.close_session()?;
        }
        self.versions += 1;
        Ok(())
    }

    fn origin(&mut self, value: &str) -> Option<()> {
        if std::mem::replace(&mut self.origin_seen, true) {
            return None;
        }
        let mut words = value.split_ascii_whitespace().map(SmolStr::new);
        let origin = Origin {
            username: words.next()?,
            session_id: words.next()?,
            version: words.next()?,
            network: words.next()?,
            family: words.next()?,
            address: words.next()?,
        };
        self.session.origin.get_or_insert(origin);
        Some(())
    }

    fn connection(&mut self, value: &str) -> Option<()> {
        let connection = parse_connection(value)?;
        let media = self.media.as_mut().map(|open| &mut open.description.connection);
        let slot = media.unwrap_or(&mut self.session.connection);
        if slot.is_some() {
            return None;
        }
        *slot = Some(connection);
        Some(())
    }

    fn media(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        self.close_media()?;
        if self.session.media.len() >= MAX_MEDIA {
            return Err(SdpError::TooLong);
        }
        let description = parse_media(value).ok_or(SdpError::Media { line })?;
        self.media = Some(OpenMedia { description, collector: Collector::default() });
        Ok(())
    }

    fn attribute(&mut self, value: &str) {
        match &mut self.media {
            Some(open) => {
                open.description.attribute_lines.push(value.into());
                open.collector.add(Level::Media, value);
            }
            None => self.collector.add(Level::Session, value),
        }
    }

    fn close_media(&mut self) -> Result<(), SdpError> {
        let Some(OpenMedia { mut description, collector }) = self.media.take() else { return Ok(()) };
        let index = self.session.media.len();
        let has_address = description.connection.or(self.session.connection).is_some();
        if !has_address && !self.options.fragment {
            return Err(SdpError::NoAddress { media: index });
        }
        if description.transport.is_rtp() {
            let types = payload_types(&description, index)?;
            description.formats = collector.formats.into_formats(types.into_iter());
        }
        description.attributes = collector.attributes;
        self.session.media.push(description);
        Ok(())
    }

    /// Ends a `v=` block: its media no longer depend on it, and the next block starts without its values.
    fn close_session(&mut self) -> Result<(), SdpError> {
        self.finish_session()?;
        let mut media = std::mem::take(&mut self.session.media);
        for section in media.iter_mut().skip(self.settled) {
            section.inherit(&self.session);
        }
        self.settled = media.len();
        let ended = std::mem::take(&mut self.session);
        self.session = SessionDescription {
            origin: ended.origin,
            groups: ended.groups,
            instances: ended.instances,
            media,
            ..SessionDescription::default()
        };
        self.session.attributes.unknown = ended.attributes.unknown;
        self.session.attributes.unknown_with_direction = ended.attributes.unknown_with_direction;
        self.origin_seen = false;
        Ok(())
    }

    fn finish_session(&mut self) -> Result<(), SdpError> {
        self.close_media()?;
        let collector = std::mem::take(&mut self.collector);
        let session = &mut self.session;
        let mut unknown = std::mem::take(&mut session.attributes.unknown);
        let mut unknown_with_direction = std::mem::take(&mut session.attributes.unknown_with_direction);
        session.attributes = collector.attributes;
        unknown.append(&mut session.attributes.unknown);
        unknown_with_direction.append(&mut session.attributes.unknown_with_direction);
        session.attributes.unknown = unknown;
        session.attributes.unknown_with_direction = unknown_with_direction;
        session.groups.extend(collector.groups);
        session.instances.push(collector.instance);
        Ok(())
    }

    fn finish(mut self) -> Result<SessionDescription, SdpError> {
        self.finish_session()?;
        Ok(self.session)
    }
}

/// `IN IP4|IP6 <address>[/…]`
fn parse_connection(value: &str) -> Option<Connection> {
    let mut words = value.split_ascii_whitespace();
    if words.next()? != "IN" {
        return None;
    }
    let (family, address) = (words.next()?, words.next()?);
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    Some(Connection { address: ip_address(family, address)? })
}

fn bandwidth(bandwidth: &mut Bandwidth, value: &str) {
    let Some((kind, number)) = value.split_once(':') else { return };
    let Ok(number) = number.trim().parse() else { return };
    let slot = match kind {
        "AS" => &mut bandwidth.application_specific,
        "RR" => &mut bandwidth.rtcp_receivers,
        "RS" => &mut bandwidth.rtcp_senders,
        "CT" => &mut bandwidth.conference_total,
        "TIAS" => &mut bandwidth.transport_independent,
        _ => return,
    };
    *slot = Some(number);
}

/// `<media> <port>[/<count>] <proto> <fmt>…`
fn parse_media(value: &str) -> Option<MediaDescription> {
    let mut words = value.split_ascii_whitespace();
    let media_type = words.next()?;
    let port = words.next()?;
    let (port, count) = match port.split_once('/') {
        Some((port, count)) => (port, count.parse().ok().filter(|n| (1..=10).contains(n))?),
        None => (port, 1),
    };
    Some(MediaDescription {
        media_type: media_type.into(),
        port: port.parse().ok()?,
        port_count: count,
        transport: Transport::from_name(words.next().filter(|word| is_token(word))?),
        format_tokens: words.map(SmolStr::new).collect(),
        formats: Vec::new(),
        information: None,
        connection: None,
        bandwidth: Bandwidth::default(),
        attributes: Default::default(),
        attribute_lines: Vec::with_capacity(8),
        other_half: None,
    })
}

/// Visible characters only: others could not be read back once printed.
fn is_token(word: &str) -> bool {
    word.bytes().all(|octet| octet.is_ascii_graphic())
}

/// The payload types of an RTP section; in a rejected one those that are numbers.
fn payload_types(description: &MediaDescription, media: usize) -> Result<Vec<u8>, SdpError> {
    let mut types = Vec::with_capacity(description.format_tokens.len());
    for token in &description.format_tokens {
        match token.parse().ok().filter(|payload_type| *payload_type <= 127) {
            Some(payload_type) => types.push(payload_type),
            None if description.port == 0 => {}
            None => return Err(SdpError::PayloadType { media, token: token.to_smolstr() }),
        }
    }
    Ok(types)
}

#[cfg(test)]
mod tests;
