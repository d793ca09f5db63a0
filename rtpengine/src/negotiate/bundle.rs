//! BUNDLE (RFC 9143), `a=mid` and the header extension that carries it: which sections share a transport with a party.
//!
//! A party's sections are grouped because it offered a group and may have it (`accept`), or because it was offered one (`offer`,
//! `require`, `strict`). The section that stands for the group is the *tagged* one; with it all others share ports, ICE and keys
//! once [`Bundling::carrier`] says so.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::negotiate::signal::{BundleOptions, OutputOptions};
use crate::proto::sdp::model::{ExtMap, Group, MediaDescription, SessionDescription};
use crate::proto::sdp::render::{MediaSectionOut, SectionBody};

/// RFC 9143 §15.2: the header extension that names the section a packet belongs to.
pub const MID_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Semantics of `a=group` (RFC 9143 §14.1).
pub const SEMANTICS: &str = "BUNDLE";

/// How one section of a party stands in its groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundling {
    /// Position of the tagged section of its group.
    group: Option<usize>,
    transport: Transport,
    /// Number under which the party knows the mid extension.
    mid_extension: Option<MidExtension>,
}

/// Whose ports, ICE and keys a section uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Transport {
    /// Its own, alone.
    #[default]
    Own,
    /// Its own, and others use it, too.
    Shared,
    /// That of the section at this position.
    Of(usize),
}

/// Who brought the mid extension in, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum MidExtension {
    /// In the party's own offer.
    Theirs(u16),
    /// Added to what was offered to the party.
    Ours(u16),
}

impl Bundling {
    /// The section is in a group.
    pub fn is_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// Position of the section whose transport this one uses, if it is another one's.
    pub fn carrier(&self) -> Option<usize> {
        match self.transport {
            Transport::Of(position) => Some(position),
            Transport::Own | Transport::Shared => None,
        }
    }

    /// Several sections may use its transport: packets have to be told apart.
    pub fn is_shared(&self) -> bool {
        self.transport != Transport::Own
    }

    /// It refers to sections of a description with that many only.
    pub fn is_within(&self, sections: usize) -> bool {
        self.group.is_none_or(|tagged| tagged < sections) && self.carrier().is_none_or(|at| at < sections)
    }

    /// The section has no ports of its own.
    pub fn is_carried(&self) -> bool {
        self.carrier().is_some()
    }

    /// Identifier of the mid header extension in the party's packets.
    pub fn mid_extension(&self) -> Option<u8> {
        self.mid_extension.and_then(|extension| u8::try_from(extension.id()).ok())
    }

    /// Joins, at `position`, the group of a tagged section, whose transport it uses or not.
    fn join(&mut self, position: usize, tagged: usize, sharing: bool) {
        self.group = Some(tagged);
        self.transport = match (sharing, position == tagged) {
            (false, _) => Transport::Own,
            (true, true) => Transport::Shared,
            (true, false) => Transport::Of(tagged),
        };
    }

    fn leave(&mut self) {
        self.group = None;
        self.transport = Transport::Own;
    }
}

/// What the sections of a message say, by position of the party's media; `None` where it says nothing.
type Sections<'a> = [Option<&'a MediaDescription>];

/// The groups of an offering party: `bundling` is brought up to date from what it offers.
///
/// Accepted are RTP sections that are not rejected, have a mid, multiplex RTCP alike, and can be told apart: by the mid extension or by
/// distinct payload types. Others of the group stay on their own.
pub fn offered_by(
    sdp: &SessionDescription,
    sections: &Sections<'_>,
    options: BundleOptions,
    bundling: &mut [Bundling],
) {
    let accept = !options.reject && (options.accept || bundling.iter().any(Bundling::is_grouped));
    for (own, described) in bundling.iter_mut().zip(sections) {
        let known = described.and_then(|media| mid_extension(media.extmap(sdp)));
        // What an offer does not repeat is off (RFC 8285 §6); a rejected section has nothing to say.
        if described.is_some_and(|media| media.port != 0) {
            own.mid_extension = known.map(MidExtension::Theirs);
        }
        own.leave();
    }
    for group in sdp.groups.iter().filter(|group| accept && group.semantics == SEMANTICS) {
        let mut members: Vec<(usize, &MediaDescription)> =
            Vec::with_capacity(group.mids.len().min(sections.len()));
        for mid in &group.mids {
            let found = sections.iter().enumerate().find_map(|(position, described)| {
                let described = described.filter(|media| media.attributes.mid.as_ref() == Some(mid))?;
                Some((position, described))
            });
            let Some((position, described)) = found else { continue };
            let new = bundling[position].group.is_none() && members.iter().all(|(at, _)| *at != position);
            if new && fits(sdp, &members, described) {
                members.push((position, described));
            }
        }
        let Some(&(tagged, _)) = members.first() else { continue };
        for (position, _) in &members {
            bundling[*position].join(*position, tagged, members.len() > 1);
        }
    }
}

