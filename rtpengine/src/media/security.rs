//! SRTP on a stream: the keys of both directions, and what is kept of earlier ones.
//!
//! * Keys that a new plan repeats go on with their roll-over counters, replay lists and SRTCP index.
//! * Other keys start afresh. The ones before are remembered: a plan that returns to them must not use a key
//!   stream twice, nor accept a packet twice. And a party goes on with its old key until it has seen the answer;
//!   so until the first packet under the new key, packets under the one before are accepted.
//! * A direction without key is closed. A stream that is secured never receives or sends a clear packet.

use std::sync::Arc;
use std::time::Instant;

use super::mid::MidWriter;
use super::plan::{DropReason, SrtpProgress, StreamSecurity};
use super::receive::{BATCH, DATAGRAM};
use crate::prefetch::prefetch_all;
use crate::proto::budget::Budget;
use crate::proto::srtp::{MAX_OVERHEAD, MasterKey, Protector, SrtpError, Unprotector};

/// Room for a protected datagram.
pub const PROTECTED: usize = DATAGRAM + MAX_OVERHEAD;

/// The middle of all SRTCP indices.
const UPPER_HALF: u32 = 1 << 30;

/// SRTCP packets that may have been sent since the progress was noted.
const RTCP_MARGIN: u32 = 1 << 14;
/// The last SRTCP index of a key.
const LAST_RTCP: u32 = (1 << 31) - 1;

/// RTP or RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rtp,
    Rtcp,
}

/// Which of a stream's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Receive,
    Send,
}

/// Both directions of a stream.
#[derive(Default)]
pub struct Security {
    receive: Keyed<Unprotector>,
    send: Keyed<Protector>,
    /// Packets under the receiving key before are still accepted.
    in_transition: bool,
    /// Packets that may be verified although they come from elsewhere than the party: with an SSRC of its, and others.
    elsewhere: Option<[Budget; 2]>,
}

/// Packets from elsewhere with an SSRC of the party, which is hard to guess: at once, and in a second.
const ELSEWHERE_KNOWN: (u32, u32) = (50, 100);
/// Others.
const ELSEWHERE_OTHERS: (u32, u32) = (10, 20);

/// The present key and the one before, each with its state.
#[repr(C)]
struct Keyed<T> {
    current: Option<Keys<T>>,
    previous: Option<Keys<T>>,
    /// Nobody has asked for the present key since it came.
    is_new: bool,
}

#[repr(C)]
struct Keys<T> {
    // In front, see `look_ahead`.
    state: T,
    master: Arc<MasterKey>,
    /// Others encrypt with it, too, or once did.
    shared: bool,
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { current: None, previous: None, is_new: false }
    }
}

impl<T> Keyed<T> {
    /// The state of a key that is remembered.
    fn of(&mut self, master: &Arc<MasterKey>) -> Option<&mut T> {
        let keys = [&mut self.current, &mut self.previous].into_iter().flatten();
        keys.into_iter().find(|keys| keys.master == *master).map(|keys| &mut keys.state)
    }

    /// Makes the wanted key the present one; true if it was not.
    fn change(&mut self, wanted: Option<&Arc<MasterKey>>, new: impl FnOnce(&MasterKey) -> T) -> bool {
        let is = |keys: &Option<Keys<T>>| keys.as_ref().map(|keys| &keys.master) == wanted;
        if is(&self.current) {
            return false;
        }
        self.is_new = true;
        if wanted.is_some() && is(&self.previous) {
            std::mem::swap(&mut self.current, &mut self.previous);
            return true;
        }
        let next =
            wanted.map(|master| Keys { state: new(master), master: Arc::clone(master), shared: false });
        if let Some(before) = std::mem::replace(&mut self.current, next) {
            self.previous = Some(before);
        }
        true
    }
}

impl Security {
    /// Takes the keys of a plan; plain streams keep what they had for the case that it comes back.
    pub fn update(&mut self, plan: &StreamSecurity) {
        // The keys of a handshake come when it is done.
        let StreamSecurity::Srtp { receive, send } = plan else { return };
        self.change(receive.as_ref(), send.as_ref());
    }

    /// Goes over to these keys.
    pub fn change(&mut self, receive: Option<&Arc<MasterKey>>, send: Option<&Arc<MasterKey>>) {
        if self.receive.change(receive, Unprotector::new) {
            let [current, previous] = [&self.receive.current, &self.receive.previous];
            self.in_transition =
                previous.is_some() && current.as_ref().is_some_and(|keys| keys.state.authenticates_rtp());
        }
        self.send.change(send, Protector::new);
    }

