//! Several who are to hear the same of a stream: one transcoder makes it once for all of them.
//!
//! Of edges whose transcoders would make the same packets, one keeps its transcoder and has the others' sinks beside its own; the others
//! have nothing to do. Who is in the middle of hearing a transcoder of its own stays with it, so that SSRC and numbers of what a party gets
//! never jump. When the edge with the transcoder goes away, the next of those who followed it has its state.

use smol_str::SmolStr;

use super::plan::LINEAR;
use super::route::Edge;

/// Another sink of what an edge makes.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Slot of the sink.
    to: u32,
    /// What it calls the section that the packets are for.
    mid: Option<SmolStr>,
}

/// Slots of all who get what an edge makes, with what they call the section: its own sink and `also`.
pub fn sinks<'a>(
    own: Option<u32>,
    mid: Option<&'a SmolStr>,
    also: &'a [Listener],
) -> impl Iterator<Item = (u32, Option<&'a SmolStr>)> + Clone {
    own.map(|to| (to, mid)).into_iter().chain(also.iter().map(|other| (other.to, other.mid.as_ref())))
}

/// Codecs whose receivers tell the encoder what they want: each has an encoder of its own.
const ADAPTIVE: [&str; 3] = ["AMR", "AMR-WB", "EVS"];

impl Edge {
    /// Its transcoder has begun: packets have SSRC and numbers of its.
    fn runs(&self) -> bool {
        self.transcoding.as_ref().is_some_and(|transcoding| !transcoding.sources.is_empty())
    }

    /// What leaves on the two is the same, packet by packet.
    fn sounds_like(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (&self.transcoding, &other.transcoding) else { return false };
        let is_common = |name: &str, payload_type: u8| {
            payload_type != LINEAR && !ADAPTIVE.iter().any(|adaptive| adaptive.eq_ignore_ascii_case(name))
        };
        self.has_same_actions(other)
            && [self, other].iter().all(|edge| edge.filter.is_none() && !edge.may_change_ssrcs())
            && one.makes_the_same(two)
            && one.plans().all(|plan| is_common(&plan.sink.name, plan.sink.payload_type))
    }
}

/// Gives the edges of a new plan the transcoders of the old one's and lets edges that make the same follow one of them. `before` has for
/// each edge the position of that which it continues.
pub fn share(edges: &mut [Edge], before: &[Option<usize>], old: &mut [Edge]) {
    for (edge, before) in edges.iter_mut().zip(before) {
        adopt(edge, *before, old);
    }
    // Most streams have one edge, and had.
    if edges.len() < 2 && old.iter().all(|edge| edge.follows.is_none()) {
        return;
    }
    let followed: Vec<Option<usize>> =
        before.iter().map(|before| old.get((*before)?)?.follows.map(usize::from)).collect();
    // Of transcoders whose own edge is gone.
    let mut heirs: Vec<(usize, usize)> = Vec::new();
    for index in 0..edges.len() {
        let Some(donor) = followed.get(index).copied().flatten() else { continue };
        let there = before.iter().position(|before| *before == Some(donor));
        match there.or_else(|| heirs.iter().find(|(former, _)| *former == donor).map(|(_, heir)| *heir)) {
            Some(leader) => follow(edges, index, leader),
            None => {
                if let Some(edge) = edges.get_mut(index) {
                    adopt(edge, Some(donor), old);
                }
                heirs.push((donor, index));
            }
        }
    }
    for index in 0..edges.len() {
        if edges[index].runs() || edges[index].follows.is_some() || !edges[index].also.is_empty() {
            continue;
        }
        let leader = edges.iter().enumerate().position(|(other, leading)| {
            let leads = leading.runs() || !leading.also.is_empty() || other < index;
            other != index && leads && leading.follows.is_none() && edges[index].sounds_like(leading)
        });
        if let Some(leader) = leader {
            follow(edges, index, leader);
        }
    }
}

fn adopt(edge: &mut Edge, from: Option<usize>, old: &mut [Edge]) {
    let old = from.and_then(|from| old.get_mut(from)?.transcoding.as_mut());
    if let (Some(transcoding), Some(old)) = (&mut edge.transcoding, old) {
        transcoding.adopt(old);
    }
}

/// An edge has its sink served by another one, if that makes what it would.
fn follow(edges: &mut [Edge], index: usize, leader: usize) {
    let Ok([edge, leading]) = edges.get_disjoint_mut([index, leader]) else { return };
    let Ok(leader) = u16::try_from(leader) else { return };
    if leading.follows.is_some() || !edge.sounds_like(leading) {
        return;
    }
    edge.follows = Some(leader);
    edge.transcoding = None;
    leading.also.extend(edge.rtp_to.map(|to| Listener { to, mid: edge.mid.clone() }));
}
