//! Names of recordings and streams.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Percent-encodes every byte except `A–Z a–z 0–9 - . _ ~`, upper-case hex.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `<encoded call-ID>-<16 lower-case hex digits>`; the digits are the recording's random tag.
pub fn prefix(call_id: &str, random: u64) -> String {
    format!("{}-{random:016x}", percent_encode(call_id))
}

/// The random tag of a prefix, if it ends in one.
pub fn random_tag(prefix: &str) -> Option<&str> {
    let (_, tag) = prefix.rsplit_once('-')?;
    (tag.len() == 16 && tag.bytes().all(|b| b.is_ascii_hexdigit())).then_some(tag)
}

/// `tag-<t>-media-<index>-component-<c>-<RTP|RTCP>-id-<s>`: the file name of a stream below its call.
pub fn stream_name(tag: u32, media_index: u32, component: u8, rtcp_only: bool, stream: u32) -> String {
    let kind = if rtcp_only { "RTCP" } else { "RTP" };
    format!("tag-{tag}-media-{media_index}-component-{component}-{kind}-id-{stream}")
}

/// `<s>` of [`stream_name`].
pub fn stream_number(name: &str) -> Option<u32> {
    name.strip_prefix("tag-")?.rsplit_once("-id-")?.1.parse().ok()
}

/// Where user space exposes a call's streams: `<spool>/calls/<prefix>/`.
pub fn exposure_dir(spool: &Path, prefix: &str) -> PathBuf {
    spool.join("calls").join(prefix)
}

/// Where the kernel module exposes them: `/proc/rtpengine/<table>/calls/<prefix>/`.
pub fn kernel_dir(table: u8, prefix: &str) -> PathBuf {
    PathBuf::from(format!("/proc/rtpengine/{table}/calls/{prefix}"))
}

/// `<spool>/<prefix>.meta`
pub fn metafile_path(spool: &Path, prefix: &str) -> PathBuf {
    spool.join(format!("{prefix}.meta"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_encodes_everything_but_unreserved() {
        assert_eq!(prefix("call-1@host/x", 0xc89c_0ac2_015d_c6f3), "call-1%40host%2Fx-c89c0ac2015dc6f3");
        assert_eq!(random_tag("call-1%40host%2Fx-c89c0ac2015dc6f3"), Some("c89c0ac2015dc6f3"));
        assert_eq!(random_tag("call"), None);
        assert_eq!(stream_number(&stream_name(3, 1, 2, true, 17)), Some(17));
        assert_eq!(stream_number("tag-3-media-1-component-2-RTCP-id-17.spill"), None);
    }

    #[test]
    fn stream_names_tell_component_and_kind() {
        assert_eq!(stream_name(0, 1, 1, false, 0), "tag-0-media-1-component-1-RTP-id-0");
        assert_eq!(stream_name(1, 2, 2, true, 7), "tag-1-media-2-component-2-RTCP-id-7");
    }
}