    /// Asks for the memory that an RTP packet will touch of the present key, without looking at any of it.
    #[inline]
    pub fn look_ahead(&self, direction: Direction) {
        // Whether there is a key is not asked: that stands in the memory which is not there yet.
        match direction {
            Direction::Receive => prefetch_all(&self.receive.current),
            Direction::Send => prefetch_all(&self.send.current),
        }
    }

    /// The same for what is kept of the packet's SSRC, when the former has come.
    #[inline]
    pub fn look_ahead_at_source(&self, direction: Direction) {
        match direction {
            Direction::Receive => self.receive.current.iter().for_each(|keys| keys.state.look_ahead()),
            Direction::Send => self.send.current.iter().for_each(|keys| keys.state.look_ahead()),
        }
    }

    /// Packets that this key lets pass are the party's.
    pub fn authenticates(&self, kind: Kind) -> bool {
        // SRTCP always has a tag (RFC 3711 §3.4).
        kind == Kind::Rtcp || self.receive.current.as_ref().is_some_and(|keys| keys.state.authenticates_rtp())
    }

    /// Whether one more packet may be verified that comes from elsewhere than the party.
    pub fn may_verify(&mut self, now: Instant, knows_ssrc: bool) -> bool {
        let budgets = self.elsewhere.get_or_insert_with(|| {
            [ELSEWHERE_OTHERS, ELSEWHERE_KNOWN]
                .map(|(at_once, per_second)| Budget::new(now, at_once, per_second))
        });
        budgets[usize::from(knows_ssrc)].take(now)
    }

    /// The present keys that are new since this was asked last, and for which direction they are.
    pub fn take_new_keys(&mut self) -> impl Iterator<Item = (&'static str, &MasterKey)> {
        let receive = std::mem::take(&mut self.receive.is_new).then_some(self.receive.current.as_ref());
        let send = std::mem::take(&mut self.send.is_new).then_some(self.send.current.as_ref());
        let receive = receive.flatten().map(|keys| ("in", &*keys.master));
        receive.into_iter().chain(send.flatten().map(|keys| ("out", &*keys.master)))
    }

    /// Verifies and decrypts in place; returns the length of the clear packet.
    pub fn unprotect(
        &mut self,
        kind: Kind,
        packet: &mut [u8],
        scratch: &mut [u8; DATAGRAM],
    ) -> Result<usize, DropReason> {
        let current = self.receive.current.as_mut().ok_or(DropReason::NoKey)?;
        if !self.in_transition {
            return unprotect(&mut current.state, kind, packet).map_err(reason);
        }
        let copy = scratch.get_mut(..packet.len()).ok_or(DropReason::Malformed)?;
        copy.copy_from_slice(packet);
        let error = match unprotect(&mut current.state, kind, packet) {
            Ok(length) => {
                self.in_transition = false;
                return Ok(length);
            }
            Err(error) => error,
        };
        let Some(previous) = &mut self.receive.previous else { return Err(reason(error)) };
        packet.copy_from_slice(copy);
        unprotect(&mut previous.state, kind, packet).map_err(|_| reason(error))
    }

    /// Encrypts and authenticates the packet in `buffer[..length]`; returns its new length.
    #[inline]
    pub fn protect(&mut self, kind: Kind, buffer: &mut [u8], length: usize) -> Result<usize, DropReason> {
        let keys = self.send.current.as_mut().ok_or(DropReason::NoKey)?;
        let protected = match kind {
            Kind::Rtp => keys.state.protect_rtp(buffer, length),
            Kind::Rtcp => keys.state.protect_rtcp(buffer, length),
        };
        protected.map_err(reason)
    }

    /// Goes on behind the SRTCP indices that another stream of the party used under the same key: RTCP moves
    /// from one port to the other when multiplexing is switched.
    pub fn continue_rtcp_of(&mut self, other: &(Arc<MasterKey>, u32)) {
        if let Some(keys) = self.send.current.as_mut().filter(|keys| keys.master == other.0) {
            keys.state.raise_rtcp_index(other.1);
        }
    }

