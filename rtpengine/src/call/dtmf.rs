//! Digits: blocked by command, told to whoever wants to know, played by command.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smol_str::SmolStr;

use super::coding;
use super::dtmf_security::{self, DtmfSecurity};
use super::engine::Engine;
use super::error::CommandError;
use super::model::{Call, Media, PartyId};
use super::playback;
use super::star_codes::StarCodes;
use super::store::{CallHandle, lock};
use super::switches::{Position, Switches};
use crate::media::dtmf::Digit;
use crate::media::plan::{CallKey, StreamId};
use crate::media::treatment::{InjectionForm, InjectionPlan};
use crate::negotiate::signal::Signal;
use crate::play::tones;

/// A digit as those who want to know are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtmfReport {
    pub call_id: SmolStr,
    pub source_tag: SmolStr,
    pub source_label: Option<SmolStr>,
    /// Of everybody in the call.
    pub tags: Vec<SmolStr>,
    pub time: SystemTime,
    pub source: IpAddr,
    /// 0–15
    pub event: u8,
    pub duration: Duration,
    /// −dBm0
    pub volume: u8,
    /// The call's own destination of reports.
    pub destination: Option<SocketAddr>,
}

/// Limits of durations and pauses, in ms.
const DURATIONS_MS: (i64, i64) = (100, 5000);

impl Engine {
    /// `block DTMF`
    pub fn block_dtmf(&self, signal: &Signal) -> Result<(), CommandError> {
        let security = DtmfSecurity::new(&signal.dtmf, Instant::now());
        self.set_alarm(signal, &security);
        let security = Box::new(security);
        self.switch(signal, Position::On, |switches| switches.dtmf = Some(security.clone()))
    }

    /// `unblock DTMF`
    pub fn unblock_dtmf(&self, signal: &Signal) -> Result<(), CommandError> {
        self.switch(signal, Position::Off, |switches| switches.dtmf = None)
    }

    fn set_alarm(&self, signal: &Signal, security: &DtmfSecurity) {
        if let (Some(at), Ok(handle)) = (security.deadline(), self.selected_call(signal)) {
            self.alarms.set(at, lock(&handle).key);
        }
    }

    /// What offer and answer say about DTMF, for their sender.
    pub(super) fn apply_dtmf(&self, call: &mut Call, sender: PartyId, signal: &Signal) {
        if signal.flags.inject_dtmf {
            call.party_mut(sender).inject_dtmf = true;
        }
        if signal.flags.detect_dtmf {
            call.party_mut(sender).detect_dtmf = true;
        }
        if signal.recording.recording_vsc {
            let codes = StarCodes::new(&self.config.dtmf.star_codes, &signal.recording.vsc);
            if codes.is_empty() {
                tracing::warn!(call_id = %call.id, "recording-VSC without any code: neither options nor keys vsc-… have one");
            }
            call.party_mut(sender).star_codes = Some(Box::new(codes));
        }
        if signal.flags.block_dtmf {
            let security = DtmfSecurity::new(&signal.dtmf, Instant::now());
            if let Some(at) = security.deadline() {
                self.alarms.set(at, call.key);
            }
            call.party_mut(sender).switches.dtmf = Some(Box::new(security));
        }
        if let Some(destination) = &signal.dtmf.log_destination {
            match destination.parse() {
                Ok(destination) => call.dtmf_log = Some(destination),
                Err(_) => tracing::warn!(
                    call_id = %call.id,
                    %destination,
                    "DTMF-log-dest: an IP address and a port are needed"
                ),
            }
        }
    }

    /// Switches whether digits are looked for in what a party sends; `false` when there is no such party.
    pub fn detect_tones(&self, call_id: &str, tag: &str, position: Position) -> bool {
        let Some(handle) = self.store.get(call_id) else { return false };
        let mut call = lock(&handle);
        let Some(party) = call.by_tag(tag) else { return false };
        call.party_mut(party).detect_dtmf = position == Position::On;
        if !call.ended {
            self.install(&call);
        }
        true
    }

    /// A party's digit has ended, or one that was added to what it sends.
    pub(super) fn on_digit(
        &self,
        handle: &CallHandle,
        stream: StreamId,
        digit: &Digit,
        injected: bool,
    ) -> Option<DtmfReport> {
        let mut call = lock(handle);
        let owns = |media: &Media| media.streams.iter().any(|own| own.id == stream);
        let (party, position) = call
            .parties
            .iter()
            .enumerate()
            .find_map(|(number, party)| Some((PartyId(number), party.media.iter().position(owns)?)))?;
        if !injected {
            let now = Instant::now();
            self.replay(&call, party, position, digit, now);
            self.trigger(&mut call, party, digit.code, now);
            self.star_code(&mut call, party, digit.code, now);
        }
        let wanted = !injected || self.config.dtmf.report_injected;
        (wanted && (call.dtmf_log.is_some() || self.config.dtmf.is_reported())).then(|| {
            let source = call.party(party);
            DtmfReport {
                call_id: call.id.clone(),
                source_tag: source.tag.clone().unwrap_or_default(),
                source_label: source.label.clone(),
                tags: call.parties.iter().filter_map(|party| party.tag.clone()).collect(),
                time: SystemTime::now(),
                source: digit.source.ip(),
                event: digit.code,
                duration: digit.duration,
                volume: digit.volume,
                destination: call.dtmf_log,
            }
        })
    }

