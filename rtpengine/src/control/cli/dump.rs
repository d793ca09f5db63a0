//! A call in full, as `list sessions <callid>` shows it. Scripts read this: labels and columns are historical.

use std::fmt::Write;

use super::list::seconds;
use crate::call::{CallDump, MediaDump, MediaOf, PartyDump, PartyRole, StreamDump};

/// The call and its parties. Writing to a string cannot fail, so results are not looked at here and below.
pub fn call(call: &CallDump) -> String {
    let mut text = format!("\ncallid: {}\n", call.id);
    for alias in &call.other_ids {
        let _ = writeln!(text, "alias: {alias}");
    }
    let yes = |set| if set { "yes" } else { "no" };
    let _ = writeln!(
        text,
        "deletionmark: {}\n\
         created: {}\n\
         proxy: {}\n\
         tos: {}\n\
         last_signal: {}\n\
         redis_keyspace: {}\n\
         last redis update: {}\n\
         foreign: {}\n\
         recording: {}\n",
        yes(call.deleted),
        seconds(call.created),
        call.created_from.map(|address| address.to_string()).unwrap_or_default(),
        call.tos,
        call.last_signal.map_or(0, seconds),
        call.keyspace,
        call.stored_us,
        yes(call.foreign),
        yes(call.recording)
    );
    call.parties.iter().for_each(|each| text.push_str(&party(each)));
    text.push('\n');
    text
}

/// One party with its media.
pub fn party(party: &PartyDump) -> String {
    let role = match party.role {
        PartyRole::Caller => "FROM_TAG",
        PartyRole::Callee => "TO_TAG",
        PartyRole::Unknown => "UNKNOWN",
    };
    let duration = party.duration;
    let mut text = format!(
        "--- Tag '{}', type: {role}, label '{}', branch '{}', callduration {}.{:06}\n",
        party.tag,
        party.label,
        party.branch,
        duration.as_secs(),
        duration.subsec_micros()
    );
    if !party.aliases.is_empty() {
        let aliases: Vec<String> = party.aliases.iter().map(|alias| format!("'{alias}'")).collect();
        let _ = writeln!(text, "---     Aliases: {}", aliases.join(", "));
    }
    for (relation, others) in [("subscribed to", &party.hears), ("subscription of", &party.heard_by)] {
        for MediaOf { tag, index } in others {
            let _ = writeln!(text, "---     {relation} media with monologue tag '{tag}' (index: {index})");
        }
    }
    party.media.iter().for_each(|each| media(&mut text, each));
    text
}

fn media(text: &mut String, media: &MediaDump) {
    let MediaDump { index, media_type, protocol, codec, streams, .. } = media;
    let protocol = protocol.as_deref().unwrap_or("(unknown)");
    let codec = codec.as_deref().unwrap_or("unknown codec");
    let _ = writeln!(text, "------ Media #{index} ({media_type} over {protocol}) using {codec}");
    streams.iter().for_each(|each| stream(text, each));
}

fn stream(text: &mut String, stream: &StreamDump) {
    let (local, port) = stream.local.map_or_else(Default::default, |(ip, port)| (ip.to_string(), port));
    let (remote, remote_port) =
        stream.remote.map_or_else(Default::default, |remote| (remote.ip().to_string(), remote.port()));
    let StreamDump { ssrc, packets, octets, errors, last_packet_s, .. } = stream;
    let rtcp = if stream.is_rtcp { " (RTCP)" } else { "" };
    let _ = writeln!(
        text,
        "-------- Port {local:>15}:{port:<5} <> {remote:>15}:{remote_port}{rtcp}, SSRC {ssrc:x}, \
         {packets} p, {octets} b, {errors} e, {last_packet_s} uts 0 kts"
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn stream(
        port: u16,
        remote: u16,
        is_rtcp: bool,
        packets: u64,
        octets: u64,
        last_packet_s: u64,
    ) -> StreamDump {
        StreamDump {
            local: Some(([127, 0, 0, 1].into(), port)),
            remote: Some(([127, 0, 0, 1], remote).into()),
            is_rtcp,
            ssrc: 0x1111_1111,
            packets,
            octets,
            errors: 0,
            sent: Default::default(),
            last_packet_s,
        }
    }

    /// The recorded dump of a call, but for Redis.
    #[test]
    fn a_call_looks_as_it_always_did() {
        let other = || vec![MediaOf { tag: "tt1".into(), index: 1 }];
        let dump = CallDump {
            id: "call-1@host/x".into(),
            other_ids: vec!["former".into()],
            deleted: false,
            created: UNIX_EPOCH + Duration::from_secs(1_795_226_513),
            created_from: Some(([127, 0, 0, 1], 60809).into()),
            tos: 0,
            last_signal: Some(UNIX_EPOCH + Duration::from_secs(1_795_226_513)),
            foreign: false,
            keyspace: -1,
            stored_us: 0,
            recording: true,
            parties: vec![PartyDump {
                created: UNIX_EPOCH,
                tag: "ft1".into(),
                role: PartyRole::Caller,
                label: "labA".into(),
                branch: String::new().into(),
                duration: Duration::from_micros(1_530_039),
                aliases: vec!["a".into(), "b".into()],
                hears: other(),
                heard_by: other(),
                media: vec![MediaDump {
                    payload_type: Some(0),
                    other_formats: Vec::new(),
                    index: 1,
                    media_type: "audio".into(),
                    protocol: Some("RTP/AVP".into()),
                    codec: Some("PCMU/8000".into()),
                    streams: vec![
                        stream(43374, 41771, false, 80, 12980, 1_795_226_515),
                        stream(43375, 41772, true, 1, 76, 1_795_226_514),
                    ],
                }],
            }],
        };
        let expected = "
callid: call-1@host/x
alias: former
deletionmark: no
created: 1795226513
proxy: 127.0.0.1:60809
tos: 0
last_signal: 1795226513
redis_keyspace: -1
last redis update: 0
foreign: no
recording: yes

--- Tag 'ft1', type: FROM_TAG, label 'labA', branch '', callduration 1.530039
---     Aliases: 'a', 'b'
---     subscribed to media with monologue tag 'tt1' (index: 1)
---     subscription of media with monologue tag 'tt1' (index: 1)
------ Media #1 (audio over RTP/AVP) using PCMU/8000
-------- Port       127.0.0.1:43374 <>       127.0.0.1:41771, SSRC 11111111, 80 p, 12980 b, 0 e, 1795226515 uts 0 kts
-------- Port       127.0.0.1:43375 <>       127.0.0.1:41772 (RTCP), SSRC 11111111, 1 p, 76 b, 0 e, 1795226514 uts 0 kts

";
        assert_eq!(call(&dump), expected);
    }
}
