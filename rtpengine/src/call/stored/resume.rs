//! Keys of a stream and how far they were used, as members of `stream-N`.

use std::sync::Arc;

use super::fields::{Fields, Put};
use crate::media::plan::SrtpProgress;
use crate::proto::srtp::{MasterKey, SessionParameters, Suite};
use crate::proto::value::Dict;

/// SSRCs of one stream and direction that are read.
const MAX_SSRCS: usize = 1024;

/// Adds what there is.
pub fn write(own: &mut Dict, progress: &SrtpProgress) {
    for (prefix, key) in [("in", &progress.receive), ("out", &progress.send)] {
        let Some(key) = key else { continue };
        let (master, salt) = key.key_salt().split_at(key.suite().key_octets);
        let parameters = key.parameters();
        own.text(&format!("{prefix}-crypto_suite"), key.suite().name);
        own.push(format!("{prefix}-master_key"), master.to_vec());
        own.push(format!("{prefix}-master_salt"), salt.to_vec());
        own.flag(&format!("{prefix}-unenc-srtp"), parameters.unencrypted_srtp)
            .flag(&format!("{prefix}-unenc-srtcp"), parameters.unencrypted_srtcp)
            .flag(&format!("{prefix}-unauth-srtp"), parameters.unauthenticated_srtp);
        if !key.mki().is_empty() {
            own.push(format!("{prefix}-mki"), key.mki().to_vec());
        }
    }
    for (name, table) in [
        ("srtp_received", &progress.received),
        ("srtcp_received", &progress.received_rtcp),
        ("srtp_sent", &progress.sent),
    ] {
        if !table.is_empty() {
            let entries: Vec<String> = table.iter().map(|(ssrc, index)| format!("{ssrc}/{index}")).collect();
            own.text(name, entries.join(" "));
        }
    }
    own.text("srtcp_next", progress.next_rtcp);
}

/// Reads it again; `None` where there are no keys.
pub fn read(own: &Fields<'_>) -> Option<Arc<SrtpProgress>> {
    let (receive, send) = (key(own, "in"), key(own, "out"));
    if receive.is_none() && send.is_none() {
        return None;
    }
    let table = |name: &str| {
        let entry = |entry: &str| {
            let (ssrc, index) = entry.split_once('/')?;
            Some((ssrc.parse().ok()?, index.parse().ok()?))
        };
        own.text(name).unwrap_or_default().split(' ').take(MAX_SSRCS).filter_map(entry).collect()
    };
    Some(Arc::new(SrtpProgress {
        receive,
        send,
        received: table("srtp_received"),
        received_rtcp: table("srtcp_received"),
        sent: table("srtp_sent"),
        next_rtcp: own.get("srtcp_next").unwrap_or_default(),
    }))
}

fn key(own: &Fields<'_>, prefix: &str) -> Option<Arc<MasterKey>> {
    let suite = Suite::by_name(own.text(&format!("{prefix}-crypto_suite"))?)?;
    let octets = |name: &str| own.octets(&format!("{prefix}-{name}"));
    let flag = |name: &str| own.flag(&format!("{prefix}-{name}"));
    let key_salt = zeroize::Zeroizing::new([octets("master_key")?, octets("master_salt")?].concat());
    let parameters = SessionParameters {
        unencrypted_srtp: flag("unenc-srtp"),
        unencrypted_srtcp: flag("unenc-srtcp"),
        unauthenticated_srtp: flag("unauth-srtp"),
    };
    MasterKey::new(suite, &key_salt, octets("mki").unwrap_or_default(), parameters).ok().map(Arc::new)
}
