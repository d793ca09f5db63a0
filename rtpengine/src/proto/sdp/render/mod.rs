//! Typed output → text.
//!
//! [`SessionOut`] says *what* to print; the order of the lines, their spelling, CRLF line ends and the manipulation of attributes
//! ([`AttributeEdits`]) are done here. Whoever fills the structs decides nothing about layout.
//!
//! Order of a session: `v= o= s= i= u= e= p= b= t=`, rtpengine, music on hold, ice-lite, groups, unknown attributes, additions; then the
//! sections. Order of a section: `m= i= c= b=`, mid, label, bundle-only, formats, extmap, unknown attributes, direction, rtcp, rtcp-mux,
//! crypto, setup, fingerprint, tls-id, ptime, maxptime, ICE, additions.

mod edits;
mod section;

use std::net::IpAddr;

use smol_str::SmolStr;

pub use super::attribute::crypto::KeyStyle;
use super::model::{
    Bandwidth, Candidate, Crypto, Direction, ExtMap, Fingerprint, Group, MediaFormat, Origin, RtcpAttribute,
    Setup, Transport,
};
pub use edits::{AttributeEdits, SectionEdits};
use section::Writer;

/// A whole description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOut {
    /// `o=`
    pub origin: Origin,
    /// `s=`; may be empty.
    pub session_name: SmolStr,
    /// `i=`
    pub information: Option<SmolStr>,
    /// `u=`
    pub uri: Option<SmolStr>,
    /// `e=`
    pub email: Option<SmolStr>,
    /// `p=`
    pub phone: Option<SmolStr>,
    /// `b=` lines.
    pub bandwidth: Bandwidth,
    /// `t=`; `0 0` when `None`.
    pub timing: Option<SmolStr>,
    /// `a=rtpengine:<id>` (loop protection).
    pub instance: Option<SmolStr>,
    /// The bare attribute that announces music on hold (its name).
    pub moh_attribute: Option<SmolStr>,
    /// `a=ice-lite`
    pub ice_lite: bool,
    /// `a=group:` lines.
    pub groups: Vec<Group>,
    /// Attributes that are passed on, in order, without `a=`.
    pub unknown: Vec<SmolStr>,
    /// Media sections in order.
    pub media: Vec<MediaSectionOut>,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSectionOut {
    /// `audio`, `video` …
    pub media_type: SmolStr,
    /// The port in `m=`; 0 for rejected ones and for all but the first of a strict bundle.
    pub port: u16,
    /// Transport, printed canonically.
    pub transport: Transport,
    /// The `fmt` list. When empty, the payload types of [`GeneratedSection::formats`] are printed.
    pub format_tokens: Vec<SmolStr>,
    /// `i=`
    pub information: Option<SmolStr>,
    /// `c=`
    pub address: IpAddr,
    /// `b=` lines.
    pub bandwidth: Bandwidth,
    /// `a=mid` (not for verbatim sections, whose attributes have it).
    pub mid: Option<SmolStr>,
    /// `a=label` (same).
    pub label: Option<SmolStr>,
    /// `a=bundle-only` (same).
    pub bundle_only: bool,
    /// What follows.
    pub body: SectionBody,
}

/// The attributes of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionBody {
    /// Generated from state.
    Generated(Box<GeneratedSection>),
    /// Refused: nothing but `i= c= b=`, mid, label, bundle-only (and additions). Set the port to 0 and `address` to the unspecified one.
    Rejected,
    /// Copied from the source: non-RTP, passthrough, force-relay, `message`.
    Verbatim(VerbatimSection),
    /// The `m=` line alone (the other half of an OSRTP legacy pair).
    Bare,
}

/// Attributes in typed form; everything optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedSection {
    /// Payload types in `m=` order; an empty name prints no `rtpmap`, an empty fmtp no `fmtp`.
    pub formats: Vec<MediaFormat>,
    /// `a=extmap-allow-mixed`; printed only together with `extmap` lines.
    pub extmap_allow_mixed: bool,
    /// `a=extmap` lines.
    pub extmap: Vec<ExtMap>,
    /// Attributes that are passed on (with flag `original-sendrecv`: the list that has the directions), or the generated T.38 ones.
    pub unknown: Vec<SmolStr>,
    /// Direction; `None` with `original-sendrecv`.
    pub direction: Option<Direction>,
    /// `a=rtcp`; the address only with flag `full-rtcp-attribute`.
    pub rtcp: Option<RtcpAttribute>,
    /// `a=rtcp-mux`
    pub rtcp_mux: bool,
    /// `a=crypto` lines.
    pub crypto: Vec<Crypto>,
    /// How keys are written.
    pub key_style: KeyStyle,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// `a=fingerprint`
    pub fingerprint: Option<Fingerprint>,
    /// `a=tls-id`
    pub tls_id: Option<SmolStr>,
    /// `a=ptime`
    pub ptime_ms: Option<u16>,
    /// `a=maxptime`
    pub maxptime_ms: Option<u16>,
    /// ICE lines.
    pub ice: Option<IceOut>,
}

/// ICE lines of a generated section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceOut {
    /// `a=ice-ufrag`
    pub ufrag: SmolStr,
    /// `a=ice-pwd`
    pub pwd: SmolStr,
    /// `a=ice-options` words: `trickle`, `ice2`.
    pub options: Vec<SmolStr>,
    /// `a=candidate` lines.
    pub candidates: Vec<Candidate>,
    /// `a=remote-candidates`: (component, address, port).
    pub remote_candidates: Vec<(u32, IpAddr, u16)>,
    /// `a=end-of-candidates`
    pub end_of_candidates: bool,
}

