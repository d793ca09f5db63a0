//! Makes the dictionary of a call.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::interfaces::Interfaces;
use super::super::model::{Call, PartyId};
use super::super::store::unix_us;
use super::super::subscription::Purpose;
use super::fields::{Put, list};
use super::state::{self, CallState, Identities, IdentityState, RecordingState};
use super::{FORMAT_VERSION, NONE};
use crate::media::plan::{SrtpProgress, StreamId};
use crate::media::port_pool::LocalPort;
use crate::proto::dtls::Identity;
use crate::proto::value::Dict;

/// Writes calls of one instance.
#[derive(Clone, Copy)]
pub struct Writer<'e> {
    pub(in super::super) interfaces: &'e Interfaces,
    /// The database that calls are written to.
    pub hosted_db: i64,
}

/// What has been numbered so far.
pub(super) struct Numbers<'c> {
    pub sockets: Vec<&'c Arc<LocalPort>>,
    socket_numbers: HashMap<*const LocalPort, usize>,
    pub streams: Vec<StreamId>,
    pub stream_numbers: HashMap<StreamId, usize>,
    pub identities: Identities,
}

impl<'c> Numbers<'c> {
    /// The number of a socket.
    pub fn socket(&mut self, socket: &'c Arc<LocalPort>) -> usize {
        let next = self.sockets.len();
        *self.socket_numbers.entry(Arc::as_ptr(socket)).or_insert_with(|| {
            self.sockets.push(socket);
            next
        })
    }

    /// The number of a stream, and whether it is new.
    pub fn stream(&mut self, id: StreamId) -> (usize, bool) {
        if let Some(number) = self.stream_numbers.get(&id) {
            return (*number, false);
        }
        let next = self.streams.len();
        self.stream_numbers.insert(id, next);
        self.streams.push(id);
        (next, true)
    }

    /// Remembers a certificate.
    pub fn identity(&mut self, identity: &Arc<Identity>) {
        if !self.identities.iter().any(|known| known == identity) {
            self.identities.push(Arc::clone(identity));
        }
    }
}

