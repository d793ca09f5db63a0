//! Any datagram on any port of a call: a worker with streams of every kind – plain, SDES, DTLS, ICE, bundled, transcoding, with DTMF,
//! with generated RTCP, not RTP at all – gets datagrams from the parties and from a stranger, in clear or rightly protected, while time
//! passes and plans change.

#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use codec::PayloadFormat;
use codec::graph::TranscodePlan;
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtpengine::config::{Config, EndpointLearning, LocalAddress};
use rtpengine::media::plan::*;
use rtpengine::media::port_pool::PortPool;
use rtpengine::media::stepped::SteppedWorker;
use rtpengine::media::treatment::{DtmfTreatment, MediaTreatment, Treatment};
use rtpengine::proto::dtls::{Identity, Role as DtlsRole, Settings as CertificateSettings, SrtpKeys};
use rtpengine::proto::ice::{
    Base, CandidateKind, Component, LocalCredentials, Mode, RemoteAgent, RemoteCandidate, RemoteCredentials,
    Role, Settings, priority,
};
use rtpengine::proto::srtp::{MasterKey, Protector, SessionParameters, Suite};
use rtpengine::proto::stun::{Builder, Class, IntegrityKey, TransactionId};

const PLAIN: usize = 0;
const PLAIN_RTCP: usize = 1;
const SDES: usize = 2;
const DTLS: usize = 3;
const ICE: usize = 4;
const BUNDLED: usize = 5;
const TRANSCODED: usize = 6;
const DATAGRAMS: usize = 7;
const GENERATING: usize = 8;
const STREAMS: usize = 9;

/// Everything that is kept from input to input: sockets are dear.
struct Bench {
    worker: SteppedWorker,
    parties: Vec<UdpSocket>,
    stranger: UdpSocket,
    ports: Vec<Arc<rtpengine::media::port_pool::LocalPort>>,
    identity: Arc<Identity>,
    local: LocalCredentials,
    calls: u64,
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

fn key(octet: u8) -> Arc<MasterKey> {
    let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").expect("a suite");
    Arc::new(MasterKey::new(suite, &[octet; 30], &[], SessionParameters::default()).expect("a key"))
}

fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a port");
    socket.set_nonblocking(true).expect("a flag");
    socket
}

fn drain(socket: &UdpSocket, mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        each(&buffer[..length]);
    }
}

impl Bench {
    fn new() -> Self {
        let ip: IpAddr = "127.0.0.1".parse().expect("an address");
        let local = LocalAddress { address: ip, advertised: ip, ports: None };
        let config = Config::for_address(ip, ip);
        let pool = PortPool::new(&config.interfaces, (20_000, 29_999), 0, &[]);
        let ports = (0..STREAMS).map(|_| pool.allocate(&local, 1).expect("a port").remove(0)).collect();
        let identity = Identity::generate(
            &CertificateSettings::default(),
            "fuzz",
            std::time::SystemTime::now(),
        );
        Self {
            worker: SteppedWorker::new(&config).expect("a worker"),
            parties: (0..STREAMS).map(|_| socket("127.0.0.1:0")).collect(),
            stranger: socket("127.0.0.66:0"),
            ports,
            identity: Arc::new(identity.expect("an identity")),
            local: LocalCredentials::generate(&mut StdRng::seed_from_u64(7)),
            calls: 0,
        }
    }

    fn address(&self, party: usize) -> SocketAddr {
        self.parties[party].local_addr().expect("bound")
    }

    fn id(&self, stream: usize) -> StreamId {
        StreamId(self.calls * 100 + stream as u64)
    }

    fn stream(&self, number: usize, expect: Expect, choice: u8) -> StreamPlan {
        let formats = [
            PayloadFormat::new(0, "PCMU", 8000, 1),
            PayloadFormat::new(8, "PCMA", 8000, 1),
            PayloadFormat::new(101, "telephone-event", 8000, 1),
        ];
        let learning = match choice & 3 {
            0 => EndpointLearning::Heuristic,
            1 => EndpointLearning::Delayed,
            2 => EndpointLearning::Immediate,
            _ => EndpointLearning::Off,
        };
        StreamPlan {
            formats: Arc::from(formats),
            learning,
            learning_epoch: u32::from(choice >> 6),
            strict_source: choice & 4 != 0,
            media_handover: choice & 8 != 0,
            block_short: choice & 16 != 0,
            ..StreamPlan::new(self.id(number), expect, Arc::clone(&self.ports[number]), self.address(number))
        }
    }

