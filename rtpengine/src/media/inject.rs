//! Digits added to what a party sends (`play DTMF`, delayed digits): event packets or tones, in the numbering of the stream that
//! they join, whose own packets are held back meanwhile.

use std::time::{Duration, Instant};

use super::dtmf::Digit;
use super::event::MediaEvent;
use super::filter::{Added, tone};
use super::output::Output;
use super::plan::CallKey;
use super::receive::DATAGRAM;
use super::route::Edge;
use super::stream::Streams;
use super::treatment::{DtmfTreatment, InjectionForm, InjectionPlan};
use super::worker::Worker;
use crate::proto::dtmf::NamedEvent;

/// A digit that waits for its turn or is being sent.
pub struct Injection {
    call: CallKey,
    /// Token of the stream whose packets it joins.
    source: u64,
    plan: InjectionPlan,
    code: u8,
    begin: Instant,
    /// Timestamp of the beginning; `None` until then.
    timestamp: Option<u32>,
    /// Packets' worth of time that has been sent.
    steps: u32,
}

/// Time between two packets of an event.
const UPDATE: Duration = Duration::from_millis(20);
/// RFC 4733 §2.5.1.4: the last packet is sent three times.
const END_PACKETS: usize = 3;
/// Digits that may wait for their turn in one worker.
const MAX_WAITING: usize = 4096;

impl Worker {
    /// Queues a digit.
    pub(super) fn inject(&mut self, key: CallKey, plan: InjectionPlan) {
        let slot = self.calls.calls.get(&key).and_then(|call| call.slot(plan.from));
        let stream = slot.and_then(|slot| self.streams.get_mut(slot));
        let mut edges = stream.into_iter().flat_map(|stream| &mut stream.edges);
        let filter = edges.find(|edge| edge.rtp_sink == Some(plan.to)).and_then(|edge| edge.filter.as_mut());
        // Without an edge the call changed while the command was on its way.
        let (Some(slot), Some(filter)) = (slot, filter) else { return };
        if self.calls.injections.len() >= MAX_WAITING {
            return;
        }
        let earliest = self.output.now.instant.max(plan.not_before);
        let begin = filter.busy_until.map_or(earliest, |until| until.max(earliest));
        filter.busy_until = Some(begin + plan.duration + plan.pause);
        let number = self.calls.next_injection;
        self.calls.next_injection += 1;
        let (source, code) = (self.streams.token(slot), plan.code);
        let injection = Injection { call: key, source, plan, code, begin, timestamp: None, steps: 0 };
        self.calls.injections.insert(number, injection);
        self.output.schedule.injection(begin, number);
    }

    /// Sends what is due of a digit.
    pub(super) fn injection_turn(&mut self, number: u64, at: Instant) {
        let Some(mut injection) = self.calls.injections.remove(&number) else { return };
        let turn = injection.turn(number, at, &mut self.streams, &mut self.output, &mut self.scratch);
        match turn {
            Some(next) => {
                self.calls.injections.insert(number, injection);
                self.output.schedule.injection(next, number);
            }
            None => self.finish(number, &injection),
        }
    }

    fn finish(&mut self, number: u64, injection: &Injection) {
        let slot = self.streams.resolve(injection.source);
        let Some(stream) = slot.and_then(|slot| self.streams.get_mut(slot)) else { return };
        let filters = stream.edges.iter_mut().filter_map(|edge| edge.filter.as_mut());
        for filter in filters.filter(|filter| filter.injecting == Some(number)) {
            filter.injecting = None;
        }
        let Some(source) = stream.learner.peer().filter(|_| injection.plan.reported && injection.steps > 0)
        else {
            return;
        };
        let plan = &injection.plan;
        let digit = Digit { code: injection.code, duration: plan.duration, volume: plan.volume, source };
        self.tell(MediaEvent::DtmfEnded { call: injection.call, stream: plan.from, digit, injected: true });
    }
}