    /// What one party sends under may be what the other was promised, so that packets could pass as they are. Our
    /// count of SRTCP packets differs from the party's as soon as one is lost or made here; the upper half of all
    /// indices keeps the two from using the same key stream for different packets.
    pub fn keep_apart_from<'a>(&mut self, mut received: impl Iterator<Item = &'a Arc<MasterKey>>) {
        if let Some(keys) = &mut self.send.current
            && received.any(|master| master.has_key_stream_of(&keys.master))
        {
            keys.state.raise_rtcp_index(UPPER_HALF);
            keys.shared = true;
        }
    }

    /// The sending key is one that others encrypt with.
    pub fn shares_sending_key(&self) -> bool {
        self.send.current.as_ref().is_some_and(|keys| keys.shared)
    }

    /// The sending key is the one under which `source` receives.
    pub fn sends_what_is_received_by(&self, source: &Security) -> bool {
        let (send, receive) = (&self.send.current, &source.receive.current);
        send.as_ref().zip(receive.as_ref()).is_some_and(|(s, r)| s.master.has_key_stream_of(&r.master))
    }

    /// The receiving key, unless packets under the one before are still expected.
    pub fn receiving(&self) -> Option<&Arc<MasterKey>> {
        self.receive.current.as_ref().filter(|_| !self.in_transition).map(|keys| &keys.master)
    }

    /// The sending key.
    pub fn sending(&self) -> Option<&Arc<MasterKey>> {
        self.send.current.as_ref().map(|keys| &keys.master)
    }

    /// Highest index of the RTP packets of an SSRC that were received under the present key, and of those that were sent.
    pub fn position(&self, direction: Direction, ssrc: u32) -> Option<u64> {
        match direction {
            Direction::Receive => self.receive.current.as_ref()?.state.position(ssrc),
            Direction::Send => self.send.current.as_ref()?.state.position(ssrc),
        }
    }

    /// Somebody else has used this key for RTP packets of an SSRC, up to this index; bit i of `seen`: index - i was used. It need not be the
    /// present key any more.
    pub fn went_on(
        &mut self,
        direction: Direction,
        master: &Arc<MasterKey>,
        (ssrc, index): (u32, u64),
        seen: u64,
    ) {
        match direction {
            Direction::Receive => {
                if let Some(state) = self.receive.of(master) {
                    state.went_on(ssrc, index, seen);
                }
            }
            Direction::Send => {
                if let Some(state) = self.send.of(master) {
                    state.went_on(ssrc, index, seen);
                }
            }
        }
    }

    /// The index of an RTP packet that was received under the present key.
    pub fn received_index(&self, ssrc: u32, sequence_number: u16) -> Option<u64> {
        self.receive.current.as_ref()?.state.rtp_index(ssrc, sequence_number)
    }

    /// The index under which an RTP packet would be sent.
    pub fn next_index(&self, ssrc: u32, sequence_number: u16) -> Option<u64> {
        self.send.current.as_ref()?.state.rtp_index(ssrc, sequence_number)
    }

    /// Keys and how far they were used, for another instance to go on with.
    pub fn progress(&self) -> SrtpProgress {
        let mut progress = SrtpProgress::default();
        if let Some(keys) = &self.receive.current {
            progress.receive = Some(Arc::clone(&keys.master));
            [progress.received, progress.received_rtcp] = keys.state.positions();
        }
        if let Some(keys) = &self.send.current {
            progress.send = Some(Arc::clone(&keys.master));
            progress.sent = keys.state.positions();
            progress.next_rtcp = keys.state.rtcp_index();
        }
        progress
    }

    /// Goes on with what another instance left, as far as it is about the present keys.
    pub fn resume(&mut self, progress: &SrtpProgress) {
        let is_same = |ours: &Arc<MasterKey>, theirs: &Option<Arc<MasterKey>>| theirs.as_ref() == Some(ours);
        if let Some(keys) = &mut self.receive.current
            && is_same(&keys.master, &progress.receive)
        {
            keys.state.resume(&progress.received, &progress.received_rtcp);
        }
        if let Some(keys) = &mut self.send.current
            && is_same(&keys.master, &progress.send)
        {
            keys.state.resume(&progress.sent, progress.next_rtcp.saturating_add(RTCP_MARGIN).min(LAST_RTCP));
        }
    }

    /// The sending key and its next SRTCP index.
    pub fn rtcp_position(&self) -> Option<(Arc<MasterKey>, u32)> {
        let keys = self.send.current.as_ref()?;
        Some((Arc::clone(&keys.master), keys.state.rtcp_index()))
    }
}

/// Copies of the datagrams of a batch as one sink gets them, by their index in it: the batch stays clear for other edges.
pub struct Sealed {
    buffers: Box<[[u8; PROTECTED]]>,
    lengths: [usize; BATCH],
}

