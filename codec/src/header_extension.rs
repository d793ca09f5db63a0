//! RTP header extensions (RFC 8285), read and hidden in place.

use std::ops::Range;

/// One extension element of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Local identifier, 1–14 in the one-byte form, 1–255 in the two-byte form.
    pub id: u8,
    /// The element with its own header, as a range of the packet.
    pub whole: Range<usize>,
    /// Its data.
    pub data: Range<usize>,
}

/// Walks over the elements of a packet without holding it borrowed, so that it can be changed on the way.
///
/// What is cut off, of an unknown form, or not RTP has no (further) elements.
#[derive(Clone, Debug)]
pub struct Elements {
    at: usize,
    end: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
}

impl Elements {
    /// Starts with the first element of an RTP packet.
    pub fn of(packet: &[u8]) -> Self {
        Self::find(packet).unwrap_or(Self { at: 0, end: 0, form: Form::OneByte })
    }

    fn find(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        if first & 0x10 == 0 {
            return None;
        }
        let header = 12 + 4 * usize::from(first & 0x0f);
        let [profile @ .., high, low] = *packet.get(header..)?.first_chunk::<4>()?;
        let form = match profile {
            [0xbe, 0xde] => Form::OneByte,
            // The last four bits are the application's.
            [0x10, bits] if bits & 0xf0 == 0 => Form::TwoByte,
            _ => return None,
        };
        let at = header + 4;
        let end = at + 4 * usize::from(u16::from_be_bytes([high, low]));
        (end <= packet.len()).then_some(Self { at, end, form })
    }

    /// The next element. `packet` is the one that the walk began with.
    pub fn next(&mut self, packet: &[u8]) -> Option<Element> {
        while self.at < self.end {
            let start = self.at;
            let first = *packet.get(start)?;
            let (id, data) = match self.form {
                Form::OneByte => (first >> 4, start + 1..start + 2 + usize::from(first & 0x0f)),
                // An identifier of zero is one octet of padding, without a length.
                Form::TwoByte if first == 0 => (0, 0..0),
                Form::TwoByte => {
                    let length = usize::from(*packet.get(start + 1)?);
                    (first, start + 2..start + 2 + length)
                }
            };
            if first == 0 {
                self.at += 1;
                continue;
            }
            // In the one-byte form 15, and padding with a length, end the processing (RFC 8285 §4.2).
            let is_end = self.form == Form::OneByte && (id == 0 || id == 15);
            if is_end || data.end > self.end {
                self.at = self.end;
                return None;
            }
            self.at = data.end;
            return Some(Element { id, whole: start..data.end, data });
        }
        None
    }
}

/// The data of the first element with this identifier.
pub fn find(packet: &[u8], id: u8) -> Option<&[u8]> {
    let mut elements = Elements::of(packet);
    while let Some(element) = elements.next(packet) {
        if element.id == id {
            return packet.get(element.data);
        }
    }
    None
}

/// A set of identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids([u64; 4]);

impl Ids {
    /// Adds an identifier.
    pub fn insert(&mut self, id: u8) {
        self.0[usize::from(id >> 6)] |= 1 << (id & 63);
    }