impl Injection {
    /// Sends the packets of one turn; when the next one is, or `None` at the end.
    fn turn(
        &mut self,
        number: u64,
        at: Instant,
        streams: &mut Streams,
        output: &mut Output,
        scratch: &mut [u8; DATAGRAM],
    ) -> Option<Instant> {
        let end = self.begin + self.plan.duration;
        if at >= end {
            return None;
        }
        let slot = streams.resolve(self.source)?;
        // Taken out for the time in which the sink is borrowed from the same slab; no allocation.
        let mut edges = std::mem::take(&mut streams.get_mut(slot)?.edges);
        let edge = edges.iter_mut().find(|edge| edge.rtp_sink == Some(self.plan.to) && edge.filter.is_some());
        let sent = edge.and_then(|edge| self.send(number, edge, streams, output, scratch));
        if let Some(stream) = streams.get_mut(slot) {
            stream.edges = edges;
        }
        sent?;
        Some((self.begin + self.step_time() * self.steps).min(end))
    }

    /// Sends the packets of one step. `None` when it cannot go on: no sink, nothing heard from the source yet, or blocked.
    fn send(
        &mut self,
        number: u64,
        edge: &mut Edge,
        streams: &mut Streams,
        output: &mut Output,
        scratch: &mut [u8; DATAGRAM],
    ) -> Option<()> {
        let tokens = [self.source, streams.token(edge.rtp_to?)];
        let sink = streams.get_mut(edge.rtp_to?)?;
        let mut filter = edge.filter.take()?;
        let mut ready = true;
        if self.timestamp.is_none() {
            if self.plan.treated {
                ready = self.apply(&filter.treatment.dtmf);
            }
            let position = filter.position(output.now.instant);
            self.timestamp = position.map(|(ssrc, timestamp)| {
                let source = edge.transcoding.as_mut().and_then(|t| t.of(ssrc));
                source.and_then(|s| s.transcoder.outgoing_timestamp(timestamp)).unwrap_or(timestamp)
            });
            filter.injecting =
                Some(number).filter(|_| ready && self.timestamp.is_some() && !self.plan.keeps_audio);
        }
        let first = self.timestamp.filter(|_| ready);
        if let Some(timestamp) = first {
            // What cannot be sent is counted as an error of the sink; time goes on.
            let mut add = |added: Added<'_>| {
                let _ = filter.add(edge, (sink, tokens), added, output, scratch);
            };
            match &self.plan.form {
                InjectionForm::Tones(frames) => add(tone(frames, timestamp, self.steps)),
                InjectionForm::Event { payload_type, clock_rate } => {
                    let elapsed = UPDATE * (self.steps + 1);
                    let is_end = elapsed >= self.plan.duration;
                    let ticks =
                        elapsed.min(self.plan.duration).as_micros() * u128::from(*clock_rate) / 1_000_000;
                    let event = NamedEvent {
                        code: self.code,
                        end: is_end,
                        volume: self.plan.volume,
                        duration: u16::try_from(ticks).unwrap_or(u16::MAX),
                    };
                    let added = Added {
                        payload_type: *payload_type,
                        marker: self.steps == 0,
                        timestamp,
                        payload: &event.to_octets(),
                    };
                    for _ in 0..if is_end { END_PACKETS } else { 1 } {
                        add(added);
                    }
                }
            }
            self.steps += 1;
        }
        edge.filter = Some(filter);
        first.map(|_| ())
    }

    /// Applies a security mode; `false` when nothing is to be heard.
    fn apply(&mut self, treatment: &DtmfTreatment) -> bool {
        match treatment {
            DtmfTreatment::Pass => {}
            DtmfTreatment::Digit(code) => self.code = *code,
            DtmfTreatment::Random => self.code = rand::random_range(0..=15),
            DtmfTreatment::Drop => return false,
            DtmfTreatment::Tones(all) => {
                if let Some(frames) = all.first() {
                    self.plan.form = InjectionForm::Tones(frames.clone());
                }
            }
        }
        true
    }

    fn step_time(&self) -> Duration {
        match &self.plan.form {
            InjectionForm::Event { .. } => UPDATE,
            InjectionForm::Tones(frames) => frames.frame_time().max(Duration::from_millis(1)),
        }
    }
}
