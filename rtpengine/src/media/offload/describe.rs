//! From a stream of the worker to what the kernel would have to do for it.

use std::sync::atomic::Ordering::Relaxed;

use super::super::apart::KeyUse;
use super::super::learn::Accepts;
use super::super::plan::Expect;
use super::super::route::{Action, Edge};
use super::super::security::Security;
use super::super::stream::{Stream, Streams};
use super::{Carries, Reason, Source, Target, TargetFormat, TargetOutput};

/// Describes the stream in `slot` if plain forwarding is all that happens to its packets; changes nothing, makes no system call.
///
/// # Errors
/// The first reason found for which it has to stay in user space.
pub fn describe(streams: &Streams, slot: u32) -> Result<Target, Reason> {
    let stream = streams.get(slot).ok_or(Reason::NoOutput)?;
    receives_plainly(stream)?;
    let source = source_of(stream)?;
    let mut outputs = Vec::with_capacity(stream.edges.len());
    for edge in &stream.edges {
        passes_plainly(edge)?;
        let sink = edge.rtp_to.and_then(|to| streams.get(to)).ok_or(Reason::NoOutput)?;
        outputs.push(output(sink, edge)?);
    }
    if outputs.is_empty() {
        return Err(Reason::NoOutput);
    }
    let carries = if stream.expect == Expect::Datagrams {
        Carries::Datagrams
    } else {
        let formats = formats(stream)?;
        for (edge, output) in stream.edges.iter().zip(&mut outputs) {
            let renamed = formats.iter().filter_map(|format| match edge.action(format.payload_type) {
                Action::Rewrite(to) if to != format.payload_type => Some((format.payload_type, to)),
                _ => None,
            });
            output.renamed.extend(renamed);
        }
        Carries::Rtp(formats)
    };
    let key = match stream.secured {
        true => Some(stream.present_keys().and_then(Security::receiving).ok_or(Reason::NoKey)?),
        false => None,
    };
    let tap = stream.tap.filter(|tap| tap.ingress);
    let (local, key) = (stream.socket().local, key.cloned());
    Ok(Target { stream: stream.id, local, source, carries, key, tap, outputs })
}

/// Nothing is done to the packets on their way in.
fn receives_plainly(stream: &Stream) -> Result<(), Reason> {
    let obstacles = [
        (stream.expect == Expect::Rtcp, Reason::Rtcp),
        (stream.gateway.is_some(), Reason::Gateway),
        (stream.sections.is_some(), Reason::Bundled),
        (stream.twin.is_some() || stream.is_behind, Reason::Twins),
        (stream.holding.is_some(), Reason::Delayed),
        (stream.short.is_some(), Reason::ShortPackets),
        (stream.hides_extensions, Reason::HeaderExtensions),
        (stream.demands_ice() && stream.path_socket().local != stream.socket().local, Reason::Ice),
    ];
    first(&obstacles)?;
    if stream.edges.is_empty() {
        return Err(Reason::NoOutput);
    }
    if stream.shared.confirmed.load(Relaxed) == 0 {
        return Err(Reason::NotConfirmed);
    }
    Ok(())
}

fn source_of(stream: &Stream) -> Result<Source, Reason> {
    if stream.demands_ice() {
        return stream.learner.peer().map(Source::Only).ok_or(Reason::Ice);
    }
    match stream.learner.accepts() {
        Accepts::Any => Ok(Source::Any),
        Accepts::Only(source) if stream.learner.is_pinned() => Ok(Source::Pinned(source)),
        Accepts::Only(source) => Ok(Source::Only(source)),
        Accepts::Undecided => Err(Reason::NotConfirmed),
    }
}

/// Nothing but header fields changes on this way.
fn passes_plainly(edge: &Edge) -> Result<(), Reason> {
    first(&[
        (edge.transcoding.is_some(), Reason::Transcoded),
        (edge.filter.is_some(), Reason::Treated),
        (edge.section().is_some() || edge.mid.is_some(), Reason::Bundled),
    ])
}

/// Nothing is done to the packets on their way out.
fn output(sink: &Stream, edge: &Edge) -> Result<TargetOutput, Reason> {
    first(&[
        // Each packet's index has to be compared with the one that it came under.
        (edge.key_use == KeyUse::Source, Reason::Secured),
        (sink.mids.is_some(), Reason::Bundled),
        (sink.mixer.is_some(), Reason::Mixed),
        (sink.muted_by > 0, Reason::Player),
    ])?;
    // A party that only listens will hardly be heard; if it is, and is elsewhere, the target is another one.
    let only_listens = sink.edges.is_empty();
    let is_settled = sink.shared.confirmed.load(Relaxed) == 1 || !sink.learner.may_move() || only_listens;
    let peer = sink.reachable_peer().filter(|_| is_settled).ok_or(Reason::SinkNotConfirmed)?;
    let socket = sink.path_socket();
    let key = match sink.secured {
        true => Some(sink.present_keys().and_then(Security::sending).ok_or(Reason::NoKey)?),
        false => None,
    };
    Ok(TargetOutput {
        stream: sink.id,
        local: socket.local,
        peer,
        renamed: Vec::new(),
        ssrc_mask: edge.ssrc_mask,
        key: key.cloned(),
        tos: socket.tos(),
        tap: sink.tap.filter(|tap| tap.egress),
    })
}

/// Payload types that pass by all edges, and that nobody here wants to look into.
fn formats(stream: &Stream) -> Result<Vec<TargetFormat>, Reason> {
    let current = stream.ingress_ssrc.tracks().map(|(_, track)| track.payload_type);
    let mut formats: Vec<TargetFormat> = Vec::with_capacity(stream.clock_rates.len());
    let (mut dropped, mut read) = (false, false);
    for payload_type in stream.clock_rates.iter().map(|(payload_type, _)| *payload_type).chain(current) {
        let passes = |edge: &Edge| matches!(edge.action(payload_type), Action::Forward | Action::Rewrite(_));
        if !stream.edges.iter().all(passes) {
            dropped = true;
        } else if stream.dtmf.as_ref().is_some_and(|detector| detector.listens_to(payload_type)) {
            read = true;
        } else if formats.iter().all(|format| format.payload_type != payload_type) {
            let clock_rate = Stream::clock_rate(&stream.clock_rates, payload_type);
            formats.push(TargetFormat { payload_type, clock_rate });
        }
    }
    match formats.is_empty() {
        false => Ok(formats),
        true if read => Err(Reason::Digits),
        true if dropped => Err(Reason::NoOutput),
        true => Err(Reason::NoPackets),
    }
}

fn first(obstacles: &[(bool, Reason)]) -> Result<(), Reason> {
    obstacles.iter().find(|(is_there, _)| *is_there).map_or(Ok(()), |(_, reason)| Err(*reason))
}
