//! Options about DTMF digits.

use std::net::SocketAddr;
use std::time::Duration;

use service::address;
use service::options::{OptionError, Settings};
use smol_str::SmolStr;

use crate::proto::dtmf;

/// Who is told about digits, and how digits are put together.
#[derive(Clone, Debug, PartialEq)]
pub struct DtmfConfig {
    /// `dtmf-log-dest`: gets a datagram for each digit.
    pub log_destination: Option<SocketAddr>,
    /// `dtmf-log-ng-tcp`: ng clients over TCP are told.
    pub over_ng_tcp: bool,
    /// `log-facility-dtmf` is there: digits go into the log.
    pub logged: bool,
    /// Not `dtmf-no-log-injects`: digits of `play DTMF` are told about as well.
    pub report_injected: bool,
    /// `dtmf-no-suppress`: audio goes on while a digit is sent as event packets.
    pub keeps_audio: bool,
    /// `dtmf-digit-delay`: a longer pause between digits ends what they belong to.
    pub digit_delay: Duration,
    /// `vsc-…`: digits that switch recordings, as (`start-rec`, digits).
    pub star_codes: Vec<(SmolStr, SmolStr)>,
}

impl Default for DtmfConfig {
    fn default() -> Self {
        Self {
            log_destination: None,
            over_ng_tcp: false,
            logged: false,
            report_injected: true,
            keeps_audio: false,
            digit_delay: Duration::from_millis(2500),
            star_codes: Vec::new(),
        }
    }
}

impl DtmfConfig {
    /// Digits of all calls are told about.
    pub fn is_reported(&self) -> bool {
        self.log_destination.is_some() || self.over_ng_tcp || self.logged
    }

    /// From the options.
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, OptionError> {
        let destination = |text: String| {
            address::resolve_remote(&text).map_err(|error| {
                OptionError::invalid(format!("Invalid IP or port '{text}' (--dtmf-log-dest): {error}"))
            })
        };
        Ok(Self {
            log_destination: settings.text("dtmf-log-dest").map(destination).transpose()?,
            over_ng_tcp: settings.flag("dtmf-log-ng-tcp"),
            keeps_audio: settings.flag("dtmf-no-suppress"),
            logged: settings.text("log-facility-dtmf").is_some(),
            report_injected: !settings.flag("dtmf-no-log-injects"),
            digit_delay: Duration::from_millis(u64::try_from(settings.int("dtmf-digit-delay")).unwrap_or(0)),
            star_codes: star_codes(settings)?,
        })
    }
}

/// Purposes of star codes; the options have `vsc-` in front.
const STAR_CODES: [&str; 6] =
    ["start-rec", "stop-rec", "start-stop-rec", "pause-rec", "pause-resume-rec", "start-pause-resume-rec"];

fn star_codes(settings: &Settings) -> Result<Vec<(SmolStr, SmolStr)>, OptionError> {
    let mut codes = Vec::new();
    for purpose in STAR_CODES {
        let option = format!("vsc-{purpose}");
        let Some(digits) = settings.text(&option).filter(|digits| !digits.is_empty()) else { continue };
        let digits = dtmf::digits(&digits).ok_or_else(|| {
            OptionError::invalid(format!(
                "Invalid digits '{digits}' (--{option}): at most 64 of 0-9, *, #, A-D"
            ))
        })?;
        codes.push((purpose.into(), digits));
    }
    Ok(codes)
}