impl Sealed {
    pub fn new() -> Self {
        Self { buffers: vec![[0; PROTECTED]; BATCH].into_boxed_slice(), lengths: [0; BATCH] }
    }

    /// Takes a copy of a datagram; where sections share the sink's port, an RTP packet says for which it is.
    pub fn copy(
        &mut self,
        index: usize,
        kind: Kind,
        datagram: &[u8],
        mids: Option<&MidWriter>,
    ) -> Result<&[u8], DropReason> {
        let buffer = &mut self.buffers[index];
        buffer.get_mut(..datagram.len()).ok_or(DropReason::Malformed)?.copy_from_slice(datagram);
        let mids = mids.filter(|_| kind == Kind::Rtp);
        // Room for the tag stays.
        let length = mids.map_or(datagram.len(), |mids| mids.write(&mut buffer[..DATAGRAM], datagram.len()));
        self.lengths[index] = length;
        Ok(&buffer[..length])
    }

    /// Protects a copy.
    pub fn protect(
        &mut self,
        index: usize,
        kind: Kind,
        security: Option<&mut Security>,
    ) -> Result<&[u8], DropReason> {
        let security = security.ok_or(DropReason::NoKey)?;
        let buffer = &mut self.buffers[index];
        let length = security.protect(kind, buffer, self.lengths[index])?;
        self.lengths[index] = length;
        Ok(&buffer[..length])
    }

    /// The copy that was made last at this index.
    pub fn octets(&self, index: usize) -> &[u8] {
        &self.buffers[index][..self.lengths[index]]
    }
}

fn unprotect(state: &mut Unprotector, kind: Kind, packet: &mut [u8]) -> Result<usize, SrtpError> {
    match kind {
        Kind::Rtp => state.unprotect_rtp(packet),
        Kind::Rtcp => state.unprotect_rtcp(packet),
    }
}

