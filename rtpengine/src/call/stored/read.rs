//! Makes a call of its dictionary.
//!
//! What comes out of a database may be anything. The dictionary is looked through once; counts are bounded by its size; positions that
//! the model takes for granted are checked; ports are opened last.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smol_str::SmolStr;

use super::super::identities::Identities;
use super::super::interfaces::Interfaces;
use super::super::model::{Call, Media, MediaStream, MergedCall, Party, PartyId};
use super::super::ports::{Alternate, PortSet, PortSets};
use super::super::recording::CallRecording;
use super::super::store::{next_id, unix_us};
use super::super::subscription::MediaRef;
use super::counters;
use super::fields::Fields;
use super::state::{CallState, MediaState, PortsState, TagState};
use super::{FORMAT_VERSION, resume};
use crate::media::WorkerId;
use crate::media::plan::{CallKey, StreamId};
use crate::media::port_pool::{LocalPort, PortPool};
use crate::proto::dtls::Identity;
use crate::proto::sdp::model::{Fingerprint, FingerprintHash};
use crate::proto::value::Dict;

/// Parties, media and the like of one call.
const MAX_PARTS: usize = 1024;
/// Numbers of sections that make sense.
const MAX_NUMBER: u32 = 100_000;
/// Sections and what they refer to do not fit.
const LINKS: RestoreError = RestoreError("failed to link medias");

/// Why a stored call cannot be restored. `Display` is the reason that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub &'static str);

/// Reads calls for one instance.
#[derive(Clone, Copy)]
pub struct Reader<'e> {
    pub(in super::super) interfaces: &'e Interfaces,
    pub(in super::super) pool: &'e Arc<PortPool>,
    pub(in super::super) identities: &'e Identities,
}

/// A call, not installed yet.
pub struct ReadCall {
    pub call: Call,
}

/// Counts in `json`.
struct Counts {
    sockets: usize,
    streams: usize,
    media: usize,
    tags: usize,
}

impl Counts {
    fn read(json: &Fields<'_>, dict: &Dict) -> Result<Self, RestoreError> {
        let count = |name: &str, part: &'static str| {
            let count: usize = json.need(name)?;
            if count > dict.0.len() || count > MAX_PARTS { Err(RestoreError(part)) } else { Ok(count) }
        };
        Ok(Self {
            sockets: count("num_sfds", "'sfds' incomplete")?,
            streams: count("num_streams", "'streams' incomplete")?,
            media: count("num_medias", "'medias' incomplete")?,
            tags: count("num_tags", "'tags' incomplete")?,
        })
    }
}

