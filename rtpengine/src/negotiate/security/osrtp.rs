//! Opportunistic SRTP of the old kind: one media in two sections, plain and encrypted, of which the answerer takes one. (The kind of
//! RFC 8643, keys under a plain profile, needs no sections of its own.)

use serde::{Deserialize, Serialize};

use crate::proto::sdp::model::{MediaDescription, OtherHalf, RtpProfile, Transport};
use crate::proto::sdp::render::{MediaSectionOut, SectionBody};

/// Joins pairs of neighbouring sections of the same media type, one plain and one SRTP, into one section. The SRTP half is kept, unless
/// only the plain one was accepted. `wanted` says whether the section at an index of the joined list is to be joined.
pub fn join_pairs(media: &mut Vec<MediaDescription>, wanted: impl Fn(usize) -> bool) {
    let mut index = 0;
    while index + 1 < media.len() {
        if wanted(index) && is_pair(&media[index], &media[index + 1]) {
            let second = media.remove(index + 1);
            join(&mut media[index], second);
        }
        index += 1;
    }
}

fn is_pair(first: &MediaDescription, second: &MediaDescription) -> bool {
    let (Some(a), Some(b)) = (first.transport.rtp_profile(), second.transport.rtp_profile()) else {
        return false;
    };
    first.media_type == second.media_type && a.secure != b.secure
}

fn join(first: &mut MediaDescription, second: MediaDescription) {
    let is_secure = first.transport.rtp_profile().is_some_and(|profile| profile.secure);
    let (secure, plain) = if is_secure { (&*first, &second) } else { (&second, &*first) };
    let keep_plain = secure.port == 0 && plain.port != 0;
    let keep_first = is_secure != keep_plain;
    let (kept, dropped) = if keep_first { (None, second) } else { (Some(second), first.clone()) };
    if let Some(kept) = kept {
        *first = kept;
    }
    first.other_half = Some(OtherHalf {
        transport: dropped.transport,
        format_tokens: dropped.format_tokens,
        is_first: !keep_first,
    });
}

/// How the media of a party is spread over sections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// One section.
    #[default]
    Single,
    /// We offered it twice, plain and encrypted; so shall re-offers, since sections never go away (RFC 3264 §8).
    OfferedTwice,
    /// The party's own description has a pair.
    Pair(OtherHalf),
}

/// Order of the sections of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairOrder {
    PlainFirst,
    SecureFirst,
}

impl Layout {
    /// Appends the sections for a party. `offered` is `true` for an offer that leaves the choice to the party.
    pub fn spread(&self, section: MediaSectionOut, offered: bool, sections: &mut Vec<MediaSectionOut>) {
        match self {
            Layout::OfferedTwice if offered && is_generated(&section) => {
                sections.extend([plain_copy(&section), section]);
            }
            Layout::Pair(half) => {
                let bare = MediaSectionOut {
                    port: 0,
                    transport: half.transport.clone(),
                    format_tokens: half.format_tokens.clone(),
                    body: SectionBody::Bare,
                    ..section.clone()
                };
                sections.extend(if half.is_first { [bare, section] } else { [section, bare] });
            }
            _ => sections.push(section),
        }
    }
}

fn is_generated(section: &MediaSectionOut) -> bool {
    matches!(section.body, SectionBody::Generated(_))
}

fn plain_copy(section: &MediaSectionOut) -> MediaSectionOut {
    let mut plain = section.clone();
    if let Some(profile) = section.transport.rtp_profile() {
        plain.transport = Transport::Rtp(RtpProfile { secure: false, dtls: false, ..profile });
    }
    // Two sections must not have the same identification (RFC 5888 §4).
    plain.mid = None;
    if let SectionBody::Generated(body) = &mut plain.body {
        body.crypto.clear();
        body.setup = None;
        body.fingerprint = None;
        body.tls_id = None;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sdp::{ParseOptions, parse};

    fn media(sections: &[(&str, u16)]) -> Vec<MediaDescription> {
        let mut text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n".to_owned();
        for (transport, port) in sections {
            text.push_str(&format!("m=audio {port} {transport} 0\r\n"));
        }
        parse(&text, ParseOptions::default()).unwrap().media
    }

    #[test]
    fn a_pair_becomes_its_encrypted_half_unless_that_was_refused() {
        const AVP: &str = "RTP/AVP";
        const SAVP: &str = "RTP/SAVP";
        for (sections, kept, other_is_first) in [
            ([(AVP, 4000), (SAVP, 4000)], SAVP, true),
            ([(SAVP, 4000), (AVP, 4000)], SAVP, false),
            ([(AVP, 0), (SAVP, 4000)], SAVP, true),
            ([(AVP, 4000), (SAVP, 0)], AVP, false),
            ([(SAVP, 0), (AVP, 4000)], AVP, true),
            ([(SAVP, 0), (AVP, 0)], SAVP, false),
        ] {
            let mut joined = media(&sections);
            join_pairs(&mut joined, |_| true);
            assert_eq!(joined.len(), 1, "{sections:?}");
            assert_eq!(joined[0].transport.name(), kept, "{sections:?}");
            let half = joined[0].other_half.as_ref().unwrap();
            assert_eq!(half.is_first, other_is_first, "{sections:?}");
            assert_ne!(half.transport.name(), kept, "{sections:?}");
        }
    }

    #[test]
    fn only_wanted_neighbours_of_both_kinds_are_joined() {
        let sections = [("RTP/AVP", 1), ("RTP/AVP", 2), ("RTP/SAVP", 3), ("udptl", 4), ("RTP/SAVP", 5)];
        let mut joined = media(&sections);
        join_pairs(&mut joined, |_| true);
        let ports: Vec<_> = joined.iter().map(|section| section.port).collect();
        assert_eq!(ports, [1, 3, 4, 5]);
        let mut untouched = media(&sections);
        join_pairs(&mut untouched, |_| false);
        assert_eq!(untouched, media(&sections));
    }
}
