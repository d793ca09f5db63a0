//! One recorded call: metafile state, sources, outputs, and the recording that others are told about.

mod clock;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use codec::rtp::{self, RtpPacket};
use spool::framing;
use spool::metafile::Chunk;

use clock::CallClock;

use crate::config::PcmConfig;
use crate::delivery::{Hub, Origin, RecordingHandle};
use crate::forward::{PacketForward, PcmSink, SourcePcm};
use crate::local_time::unix_seconds;
use crate::metadata::{CallInfo, Change};
use crate::mix_output::{MixOutput, MixPlace, PlacedAudio, Written};
use crate::output::{Budget, Finished};
use crate::recording::{Ending, LOST_IN_MEMORY, OutputMedium, OutputState, Party, Pause, Recording, Target};
use crate::resume::SavedState;
use crate::rtcp;
use crate::settings::OutputSettings;
use crate::ssrc::{DecodedFrame, Frame, Source, SourceId};
use crate::timeline::CallTime;

/// Sources of one call at most; more look like an attack.
const MAX_SOURCES: usize = 256;
/// Pauses of one call that are reported.
const MAX_PAUSES: usize = 1000;
/// Files are brought up to date this often, so that a killed process loses less than a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(400);
/// A missing packet is not waited for when nothing comes for so long.
const GIVE_UP_WAITING: Duration = Duration::from_millis(500);
/// How far a forwarded mix is behind the call.
const LIVE_DELAY: i64 = 500_000_000;

/// What calls share.
#[derive(Clone)]
pub struct Shared {
    /// Outputs.
    pub output: Arc<OutputSettings>,
    /// Who is told about recordings.
    pub hub: Hub,
    /// Memory for audio.
    pub budget: Budget,
    /// Rows are wanted at all.
    pub database: bool,
    /// Live audio.
    pub pcm: Option<Arc<PcmConfig>>,
    /// Live packets.
    pub forward_to: Option<Arc<PathBuf>>,
}

/// One recorded call.
pub struct Call {
    shared: Shared,
    /// Names the call in front of log lines.
    span: tracing::Span,
    info: CallInfo,
    clock: CallClock,
    recording: Recording,
    handle: Option<RecordingHandle>,
    origin: Origin,
    sources: BTreeMap<SourceId, Source>,
    mix: Option<MixOutput>,
    live: Option<LiveMix>,
    packets: PacketForward,
    interrupted: Option<SavedState>,
    saved: Option<SavedState>,
    last_flush: Instant,
    decoded: Vec<DecodedFrame>,
    placed: Vec<(CallTime, Frame)>,
    invalid_packets: u64,
    too_many_sources: u64,
}

/// The mix that is forwarded.
struct LiveMix {
    mix: MixOutput,
    sink: PcmSink,
}

impl Call {
    /// A call whose metafile was found. `interrupted` is what an earlier run left of it.
    pub fn new(shared: Shared, prefix: &str, now: Instant, interrupted: Option<SavedState>) -> Self {
        let mut interrupted = interrupted;
        let recording = match &mut interrupted {
            Some(state) => std::mem::take(&mut state.recording),
            None => Recording::new(prefix, unix_seconds(SystemTime::now())),
        };
        let epoch = interrupted.as_ref().and_then(|state| state.progress.as_ref());
        Self {
            shared,
            span: tracing::info_span!("call", metafile = format!("{prefix}.meta")),
            info: CallInfo::default(),
            clock: CallClock::new(now, epoch.map(|progress| progress.epoch_unix_ns)),
            recording,
            handle: None,
            origin: if interrupted.is_some() { Origin::Interrupted } else { Origin::New },
            sources: BTreeMap::new(),
            mix: None,
            live: None,
            packets: PacketForward::default(),
            interrupted,
            saved: None,
            last_flush: now,
            decoded: Vec::new(),
            placed: Vec::new(),
            invalid_packets: 0,
            too_many_sources: 0,
        }
    }

    /// Completes what an earlier run left of a call that is over: valid files, completed rows.
    pub fn finish_interrupted(shared: Shared, state: SavedState) {
        let prefix = state.recording.prefix.clone();
        let mut call = Self::new(shared, &prefix, Instant::now(), Some(state));
        let _entered = call.span.clone().entered();
        call.start();
        tracing::info!(
            "Recording for call '{prefix}.meta' ended while nobody recorded it, completing its outputs"
        );
        call.recording.add_fault("the call ended while the recording daemon was not running".into());
        call.finish_at(None, Instant::now());
    }

