//! One recorded call: metafile state, sources, outputs, database row, and the state kept for the next run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use codec::rtp::{self, RtpPacket};
use media_store::sink::sqlite::OutputKind;
use spool::framing;
use spool::metafile::Chunk;

use crate::local_time::unix_seconds;
use crate::metadata::{CallInfo, Change, Stream};
use crate::mix_output::{MixOutput, PlacedAudio};
use crate::output::{CallRow, Contents, OutputFile};
use crate::resume::{self, CallState, SingleState};
use crate::settings::OutputSettings;
use crate::ssrc::{DecodedFrame, Frame, Source};
use crate::store::{Job, Origin, RowToken, StoreHandle};
use crate::timeline::{Anchor, CallTime};

/// Sources of one call at most; more look like an attack.
const MAX_SOURCES: usize = 256;
/// Files are brought up to date this often, so that a killed process loses less than a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(400);
/// A missing packet is not waited for when nothing comes for so long.
const GIVE_UP_WAITING: Duration = Duration::from_millis(500);
/// Movements of an anchor below this are not worth saving.
const ANCHOR_TOLERANCE: i64 = 10_000_000;

/// What calls share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Audio files.
    pub output: Arc<OutputSettings>,
    /// The store thread.
    pub store: StoreHandle,
    /// Rows are wanted at all.
    pub database: bool,
}

/// One recorded call.
pub struct Call {
    shared: Shared,
    /// Names the call in front of log lines.
    span: tracing::Span,
    prefix: String,
    info: CallInfo,
    clock: CallClock,
    start_timestamp: f64,
    row: Option<RowToken>,
    row_origin: Origin,
    entered: bool,
    sources: BTreeMap<u32, Source>,
    mix: Option<MixOutput>,
    interrupted: Option<CallState>,
    saved: Option<CallState>,
    last_flush: Instant,
    decoded: Vec<DecodedFrame>,
    placed: Vec<(CallTime, Frame)>,
    invalid_packets: u64,
}

/// The clock of a call: nanoseconds since the recording began, also across an interruption.
#[derive(Clone, Copy, Debug)]
struct CallClock {
    base: Instant,
    base_time: CallTime,
    epoch_unix_ns: i64,
}

impl CallClock {
    fn new(now: Instant, interrupted: Option<&CallState>) -> Self {
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let unix_ns = i64::try_from(unix_ns).unwrap_or(i64::MAX);
        let epoch_unix_ns = interrupted.map_or(unix_ns, |state| state.epoch_unix_ns);
        Self { base: now, base_time: unix_ns.saturating_sub(epoch_unix_ns), epoch_unix_ns }
    }

    fn at(&self, instant: Instant) -> CallTime {
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(self.base) {
            Some(later) => self.base_time.saturating_add(nanoseconds(later)),
            None => self.base_time.saturating_sub(nanoseconds(self.base.duration_since(instant))),
        }
    }
}

impl Call {
    /// A call whose metafile was found. `interrupted` is what an earlier run left of it.
    pub fn new(shared: Shared, prefix: &str, now: Instant, interrupted: Option<CallState>) -> Self {
        let start_timestamp = interrupted
            .as_ref()
            .map_or_else(|| unix_seconds(SystemTime::now()), |state| state.start_timestamp);
        let row_origin = match &interrupted {
            Some(state) if state.in_database => Origin::Interrupted,
            _ => Origin::New,
        };
        Self {
            shared,
            span: tracing::info_span!("call", metafile = format!("{prefix}.meta")),
            prefix: prefix.to_owned(),
            info: CallInfo::default(),
            clock: CallClock::new(now, interrupted.as_ref()),
            start_timestamp,
            row: None,
            row_origin,
            entered: false,
            sources: BTreeMap::new(),
            mix: None,
            interrupted,
            saved: None,
            last_flush: now,
            decoded: Vec::new(),
            placed: Vec::new(),
            invalid_packets: 0,
        }
    }

    /// Completes what an earlier run left of a call that is over: valid files, completed rows.
    pub fn finish_interrupted(shared: Shared, state: CallState) {
        let prefix = state.prefix.clone();
        let mut call = Self::new(shared, &prefix, Instant::now(), Some(state));
        let _entered = call.span.clone().entered();
        call.start();
        tracing::info!(
            "Recording for call '{prefix}.meta' ended while nobody recorded it, completing its outputs"
        );
        call.finish_at(None);
    }

    /// Takes in a chunk of the metafile.
    pub fn apply(&mut self, chunk: Chunk<'_>) -> Change {
        let _entered = self.span.clone().entered();
        let change = self.info.apply(chunk);
        match change {
            Change::Started => self.start(),
            Change::Invalid => tracing::warn!("Chunk '{}' of the metadata file is not valid", chunk.label),
            _ => {}
        }
        change
    }

    /// What the metafile said.
    pub fn info(&self) -> &CallInfo {
        &self.info
    }

