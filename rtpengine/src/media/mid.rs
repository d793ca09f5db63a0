//! The mid header extension on packets to a party whose media sections share a port (RFC 9143 §15, RFC 8285).
//!
//! Which section a packet is for is known by the edge that it leaves from; packets of the codec graph that wait for their time, and those
//! of players, have left it behind. So edges tell which SSRCs they send, and what is not known is looked up by its payload type.

use std::sync::Arc;

use codec::header_extension;

use super::plan::BundlePlan;

/// SSRCs that are remembered.
const REMEMBERED: usize = 16;

/// Says of each packet to one party which section it is for.
pub struct MidWriter {
    plan: Arc<BundlePlan>,
    /// (SSRC, position of the section), the oldest makes way.
    ssrcs: [Option<(u32, usize)>; REMEMBERED],
    oldest: usize,
}

impl MidWriter {
    /// Nothing without an extension that the party agreed to.
    pub fn new(plan: &Arc<BundlePlan>) -> Option<Self> {
        plan.mid_extension?;
        Some(Self { plan: Arc::clone(plan), ssrcs: [None; REMEMBERED], oldest: 0 })
    }

    /// An SSRC is sent for the section with this mid.
    pub fn note(&mut self, ssrc: u32, mid: &str) {
        let is_named = |other: &Option<&str>| *other == Some(mid);
        let mids = self.plan.sections.iter().map(|section| section.mid.as_deref());
        let Some((position, _)) = mids.enumerate().find(|(_, other)| is_named(other)) else { return };
        if let Some((_, known)) = self.ssrcs.iter_mut().flatten().find(|(known, _)| *known == ssrc) {
            *known = position;
            return;
        }
        self.ssrcs[self.oldest] = Some((ssrc, position));
        self.oldest = (self.oldest + 1) % REMEMBERED;
    }

    /// Adds the extension to the RTP packet in `buffer[..length]`; returns its new length. A packet stays as it is when its section is not
    /// known or there is no place for the extension.
    pub fn write(&self, buffer: &mut [u8], length: usize) -> usize {
        let mid = buffer.get(..length).and_then(|packet| self.mid(packet));
        let with_mid = self.plan.mid_extension.zip(mid);
        let longer = with_mid.and_then(|(id, mid)| header_extension::set(buffer, length, id, mid.as_bytes()));
        longer.unwrap_or(length)
    }

    fn mid(&self, packet: &[u8]) -> Option<&str> {
        let (fixed, _) = packet.split_first_chunk::<12>()?;
        let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        self.of(ssrc, fixed[1] & 0x7f)
    }

    /// What is known of the section of a source that sends this payload type.
    pub fn of(&self, ssrc: u32, payload_type: u8) -> Option<&str> {
        let noted = self.ssrcs.iter().flatten().find(|(known, _)| *known == ssrc);
        let section = match noted {
            Some((_, position)) => self.plan.sections.get(*position)?,
            None => {
                let mut takers =
                    self.plan.sections.iter().filter(|s| s.payload_types.contains(&payload_type));
                takers.next().filter(|_| takers.next().is_none())?
            }
        };
        section.mid.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::SectionPlan;
    use super::*;

    fn writer(mid_extension: Option<u8>) -> Option<MidWriter> {
        let section = |section, mid: &str, payload_types: &[u8]| SectionPlan {
            section,
            mid: Some(mid.into()),
            ssrcs: Arc::from([]),
            payload_types: payload_types.into(),
        };
        let sections = vec![section(0, "a", &[0, 96]), section(1, "b", &[96, 97])];
        MidWriter::new(&Arc::new(BundlePlan { mid_extension, sections }))
    }

    fn written(writer: &MidWriter, ssrc: u8, payload_type: u8) -> Option<String> {
        let mut buffer = [0; 64];
        buffer[..12].copy_from_slice(&[0x80, payload_type, 0, 1, 0, 0, 0, 0, 0, 0, 0, ssrc]);
        let length = writer.write(&mut buffer, 32);
        let mid = header_extension::find(&buffer[..length], 3)?;
        Some(String::from_utf8(mid.to_vec()).unwrap())
    }

    #[test]
    fn packets_say_their_section() {
        let mut writer = writer(Some(3)).unwrap();
        assert_eq!(written(&writer, 7, 0).as_deref(), Some("a"), "by payload type");
        assert_eq!(written(&writer, 7, 97).as_deref(), Some("b"), "by payload type");
        assert_eq!(written(&writer, 7, 96), None, "two could be meant");
        writer.note(7, "b");
        writer.note(8, "a");
        writer.note(9, "nobody's");
        assert_eq!(written(&writer, 7, 96).as_deref(), Some("b"));
        assert_eq!(written(&writer, 8, 96).as_deref(), Some("a"));
        assert_eq!(written(&writer, 9, 96), None);
        (20..60).for_each(|ssrc| writer.note(ssrc, "a"));
        assert_eq!(written(&writer, 7, 96), None, "the oldest is forgotten");
    }

    #[test]
    fn nothing_is_said_that_was_not_agreed_on() {
        assert!(writer(None).is_none());
    }
}