    /// The alarm of a call went off.
    pub fn on_alarm(&self, key: CallKey) {
        let Some(handle) = self.by_key(&key) else { return };
        let mut call = lock(&handle);
        let now = Instant::now();
        let mut changed = false;
        for security in securities(&mut call, None) {
            changed |= security.on_time(now);
        }
        if changed && !call.ended {
            self.install(&call);
        }
    }

    /// Digits may change security modes.
    fn trigger(&self, call: &mut Call, party: PartyId, code: u8, now: Instant) {
        let key = call.key;
        let mut changed = false;
        for security in securities(call, Some(party)) {
            changed |= security.on_digit(code, now, self.config.dtmf.digit_delay);
            if let Some(at) = security.deadline() {
                self.alarms.set(at, key);
            }
        }
        if changed && !call.ended {
            self.install(call);
        }
    }

    /// Digits may switch the recording.
    fn star_code(&self, call: &mut Call, party: PartyId, code: u8, now: Instant) {
        let longest_pause = self.config.dtmf.digit_delay;
        let codes = call.party_mut(party).star_codes.as_deref_mut();
        let Some(action) = codes.and_then(|codes| codes.on_digit(code, now, longest_pause)) else { return };
        if let Some(command) = action.command(&call.recording).filter(|_| !call.ended) {
            tracing::info!(call_id = %call.id, ?command, "star code");
            self.switch_recording(call, command);
            self.install(call);
        }
    }

    /// A delayed digit is sent when its time has come, if it may be then.
    fn replay(&self, call: &Call, party: PartyId, position: usize, digit: &Digit, now: Instant) {
        for (to, sink) in sinks(call, party, position) {
            let switches = switches(call, party, to);
            let delay = switches.filter_map(|s| s.dtmf.as_ref()).map(|security| security.delay).max();
            let Some(delay) = delay.filter(|delay| !delay.is_zero()) else { continue };
            let Some(source) = call.party(party).media.get(position) else { continue };
            let duration = digit.duration.clamp(Duration::from_millis(40), Duration::from_secs(5));
            let key = Key { code: digit.code, volume: digit.volume, duration, pause: SHORTEST_PAUSE };
            let Some(form) = form_for(source, sink, &key) else { continue };
            let plan = InjectionPlan {
                from: source.streams[0].id,
                to: sink.streams[0].id,
                not_before: now + delay.saturating_sub(digit.duration),
                code: digit.code,
                volume: digit.volume,
                duration,
                pause: SHORTEST_PAUSE,
                form,
                keeps_audio: false,
                treated: true,
                reported: false,
            };
            self.plane.inject(call.worker, call.key, plan);
        }
    }

    /// `play DTMF`: the selected party seems to press a key.
    pub fn play_dtmf(&self, signal: &Signal) -> Result<(), CommandError> {
        let handle = self.selected_call(signal)?;
        let mut call = lock(&handle);
        let parties = playback::select(&call, signal)?;
        self.set_label(&mut call, signal, &parties);
        let options = &signal.dtmf;
        let code =
            options.digit.as_deref().and_then(dtmf_security::digit).ok_or(CommandError::NoSuchDigit)?;
        let clamped = |name: &str, value: Option<i64>, default: i64| {
            let wanted = value.unwrap_or(default);
            let allowed = wanted.clamp(DURATIONS_MS.0, DURATIONS_MS.1);
            if allowed != wanted {
                tracing::warn!(call_id = %call.id, wanted, allowed, "play DTMF: {name} out of range");
            }
            Duration::from_millis(allowed.unsigned_abs())
        };
        let key = Key {
            code,
            volume: options.volume.map_or(8, |volume| volume.unsigned_abs().min(63) as u8),
            duration: clamped("duration", options.duration_ms, 250),
            pause: clamped("pause", options.pause_ms, 100),
        };
        let mut plans = Vec::new();
        for party in parties {
            press(&call, party, key, self.config.dtmf.keeps_audio, &mut plans)?;
        }
        for plan in plans {
            self.plane.inject(call.worker, call.key, plan);
        }
        Ok(())
    }
}