    /// Takes in a chunk of the metafile.
    pub fn apply(&mut self, chunk: Chunk<'_>) -> Change {
        let _entered = self.span.clone().entered();
        let was_recording = self.info.recording;
        let change = self.info.apply(chunk);
        match change {
            Change::Started => self.start(),
            Change::Recording if self.info.started && was_recording != self.info.recording => self.paused(),
            Change::Metadata => {
                if let Some(socket) = &self.shared.forward_to {
                    self.packets.metadata(socket, &self.info.metadata_text);
                }
                if self.handle.is_some() {
                    self.publish();
                }
            }
            Change::Invalid => tracing::warn!("Chunk '{}' of the metadata file is not valid", chunk.label),
            _ => {}
        }
        change
    }

    /// What the metafile said.
    pub fn info(&self) -> &CallInfo {
        &self.info
    }

    /// When the recording ended, as the media proxy says, if it has said so by `now`.
    pub fn ended_at(&self, now: Instant) -> Option<Instant> {
        self.info.ended_us.map(|at| self.clock.arrival(at, now).min(now))
    }

    /// Notes why something is missing.
    pub fn add_fault(&mut self, fault: &str) {
        self.recording.add_fault(fault.to_owned());
    }

    /// Takes one framed packet of a stream.
    pub fn packet(&mut self, stream: u32, octets: &[u8], read_at: Instant) {
        let _entered = self.span.clone().entered();
        if self.shared.forward_to.is_some() {
            self.packets.packet(octets.get(..framing::datagram_octets(octets)).unwrap_or_default());
        }
        if !self.decodes() {
            return;
        }
        let Ok(datagram) = framing::parse(octets) else { return self.invalid_packet() };
        if rtp::is_rtcp(datagram.payload) {
            return self.reports(stream, datagram.payload);
        }
        let Ok(packet) = RtpPacket::parse(datagram.payload) else { return self.invalid_packet() };
        // A metafile of the older kind never says that it is complete.
        self.start();
        let id = self.source_id(packet.ssrc(), stream);
        if !self.sources.contains_key(&id) {
            if self.sources.len() >= MAX_SOURCES {
                self.too_many_sources += 1;
                return;
            }
            self.sources.insert(id, Source::new(id.ssrc, stream, None));
        }
        let arrival = datagram.arrival_us.map_or(read_at, |arrival| self.clock.arrival(arrival, read_at));
        let seen_at = self.clock.unix_seconds(self.clock.at(arrival));
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.saw_packet_at(seen_at);
        source.push(&self.info, packet, arrival, &mut self.decoded);
        self.write_decoded(id, read_at);
    }

    fn source_id(&mut self, ssrc: u32, stream: u32) -> SourceId {
        let party = self.info.streams.get(&stream).and_then(|stream| stream.tag);
        let id = SourceId { ssrc, party: party.filter(|_| self.info.exposed_once) };
        let nameless = SourceId { ssrc, party: None };
        // An earlier version did not say whose it was.
        if !self.sources.contains_key(&id)
            && let Some(source) = self.sources.remove(&nameless)
        {
            self.sources.insert(id, source);
        }
        id
    }

    /// Sender reports tie timestamps to the sender's wall clock.
    fn reports(&mut self, stream: u32, octets: &[u8]) {
        for report in rtcp::sender_reports(octets) {
            let id = self.source_id(report.ssrc, stream);
            if let Some(source) = self.sources.get_mut(&id) {
                source.timeline.sender_report(report.ntp_ns, report.timestamp);
            }
        }
    }

    /// Does what is due. Call every 100 ms or so.
    pub fn tick(&mut self, now: Instant) {
        self.clock.follow_wall_clock();
        self.write_live(now);
        if now.duration_since(self.last_flush) < FLUSH_INTERVAL {
            return;
        }
        self.last_flush = now;
        let _entered = self.span.clone().entered();
        let ids: Vec<SourceId> = self.sources.keys().copied().collect();
        let mut changed = false;
        for id in ids {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            if now.checked_sub(GIVE_UP_WAITING).is_some_and(|then| source.is_silent_since(then)) {
                source.flush(&self.info, &mut self.decoded);
            }
            source.timeline.poll(self.clock.at(now), &mut self.placed);
            self.write_decoded(id, now);
            if let Some(source) = self.sources.get_mut(&id)
                && source.flush_single()
            {
                source.describe(&mut self.recording);
                changed = true;
            }
        }
        let now = self.clock.at(now);
        if let Some(mix) = &mut self.mix {
            let mut place = MixPlace {
                settings: &self.shared.output,
                budget: &self.shared.budget,
                call: &self.info,
                recording: &mut self.recording,
            };
            if mix.write(&mut place, now) == Written::OutputChanged {
                mix.describe(&mut self.recording);
                changed = true;
            }
        }
        if changed {
            self.publish();
        }
        self.save_state();
    }

