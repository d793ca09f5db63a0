//! Messages of nf_tables over netlink: how they are put together and taken apart. Pure.

/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_…`
pub const NEW_TABLE: u16 = 0;
pub const NEW_CHAIN: u16 = 3;
pub const GET_CHAIN: u16 = 4;
pub const DELETE_CHAIN: u16 = 5;
pub const NEW_RULE: u16 = 6;
pub const GET_RULE: u16 = 7;
pub const DELETE_RULE: u16 = 8;

/// `NLM_F_…`
pub const REQUEST: u16 = 1;
pub const ACK: u16 = 4;
pub const DUMP: u16 = 0x300;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// Attributes of a message.
#[derive(Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn octets(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.octets(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.octets(kind, &value.to_be_bytes())
    }

    pub fn nested(&mut self, kind: u16, inner: &Attributes) -> &mut Self {
        self.octets(kind | NESTED, &inner.0)
    }
}

/// Messages that take effect together or not at all.
#[derive(Debug)]
pub struct Batch {
    octets: Vec<u8>,
    sequence: u32,
}

impl Batch {
    pub fn new() -> Self {
        let mut batch = Self { octets: Vec::new(), sequence: 0 };
        batch.envelope(BATCH_BEGIN);
        batch
    }

    pub fn add(&mut self, message: u16, flags: u16, family: u8, attributes: &Attributes) {
        self.sequence += 1;
        self.octets.extend(encode(message, REQUEST | ACK | flags, family, self.sequence, attributes));
    }

    /// The whole, and how many answers come.
    pub fn finish(mut self) -> (Vec<u8>, u32) {
        let answers = self.sequence;
        self.envelope(BATCH_END);
        (self.octets, answers)
    }

    fn envelope(&mut self, kind: u16) {
        self.octets.extend(((HEADER + FAMILY_HEADER) as u32).to_ne_bytes());
        self.octets.extend(kind.to_ne_bytes());
        self.octets.extend(REQUEST.to_ne_bytes());
        self.octets.extend([0; 8]);
        self.octets.extend([0, 0]);
        self.octets.extend(SUBSYSTEM.to_be_bytes());
    }
}

/// A question.
pub fn encode(message: u16, flags: u16, family: u8, sequence: u32, attributes: &Attributes) -> Vec<u8> {
    let length = HEADER + FAMILY_HEADER + attributes.0.len();
    let mut octets = Vec::with_capacity(length);
    octets.extend((length as u32).to_ne_bytes());
    octets.extend((SUBSYSTEM << 8 | message).to_ne_bytes());
    octets.extend((flags | REQUEST).to_ne_bytes());
    octets.extend(sequence.to_ne_bytes());
    octets.extend([0; 4]);
    octets.extend([family, 0, 0, 0]);
    octets.extend(&attributes.0);
    octets
}

/// What comes back.
#[derive(Debug, PartialEq)]
pub enum Answer<'a> {
    /// A message was carried out (0), or failed with this errno.
    Outcome(i32),
    /// The end of a list.
    Done,
    /// A member of a list: its attributes.
    Item(&'a [u8]),
}

/// The answers in a datagram.
pub fn answers(mut datagram: &[u8]) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    while let Some(header) = datagram.get(..HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = datagram.get(HEADER..length) else { break };
        match kind {
            ERROR => {
                let errno = body.first_chunk().map_or(libc::EPROTO, |errno| -i32::from_ne_bytes(*errno));
                answers.push(Answer::Outcome(errno));
            }
            DONE => answers.push(Answer::Done),
            _ => answers.push(Answer::Item(body.get(FAMILY_HEADER..).unwrap_or_default())),
        }
        let Some(rest) = datagram.get(length.next_multiple_of(4)..) else { break };
        datagram = rest;
    }
    answers
}

/// The attributes of a message or of another attribute.
pub fn attributes(mut octets: &[u8]) -> Vec<(u16, &[u8])> {
    let mut attributes = Vec::new();
    while let Some(header) = octets.get(..4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !(NESTED | 0x4000);
        let Some(value) = octets.get(4..length) else { break };
        attributes.push((kind, value));
        let Some(rest) = octets.get(length.next_multiple_of(4)..) else { break };
        octets = rest;
    }
    attributes
}

/// The attribute of a kind.
pub fn find(octets: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(octets).into_iter().find(|(other, _)| *other == kind).map(|(_, value)| value)
}

/// The text of an attribute.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets.split(|octet| *octet == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Attributes::default();
        inner.number(1, 7).text(2, "chain");
        let mut outer = Attributes::default();
        outer.text(1, "filter").nested(4, &inner);
        let message = encode(GET_RULE, DUMP, 2, 9, &outer);
        let [Answer::Item(body)] = answers(&message)[..] else { panic!("{message:?}") };
        assert_eq!(find(body, 1).map(text).as_deref(), Some("filter"));
        let inner = find(body, 4).expect("nested");
        assert_eq!(find(inner, 1), Some(&[0, 0, 0, 7][..]));
        assert_eq!(find(inner, 2).map(text).as_deref(), Some("chain"));
        assert_eq!(find(inner, 3), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            for answer in answers(&octets) {
                if let Answer::Item(body) = answer {
                    attributes(body).into_iter().for_each(|(_, value)| drop(attributes(value)));
                }
            }
        }
    }
}
