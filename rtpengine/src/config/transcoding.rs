//! Options about what happens between decoder and encoder.

use codec::graph::{Settings as GraphSettings, SilenceDetection};
use service::options::number::parse_int32;
use service::options::{OptionError, Settings};

/// `silence-detect`, `cn-payload`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscodingConfig {
    /// For all transcoders.
    pub graph: GraphSettings,
}

impl TranscodingConfig {
    /// # Errors
    /// Noise that RFC 3389 cannot describe.
    pub fn from_settings(settings: &Settings, notices: &mut Vec<String>) -> Result<Self, OptionError> {
        let payload = noise(settings, "cn-payload")?;
        let silence = match settings.float("silence-detect") {
            None | Some(0.0) => None,
            Some(percent) if percent > 0.0 && percent < 100.0 => {
                // Saturates, and no sample is above 32 768.
                let threshold = (percent / 100.0 * 32_767.0).round() as u16;
                Some(SilenceDetection { threshold, payload: payload.into() })
            }
            Some(percent) => {
                notices.push(format!(
                    "silence-detect {percent} is not between 0 and 100 percent: silence is not detected"
                ));
                None
            }
        };
        Ok(Self { graph: GraphSettings { silence } })
    }
}

/// Level and coefficients of comfort noise (RFC 3389 §3).
fn noise(settings: &Settings, option: &str) -> Result<Vec<u8>, OptionError> {
    let wrong =
        |what: &str| OptionError::invalid(format!("Invalid CN payload specified (--{option}): {what}"));
    let number = |text: &String| {
        let number = parse_int32(text).ok().and_then(|number| u8::try_from(number).ok());
        number
            .filter(|&number| number < u8::MAX)
            .ok_or_else(|| wrong(&format!("'{text}' is not from 0 to 254")))
    };
    let octets = settings.list(option).iter().map(number).collect::<Result<Vec<u8>, _>>()?;
    if octets.first().is_some_and(|&level| level > 127) {
        return Err(wrong("the first number is a level from 0 to 127"));
    }
    Ok(octets)
}
