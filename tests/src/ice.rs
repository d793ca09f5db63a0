//! A party that speaks ICE: one socket, one component, checks as simple as they can be. A second implementation of STUN, written for
//! reading.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

const COOKIE: u32 = 0x2112_a442;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const XOR_MAPPED: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const CONTROLLED: u16 = 0x8029;
const CONTROLLING: u16 = 0x802a;
/// Between two rounds of checks.
const ROUND: Duration = Duration::from_millis(50);

/// User fragment and password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub password: String,
}

/// See the module.
#[derive(Debug)]
pub struct IceParty {
    /// For checks and media.
    pub socket: UdpSocket,
    /// Our own.
    pub credentials: Credentials,
    /// The daemon's.
    pub remote: Credentials,
    /// The daemon's candidates of the first component, which we check.
    pub candidates: Vec<SocketAddr>,
    /// We nominate.
    pub controlling: bool,
    /// The daemon's addresses from which authentic checks came.
    pub checked_from: Vec<SocketAddr>,
    /// Where the daemon has nominated, or answered our nomination.
    pub path: Option<SocketAddr>,
    media: Vec<(SocketAddr, Vec<u8>)>,
}

impl IceParty {
    /// A party with a socket on this address.
    pub fn new(address: &str, controlling: bool) -> Self {
        let address: IpAddr = address.parse().expect("an IP address");
        Self {
            socket: UdpSocket::bind((address, 0)).expect("a free UDP port"),
            credentials: credentials(),
            remote: Credentials::default(),
            candidates: Vec::new(),
            controlling,
            checked_from: Vec::new(),
            path: None,
            media: Vec::new(),
        }
    }

    /// Address and port.
    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Begins anew, as after a restart.
    pub fn restart(&mut self) {
        self.credentials = credentials();
        self.path = None;
        self.checked_from.clear();
    }

    /// The attributes of the media section, without the candidate.
    pub fn attributes(&self) -> Vec<String> {
        let Credentials { ufrag, password } = &self.credentials;
        vec!["rtcp-mux".into(), format!("ice-ufrag:{ufrag}"), format!("ice-pwd:{password}")]
    }

    /// The candidate's attribute.
    pub fn candidate(&self) -> String {
        let local = self.local();
        format!("candidate:1 1 UDP 2130706431 {} {} typ host", local.ip(), local.port())
    }

    /// Takes credentials and candidates out of what the daemon wrote.
    pub fn read(&mut self, sdp: &str) {
        let value = |name: &str| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {sdp}")).trim().to_owned()
        };
        self.remote = Credentials { ufrag: value("a=ice-ufrag:"), password: value("a=ice-pwd:") };
        self.candidates = candidates(sdp);
    }

    /// Checks and answers checks until there is a path, which is where media go from then on.
    pub fn establish(&mut self, limit: Duration) -> Option<SocketAddr> {
        let end = Instant::now() + limit;
        let mut next = Instant::now();
        while self.path.is_none() {
            let now = Instant::now();
            if now >= end {
                return None;
            }
            if now >= next {
                next = now + ROUND;
                for candidate in self.candidates.clone() {
                    self.check(candidate);
                }
            }
            self.wait(next.min(end));
        }
        self.path
    }

    /// The next packet that is not STUN; checks are answered meanwhile.
    pub fn receive(&mut self, limit: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let end = Instant::now() + limit;
        while self.media.is_empty() && Instant::now() < end {
            self.wait(end);
        }
        (!self.media.is_empty()).then(|| self.media.remove(0))
    }

    /// The next packet that is there already; checks before it are answered.
    pub fn receive_now(&mut self) -> Option<Vec<u8>> {
        while self.media.is_empty() {
            let mut octets = [0; 2048];
            self.socket.set_nonblocking(true).expect("a flag");
            let received = self.socket.recv_from(&mut octets);
            self.socket.set_nonblocking(false).expect("a flag");
            let (length, from) = received.ok()?;
            self.take(&octets[..length], from);
        }
        Some(self.media.remove(0).1)
    }

    /// The path leads to the same port of another address from now on.
    pub fn move_to(&mut self, address: IpAddr) {
        if let Some(path) = &mut self.path {
            path.set_ip(address);
        }
    }

    /// Answers checks for this long.
    pub fn answer_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.wait(end);
        }
    }

    /// Sends a packet on the path.
    pub fn send(&self, octets: &[u8]) {
        self.socket.send_to(octets, self.path.expect("a path")).expect("sending on loopback");
    }

    /// Sends one check; who controls nominates with it.
    pub fn check(&self, to: SocketAddr) {
        let name = format!("{}:{}", self.remote.ufrag, self.credentials.ufrag);
        let mut attributes = vec![
            (USERNAME, name.into_bytes()),
            (PRIORITY, 1_862_270_975u32.to_be_bytes().to_vec()),
            (if self.controlling { CONTROLLING } else { CONTROLLED }, 5u64.to_be_bytes().to_vec()),
        ];
        if self.controlling {
            attributes.push((USE_CANDIDATE, Vec::new()));
        }
        let message = encode(REQUEST, rand::random(), &attributes, &self.remote.password);
        self.socket.send_to(&message, to).expect("sending on loopback");
    }

    fn wait(&mut self, until: Instant) {
        let time = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(time)).expect("a time-out");
        let mut octets = [0; 2048];
        if let Ok((length, from)) = self.socket.recv_from(&mut octets) {
            self.take(&octets[..length], from);
        }
    }

    fn take(&mut self, octets: &[u8], from: SocketAddr) {
        if octets.first().is_none_or(|first| *first > 3) {
            self.media.push((from, octets.to_vec()));
            return;
        }
        let message = Stun::decode(octets).expect("well-formed STUN");
        match message.kind {
            REQUEST => {
                assert!(message.is_signed(octets, &self.credentials.password), "a check with our password");
                let own = format!("{}:{}", self.credentials.ufrag, self.remote.ufrag);
                let name = message.value(USERNAME).expect("USERNAME");
                assert!(self.remote.ufrag.is_empty() || name == own.as_bytes(), "a check for us");
                self.checked_from.push(from);
                let reply = [(XOR_MAPPED, xored(from, message.transaction))];
                let reply = encode(SUCCESS, message.transaction, &reply, &self.credentials.password);
                self.socket.send_to(&reply, from).expect("sending on loopback");
                if !self.controlling && message.value(USE_CANDIDATE).is_some() {
                    self.path = Some(from);
                }
            }
            SUCCESS => {
                assert!(message.is_signed(octets, &self.remote.password), "a signed response");
                let mapped = message.value(XOR_MAPPED).expect("XOR-MAPPED-ADDRESS");
                assert_eq!(mapped, xored(self.local(), message.transaction));
                if self.controlling {
                    self.path = Some(from);
                }
            }
            ERROR => panic!("an error response: {:?}", message.attributes),
            _ => {}
        }
    }
}