fn fits(
    sdp: &SessionDescription,
    members: &[(usize, &MediaDescription)],
    candidate: &MediaDescription,
) -> bool {
    let distinguishable = |other: &MediaDescription| {
        let with_mid = |media: &MediaDescription| mid_extension(media.extmap(sdp)).is_some();
        let in_other = |number: u8| other.formats.iter().any(|format| format.format.payload_type == number);
        with_mid(candidate) && with_mid(other)
            || !candidate.formats.iter().any(|format| in_other(format.format.payload_type))
    };
    can_be_grouped(candidate)
        && members.iter().all(|(_, other)| {
            candidate.offers_rtcp_mux(sdp) == other.offers_rtcp_mux(sdp) && distinguishable(other)
        })
}

fn can_be_grouped(described: &MediaDescription) -> bool {
    described.port != 0 && described.transport.is_rtp()
}

/// The group that a party is offered: all sections that can be in one.
pub fn offered_to(
    sdp: &SessionDescription,
    sections: &Sections<'_>,
    options: BundleOptions,
    bundling: &mut [Bundling],
) {
    let asked = options.offer || options.require || options.strict;
    let standing = !options.reject && bundling.iter().any(Bundling::is_grouped);
    let sharing = options.require || options.strict || standing && bundling.iter().any(Bundling::is_carried);
    let can = |position: usize| sections.get(position).copied().flatten().is_some_and(can_be_grouped);
    let tagged = (0..bundling.len()).find(|position| can(*position)).filter(|_| asked || standing);
    for (position, own) in bundling.iter_mut().enumerate() {
        match tagged {
            Some(tagged) if can(position) => own.join(position, tagged, sharing),
            _ => own.leave(),
        }
    }
    let Some(tagged) = tagged else { return };
    // One number for all, since it has to mean the same in the whole group (RFC 9143 §9.1).
    let maps = || sections.iter().copied().flatten().map(|media| media.extmap(sdp));
    let used = |id: u16| maps().flatten().any(|map| map.id == id && map.uri != MID_EXTENSION);
    let kept = bundling[tagged].mid_extension.map(MidExtension::id);
    let named = maps().find_map(mid_extension);
    let id = kept.into_iter().chain(named).chain(1..15).find(|id| !used(*id));
    for own in bundling.iter_mut().filter(|own| own.group.is_some()) {
        own.mid_extension = id.map(MidExtension::Ours);
    }
}

/// An answer: `bundling` of the answering party. Sections that it does not take into the group leave it, but keep the transport
/// that it was told.
pub fn answered_by(sdp: &SessionDescription, sections: &Sections<'_>, bundling: &mut [Bundling]) {
    let media = |position: usize| sections.get(position).copied().flatten().filter(|media| media.port != 0);
    let accepts = |position: usize| {
        let mid = media(position).and_then(|media| media.attributes.mid.as_ref());
        mid.is_some_and(|mid| sdp.groups.iter().any(|g| g.semantics == SEMANTICS && g.mids.contains(mid)))
    };
    let tagged = (0..bundling.len()).find(|&at| bundling[at].group.is_some() && accepts(at));
    let carrier = (0..bundling.len()).find(|&at| bundling[at].transport == Transport::Shared);
    for (position, own) in bundling.iter_mut().enumerate() {
        match tagged.filter(|_| own.group.is_some() && accepts(position)) {
            // What was offered as one transport stays one; what had its own until now joins.
            Some(tagged) if carrier.is_none() => own.join(position, tagged, true),
            Some(tagged) => own.group = Some(tagged),
            None => own.group = None,
        }
    }
    let Some(old) = carrier.filter(|&old| media(old).is_none()) else { return };
    let carried = |at: &usize| bundling[*at].transport == Transport::Of(old) && media(*at).is_some();
    let Some(new) = (0..bundling.len()).find(carried) else { return };
    for (position, own) in bundling.iter_mut().enumerate() {
        if own.transport == Transport::Of(old) {
            own.transport = if position == new { Transport::Shared } else { Transport::Of(new) };
        }
    }
    bundling[old].leave();
}

/// Which section goes on with the transport that others shared with the section `old`: with that one something happened in a message. It
/// was refused, left the group, or another one stands for the group now. `None`: it keeps its transport.
pub fn heir(before: &[Bundling], after: &[Bundling], sections: &Sections<'_>, old: usize) -> Option<usize> {
    let lives = |at: usize| sections.get(at).copied().flatten().is_some_and(|media| media.port != 0);
    let users = (0..before.len()).filter(|&at| at == old || before[at].carrier() == Some(old));
    let users: Vec<usize> = users.filter(|&at| lives(at)).collect();
    let grouped = || users.iter().copied().find(|&at| after[at].is_grouped());
    let user = grouped().or(users.first().copied())?;
    let heir = after[user].carrier().unwrap_or(user);
    let stays = lives(old) && !after[old].is_carried() && (after[old].is_grouped() || grouped().is_none());
    (!stays && heir != old && before[heir].transport != Transport::Shared).then_some(heir)
}