impl Reader<'_> {
    /// The call of a dictionary, with its ports open, not given to a worker yet.
    ///
    /// # Errors
    /// [`RestoreError`]: it is incomplete, of another format, contradicts itself, or its ports are not available.
    pub fn read(&self, id: &str, dict: &Dict) -> Result<ReadCall, RestoreError> {
        let whole = Fields::whole(dict);
        let json = whole.dict("json", "'call' data incomplete")?;
        if json.text("format_version") != Some(FORMAT_VERSION) {
            return Err(RestoreError("unknown format version"));
        }
        let last_signal: u64 =
            json.get("last_signal").ok_or(RestoreError("missing 'last signal' timestamp"))?;
        let created: u64 = json.get("created").ok_or(RestoreError("missing 'created' timestamp"))?;
        let keyspace: i64 =
            json.get("redis_hosted_db").ok_or(RestoreError("missing 'redis_hosted_db' value"))?;
        let counts = Counts::read(&json, dict)?;
        let state: CallState = json.state()?;
        let identities = self.identities(&state)?;
        let mut parties = parties(&whole, &counts)?;
        let media = media(&whole, &counts)?;
        let former = former(&whole, &counts)?;
        let all = media.iter().map(|(_, media)| media).chain(former.iter().map(|former| &former.media));
        let sockets = self.sockets(&whole, &counts, all, state.relay.is_some())?;
        let streams = streams(&whole, &counts)?;
        let find = |fingerprint: &Fingerprint| {
            identities.iter().find(|(known, _)| known == fingerprint).map(|(_, identity)| identity.clone())
        };
        for (owner, media) in media {
            let media = self.assemble(media, &sockets, &streams, &find)?;
            parties.get_mut(owner).ok_or(LINKS)?.media.push(media);
        }
        for Former { owner, position, media } in former {
            let media = self.assemble(media, &sockets, &streams, &find)?;
            let party = parties.get_mut(owner).ok_or(LINKS)?;
            let going_on = party.media.get_mut(position).ok_or(LINKS)?;
            let offered = std::mem::replace(going_on, media);
            party.offered.push((position, offered));
        }
        let created = time(created).ok_or(RestoreError("missing 'created' timestamp"))?;
        let now = SystemTime::now();
        let age = now.duration_since(created).unwrap_or_default();
        let call = Call {
            id: id.into(),
            merged: state
                .merged
                .iter()
                .map(|id| MergedCall { id: id.clone(), key: CallKey(next_id()) })
                .collect(),
            key: CallKey(next_id()),
            worker: WorkerId(0),
            created,
            created_at: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            last_signal: (last_signal > 0).then(|| time(last_signal)).flatten(),
            parties,
            subscriptions: state.subscriptions,
            switches: state.switches,
            flows: state.flows,
            dtmf_log: state.dtmf_log,
            forwarding: state.forwarding,
            metadata: state.metadata,
            tos: json.get("tos").unwrap_or_default(),
            tos_set: state.tos_set,
            delete_at: state.delete_at,
            deleted_at: state.deleted_at,
            created_from: json.get("created_from"),
            xmlrpc_callback: state.xmlrpc_callback,
            foreign: false,
            grace_since_us: None,
            ended: false,
            drop_traffic: state.drop_traffic,
            recording: CallRecording::restored(
                state.recording.on,
                state.recording.forwarding,
                state.recording.details,
                json.text("recording_meta_prefix").map(str::to_owned),
            ),
            next_media_number: state.next_media_number,
            relay: state.relay,
            tells_connections: false,
            keyspace: Some(keyspace),
            away: Default::default(),
            stored_us: 0,
            stored_steps: 0,
            foreign_since_us: None,
        };
        check(&call)?;
        Ok(ReadCall { call })
    }

    /// The certificates that the call's parties were told, by fingerprint.
    fn identities(&self, state: &CallState) -> Result<Vec<(Fingerprint, Arc<Identity>)>, RestoreError> {
        const BROKEN: RestoreError = RestoreError("failed to restore certificates");
        let identity = |stored: &super::state::IdentityState| {
            let certificate = STANDARD.decode(&stored.certificate).map_err(|_| BROKEN)?;
            let key = zeroize::Zeroizing::new(STANDARD.decode(stored.key.as_bytes()).map_err(|_| BROKEN)?);
            let identity = self.identities.restore(&certificate, &key).ok_or(BROKEN)?;
            Ok((identity.certificate().fingerprint(FingerprintHash::Sha256).clone(), identity))
        };
        state.identities.iter().take(MAX_PARTS).map(identity).collect()
    }

    /// Opens the sockets that the media refer to.
    fn sockets<'m>(
        &self,
        whole: &Fields<'_>,
        counts: &Counts,
        media: impl Iterator<Item = &'m MediaState>,
        are_named: bool,
    ) -> Result<HashMap<usize, Arc<LocalPort>>, RestoreError> {
        let mut sockets = HashMap::with_capacity(counts.sockets);
        for number in media.flat_map(MediaState::sockets) {
            if sockets.contains_key(&number) {
                continue;
            }
            if number >= counts.sockets {
                return Err(RestoreError("failed to link sfds"));
            }
            let own = whole.dict(&format!("sfd-{number}"), "'sfds' incomplete")?;
            let address = own.text("logical_intf").zip(own.get("local_intf_uid"));
            let local = address.and_then(|(interface, uid)| self.interfaces.address(interface, uid));
            let local = local.ok_or(RestoreError("failed to create sfds: no such local interface"))?;
            let port = own.need("localport")?;
            let allocated = match are_named {
                true => self.pool.allocate_named(&local, port),
                false => self.pool.allocate_exactly(&local, port),
            };
            let socket = allocated.map_err(|error| {
                tracing::info!(%error, "port of a stored call");
                RestoreError("failed to create sfds: local port is not available")
            })?;
            sockets.insert(number, socket);
        }
        Ok(sockets)
    }

    /// Puts a media section together.
    fn assemble(
        &self,
        stored: MediaState,
        sockets: &HashMap<usize, Arc<LocalPort>>,
        streams: &[RestoredStream],
        find: &impl Fn(&Fingerprint) -> Option<Arc<Identity>>,
    ) -> Result<Media, RestoreError> {
        let MediaState { mut media, security, ports, streams: numbers, attachment } = stored;
        media.security = security.restore(find).ok_or(RestoreError("failed to restore certificates"))?;
        if let Some((interface, address, foundation)) = attachment {
            let attachment = self.interfaces.attachment_of(&interface, address, foundation);
            media.attachment =
                Some(attachment.ok_or(RestoreError("failed to create medias: no such local interface"))?);
        }
        media.ports = self.ports(ports, sockets)?;
        let links = RestoreError("failed to link streams");
        let [rtp, rtcp] = numbers.map(|number| streams.get(number).map(|stream| stream.0.clone()));
        media.streams = [rtp.ok_or(links)?, rtcp.ok_or(links)?];
        let current = media.ports.current();
        let here = |far: SocketAddr, component: usize| {
            let ports = current?;
            let of = |rtp: &Arc<LocalPort>, rtcp: &Option<Arc<LocalPort>>| {
                let port = if component == 0 { Some(rtp) } else { rtcp.as_ref() };
                port.map(|port| port.local).filter(|local| local.port() == far.port())
            };
            let alternates = ports.alternates.iter().find_map(|other| of(&other.rtp, &other.rtcp));
            of(&ports.rtp, &ports.rtcp).or(alternates)
        };
        media.ice.move_selected(here);
        Ok(media)
    }

    fn ports(
        &self,
        stored: PortsState,
        sockets: &HashMap<usize, Arc<LocalPort>>,
    ) -> Result<PortSets, RestoreError> {
        const BROKEN: RestoreError = RestoreError("failed to create maps");
        let socket = |number: usize| sockets.get(&number).cloned().ok_or(BROKEN);
        let maybe = |number: Option<usize>| number.map(socket).transpose();
        let mut sets = Vec::with_capacity(stored.sets.len().min(MAX_PARTS));
        for set in stored.sets {
            let alternate = |other: super::state::AlternateState| {
                Ok(Alternate {
                    local: self.interfaces.address(&other.interface, other.address).ok_or(BROKEN)?,
                    foundation: other.foundation,
                    rtp: socket(other.rtp)?,
                    rtcp: maybe(other.rtcp)?,
                })
            };
            let restored = PortSet {
                rtp: socket(set.rtp)?,
                rtcp: maybe(set.rtcp)?,
                further: set.further.into_iter().map(socket).collect::<Result<_, _>>()?,
                alternates: set.alternates.into_iter().map(alternate).collect::<Result<_, _>>()?,
            };
            sets.push((set.far, restored));
        }
        PortSets::restore(sets, [stored.current, stored.former]).ok_or(BROKEN)
    }
}