    /// All streams of the call, changed by the choice.
    fn plan(&self, choice: u8) -> CallPlan {
        let muxed = Expect::RtpAndRtcp;
        let mut streams: Vec<StreamPlan> = (0..STREAMS)
            .map(|number| {
                let expect = match number {
                    PLAIN | TRANSCODED => Expect::Rtp,
                    PLAIN_RTCP => Expect::Rtcp,
                    DATAGRAMS => Expect::Datagrams,
                    _ => muxed,
                };
                self.stream(number, expect, choice)
            })
            .collect();
        streams[SDES].security = StreamSecurity::Srtp { receive: Some(key(1)), send: Some(key(2)) };
        streams[DTLS].security = StreamSecurity::Dtls(Arc::new(DtlsPlan {
            role: DtlsRole::Passive,
            peer: None,
            association: 0,
            identity: Arc::clone(&self.identity),
        }));
        streams[ICE].ice = Some(Arc::new(self.ice()));
        let section = |section, payload_types: &[u8]| SectionPlan {
            section,
            mid: Some(format!("m{section}").into()),
            ssrcs: Arc::from([u32::from(section)]),
            payload_types: payload_types.into(),
        };
        let sections = vec![section(0, &[0, 8]), section(1, &[96, 101])];
        streams[BUNDLED].bundle = Some(Arc::new(BundlePlan { mid_extension: Some(4), sections }));
        streams[BUNDLED].hidden_extensions = [5, 6].into_iter().collect();
        streams[GENERATING].generates_rtcp = true;
        streams[GENERATING].feedback = false;
        CallPlan { key: CallKey(self.calls), streams, edges: self.edges(choice), gateways: Vec::new(), tap: None }
    }

    fn edges(&self, choice: u8) -> Vec<EdgePlan> {
        let edge = |from: usize, to: usize| EdgePlan {
            rtcp_to: Some(self.id(if to == PLAIN { PLAIN_RTCP } else { to })),
            ..EdgePlan::new(self.id(from), self.id(to))
        };
        let format = |payload_type, name| PayloadFormat::new(payload_type, name, 8000, 1);
        let transcode = |source, sink| {
            Handling::Transcode(Arc::new(TranscodePlan::new(source, sink, Default::default())))
        };
        let mut transcoding = edge(PLAIN, TRANSCODED);
        transcoding.default = Handling::Drop(DropReason::PayloadType);
        transcoding.by_payload_type = vec![
            (0, transcode(format(0, "PCMU"), format(8, "PCMA"))),
            (8, transcode(format(8, "PCMA"), PayloadFormat::new(9, "G722", 8000, 1))),
            (101, Handling::FORWARD),
        ];
        let mut back = edge(TRANSCODED, PLAIN);
        back.by_payload_type = vec![(8, transcode(format(8, "PCMA"), format(0, "PCMU")))];
        let mut treated = edge(SDES, PLAIN);
        treated.treatment = Treatment {
            media: [MediaTreatment::Pass, MediaTreatment::Silence, MediaTreatment::Block][usize::from(choice >> 5) % 3],
            dtmf: [DtmfTreatment::Pass, DtmfTreatment::Drop, DtmfTreatment::Digit(7), DtmfTreatment::Random]
                [usize::from(choice >> 4) % 4]
                .clone(),
            dtmf_delayed: false,
            injectable: true,
        };
        let mut rewriting = edge(DTLS, SDES);
        rewriting.by_payload_type = vec![(8, Handling::Forward { payload_type: Some(96) }), (0, Handling::Echo)];
        let first = EdgePlan { section: Some(0), ..edge(BUNDLED, GENERATING) };
        let second = EdgePlan { section: Some(1), ..edge(BUNDLED, ICE) };
        let rtcp = EdgePlan { rtp_to: None, ..EdgePlan::new(self.id(PLAIN_RTCP), self.id(SDES)) };
        let mut edges = vec![transcoding, back, treated, rewriting, first, second, rtcp];
        edges.extend([(PLAIN, SDES), (SDES, DTLS), (ICE, BUNDLED), (DATAGRAMS, DATAGRAMS), (GENERATING, DTLS)].map(
            |(from, to)| edge(from, to),
        ));
        edges
    }

