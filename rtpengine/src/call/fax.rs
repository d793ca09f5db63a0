//! Sections of which one side speaks T.38 and the other audio.

use std::sync::Arc;

use codec::graph::TranscodePlan;
use codec::{EncoderOptions, PayloadFormat};

use super::coding;
use super::model::Media;
use crate::media::plan::{FaxPlan, GatewayPlan};
use crate::negotiate::codecs::Registry;
use crate::negotiate::signal::{Signal, TransportOverride};
use crate::negotiate::t38::{ErrorCorrection, Gateway, T38Parameters};
use crate::proto::sdp::model::{MediaDescription, RtpProfile, Transport};
use crate::proto::udptl::Correction;

/// The library with the modems is there; without it nothing is converted, and the log says so.
pub fn is_possible(signal: &Signal) -> bool {
    let available = codec::t38::is_available();
    if !available {
        let call_id = signal.identity.call_id.as_deref();
        tracing::warn!(call_id, "fax gateway: libspandsp.so.2 is not installed, T.38 is not converted");
    }
    available
}

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

/// The gateway between a T.38 and an audio side, when both are there; none while the line is on hold.
pub fn plan(fax: &Media, audio: &Media) -> Option<GatewayPlan> {
    let parameters = fax.t38.as_ref().filter(|_| audio.may_receive())?;
    let linear = || PayloadFormat::new(LINEAR, "L16", codec::t38::RATE, 1);
    let options = |ptime_ms| EncoderOptions { ptime_ms: Some(ptime_ms), ..EncoderOptions::default() };
    let formats = audio.remote.iter().flat_map(|remote| remote.formats.iter());
    let decodable = formats.filter(|format| Registry::BUILD.decodes(format) && !format.is_supplemental());
    let hears = decodable.map(|source| Arc::new(TranscodePlan::new(source.clone(), linear(), options(10))));
    let ptime_ms = audio.remote.as_ref().and_then(|remote| remote.ptime_ms).unwrap_or(20);
    Some(GatewayPlan {
        fax: fax.streams[0].id,
        audio: audio.streams[0].id,
        plan: FaxPlan {
            modem: parameters.modem,
            correction: match parameters.error_correction {
                ErrorCorrection::Redundancy => Correction::Redundancy(3),
                ErrorCorrection::Fec => Correction::Fec { span: 3, entries: 3 },
                ErrorCorrection::None => Correction::None,
            },
            hears: hears.collect(),
            speaks: Arc::new(TranscodePlan::new(linear(), coding::player_format(audio)?, options(ptime_ms))),
        },
    })
}

/// Payload type of samples on their way between a codec and the modems.
const LINEAR: u8 = 96;