/// An answer, for the party that offered: sections that were refused leave its groups.
pub fn answered_to(sections: &Sections<'_>, bundling: &mut [Bundling]) {
    let refused = |at: usize| sections.get(at).copied().flatten().is_none_or(|media| media.port == 0);
    for tagged in 0..bundling.len() {
        let members: Vec<usize> =
            (0..bundling.len()).filter(|&position| bundling[position].group == Some(tagged)).collect();
        let staying: Vec<usize> = members.iter().copied().filter(|&position| !refused(position)).collect();
        if staying.len() == members.len() {
            continue;
        }
        let sharing = members.len() > 1;
        members.iter().for_each(|&position| bundling[position].leave());
        let Some(&successor) = staying.first() else { continue };
        for position in staying {
            bundling[position].join(position, successor, sharing);
        }
    }
}

impl MidExtension {
    fn id(self) -> u16 {
        match self {
            MidExtension::Theirs(id) | MidExtension::Ours(id) => id,
        }
    }
}

fn mid_extension(extmap: &[ExtMap]) -> Option<u16> {
    extmap.iter().find(|map| map.uri == MID_EXTENSION).map(|map| map.id)
}

/// The list has the mid extension once, under this number.
fn set_mid_extension(list: &mut Vec<ExtMap>, id: u16) {
    if mid_extension(list) != Some(id) {
        list.retain(|map| map.uri != MID_EXTENSION);
        list.push(ExtMap { id, uri: MID_EXTENSION.into() });
    }
}

/// A mid for a section that has none: its number, or the next one that is free.
pub fn generated_mid(index: usize, is_taken: impl Fn(&str) -> bool) -> SmolStr {
    (index..).map(|number| number.to_string()).find(|mid| !is_taken(mid)).unwrap_or_default().into()
}

/// `a=group` lines of a party, from its usable sections: position, grouping and mid. The tagged section is named first.
pub fn groups(members: &[(usize, Bundling, &str)]) -> Vec<Group> {
    let of = |tagged: usize| members.iter().filter(move |(_, bundling, _)| bundling.group == Some(tagged));
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for tagged in members.iter().filter_map(|(_, bundling, _)| bundling.group) {
        if groups.iter().all(|(known, _)| *known != tagged) {
            let (first, others): (Vec<_>, Vec<_>) =
                of(tagged).partition(|(position, ..)| *position == tagged);
            let mids = first.into_iter().chain(others).map(|(_, _, mid)| SmolStr::new(mid)).collect();
            groups.push((tagged, Group { semantics: SEMANTICS.into(), mids }));
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Sections that share a transport say the same about it.
pub fn share_transport(sections: &mut [MediaSectionOut], carrier: usize, position: usize) {
    let Ok([from, to]) = sections.get_disjoint_mut([carrier, position]) else { return };
    if let (SectionBody::Generated(from), SectionBody::Generated(to)) = (&from.body, &mut to.body) {
        to.ice.clone_from(&from.ice);
        to.crypto.clone_from(&from.crypto);
        to.setup = from.setup;
        to.fingerprint.clone_from(&from.fingerprint);
        to.tls_id.clone_from(&from.tls_id);
    }
}

/// What happens to header extensions on their way through one exchange.
pub struct Extensions<'a> {
    /// The list of whoever the description is from.
    pub source: &'a [ExtMap],
    pub options: &'a OutputOptions,
}

impl Extensions<'_> {
    /// What the receiver of an offer is told: all but the stripped and masked ones, and the mid extension where there is a group.
    pub fn offered(&self, to: &Bundling) -> Vec<ExtMap> {
        let mut list: Vec<ExtMap> = self
            .source
            .iter()
            .filter(|map| !self.is_stripped(map) && !self.is_masked(map))
            .cloned()
            .collect();
        if let (Some(MidExtension::Ours(id)), Some(_)) = (to.mid_extension, to.group) {
            set_mid_extension(&mut list, id);
        }
        list
    }

    /// What the offerer is told: what was masked, what the answerer accepts, and the mid extension where there is a group. The mid
    /// extension that we added ourselves is none of the offerer's business.
    pub fn answered(&self, masked: &[ExtMap], from: &Bundling, to: &Bundling) -> Vec<ExtMap> {
        let ours =
            |map: &ExtMap| map.uri == MID_EXTENSION && from.mid_extension == Some(MidExtension::Ours(map.id));
        let mut list: Vec<ExtMap> = masked.to_vec();
        for map in self.source.iter().filter(|map| !self.is_stripped(map) && !ours(map)) {
            if !masked.iter().any(|known| known.uri == map.uri) {
                list.push(map.clone());
            }
        }
        if let (Some(MidExtension::Theirs(id)), Some(_)) = (to.mid_extension, to.group) {
            set_mid_extension(&mut list, id);
        }
        list
    }

    /// What is masked: hidden from the receiver, yet accepted from the sender.
    pub fn masked(&self) -> impl Iterator<Item = &ExtMap> {
        self.source.iter().filter(|map| self.is_masked(map))
    }

    fn is_stripped(&self, map: &ExtMap) -> bool {
        self.options.extmap_strip_all || self.options.extmap_strip.contains(&map.uri)
    }

    fn is_masked(&self, map: &ExtMap) -> bool {
        self.options.extmap_mask_all || self.options.extmap_mask.contains(&map.uri)
    }
}

#[cfg(test)]
mod tests;
