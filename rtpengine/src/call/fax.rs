//! Sections of which one side speaks T.38 and the other audio.
//!
//! What is said in SDP is complete; the modem between the two sides does not exist yet, so the media of such a section end here.

use super::model::Media;
use crate::negotiate::signal::{Signal, TransportOverride};
use crate::negotiate::t38::{Gateway, T38Parameters};
use crate::proto::sdp::model::{MediaDescription, RtpProfile, Transport};

/// Sets up both sides of an offered section, or ends a gateway. `kept` is the transport that was spoken with `to` until now.
pub fn offer(
    from: &mut Media,
    to: &mut Media,
    described: &MediaDescription,
    gateway: Option<Gateway>,
    signal: &Signal,
    kept: Option<Transport>,
) {
    let Some(gateway) = gateway else {
        (from.t38, to.t38) = (None, None);
        return;
    };
    if from.t38.is_none() && to.t38.is_none() {
        let call_id = signal.identity.call_id.as_deref();
        tracing::warn!(call_id, ?gateway, "fax gateway: SDP only, this version does not convert the media");
    }
    match gateway {
        Gateway::Decode => {
            from.t38 = Some(T38Parameters::new(&described.attributes.t38, &signal.t38));
            to.t38 = None;
            to.transport = Some(match (signal.security.transport, kept.filter(Transport::is_rtp)) {
                (Some(TransportOverride::Rtp(profile)), _) => Transport::Rtp(profile),
                (_, Some(kept)) => kept,
                _ => Transport::Rtp(RtpProfile { secure: false, feedback: false, dtls: false }),
            });
        }
        Gateway::Encode => {
            // What it said in an earlier answer still holds, unless the client wants something else.
            let asked = T38Parameters::new(&[], &signal.t38);
            let options = &signal.t38;
            to.t38 = Some(match to.t38 {
                Some(known) if options.version.is_none() && !options.fec => known,
                _ => asked,
            });
            from.t38 = None;
            to.transport = Some(Transport::Udptl);
        }
    }
}

/// One side of the section is the T.38 side of a gateway.
pub fn is_gateway(a: &Media, b: &Media) -> bool {
    a.t38.is_some() != b.t38.is_some()
}