    /// The recording is over since `end`: completes all outputs.
    pub fn finish(mut self, end: Instant) {
        let _entered = self.span.clone().entered();
        tracing::info!("Recording for call '{}.meta' finished", self.recording.prefix);
        let ids: Vec<SourceId> = self.sources.keys().copied().collect();
        for id in ids {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            source.flush(&self.info, &mut self.decoded);
            self.write_decoded(id, end);
            let Some(source) = self.sources.get_mut(&id) else { continue };
            source.timeline.finish(&mut self.placed);
            self.write_decoded(id, end);
            if let (Some(source), Some(mix)) = (self.sources.get_mut(&id), &mut self.mix) {
                let tag = self.info.streams.get(&source.stream()).and_then(|stream| stream.tag);
                mix.flush_feed(&mut source.feed, id.ssrc, tag);
            }
        }
        if let Some(live) = &mut self.live {
            live.mix.finish_live(&mut live.sink);
        }
        let call_end = self.clock.at(end);
        self.finish_at(Some(call_end), end);
    }

    /// The recording is to leave nothing behind.
    pub fn discard(mut self) {
        let _entered = self.span.clone().entered();
        tracing::info!("Recording for call '{}.meta' discarded", self.recording.prefix);
        // Outputs of an earlier run count too.
        self.start();
        for source in std::mem::take(&mut self.sources).into_values() {
            source.discard(&mut self.recording);
        }
        if let Some(mix) = self.mix.take() {
            mix.discard(&mut self.recording);
        }
        for output in &mut self.recording.outputs {
            // Those that could not be taken up again.
            if output.state != OutputState::Dropped {
                let _ = std::fs::remove_file(&output.path);
                output.state = OutputState::Dropped;
            }
        }
        self.report_end(Ending::Discarded, unix_seconds(SystemTime::now()), Vec::new());
    }

    fn finish_at(mut self, call_end: Option<CallTime>, end: Instant) {
        let ended_at = SystemTime::now() - end.elapsed();
        if self.invalid_packets > 0 {
            tracing::warn!("Failed to parse packet headers of {} packets", self.invalid_packets);
        }
        if self.too_many_sources > 0 {
            let fault =
                format!("{} packets came from more than {MAX_SOURCES} sources", self.too_many_sources);
            self.recording.add_fault(fault);
        }
        self.recording.sources = self.sources.values().map(|source| source.report(&self.info)).collect();
        for pause in &mut self.recording.pauses {
            pause.to.get_or_insert(unix_seconds(ended_at));
        }
        let mut outputs = Vec::new();
        for source in std::mem::take(&mut self.sources).into_values() {
            outputs.extend(source.finish(&mut self.recording, ended_at));
        }
        if let Some(mix) = self.mix.take() {
            for pause in &mut self.recording.pauses {
                pause.position = mix.seconds_at(self.clock.time_of(pause.from));
            }
            let mut place = MixPlace {
                settings: &self.shared.output,
                budget: &self.shared.budget,
                call: &self.info,
                recording: &mut self.recording,
            };
            // Nobody knows when a call ended that ended unobserved: its file ends with its audio.
            outputs.extend(mix.finish(&mut place, call_end.unwrap_or(CallTime::MIN), ended_at));
        }
        self.report_end(Ending::Kept, unix_seconds(ended_at), outputs);
    }

    /// Opens the recording and takes up what an earlier run left, once.
    fn start(&mut self) {
        if self.handle.is_some() {
            return;
        }
        let interrupted = self.interrupted.take();
        if self.info.call_id.is_empty() {
            self.info.call_id.clone_from(&self.recording.call_id);
        }
        if interrupted.is_none() {
            self.recording.call_id.clone_from(&self.info.call_id);
            self.recording.in_database =
                self.shared.database && !self.info.skip_database && !self.info.call_id.is_empty();
        }
        self.describe();
        self.handle = Some(self.shared.hub.open(&self.recording, self.origin));
        if let Some(progress) = interrupted.and_then(|state| state.progress) {
            self.take_up(&progress);
            self.publish();
        }
        if !self.info.recording && self.info.started {
            self.paused();
        }
        self.save_state();
    }

    /// Recording was switched off or on again.
    fn paused(&mut self) {
        let time = self.clock.unix_seconds(self.clock.at(Instant::now()));
        let count = self.recording.pauses.len();
        let open = self.recording.pauses.last_mut().filter(|pause| pause.to.is_none());
        match (self.info.recording, open) {
            (true, Some(pause)) => pause.to = Some(time),
            (false, None) if count < MAX_PAUSES => {
                self.recording.pauses.push(Pause { from: time, to: None, position: None });
            }
            _ => {}
        }
    }