/// The parties, without their media.
fn parties(whole: &Fields<'_>, counts: &Counts) -> Result<Vec<Party>, RestoreError> {
    let mut parties = Vec::with_capacity(counts.tags);
    for number in 0..counts.tags {
        let own = whole.dict(&format!("tag-{number}"), "'tags' incomplete")?;
        let mut party: TagState = own.state()?;
        let name = |key: &str| own.text(key).filter(|text| !text.is_empty()).map(SmolStr::new);
        party.tag = name("tag");
        party.via_branch = name("via-branch");
        party.label = name("label");
        party.metadata = name("metadata");
        party.aliases = whole.list(&format!("tag_aliases-{number}")).into_iter().map(SmolStr::new).collect();
        party.created = time(own.need("created")?).ok_or(RestoreError("'tags' incomplete"))?;
        parties.push(party);
    }
    Ok(parties)
}

/// The media with the numbers of their parties, in the order of the parties' descriptions.
fn media(whole: &Fields<'_>, counts: &Counts) -> Result<Vec<(usize, MediaState)>, RestoreError> {
    let mut media = Vec::with_capacity(counts.media);
    for owner in 0..counts.tags {
        for number in whole.list(&format!("medias-{owner}")) {
            if media.len() >= counts.media {
                return Err(LINKS);
            }
            media.push((owner, section(whole, number)?));
        }
    }
    if media.len() == counts.media { Ok(media) } else { Err(RestoreError("'medias' incomplete")) }
}