    /// Takes one framed packet of a stream.
    pub fn packet(&mut self, stream: u32, octets: &[u8], arrival: Instant) {
        let _entered = self.span.clone().entered();
        let Ok(datagram) = framing::parse(octets) else { return self.invalid_packet() };
        if rtp::is_rtcp(datagram.payload) {
            return;
        }
        let Ok(packet) = RtpPacket::parse(datagram.payload) else { return self.invalid_packet() };
        // A metafile of the older kind never says that it is complete.
        self.start();
        let ssrc = packet.ssrc();
        if !self.sources.contains_key(&ssrc) {
            if self.sources.len() >= MAX_SOURCES {
                return self.invalid_packet();
            }
            self.sources.insert(ssrc, Source::new(ssrc, stream, None));
        }
        let Some(source) = self.sources.get_mut(&ssrc) else { return };
        source.push(&self.info, packet, arrival, &mut self.decoded);
        self.write_decoded(ssrc, arrival);
    }

    /// Does what is due. Call every 100 ms or so.
    pub fn tick(&mut self, now: Instant) {
        if now.duration_since(self.last_flush) < FLUSH_INTERVAL {
            return;
        }
        self.last_flush = now;
        let _entered = self.span.clone().entered();
        let ssrcs: Vec<u32> = self.sources.keys().copied().collect();
        for ssrc in ssrcs {
            let Some(source) = self.sources.get_mut(&ssrc) else { continue };
            if now.checked_sub(GIVE_UP_WAITING).is_some_and(|then| source.is_silent_since(then)) {
                source.flush(&self.info, &mut self.decoded);
            }
            source.timeline.poll(self.clock.at(now), &mut self.placed);
            self.write_decoded(ssrc, now);
            if let Some(source) = self.sources.get_mut(&ssrc) {
                source.flush_single();
            }
        }
        if let Some(mix) = &mut self.mix {
            let row = self.row.map(|row| (row, &self.shared.store));
            mix.write(&self.shared.output, &self.info, row, self.clock.at(now));
        }
        self.save_state();
    }

    /// The recording is over: completes all outputs.
    pub fn finish(mut self, now: Instant) {
        let _entered = self.span.clone().entered();
        tracing::info!("Recording for call '{}.meta' finished", self.prefix);
        let ssrcs: Vec<u32> = self.sources.keys().copied().collect();
        for ssrc in ssrcs {
            let Some(source) = self.sources.get_mut(&ssrc) else { continue };
            source.flush(&self.info, &mut self.decoded);
            self.write_decoded(ssrc, now);
            let Some(source) = self.sources.get_mut(&ssrc) else { continue };
            source.timeline.finish(&mut self.placed);
            self.write_decoded(ssrc, now);
            if let (Some(source), Some(mix)) = (self.sources.get_mut(&ssrc), &mut self.mix) {
                mix.flush_feed(&mut source.feed, ssrc);
            }
        }
        self.finish_at(Some(now));
    }

    /// The recording is to leave nothing behind.
    pub fn discard(mut self) {
        let _entered = self.span.clone().entered();
        tracing::info!("Recording for call '{}.meta' discarded", self.prefix);
        // Outputs of an earlier run count too.
        self.start();
        for source in std::mem::take(&mut self.sources).into_values() {
            source.discard();
        }
        if let Some(mix) = self.mix.take() {
            mix.discard();
        }
        self.report_end();
    }

    fn finish_at(mut self, now: Option<Instant>) {
        let end = SystemTime::now();
        if self.invalid_packets > 0 {
            tracing::warn!("Failed to parse packet headers of {} packets", self.invalid_packets);
        }
        for source in std::mem::take(&mut self.sources).into_values() {
            source.finish(end);
        }
        if let Some(mix) = self.mix.take() {
            // Nobody knows when a call ended that ended unobserved: its file ends with its audio.
            let end_of_call = now.map_or(CallTime::MIN, |now| self.clock.at(now));
            mix.finish(&self.shared.output, &self.info, self.call_row(), end_of_call, end);
        }
        self.report_end();
    }

    /// Enters the call in the database and takes up what an earlier run left, once.
    fn start(&mut self) {
        if std::mem::replace(&mut self.entered, true) {
            return;
        }
        let interrupted = self.interrupted.take();
        if let Some(state) = interrupted.as_ref().filter(|_| self.info.call_id.is_empty()) {
            self.info.call_id.clone_from(&state.call_id);
        }
        let wanted = interrupted.as_ref().map_or(!self.info.skip_database, |state| state.in_database);
        if self.shared.database && wanted && !self.info.call_id.is_empty() {
            let call = self.shared.store.token();
            self.row = Some(call);
            self.shared.store.submit(Job::CallStarted {
                call,
                call_id: self.info.call_id.clone(),
                start: self.start_timestamp,
                metadata: self.info.metadata.clone(),
                origin: self.row_origin,
            });
        }
        if let Some(state) = interrupted {
            self.take_up(&state);
        }
        self.save_state();
    }