    /// Writes what was decoded, and what the timeline has placed.
    fn write_decoded(&mut self, id: SourceId, now: Instant) {
        if self.decoded.is_empty() && self.placed.is_empty() {
            return;
        }
        let Some(source) = self.sources.get_mut(&id) else { return };
        let settings = &self.shared.output;
        let forwards = self.shared.pcm.is_some() && self.info.is_forwarded(source.stream());
        let pcm = self.shared.pcm.as_ref().filter(|_| forwards);
        let stream_number = source.stream();
        let mut has_new_output = false;
        for mut decoded in self.decoded.drain(..) {
            if let Some(config) = pcm.filter(|config| !config.mixed) {
                let sink = || {
                    let metadata =
                        self.info.stream_party(stream_number).map(|(_, tag)| tag.metadata.as_str());
                    let metadata =
                        metadata.filter(|text| !text.is_empty()).unwrap_or(&self.info.metadata_text);
                    SourcePcm::new(PcmSink::open(self.shared.hub.runtime(), config, metadata, 1), config)
                };
                source.pcm.get_or_insert_with(sink).push(&decoded);
            }
            if self.info.recording {
                let (budget, info) = (&self.shared.budget, &self.info);
                has_new_output |=
                    source.write_single(settings, budget, info, &mut self.recording, &decoded.frame);
            }
            if settings.mixed || pcm.is_some_and(|config| config.mixed) {
                let arrival = self.clock.at(decoded.arrival);
                decoded.frame.is_recorded = self.info.recording;
                let DecodedFrame { timestamp, clock_rate, frame, .. } = decoded;
                source.timeline.push(timestamp, clock_rate, arrival, frame, &mut self.placed);
            }
        }
        let stream = self.info.streams.get(&source.stream()).cloned().unwrap_or_default();
        let now = self.clock.at(now);
        for (time, frame) in self.placed.drain(..) {
            if frame.samples.is_empty() {
                continue;
            }
            let audio = PlacedAudio { time, format: frame.format, samples: &frame.samples };
            if let Some(config) = pcm.filter(|config| config.mixed) {
                let live = self.live.get_or_insert_with(|| {
                    let settings = OutputSettings {
                        resample_to: Some(config.sample_rate),
                        format: media_store::container::Format::Wav,
                        ..(**settings).clone()
                    };
                    let mix =
                        MixOutput::new(&settings, crate::output::AudioFormat { channels: 1, ..frame.format });
                    let text = &self.info.metadata_text;
                    let sink = PcmSink::open(self.shared.hub.runtime(), config, text, mix.channels());
                    LiveMix { mix, sink }
                });
                live.mix.push(&mut source.live_feed, id.ssrc, &stream, now, audio);
            }
            // The timeline goes on in a pause: what follows it lies where it belongs.
            if settings.mixed && frame.is_recorded {
                let mix = self.mix.get_or_insert_with(|| MixOutput::new(settings, frame.format));
                mix.push(&mut source.feed, id.ssrc, &stream, now, audio);
            }
        }
        if has_new_output {
            self.publish();
            // Whoever comes after a crash goes on in this file.
            self.save_state();
        }
    }

    fn write_live(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.mix.write_live(self.clock.at(now) - LIVE_DELAY, &mut live.sink);
        }
    }

    fn report_end(&mut self, ending: Ending, end: f64, outputs: Vec<(usize, Finished)>) {
        let Some(handle) = self.handle.take() else { return };
        self.describe();
        for output in &mut self.recording.outputs {
            if output.state == OutputState::Open {
                // Opened by an earlier run and not found again.
                output.state = match output.medium {
                    OutputMedium::File if output.path.exists() => OutputState::Complete,
                    _ => OutputState::Dropped,
                };
                output.end = Some(end);
                if output.state == OutputState::Dropped {
                    output.refused.push((Target::File, LOST_IN_MEMORY.into()));
                }
            }
        }
        self.recording.end = Some(end);
        self.recording.ending = Some(ending);
        self.save_ended();
        handle.finish(std::mem::take(&mut self.recording), outputs);
    }

    /// Participants and metadata as they are now.
    fn describe(&mut self) {
        self.recording.metadata.clone_from(&self.info.metadata_text);
        if self.info.tags.is_empty() {
            return;
        }
        let party = |(&number, tag): (&u32, &crate::metadata::Tag)| Party {
            number,
            tag: tag.name.clone(),
            label: tag.label.clone(),
            metadata: tag.metadata.clone(),
        };
        self.recording.parties = self.info.tags.iter().map(party).collect();
    }

    fn publish(&mut self) {
        self.describe();
        if let Some(handle) = &self.handle {
            handle.publish(&self.recording);
        }
    }

    /// Somebody wants audio.
    fn decodes(&self) -> bool {
        self.shared.output.single || self.shared.output.mixed || self.shared.pcm.is_some()
    }

    fn invalid_packet(&mut self) {
        if self.invalid_packets == 0 {
            tracing::warn!("Failed to parse packet headers");
        }
        self.invalid_packets += 1;
    }
}