fn section(whole: &Fields<'_>, number: &str) -> Result<MediaState, RestoreError> {
    whole.dict(&format!("media-{number}"), "'medias' incomplete")?.state()
}

/// A section that goes on until the offer that is to change it is answered.
struct Former {
    owner: usize,
    position: usize,
    media: MediaState,
}

/// `<position>/<number>` of sections beside those that were offered. Older versions write none, and pass over them.
fn former(whole: &Fields<'_>, counts: &Counts) -> Result<Vec<Former>, RestoreError> {
    let mut former: Vec<Former> = Vec::new();
    for owner in 0..counts.tags {
        for entry in whole.list(&format!("former_medias-{owner}")) {
            let (position, number) = entry.split_once('/').ok_or(LINKS)?;
            let position = position.parse().map_err(|_| LINKS)?;
            let is_known = former.iter().any(|known| (known.owner, known.position) == (owner, position));
            if former.len() >= counts.media || is_known {
                return Err(LINKS);
            }
            former.push(Former { owner, position, media: section(whole, number)? });
        }
    }
    Ok(former)
}

/// A stream that sections may share.
struct RestoredStream(MediaStream);

fn streams(whole: &Fields<'_>, counts: &Counts) -> Result<Vec<RestoredStream>, RestoreError> {
    let mut streams = Vec::with_capacity(counts.streams);
    for number in 0..counts.streams {
        let own = whole.dict(&format!("stream-{number}"), "'streams' incomplete")?;
        let learned = own.get::<SocketAddr>("endpoint").filter(|_| own.flag("learned"));
        streams.push(RestoredStream(MediaStream {
            id: StreamId(next_id()),
            shared: Arc::new(counters::read(&own)),
            resumed: resume::read(&own),
            learned,
            learning_epoch: own.get("learning_epoch").unwrap_or_default(),
            // Time-outs start anew.
            since_us: unix_us(SystemTime::now()),
        }));
    }
    Ok(streams)
}

/// What the rest of the model takes for granted.
fn check(call: &Call) -> Result<(), RestoreError> {
    let known = |party: PartyId| party.0 < call.parties.len();
    let there = |at: MediaRef| known(at.party) && call.media(at).is_some();
    for (number, party) in call.parties.iter().enumerate() {
        let mut others = party.partner.iter().chain(&party.branches);
        if !others.all(|&other| known(other) && other.0 != number) {
            return Err(RestoreError("failed to link tags"));
        }
        let count = party.media.len();
        let fits = |media: &Media| {
            media.hold.is_sound()
                && media.bundling.is_within(count)
                && (1..=MAX_NUMBER).contains(&media.number)
                && media.number < call.next_media_number
                && media.index.is_none_or(|index| (1..=MAX_NUMBER as usize).contains(&index))
        };
        let mut sections = party.media.iter().chain(party.offered.iter().map(|(_, media)| media));
        if !sections.all(fits) || !party.switches.is_sound() {
            return Err(RestoreError("failed to create medias"));
        }
    }
    let flows = call.flows.iter().all(|flow| known(flow.from) && known(flow.to) && flow.switches.is_sound());
    if !flows || !call.switches.is_sound() || call.next_media_number > MAX_NUMBER {
        return Err(RestoreError("failed to link tags"));
    }
    if call.subscriptions.iter().all(|s| there(s.source) && there(s.sink)) { Ok(()) } else { Err(LINKS) }
}

/// Microseconds since the Unix epoch.
fn time(us: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(us)).filter(|time| *time < UNIX_EPOCH + FAR)
}

/// A time that nobody means.
const FAR: Duration = Duration::from_secs(1 << 36);

/// The last signal of a stored call, without reading the rest.
pub fn last_signal_us(dict: &Dict) -> Option<u64> {
    Fields::whole(dict).dict("json", "").ok()?.get("last_signal")
}
