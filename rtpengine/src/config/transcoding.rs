//! Options about what happens between decoder and encoder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use codec::PayloadFormat;
use codec::graph::{DtxSettings, Settings as GraphSettings, SilenceDetection};
use codec::jitter::JitterSettings;
use serde::{Deserialize, Serialize};
use service::address;
use service::options::ini::IniGroup;
use service::options::number::parse_int32;
use service::options::{OptionError, Settings};
use smol_str::SmolStr;

/// `silence-detect`, `cn-payload`, `dtx-*`, `jitter-buffer` and its companions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscodingConfig {
    /// For all transcoders.
    pub graph: GraphSettings,
    /// For all streams, unless a call does not want it.
    pub jitter: JitterSettings,
    /// Which codecs are best transcoded into each other.
    pub preferences: Arc<[TranscodePreference]>,
    /// Which codecs other instances transcode into each other.
    pub transforms: Vec<TransformGroup>,
    /// `evs-lib-path`: what codes EVS.
    pub evs_library: Option<PathBuf>,
}

/// A group of `transcode-config` with `transform`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformGroup {
    /// What comes.
    pub source: CodecName,
    /// What it becomes.
    pub destination: CodecName,
    /// Who does that.
    pub target: TransformTarget,
}

/// Another instance, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformTarget {
    /// Its ng port.
    pub remote: SocketAddr,
    /// Ours, from where media go there.
    pub local_interface: Option<SmolStr>,
    /// Which of its interfaces they are to go to.
    pub remote_interface: Option<SmolStr>,
    /// Of our end.
    pub family: Option<IpFamily>,
}

/// Kind of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    V4,
    V6,
}

/// A group of `transcode-config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscodePreference {
    /// A codec that is offered.
    pub source: CodecName,
    /// A codec that is answered.
    pub destination: CodecName,
    /// The highest wins; 0 is what other pairs have.
    pub preference: i32,
}

/// `NAME`, `NAME/RATE` or `NAME/RATE/CHANNELS`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecName {
    name: SmolStr,
    clock_rate: Option<u32>,
    channels: Option<u8>,
}

impl CodecName {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let clock_rate = parts.next().map(str::parse).transpose().ok()?;
        let channels = parts.next().map(str::parse).transpose().ok()?;
        Some(Self { name: name.into(), clock_rate, channels })
    }

    /// The format is of that codec.
    pub fn matches(&self, format: &PayloadFormat) -> bool {
        self.name.eq_ignore_ascii_case(&format.name)
            && self.clock_rate.is_none_or(|rate| rate == format.clock_rate)
            && self.channels.is_none_or(|channels| channels == format.channels)
    }
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
        Ok(Self {
            graph: GraphSettings { silence, dtx: dtx(settings)? },
            jitter: jitter(settings),
            preferences: preferences(settings, notices)?,
            transforms: transforms(settings)?,
            evs_library: settings.path("evs-lib-path"),
        })
    }
}

fn dtx(settings: &Settings) -> Result<Option<DtxSettings>, OptionError> {
    let noise = noise(settings, "dtx-cn-params")?;
    let ms = |option| Duration::from_millis(u64::try_from(settings.int(option)).unwrap_or(0));
    let delay = ms("dtx-delay");
    if delay.is_zero() {
        return Ok(None);
    }
    let is_noise = |option| settings.text(option).is_some_and(|word| word.eq_ignore_ascii_case("CN"));
    let longest = u64::try_from(settings.int("max-dtx")).ok().filter(|&seconds| seconds > 0);
    Ok(Some(DtxSettings {
        delay,
        longest: longest.map(Duration::from_secs),
        most_packets: usize::try_from(settings.int("dtx-buffer")).unwrap_or(0),
        most_lag: ms("dtx-lag"),
        shift: ms("dtx-shift"),
        noise: (!noise.is_empty()).then(|| noise.into()),
        native_amr: !is_noise("amr-dtx"),
        native_evs: !is_noise("evs-dtx"),
    }))
}

