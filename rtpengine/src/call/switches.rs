//! Switches that commands set on a call, a party or a single flow: media blocked or silenced, DTMF security, forwarding.
//!
//! A switch of the call is for everything that is sent, one of a party for what that party sends, one of a flow for what one party sends
//! to one other. Media are blocked or silenced when any of the three says so; of DTMF security modes the call's wins, then the flow's.

use serde::{Deserialize, Serialize};

use super::digits::Wishes;
use super::dtmf_security::DtmfSecurity;
use super::engine::Engine;
use super::error::CommandError;
use super::model::{Call, Media, PartyId};
use super::playback;
use super::recording::{self, RecordingCommand};
use super::store::lock;
use crate::media::treatment::{DtmfTreatment, MediaTreatment, Treatment};
use crate::negotiate::signal::{AllSelector, Signal};

/// The switches of a call, a party or a flow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Switches {
    pub blocked: bool,
    pub silenced: bool,
    pub dtmf: Option<Box<DtmfSecurity>>,
}

/// The switches of what goes from one party to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub from: PartyId,
    pub to: PartyId,
    pub switches: Switches,
}

/// What `block media` and its relatives switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaSwitch {
    Block,
    Silence,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    On,
    Off,
}

/// What a command is about.
#[derive(Debug, PartialEq, Eq)]
enum Selected {
    Call,
    Parties(Vec<PartyId>),
    /// (from, to)
    Flows(Vec<(PartyId, PartyId)>),
}

impl Switches {
    /// Whether it is one that commands can bring about; for what comes from elsewhere.
    pub fn is_sound(&self) -> bool {
        self.dtmf.as_ref().is_none_or(|dtmf| dtmf.is_sound())
    }
}

impl Engine {
    /// `block media`, `unblock media`, `silence media`, `unsilence media`.
    pub fn switch_media(
        &self,
        signal: &Signal,
        switch: MediaSwitch,
        position: Position,
    ) -> Result<(), CommandError> {
        let on = position == Position::On;
        self.switch(signal, position, |switches| match switch {
            MediaSwitch::Block => switches.blocked = on,
            MediaSwitch::Silence => switches.silenced = on,
        })
    }

    /// `start forwarding`, `stop forwarding`.
    pub fn switch_forwarding(&self, signal: &Signal, position: Position) -> Result<(), CommandError> {
        let on = position == Position::On;
        let handle = self.selected_call(signal)?;
        let mut call = lock(&handle);
        match parties(&call, signal)? {
            None => call.forwarding = on,
            Some(parties) => {
                self.set_label(&mut call, signal, &parties);
                if all_parties(signal) && !on {
                    call.forwarding = false;
                }
                parties.into_iter().for_each(|party| call.party_mut(party).forwarding = on);
            }
        }
        let wanted = call.forwarding || call.parties.iter().any(|party| party.forwarding);
        let command =
            if wanted { RecordingCommand::StartForwarding } else { RecordingCommand::StopForwarding };
        recording::apply(&mut call, &self.recorder, command);
        self.install(&call);
        Ok(())
    }

    /// Sets or clears a switch of what the command selects.
    pub(super) fn switch(
        &self,
        signal: &Signal,
        position: Position,
        mut set: impl FnMut(&mut Switches),
    ) -> Result<(), CommandError> {
        let handle = self.selected_call(signal)?;
        let mut call = lock(&handle);
        match select(&call, signal)? {
            Selected::Call => set(&mut call.switches),
            Selected::Parties(parties) => {
                if all_parties(signal) && position == Position::Off {
                    set(&mut call.switches);
                }
                self.set_label(&mut call, signal, &parties);
                parties.into_iter().for_each(|party| set(&mut call.party_mut(party).switches));
            }
            Selected::Flows(flows) => {
                let sender: Vec<PartyId> = flows.first().map(|flow| flow.0).into_iter().collect();
                self.set_label(&mut call, signal, &sender);
                for (from, to) in flows {
                    let present = call.flows.iter().position(|flow| (flow.from, flow.to) == (from, to));
                    let index = present.unwrap_or_else(|| {
                        call.flows.push(Flow { from, to, switches: Switches::default() });
                        call.flows.len() - 1
                    });
                    set(&mut call.flows[index].switches);
                }
                call.flows.retain(|flow| flow.switches != Switches::default());
            }
        }
        self.install(&call);
        Ok(())
    }
}