fn reason(error: SrtpError) -> DropReason {
    match error {
        SrtpError::Truncated | SrtpError::NoRoom => DropReason::Malformed,
        SrtpError::Replayed => DropReason::Replayed,
        SrtpError::KeyExhausted => DropReason::NoKey,
        _ => DropReason::NotAuthentic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::srtp::{SessionParameters, Suite};

    fn key(octet: u8) -> Arc<MasterKey> {
        let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap();
        Arc::new(MasterKey::new(suite, &[octet; 30], &[], SessionParameters::default()).unwrap())
    }

    fn plan(receive: u8, send: u8) -> StreamSecurity {
        StreamSecurity::Srtp { receive: Some(key(receive)), send: Some(key(send)) }
    }

    fn packet(sequence_number: u16) -> [u8; 172] {
        let mut packet = [0xd5; 172];
        let mut header = [0; 12];
        codec::rtp::write_header(&mut header, false, 0, sequence_number, 0, 7);
        packet[..12].copy_from_slice(&header);
        packet
    }

    fn protect(security: &mut Security, sequence_number: u16) -> Result<Vec<u8>, DropReason> {
        let mut buffer = [0; PROTECTED];
        buffer[..172].copy_from_slice(&packet(sequence_number));
        security.protect(Kind::Rtp, &mut buffer, 172).map(|length| buffer[..length].to_vec())
    }

    fn unprotect(security: &mut Security, protected: &[u8]) -> Result<Vec<u8>, DropReason> {
        let mut packet = protected.to_vec();
        let length = security.unprotect(Kind::Rtp, &mut packet, &mut [0; DATAGRAM])?;
        Ok(packet[..length].to_vec())
    }

    fn secured(receive: u8, send: u8) -> Security {
        let mut security = Security::default();
        security.update(&plan(receive, send));
        security
    }

    #[test]
    fn same_keys_go_on_with_roll_over_and_replay_list() {
        let (mut ours, mut theirs) = (secured(1, 2), secured(2, 1));
        for sequence_number in [65_534, 65_535, 0] {
            let sent = protect(&mut theirs, sequence_number).unwrap();
            assert_eq!(unprotect(&mut ours, &sent).unwrap(), packet(sequence_number));
            ours.update(&plan(1, 2));
            theirs.update(&plan(2, 1));
            assert_eq!(unprotect(&mut ours, &sent), Err(DropReason::Replayed), "{sequence_number}");
        }
    }

    #[test]
    fn old_key_is_accepted_until_the_new_one_is_used() {
        let (mut ours, mut old, mut new) = (secured(1, 9), secured(9, 1), secured(9, 2));
        ours.update(&plan(2, 9));
        let before = protect(&mut old, 10).unwrap();
        assert_eq!(unprotect(&mut ours, &before).unwrap(), packet(10));
        assert_eq!(unprotect(&mut ours, &before), Err(DropReason::NotAuthentic), "not twice");
        let after = protect(&mut new, 11).unwrap();
        assert_eq!(unprotect(&mut ours, &after).unwrap(), packet(11));
        let late = protect(&mut old, 12).unwrap();
        assert_eq!(unprotect(&mut ours, &late), Err(DropReason::NotAuthentic));
    }

    #[test]
    fn key_that_comes_back_neither_repeats_its_key_stream_nor_takes_a_packet_twice() {
        let (mut ours, mut theirs) = (secured(1, 3), secured(3, 1));
        let sent = protect(&mut theirs, 5).unwrap();
        unprotect(&mut ours, &sent).unwrap();
        let first = protect(&mut ours, 5).unwrap();
        ours.update(&plan(2, 4));
        assert_ne!(protect(&mut ours, 5).unwrap(), first);
        ours.update(&plan(1, 3));
        assert_eq!(protect(&mut ours, 5), Err(DropReason::Replayed));
        assert_eq!(unprotect(&mut ours, &sent), Err(DropReason::Replayed));
        ours.update(&StreamSecurity::Plain);
        ours.update(&plan(1, 3));
        assert_eq!(protect(&mut ours, 5), Err(DropReason::Replayed));
    }

    #[test]
    fn reports_under_a_key_that_the_other_party_uses_have_other_indices() {
        let mut ours = secured(1, 2);
        ours.keep_apart_from([&key(1), &key(3)].into_iter());
        assert_eq!(ours.rtcp_position().unwrap().1, 0);
        ours.keep_apart_from([&key(1), &key(2)].into_iter());
        assert_eq!(ours.rtcp_position().unwrap().1, UPPER_HALF);
        let mut report = [0; PROTECTED];
        report[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 7]);
        let length = ours.protect(Kind::Rtcp, &mut report, 8).unwrap();
        let theirs = secured(2, 1).unprotect(Kind::Rtcp, &mut report[..length], &mut [0; DATAGRAM]);
        assert_eq!(theirs, Ok(8));
        ours.keep_apart_from([&key(2)].into_iter());
        assert_eq!(ours.rtcp_position().unwrap().1, UPPER_HALF + 1, "goes on");
    }

    #[test]
    fn what_the_kernel_did_under_a_key_counts_for_that_key_only() {
        let mut ours = secured(1, 2);
        protect(&mut ours, 5).unwrap();
        ours.update(&plan(3, 4));
        ours.went_on(Direction::Send, &key(2), (7, 9), u64::MAX);
        ours.went_on(Direction::Receive, &key(1), (7, 9), u64::MAX);
        assert!(protect(&mut ours, 9).is_ok(), "the new key was not used");
        let sent = protect(&mut secured(9, 3), 9).unwrap();
        assert!(unprotect(&mut ours, &sent).is_ok());
        ours.update(&plan(1, 2));
        assert_eq!(protect(&mut ours, 9), Err(DropReason::Replayed));
        assert!(protect(&mut ours, 10).is_ok());
        let replay = protect(&mut secured(9, 1), 9).unwrap();
        assert_eq!(unprotect(&mut ours, &replay), Err(DropReason::Replayed));
    }

    #[test]
    fn direction_without_key_is_closed() {
        let mut ours = secured(1, 2);
        let sent = protect(&mut secured(2, 1), 1).unwrap();
        ours.update(&StreamSecurity::Srtp { receive: None, send: None });
        assert_eq!(unprotect(&mut ours, &sent), Err(DropReason::NoKey));
        assert_eq!(protect(&mut ours, 1), Err(DropReason::NoKey));
    }

    #[test]
    fn moved_rtcp_goes_on_with_its_index() {
        let (mut rtcp, mut multiplexed, mut theirs) = (secured(1, 2), secured(1, 2), secured(2, 1));
        let mut report = [0; PROTECTED];
        report[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 7]);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let length = rtcp.protect(Kind::Rtcp, &mut report.clone(), 8).unwrap();
            seen.push(length);
        }
        multiplexed.continue_rtcp_of(&rtcp.rtcp_position().unwrap());
        assert_eq!(multiplexed.rtcp_position().unwrap().1, 3);
        let length = multiplexed.protect(Kind::Rtcp, &mut report, 8).unwrap();
        assert_eq!(theirs.unprotect(Kind::Rtcp, &mut report[..length], &mut [0; DATAGRAM]), Ok(8));
    }
}