fn jitter(settings: &Settings) -> JitterSettings {
    let ms = |option| Duration::from_millis(u64::try_from(settings.int(option)).unwrap_or(0));
    let most =
        Some(ms("jb-adaptive-max")).filter(|most| !most.is_zero()).unwrap_or(Duration::from_millis(300));
    JitterSettings {
        most_packets: u32::try_from(settings.int("jitter-buffer")).unwrap_or(0).min(MOST_JITTER_PACKETS),
        follow_drift: settings.flag("jb-clock-drift"),
        adaptive: settings.flag("jb-adaptive").then(|| (ms("jb-adaptive-min"), most)),
    }
}

/// The groups have been checked for their keys.
fn preferences(
    settings: &Settings,
    notices: &mut Vec<String>,
) -> Result<Arc<[TranscodePreference]>, OptionError> {
    let Some(prefix) = settings.text("transcode-config") else { return Ok(Arc::default()) };
    let mut preferences = Vec::new();
    for (name, group) in settings.groups_with_prefix(&prefix) {
        let (source, destination) = codecs(name, group)?;
        if group.raw("codec-chain").is_some() {
            notices.push(format!(
                "Transcode config '{name}': 'codec-chain' is not supported, calls are transcoded here"
            ));
        }
        let preference = group.raw("preference").and_then(|raw| parse_int32(raw).ok());
        preferences.extend(preference.map(|preference| TranscodePreference {
            source,
            destination,
            preference,
        }));
    }
    Ok(preferences.into())
}

fn codecs(name: &str, group: &IniGroup) -> Result<(CodecName, CodecName), OptionError> {
    let codec = |key: &str| {
        let text = group.raw(key).unwrap_or_default();
        CodecName::parse(text).ok_or_else(|| {
            OptionError::invalid(format!("Transcode config '{name}': '{text}' is no codec ({key})"))
        })
    };
    Ok((codec("source")?, codec("destination")?))
}

fn transforms(settings: &Settings) -> Result<Vec<TransformGroup>, OptionError> {
    let Some(prefix) = settings.text("transcode-config") else { return Ok(Vec::new()) };
    let mut groups = Vec::new();
    for (name, group) in settings.groups_with_prefix(&prefix) {
        let Some(remote) = group.raw("transform") else { continue };
        let (source, destination) = codecs(name, group)?;
        let remote = address::resolve_remote(remote).map_err(|error| {
            OptionError::invalid(format!("Transcode config '{name}': transform '{remote}': {error}"))
        })?;
        let family = match group.raw("address-family") {
            None => None,
            Some("IP4") => Some(IpFamily::V4),
            Some("IP6") => Some(IpFamily::V6),
            Some(other) => {
                return Err(OptionError::invalid(format!(
                    "Transcode config '{name}': address-family '{other}' is neither IP4 nor IP6"
                )));
            }
        };
        let text = |key: &str| group.raw(key).filter(|text| !text.is_empty()).map(SmolStr::from);
        let (local_interface, remote_interface) = (text("local-interface"), text("remote-interface"));
        let target = TransformTarget { remote, local_interface, remote_interface, family };
        groups.push(TransformGroup { source, destination, target });
    }
    Ok(groups)
}

/// Packets that a worker may have to keep for each stream.
const MOST_JITTER_PACKETS: u32 = 100;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_names_match_what_they_say() {
        let name = |text| CodecName::parse(text).unwrap();
        let opus = PayloadFormat::new(96, "opus", 48_000, 2);
        for (text, expected) in [
            ("Opus", true),
            ("opus/48000", true),
            ("opus/48000/2", true),
            ("opus/48000/1", false),
            ("PCMU", false),
        ] {
            assert_eq!(name(text).matches(&opus), expected, "{text}");
        }
        assert_eq!(CodecName::parse("opus/x"), None);
        assert_eq!(CodecName::parse(""), None);
    }
}