    /// Whether it is in the set.
    pub fn contains(&self, id: u8) -> bool {
        self.0[usize::from(id >> 6)] >> (id & 63) & 1 != 0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl FromIterator<u8> for Ids {
    fn from_iter<I: IntoIterator<Item = u8>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

/// Turns the elements with these identifiers into padding; nothing moves and the length stays. Returns whether there was any.
pub fn hide(packet: &mut [u8], ids: &Ids) -> bool {
    let mut elements = Elements::of(packet);
    let mut hidden = false;
    while let Some(element) = elements.next(packet) {
        if ids.contains(element.id)
            && let Some(octets) = packet.get_mut(element.whole)
        {
            octets.fill(0);
            hidden = true;
        }
    }
    hidden
}

/// Puts an element into the packet in `buffer[..length]`, in place of those with the same identifier, behind all others. Returns the new
/// length, at most 8 octets more than the data. `None`, and nothing has changed: there is no room, the packet has an extension of another
/// form, or the element does not fit the form.
pub fn set(buffer: &mut [u8], length: usize, id: u8, data: &[u8]) -> Option<usize> {
    let packet = buffer.get(..length)?;
    let first = *packet.first()?;
    let header = 12 + 4 * usize::from(first & 0x0f);
    if packet.len() < header {
        return None;
    }
    let has_one = first & 0x10 != 0;
    let short = (1..=14).contains(&id) && (1..=16).contains(&data.len());
    let (at, form) = match Elements::find(packet) {
        Some(elements) => (elements.end, elements.form),
        None if has_one => return None,
        None => (header, if short { Form::OneByte } else { Form::TwoByte }),
    };
    let (title, title_length) = match form {
        Form::OneByte if !short => return None,
        Form::OneByte => ([id << 4 | u8::try_from(data.len() - 1).ok()?, 0], 1),
        Form::TwoByte if id == 0 => return None,
        Form::TwoByte => ([id, u8::try_from(data.len()).ok()?], 2),
    };
    let element = (title_length + data.len()).next_multiple_of(4);
    let begin = if has_one { at } else { at + 4 };
    let words = u16::try_from((begin + element - header - 4) / 4).ok()?;
    let grown = length + (begin - at) + element;
    if grown > buffer.len() {
        return None;
    }
    hide(buffer.get_mut(..length)?, &[id].into_iter().collect());
    buffer.copy_within(at..length, begin + element);
    if !has_one {
        buffer[0] |= 0x10;
        buffer[header..header + 2].copy_from_slice(match form {
            Form::OneByte => &[0xbe, 0xde],
            Form::TwoByte => &[0x10, 0x00],
        });
    }
    buffer[header + 2..header + 4].copy_from_slice(&words.to_be_bytes());
    let block = &mut buffer[begin..begin + element];
    block.fill(0);
    block[..title_length].copy_from_slice(&title[..title_length]);
    block[title_length..title_length + data.len()].copy_from_slice(data);
    Some(grown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with this extension block (profile, then elements), and a payload.
    fn packet(csrcs: u8, profile: [u8; 2], elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90 | csrcs, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        packet.resize(12 + 4 * usize::from(csrcs), 0xcc);
        packet.extend(profile);
        let words = elements.len().div_ceil(4);
        packet.extend((words as u16).to_be_bytes());
        packet.extend(elements);
        packet.resize(16 + 4 * usize::from(csrcs) + 4 * words, 0);
        packet.extend([0xd5; 20]);
        packet
    }

    #[test]
    fn elements_of_both_forms_are_found() {
        // (name, CSRCs, profile, elements, identifier, data)
        type Case = (&'static str, u8, [u8; 2], &'static [u8], u8, Option<&'static [u8]>);
        const CASES: &[Case] = &[
            ("one-byte", 0, [0xbe, 0xde], &[0x10, 0x85, 0x42, b'a', b'u', b'd'], 4, Some(b"aud")),
            ("behind padding and CSRCs", 3, [0xbe, 0xde], &[0, 0, 0x20, 9], 2, Some(&[9])),
            ("another one", 0, [0xbe, 0xde], &[0x10, 0x85], 2, None),
            ("behind the end mark", 0, [0xbe, 0xde], &[0xf0, 1, 0x20, 9], 2, None),
            ("behind padding with a length", 0, [0xbe, 0xde], &[0x01, 1, 0x20, 9], 2, None),
            ("longer than the block", 0, [0xbe, 0xde], &[0x2f, 1, 2, 3], 2, None),
            ("two-byte", 0, [0x10, 0x00], &[20, 0, 0, 200, 2, 5, 6], 200, Some(&[5, 6])),
            ("two-byte without data", 0, [0x10, 0x07], &[20, 0], 20, Some(&[])),
            ("two-byte, too long", 0, [0x10, 0x00], &[20, 9, 1, 1], 20, None),
            ("another profile", 0, [0x10, 0x17], &[20, 1, 1, 1], 20, None),
        ];
        for (name, csrcs, profile, elements, id, expected) in CASES {
            assert_eq!(find(&packet(*csrcs, *profile, elements), *id), *expected, "{name}");
        }
        assert_eq!(find(&[0x80; 12], 1), None);
        assert_eq!(find(&packet(0, [0xbe, 0xde], &[0x10, 1])[..15], 1), None, "cut off");
    }

    #[test]
    fn hidden_elements_are_padding_and_the_rest_stays() {
        let elements = [0x10, 0x85, 0x42, b'a', b'u', b'd', 0x20, 9];
        let mut changed = packet(1, [0xbe, 0xde], &elements);
        let ids: Ids = [4, 200].into_iter().collect();
        assert!(hide(&mut changed, &ids));
        assert_eq!(changed, packet(1, [0xbe, 0xde], &[0x10, 0x85, 0, 0, 0, 0, 0x20, 9]));
        assert_eq!(find(&changed, 2), Some(&[9][..]));
        assert!(!hide(&mut changed, &ids), "there is none any more");
    }

    #[test]
    fn element_is_added_in_the_form_that_there_is() {
        let mut bare = vec![0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0xcc, 0xcc, 0xcc, 0xcc];
        bare.extend([0xd5; 20]);
        /// (name, before, identifier, data, after)
        type Case = (&'static str, Vec<u8>, u8, &'static [u8], Option<Vec<u8>>);
        let cases: &[Case] = &[
            ("none yet", bare.clone(), 3, b"a", Some(packet(1, [0xbe, 0xde], &[0x30, b'a']))),
            ("none yet, high id", bare.clone(), 20, b"a", Some(packet(1, [0x10, 0], &[20, 1, b'a']))),
            (
                "behind others",
                packet(1, [0xbe, 0xde], &[0x20, 9]),
                3,
                b"mid",
                Some(packet(1, [0xbe, 0xde], &[0x20, 9, 0, 0, 0x32, b'm', b'i', b'd'])),
            ),
            (
                "in place of another one",
                packet(0, [0xbe, 0xde], &[0x32, 1, 2, 3, 0x20, 9]),
                3,
                b"x",
                Some(packet(0, [0xbe, 0xde], &[0, 0, 0, 0, 0x20, 9, 0, 0, 0x30, b'x', 0, 0])),
            ),
            (
                "two-byte",
                packet(0, [0x10, 7], &[200, 1, 5]),
                3,
                b"x",
                Some(packet(0, [0x10, 7], &[200, 1, 5, 0, 3, 1, b'x', 0])),
            ),
            ("high id, short form", packet(0, [0xbe, 0xde], &[0x20, 9]), 20, b"x", None),
            ("other profile", packet(0, [1, 2], &[0x20, 9]), 3, b"x", None),
            ("too short", vec![0x8f; 12], 3, b"x", None),
        ];
        for (name, before, id, data, after) in cases {
            let mut buffer = before.clone();
            buffer.resize(before.len() + 24, 0);
            let length = set(&mut buffer, before.len(), *id, data);
            assert_eq!(length.map(|length| &buffer[..length]), after.as_deref(), "{name}");
            let mut full = before.clone();
            assert_eq!(set(&mut full, before.len(), *id, data), None, "{name}: no room");
            assert_eq!(&full, before, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_set_is_found_in_any_packet(mut octets: Vec<u8>, id in 1..=14u8, data in proptest::collection::vec(0..255u8, 1..17)) {
            if let Some(first) = octets.first_mut() {
                *first = 0x80 | *first & 0x1f;
            }
            let length = octets.len();
            octets.resize(length + 24, 0);
            let before = octets.clone();
            match set(&mut octets, length, id, &data) {
                // Behind an end mark nobody looks.
                Some(longer) => assert!(longer > length && find(&octets[..longer], id).is_none_or(|found| found == data)),
                None => assert_eq!(octets, before),
            }
        }

        #[test]
        fn any_octets_are_walked_to_an_end(mut octets: Vec<u8>, extended: bool) {
            if let (true, Some(first)) = (extended, octets.first_mut()) {
                *first = 0x90;
            }
            let before = octets.clone();
            let mut elements = Elements::of(&octets);
            let mut last = 0;
            while let Some(element) = elements.next(&octets) {
                assert!(element.whole.start >= last && element.data.end <= octets.len());
                last = element.whole.end;
            }
            hide(&mut octets, &Ids([u64::MAX; 4]));
            assert_eq!(octets.len(), before.len());
            assert_eq!(Elements::of(&octets).next(&octets), None);
        }
    }
}