/// How the data plane treats what goes from one party's media to another's.
pub fn treatment(call: &Call, from: (PartyId, &Media), to: (PartyId, &Media)) -> Treatment {
    let (sender, hearer) = (call.party(from.0), call.party(to.0));
    let flow = call.flows.iter().find(|flow| (flow.from, flow.to) == (from.0, to.0));
    let all = [Some(&call.switches), flow.map(|flow| &flow.switches), Some(&sender.switches)];
    let any = |is_on: fn(&Switches) -> bool| all.iter().flatten().any(|switches| is_on(switches));
    let securities = || all.iter().flatten().filter_map(|switches| switches.dtmf.as_deref());
    let security = securities().find(|security| security.is_on());
    // Pictures have no silence.
    let silenced = any(|s| s.silenced) && from.1.media_type == "audio";
    Treatment {
        media: match (any(|s| s.blocked), silenced) {
            (true, _) => MediaTreatment::Block,
            (false, true) => MediaTreatment::Silence,
            (false, false) => MediaTreatment::Pass,
        },
        dtmf: security.map_or(DtmfTreatment::Pass, |security| security.treatment(to.1)),
        dtmf_delayed: securities().any(|security| !security.delay.is_zero()),
        injectable: sender.inject_dtmf
            && hearer.inject_dtmf
            && from.1.is_rtp()
            && from.1.media_type == "audio",
    }
}

/// What becomes of tones in what goes from one party to another.
pub fn about_digits(call: &Call, from: PartyId, to: PartyId) -> Wishes {
    let flow = call.flows.iter().find(|flow| (flow.from, flow.to) == (from, to));
    let all = [Some(&call.switches), flow.map(|flow| &flow.switches), Some(&call.party(from).switches)];
    let securities = || all.iter().flatten().filter_map(|switches| switches.dtmf.as_deref());
    Wishes {
        instead: securities().find(|security| security.is_on()).and_then(DtmfSecurity::instead),
        delayed: securities().any(|security| !security.delay.is_zero()),
        keeps_audio: false,
    }
}

/// `all`, which here means everybody.
fn all_parties(signal: &Signal) -> bool {
    signal.flags.all == AllSelector::All
}

/// The parties that a command selects; `None` = the whole call. A from-tag counts only with `directional`, since proxies always send one.
fn parties(call: &Call, signal: &Signal) -> Result<Option<Vec<PartyId>>, CommandError> {
    let identity = &signal.identity;
    let named = identity.label.is_some()
        || signal.selection.address.is_some()
        || signal.flags.directional && identity.from_tag.is_some();
    match signal.flags.all {
        AllSelector::All => playback::select(call, signal).map(Some),
        _ if named => playback::select_one(call, signal).map(|party| Some(vec![party])),
        _ => Ok(None),
    }
}

fn select(call: &Call, signal: &Signal) -> Result<Selected, CommandError> {
    let Some(parties) = parties(call, signal)? else { return Ok(Selected::Call) };
    let [from] = parties[..] else { return Ok(Selected::Parties(parties)) };
    if all_parties(signal) {
        return Ok(Selected::Parties(parties));
    }
    let identity = &signal.identity;
    let to = match (&identity.to_tag, &identity.to_label) {
        (Some(tag), _) => Some(call.by_tag(tag).ok_or(CommandError::NoFlowToTag)?),
        (None, Some(label)) => Some(call.by_label(label).ok_or(CommandError::NoFlowToLabel)?),
        (None, None) => None,
    };
    let hearers = hearers(call, from);
    if let Some(to) = to {
        let known = hearers.iter().any(|(hearer, _)| *hearer == to);
        return if known {
            Ok(Selected::Flows(vec![(from, to)]))
        } else {
            Err(CommandError::FlowNotSubscribed)
        };
    }
    let wanted: fn(bool) -> bool = match signal.flags.all {
        AllSelector::OfferAnswer => |offer_answer| offer_answer,
        AllSelector::ExceptOfferAnswer => |offer_answer| !offer_answer,
        AllSelector::Flows => |_| true,
        AllSelector::None | AllSelector::All => return Ok(Selected::Parties(parties)),
    };
    let flows: Vec<_> =
        hearers.into_iter().filter(|(_, kind)| wanted(*kind)).map(|(to, _)| (from, to)).collect();
    if flows.is_empty() { Err(CommandError::NoFlows) } else { Ok(Selected::Flows(flows)) }
}

/// Who hears a party, and whether by offer and answer. A subscriber counts from its answer on: before that nothing flows.
fn hearers(call: &Call, from: PartyId) -> Vec<(PartyId, bool)> {
    let answered = |to: &PartyId| {
        call.subscriptions.iter().any(|subscription| {
            subscription.source.party == from
                && subscription.sink.party == *to
                && call.media(subscription.sink).is_some_and(|media| media.remote.is_some())
        })
    };
    let partner = call.party(from).partner;
    let others = call.sinks_of(from).into_iter().filter(answered).map(|to| (to, false));
    partner.map(|partner| (partner, true)).into_iter().chain(others).collect()
}