    fn take_up(&mut self, state: &CallState) {
        for anchor in &state.anchors {
            let known =
                Anchor { timestamp: anchor.timestamp, clock_rate: anchor.clock_rate, time: anchor.time };
            let single = state.singles.iter().find(|single| single.ssrc == anchor.ssrc);
            let stream = single.map_or(0, |single| single.stream);
            self.sources.insert(anchor.ssrc, Source::new(anchor.ssrc, stream, Some(known)));
        }
        for single in &state.singles {
            let SingleState { ssrc, stream, ref label, ref path } = *single;
            let contents = Contents { kind: OutputKind::Single, ssrc, stream, label: label.clone() };
            match OutputFile::reopen(&self.shared.output, path, &contents, self.call_row()) {
                Ok(file) => self
                    .sources
                    .entry(ssrc)
                    .or_insert_with(|| Source::new(ssrc, stream, None))
                    .resume_single(file, contents),
                Err(error) => tracing::warn!("Cannot continue '{}': {error}", path.display()),
            }
        }
        let Some(mixed) = &state.mixed else { return };
        let contents = Contents { kind: OutputKind::Mixed, ssrc: 0, stream: 0, label: String::new() };
        match OutputFile::reopen(&self.shared.output, &mixed.path, &contents, self.call_row()) {
            Ok(file) => {
                self.mix = MixOutput::resume(&self.shared.output, mixed, file);
                if self.mix.is_none() {
                    tracing::warn!("Cannot continue '{}': other mix options", mixed.path.display());
                }
            }
            Err(error) => tracing::warn!("Cannot continue '{}': {error}", mixed.path.display()),
        }
    }

    /// Writes what was decoded, and what the timeline has placed.
    fn write_decoded(&mut self, ssrc: u32, now: Instant) {
        let Some(source) = self.sources.get_mut(&ssrc) else { return };
        let settings = &self.shared.output;
        let row = self.row.map(|row| (row, &self.shared.store));
        for mut decoded in self.decoded.drain(..) {
            if self.info.recording {
                source.write_single(settings, &self.info, row, &decoded.frame);
            } else {
                // The timeline goes on: what follows the pause lies where it belongs.
                decoded.frame.samples.clear();
            }
            if settings.mixed {
                let arrival = self.clock.at(decoded.arrival);
                let DecodedFrame { timestamp, clock_rate, frame, .. } = decoded;
                source.timeline.push(timestamp, clock_rate, arrival, frame, &mut self.placed);
            }
        }
        let stream = self.info.streams.get(&source.stream());
        let now = self.clock.at(now);
        for (time, frame) in self.placed.drain(..) {
            if frame.samples.is_empty() {
                continue;
            }
            let mix = self.mix.get_or_insert_with(|| MixOutput::new(settings, frame.format));
            let audio = PlacedAudio { time, format: frame.format, samples: &frame.samples };
            mix.push(&mut source.feed, ssrc, stream.unwrap_or(&Stream::default()), now, audio);
        }
    }

    fn save_state(&mut self) {
        let mut state = CallState {
            prefix: self.prefix.clone(),
            call_id: self.info.call_id.clone(),
            epoch_unix_ns: self.clock.epoch_unix_ns,
            start_timestamp: self.start_timestamp,
            in_database: self.row.is_some(),
            mixed: self.mix.as_ref().and_then(MixOutput::state),
            singles: Vec::new(),
            anchors: Vec::new(),
        };
        for source in self.sources.values() {
            let (single, anchor) = source.state();
            state.singles.extend(single);
            state.anchors.extend(anchor);
        }
        if !self.entered || self.saved.as_ref().is_some_and(|saved| is_as_good(saved, &state)) {
            return;
        }
        if let Err(error) = resume::save(&self.shared.output.directory, &state) {
            tracing::warn!("Cannot save the state of '{}', it could not be continued: {error}", self.prefix);
        }
        self.saved = Some(state);
    }

    fn report_end(&self) {
        if let Some(call) = self.row {
            self.shared.store.submit(Job::CallFinished { call, end: unix_seconds(SystemTime::now()) });
        }
        if self.entered {
            let path = resume::path(&self.shared.output.directory, &self.prefix);
            self.shared.store.submit(Job::RemoveState(path));
        }
    }

    fn call_row(&self) -> CallRow<'_> {
        self.row.map(|row| (row, &self.shared.store))
    }

    fn invalid_packet(&mut self) {
        if self.invalid_packets == 0 {
            tracing::warn!("Failed to parse packet headers");
        }
        self.invalid_packets += 1;
    }
}

/// Whether the next run would find the same places with the saved state.
fn is_as_good(saved: &CallState, now: &CallState) -> bool {
    let anchors_hold = saved.anchors.len() == now.anchors.len()
        && saved.anchors.iter().zip(&now.anchors).all(|(saved, now)| {
            let place = Anchor { timestamp: saved.timestamp, clock_rate: saved.clock_rate, time: saved.time }
                .place(now.timestamp);
            saved.ssrc == now.ssrc
                && saved.clock_rate == now.clock_rate
                && (place - now.time).abs() < ANCHOR_TOLERANCE
        });
    anchors_hold
        && saved.mixed == now.mixed
        && saved.singles == now.singles
        && saved.in_database == now.in_database
}