    fn ice(&self) -> IcePlan {
        let candidate = RemoteCandidate {
            foundation: "1".into(),
            component: Component::Rtp,
            priority: 1,
            address: self.address(ICE),
            kind: CandidateKind::Host,
        };
        let remote = RemoteAgent {
            credentials: RemoteCredentials { ufrag: "them".into(), password: "their password, long enough".into() },
            lite: false,
            trickle: false,
            candidates: vec![candidate],
            end_of_candidates: true,
        };
        let socket = Arc::clone(&self.ports[ICE]);
        let candidate = Base {
            component: Component::Rtp,
            address: socket.local,
            priority: priority(126, 65535, Component::Rtp),
            foundation: 0,
        };
        let settings = Settings {
            local: self.local,
            remote: Some(Arc::new(remote)),
            role: Role::Controlled,
            mode: Mode::Full,
            generation: self.calls as u32,
        };
        IcePlan { settings, is_demanded: true, selected: [None; 2], bases: vec![IceBase { candidate, socket }] }
    }

    /// A check of the party with the credentials that were signalled.
    fn check(&self, octets: &[u8]) -> Vec<u8> {
        let (mut message, mut id) = (Vec::new(), [0; 12]);
        id.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        Builder::new(&mut message, Class::Request, TransactionId(id))
            .username(self.local.ufrag(), "them")
            .priority(1)
            .use_candidate()
            .finish(Some(&IntegrityKey::new(self.local.password())));
        message
    }

    fn run(&mut self, input: &[u8]) {
        let Some((&choice, mut rest)) = input.split_first() else { return };
        self.calls += 1;
        // Another one than that of the last call, whom the daemon may still be sending what it got late.
        self.stranger = socket("127.0.0.66:0");
        let mut plan = self.plan(choice);
        self.worker.install(plan.clone());
        let keys = SrtpKeys { receive: key(3), send: key(4) };
        self.worker.keyed(plan.key, self.id(DTLS), self.address(DTLS), keys);
        self.worker.turn(Duration::from_millis(20));
        let mut protectors = [Protector::new(&key(1)), Protector::new(&key(3))];
        let follows_anybody = |choice: u8| choice & 3 != 0 || choice & 8 != 0;
        let mut lenient = follows_anybody(choice);
        let (mut sent, mut returned) = (0, 0);
        // What is done, to whom, with how many octets.
        while let [what, target, length, tail @ ..] = rest {
            let (octets, tail) = tail.split_at(usize::from(*length).min(tail.len()));
            rest = tail;
            let number = usize::from(*target) % STREAMS;
            let mut datagram = octets.to_vec();
            let mut from_stranger = false;
            match what % 8 {
                // In clear, from the party or a stranger; the latter also to secured streams.
                0 | 1 => from_stranger = what % 8 == 1,
                // As RTP with a proper header in front, from either.
                2 | 3 => {
                    let mut packet = vec![0x80, target & 0x7f, 0, *target, 0, 0, 0, *target, 0, 0, 0, what >> 6];
                    packet.extend_from_slice(octets);
                    datagram = packet;
                    from_stranger = what % 8 == 3;
                }
                // Protected with the key of the party.
                4 | 5 => {
                    let which = usize::from(what % 8 == 5);
                    datagram.resize(octets.len() + 64, 0);
                    let protected = match octets.get(1) {
                        Some(192..=223) => protectors[which].protect_rtcp(&mut datagram, octets.len()),
                        _ => protectors[which].protect_rtp(&mut datagram, octets.len()),
                    };
                    let Ok(length) = protected else { continue };
                    datagram.truncate(length);
                }
                6 => datagram = self.check(octets),
                _ => {
                    if target & 1 == 0 {
                        self.worker.turn(Duration::from_millis(u64::from(*length) * u64::from(*target)));
                    } else {
                        let choice = octets.first().copied().unwrap_or(*length);
                        lenient |= follows_anybody(choice);
                        plan = self.plan(choice);
                        self.worker.install(plan.clone());
                    }
                    continue;
                }
            }
            let number = match what % 8 {
                4 => SDES,
                5 => DTLS,
                6 => ICE,
                _ => number,
            };
            let to = self.ports[number].local;
            let source = if from_stranger { &self.stranger } else { &self.parties[number] };
            if source.send_to(&datagram, to).is_ok() && from_stranger {
                sent += datagram.len();
            }
            self.worker.turn(Duration::from_millis(1));
            let mut media = false;
            drain(&self.stranger, |datagram| {
                returned += datagram.len();
                media |= datagram.first().is_some_and(|first| *first >= 64);
            });
            assert!(lenient || !media && returned <= sent, "the stranger is sent something: media {media}, {returned} octets for {sent}");
        }
        self.parties.iter().for_each(|party| drain(party, |_| ()));
        self.worker.remove(plan.key);
        self.worker.turn(Duration::ZERO);
    }
}

fuzz_target!(|input: &[u8]| BENCH.with_borrow_mut(|bench| bench.run(input)));
