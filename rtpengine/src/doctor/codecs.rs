//! Codec libraries that need not be there.

use codec::def;

use super::Finding;
use crate::config::Config;

/// (codec, package of Debian)
const PACKAGES: [(&str, &str); 4] = [
    ("G729", "libbcg729-0"),
    ("speex", "libspeex1"),
    ("AMR", "libavcodec-extra"),
    ("AMR-WB", "libavcodec-extra"),
];

/// Whether the library that is configured codes EVS.
pub fn evs(config: &Config) -> Option<Finding> {
    let path = config.transcoding.evs_library.as_deref()?;
    Some(match codec::evs::load(path) {
        Ok(name) => Finding::fine("codecs", format!("EVS is coded by {name}")),
        Err(error) => Finding::warning(
            "codecs",
            format!("EVS is not transcoded, {} is not used: {error}", path.display()),
            "build the library as docs/evs-plugin.md says, or remove evs-lib-path",
        ),
    })
}

/// Which codecs cannot be transcoded for want of a library.
pub fn libraries() -> Vec<Finding> {
    let topic = "codecs";
    let is_there =
        |name: &str| def::by_name(name).is_some_and(|codec| codec.can_encode() && codec.can_decode());
    let missing: Vec<_> = PACKAGES.iter().filter(|(name, _)| !is_there(name)).collect();
    if missing.is_empty() {
        return vec![Finding::fine(
            topic,
            "all libraries are there; `rtpengine --codecs` lists what they do",
        )];
    }
    let finding = |(name, package): &&(&str, &str)| {
        Finding::warning(
            topic,
            format!("{name} is not transcoded, its library is missing"),
            format!("apt-get install {package}"),
        )
    };
    missing.iter().map(finding).collect()
}