/// Addresses of the candidates of the first component.
pub fn candidates(sdp: &str) -> Vec<SocketAddr> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "1", "UDP", _, address, port, ..] = words[..] else { return None };
            Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
        })
        .collect()
}

fn credentials() -> Credentials {
    let characters = |count: usize| (0..count).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
    Credentials { ufrag: characters(6), password: characters(24) }
}

struct Stun {
    kind: u16,
    transaction: [u8; 12],
    /// Type, place, value.
    attributes: Vec<(u16, usize, Vec<u8>)>,
}

impl Stun {
    fn decode(octets: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
        let mut attributes = Vec::new();
        let mut at = 20;
        while at < octets.len() {
            let length = usize::from(word(at + 2)?);
            attributes.push((word(at)?, at, octets.get(at + 4..at + 4 + length)?.to_vec()));
            at += 4 + length.next_multiple_of(4);
        }
        Some(Self { kind: word(0)?, transaction: octets.get(8..20)?.try_into().ok()?, attributes })
    }

    fn value(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(of, ..)| *of == kind).map(|(.., value)| value.as_slice())
    }

    fn is_signed(&self, octets: &[u8], password: &str) -> bool {
        let Some((_, at, tag)) = self.attributes.iter().find(|(kind, ..)| *kind == INTEGRITY) else {
            return false;
        };
        let mut signed = octets[..*at].to_vec();
        set_length(&mut signed, at + 24);
        hmac(password, &signed) == *tag
    }
}

fn encode(kind: u16, transaction: [u8; 12], attributes: &[(u16, Vec<u8>)], password: &str) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(COOKIE.to_be_bytes());
    message.extend(transaction);
    let push = |message: &mut Vec<u8>, kind: u16, value: &[u8]| {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    };
    for (kind, value) in attributes {
        push(&mut message, *kind, value);
    }
    let end = message.len() + 24;
    set_length(&mut message, end);
    let tag = hmac(password, &message);
    push(&mut message, INTEGRITY, &tag);
    let end = message.len() + 8;
    set_length(&mut message, end);
    let sum = crc32(&message) ^ 0x5354_554e;
    push(&mut message, FINGERPRINT, &sum.to_be_bytes());
    message
}

fn set_length(message: &mut [u8], end: usize) {
    message[2..4].copy_from_slice(&((end - 20) as u16).to_be_bytes());
}

fn hmac(password: &str, octets: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(password.as_bytes()).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha1(), &key).expect("HMAC");
    signer.sign_oneshot_to_vec(octets).expect("a tag")
}

fn crc32(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |sum, octet| {
        (0..8).fold(
            sum ^ u32::from(*octet),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    })
}

/// The value of XOR-MAPPED-ADDRESS.
fn xored(address: SocketAddr, transaction: [u8; 12]) -> Vec<u8> {
    let mask = [&COOKIE.to_be_bytes()[..], &transaction].concat();
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend((address.port() ^ (COOKIE >> 16) as u16).to_be_bytes());
    value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    value
}