/// RFC 4733 §2.1: digits are so much apart at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(40);

/// A key to be pressed.
#[derive(Clone, Copy)]
struct Key {
    code: u8,
    volume: u8,
    duration: Duration,
    pause: Duration,
}

/// What has to be added for everybody who hears a party.
fn press(
    call: &Call,
    party: PartyId,
    key: Key,
    keeps_audio: bool,
    plans: &mut Vec<InjectionPlan>,
) -> Result<(), CommandError> {
    let sender = call.party(party);
    let position = sender
        .media
        .iter()
        .position(|media| media.media_type == "audio" && media.is_rtp())
        .ok_or(CommandError::NoInjectionMedia)?;
    let source = &sender.media[position];
    let sinks = sinks(call, party, position);
    if sinks.is_empty() {
        return Err(CommandError::NoInjectionSink);
    }
    if source.ports.current().is_none() {
        return Err(CommandError::NoInjectionStream);
    }
    let in_use = source.streams[0].shared.payload_type_in_use().ok_or(CommandError::NoInjectionSsrc)?;
    let known = source.remote.iter().flat_map(|remote| remote.formats.iter());
    if !known.clone().any(|format| format.payload_type == in_use) {
        return Err(CommandError::NoInjectionPayloadType);
    }
    let mut reported = true;
    for (to, sink) in sinks {
        if !(sender.inject_dtmf && call.party(to).inject_dtmf) {
            continue;
        }
        let form = form_for(source, sink, &key).ok_or(CommandError::NoInjectionHandler)?;
        plans.push(InjectionPlan {
            from: source.streams[0].id,
            to: sink.streams[0].id,
            not_before: Instant::now(),
            code: key.code,
            volume: key.volume,
            duration: key.duration,
            pause: key.pause,
            keeps_audio: keeps_audio && matches!(form, InjectionForm::Event { .. }),
            form,
            treated: false,
            reported: std::mem::take(&mut reported),
        });
    }
    if reported { Err(CommandError::NoInjectionHandler) } else { Ok(()) }
}

/// How a party is sent a digit: as event packets if it takes them, else as tones in the codec that it hears the source in.
fn form_for(source: &Media, sink: &Media, key: &Key) -> Option<InjectionForm> {
    if let Some(form) = event_form(sink) {
        return Some(form);
    }
    let in_use = source.streams[0].shared.payload_type_in_use()?;
    let format = coding::heard_as(source, sink, in_use)?;
    let ptime_ms = sink.remote.as_ref().and_then(|remote| remote.ptime_ms).unwrap_or(20);
    let frequencies = codec::dtmf::frequencies(key.code)?;
    let frames = tones::encode(&format, ptime_ms, &frequencies, key.volume, key.duration).ok()?;
    Some(InjectionForm::Tones(Arc::new(frames)))
}

/// Event packets, when this is what the party takes.
fn event_form(sink: &Media) -> Option<InjectionForm> {
    let format = coding::event_format(sink)?;
    Some(InjectionForm::Event { payload_type: format.payload_type, clock_rate: format.clock_rate })
}

/// Who hears a media of a party, and with which of theirs.
fn sinks(call: &Call, party: PartyId, position: usize) -> Vec<(PartyId, &Media)> {
    let partner = call.party(party).partner;
    let opposite = partner.and_then(|id| Some((id, call.party(id).media.get(position)?)));
    let others = call
        .subscriptions
        .iter()
        .filter(|s| (s.source.party, s.source.position) == (party, position))
        .filter_map(|s| Some((s.sink.party, call.media(s.sink)?)));
    opposite.into_iter().chain(others).filter(|(_, media)| media.is_rtp()).collect()
}

/// The switches that are for what goes from one party to another.
fn switches(call: &Call, from: PartyId, to: PartyId) -> impl Iterator<Item = &Switches> {
    let flow = call.flows.iter().find(move |flow| (flow.from, flow.to) == (from, to));
    [Some(&call.switches), flow.map(|flow| &flow.switches), Some(&call.party(from).switches)]
        .into_iter()
        .flatten()
}

/// The security of a call and of a party with its flows, or of all.
fn securities(call: &mut Call, party: Option<PartyId>) -> impl Iterator<Item = &mut DtmfSecurity> {
    let is_meant = move |id: PartyId| party.is_none_or(|party| party == id);
    let parties = call.parties.iter_mut().enumerate().filter(move |(number, _)| is_meant(PartyId(*number)));
    let flows = call.flows.iter_mut().filter(move |flow| is_meant(flow.from));
    std::iter::once(&mut call.switches)
        .chain(parties.map(|(_, party)| &mut party.switches))
        .chain(flows.map(|flow| &mut flow.switches))
        .filter_map(|switches| switches.dtmf.as_deref_mut())
}