impl Writer<'_> {
    /// The dictionary of a call; `progress` is how far the keys of its streams were used.
    pub fn write(&self, call: &Call, progress: &[(StreamId, SrtpProgress)]) -> Dict {
        let mut numbers = Numbers {
            sockets: Vec::new(),
            socket_numbers: HashMap::new(),
            streams: Vec::new(),
            stream_numbers: HashMap::new(),
            identities: Vec::new(),
        };
        let mut rest = Dict::new();
        let mut maps = 0;
        let mut medias = 0;
        let mut former = call.parties.iter().map(|party| party.media.len()).sum();
        for (number, party) in call.parties.iter().enumerate() {
            // Behind all others, and first of what has their streams: those are as they are used until the answer.
            let mut going_on = Vec::new();
            for &(position, _) in &party.offered {
                let media = (PartyId(number), &party.media[position], former);
                self.media(&mut rest, &mut numbers, media, progress, &mut maps);
                going_on.push(format!("{position}/{former}"));
                former += 1;
            }
            if !going_on.is_empty() {
                rest.push(format!("former_medias-{number}"), list(going_on));
            }
            let first = medias;
            for media in party.signalled() {
                self.media(&mut rest, &mut numbers, (PartyId(number), media, medias), progress, &mut maps);
                medias += 1;
            }
            self.tag(&mut rest, call, PartyId(number), first..medias);
        }
        self.subscriptions(&mut rest, call);
        self.sockets(&mut rest, &numbers);
        let mut dict = Dict::new();
        dict.push("json", self.call(call, &numbers, [medias, maps]));
        dict.0.append(&mut rest.0);
        dict
    }

    fn call(&self, call: &Call, numbers: &Numbers<'_>, [medias, maps]: [usize; 2]) -> Dict {
        let mut json = Dict::with_capacity(24);
        let recording = &call.recording;
        json.text("format_version", FORMAT_VERSION)
            .text("created", unix_us(call.created))
            .text("destroyed", 0)
            .text("last_signal", call.last_signal.map_or(0, unix_us))
            .text("tos", call.tos)
            .flag("deleted", call.delete_at.is_some())
            .text("num_sfds", numbers.sockets.len())
            .text("num_streams", numbers.streams.len())
            .text("num_medias", medias)
            .text("num_tags", call.parties.len())
            .text("num_maps", maps)
            .flag("ml_deleted", call.delete_at.is_some())
            .text("redis_hosted_db", self.hosted_db)
            .optional("recording_metadata", call.metadata.as_ref())
            .flag("block_dtmf", call.switches.dtmf.is_some())
            .text("call_flags", 0)
            .text("created_from", call.created_from.map(|from| from.to_string()).unwrap_or_default())
            .optional("recording_meta_prefix", recording.prefix())
            .optional("recording_file", recording.details().file.as_ref())
            .optional("recording_path", recording.details().path.as_ref())
            .optional("recording_pattern", recording.details().pattern.as_ref());
        let identity = |identity: &Arc<Identity>| {
            let (certificate, key) = identity.certificate().to_der()?;
            Some(IdentityState { certificate: STANDARD.encode(certificate), key: STANDARD.encode(&*key) })
        };
        let state = CallState {
            merged: call.merged.iter().map(|merged| merged.id.clone()).collect(),
            subscriptions: call.subscriptions.clone(),
            switches: call.switches.clone(),
            flows: call.flows.clone(),
            dtmf_log: call.dtmf_log,
            forwarding: call.forwarding,
            metadata: call.metadata.clone(),
            tos_set: call.tos_set,
            delete_at: call.delete_at,
            deleted_at: call.deleted_at,
            xmlrpc_callback: call.xmlrpc_callback,
            drop_traffic: call.drop_traffic,
            next_media_number: call.next_media_number,
            relay: call.relay.clone(),
            recording: RecordingState {
                on: recording.on,
                forwarding: recording.forwarding,
                details: recording.details().clone(),
            },
            identities: numbers.identities.iter().filter_map(identity).collect(),
        };
        json.push("state", state::text(&state));
        json
    }

    fn tag(&self, dict: &mut Dict, call: &Call, id: PartyId, medias: std::ops::Range<usize>) {
        let (number, party) = (id.0, call.party(id));
        let tag = party.tag.as_deref().unwrap_or_default();
        let mut own = Dict::with_capacity(24);
        let media = party.media.first();
        let interface = media.and_then(|media| Some(media.attachment.as_ref()?.interface.clone()));
        own.text("created", unix_us(party.created))
            .flag("deleted", party.closed)
            .flag("block_dtmf", party.switches.dtmf.is_some())
            .text("ml_flags", 0)
            .text("desired_family", media.map_or("IP4", super::media::family))
            .text("logical_intf", interface.unwrap_or_default())
            .text("tag", tag)
            .text("call_id", tag)
            .optional("via-branch", party.via_branch.as_ref())
            .optional("label", party.label.as_ref())
            .optional("metadata", party.metadata.as_ref());
        if let Some(origin) = party.output.last_origin() {
            own.text("last_sdp_orig_username", &origin.username)
                .text("last_sdp_orig_session_id", &origin.session_id)
                .text("last_sdp_orig_version_num", &origin.version)
                .text("last_sdp_orig_parsed", 1)
                .text("last_sdp_orig_address_network_type", &origin.network)
                .text("last_sdp_orig_address_address_type", &origin.family)
                .text("last_sdp_orig_address_address", &origin.address);
        }
        own.push("state", state::text(party));
        dict.push(format!("tag-{number}"), own);
        dict.push(format!("associated_tags-{number}"), list(call.associates(id).iter().map(|other| other.0)));
        dict.push(format!("tag_aliases-{number}"), list(&party.aliases));
        dict.push(format!("medias-{number}"), list(medias));
    }

    /// `<media>/<offer_answer>/<rtcp_only>/<egress>/<inject>` for each media that a media hears.
    fn subscriptions(&self, dict: &mut Dict, call: &Call) {
        let mut first = Vec::with_capacity(call.parties.len());
        let mut count = 0;
        for party in &call.parties {
            first.push(count);
            count += party.media.len();
        }
        for (number, party) in call.parties.iter().enumerate() {
            for position in 0..party.media.len() {
                let partner = party.partner.filter(|partner| position < call.party(*partner).media.len());
                let by_offer = partner.map(|partner| format!("{}/1/0/0/0", first[partner.0] + position));
                let heard = call.subscriptions.iter().filter(|subscription| {
                    subscription.sink.party.0 == number && subscription.sink.position == position
                });
                let others = heard.filter_map(|subscription| {
                    let source = first.get(subscription.source.party.0)? + subscription.source.position;
                    let inject = u8::from(subscription.purpose == Purpose::Inject);
                    Some(format!("{source}/0/0/0/{inject}"))
                });
                let key = format!("media-subscriptions-{}", first[number] + position);
                dict.push(key, list(by_offer.into_iter().chain(others)));
            }
        }
    }

    fn sockets(&self, dict: &mut Dict, numbers: &Numbers<'_>) {
        use std::os::fd::AsRawFd;
        for (number, socket) in numbers.sockets.iter().enumerate() {
            let mut own = Dict::with_capacity(6);
            let (interface, address) = self.interfaces.locate(socket.local.ip()).unwrap_or(("", 0));
            own.text("pref_family", if socket.local.is_ipv4() { "IP4" } else { "IP6" })
                .text("localport", socket.local.port())
                .text("fd", socket.socket.as_raw_fd())
                .text("logical_intf", interface)
                .text("local_intf_uid", address)
                .text("stream", NONE);
            dict.push(format!("sfd-{number}"), own);
        }
    }
}