/// A section whose attributes are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerbatimSection {
    /// The source's attribute lines in order ([`super::model::MediaDescription::attribute_lines`]). `end-of-candidates` among them is
    /// printed last.
    pub attribute_lines: Vec<SmolStr>,
    /// Own candidates, after the copied lines.
    pub candidates: Vec<Candidate>,
}

/// Prints a description. Linear in its size.
pub fn render(session: &SessionOut, edits: &AttributeEdits) -> String {
    let mut out = String::with_capacity(512 + 512 * session.media.len());
    let mut writer = Writer::new(&mut out, edits.session());
    write_session(&mut writer, session);
    for media in &session.media {
        let mut writer = Writer::new(&mut out, edits.media(&media.media_type));
        write_media(&mut writer, media);
    }
    out
}

fn write_session(writer: &mut Writer, session: &SessionOut) {
    writer.line('v', "0");
    writer.origin(&session.origin);
    writer.line('s', &session.session_name);
    let texts =
        [('i', &session.information), ('u', &session.uri), ('e', &session.email), ('p', &session.phone)];
    for (letter, text) in texts {
        if let Some(text) = text {
            writer.line(letter, text);
        }
    }
    writer.bandwidth(&session.bandwidth);
    writer.line('t', session.timing.as_deref().unwrap_or("0 0"));
    writer.value("rtpengine", session.instance.as_deref());
    if let Some(name) = &session.moh_attribute {
        writer.generated(name);
    }
    writer.flag("ice-lite", session.ice_lite);
    for Group { semantics, mids } in &session.groups {
        let mids: String = mids.iter().flat_map(|mid| [" ", mid.as_str()]).collect();
        writer.generated(format_args!("group:{semantics}{mids}"));
    }
    session.unknown.iter().for_each(|line| writer.passed_on(line));
    writer.additions();
}

fn write_media(writer: &mut Writer, media: &MediaSectionOut) {
    writer.media_line(media);
    if media.body == SectionBody::Bare {
        return;
    }
    if let Some(text) = &media.information {
        writer.line('i', text);
    }
    writer.connection(media.address);
    writer.bandwidth(&media.bandwidth);
    match &media.body {
        SectionBody::Bare => {}
        SectionBody::Verbatim(section) => write_verbatim(writer, section),
        SectionBody::Rejected => write_identity(writer, media),
        SectionBody::Generated(section) => {
            write_identity(writer, media);
            write_generated(writer, section);
        }
    }
    writer.additions();
}

fn write_identity(writer: &mut Writer, media: &MediaSectionOut) {
    writer.value("mid", media.mid.as_deref());
    writer.value("label", media.label.as_deref());
    writer.flag("bundle-only", media.bundle_only);
}

fn write_verbatim(writer: &mut Writer, section: &VerbatimSection) {
    const END: &str = "end-of-candidates";
    section.attribute_lines.iter().filter(|line| *line != END).for_each(|line| writer.passed_on(line));
    section.candidates.iter().for_each(|candidate| writer.generated(format_args!("candidate:{candidate}")));
    writer.flag(END, section.attribute_lines.iter().any(|line| line == END));
}

fn write_generated(writer: &mut Writer, section: &GeneratedSection) {
    section.formats.iter().for_each(|format| writer.format(format));
    if !section.extmap.is_empty() {
        writer.flag("extmap-allow-mixed", section.extmap_allow_mixed);
    }
    for ExtMap { id, uri } in &section.extmap {
        writer.generated(format_args!("extmap:{id} {uri}"));
    }
    section.unknown.iter().for_each(|line| writer.passed_on(line));
    if let Some(direction) = section.direction {
        writer.generated_of(&[direction.name()]);
    }
    if let Some(rtcp) = &section.rtcp {
        writer.rtcp(rtcp);
    }
    writer.flag("rtcp-mux", section.rtcp_mux);
    for crypto in &section.crypto {
        writer.generated(format_args!("crypto:{} {}", crypto.tag, crypto.to_text(section.key_style)));
    }
    writer.value("setup", section.setup.map(Setup::name));
    if let Some(fingerprint) = &section.fingerprint {
        writer.generated(format_args!("fingerprint:{fingerprint}"));
    }
    writer.value("tls-id", section.tls_id.as_deref());
    writer.number("ptime", section.ptime_ms);
    writer.number("maxptime", section.maxptime_ms);
    if let Some(ice) = &section.ice {
        write_ice(writer, ice);
    }
}

fn write_ice(writer: &mut Writer, ice: &IceOut) {
    writer.value("ice-ufrag", Some(&ice.ufrag));
    writer.value("ice-pwd", Some(&ice.pwd));
    if !ice.options.is_empty() {
        writer.value("ice-options", Some(&ice.options.join(" ")));
    }
    for candidate in &ice.candidates {
        writer.generated(format_args!("candidate:{candidate}"));
    }
    if !ice.remote_candidates.is_empty() {
        let list: Vec<_> = ice
            .remote_candidates
            .iter()
            .map(|(component, address, port)| format!("{component} {address} {port}"))
            .collect();
        writer.value("remote-candidates", Some(&list.join(" ")));
    }
    writer.flag("end-of-candidates", ice.end_of_candidates);
}

#[cfg(test)]
mod tests;
