//! An ICE agent in a hostile world: any datagrams, authentic ones with any attributes, time, new candidates, restarts.

#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtpengine::proto::ice::{
    Agent, Base, BaseId, CandidateKind, Component, LocalCredentials, MAX_PAIRS, Mode, RemoteAgent,
    RemoteCandidate, RemoteCredentials, Role, Settings, priority,
};
use rtpengine::proto::stun::{Builder, Class, ErrorCode, IntegrityKey, Message, Tiebreaker, TransactionId};

const PASSWORD: &str = "the peer's password, twenty-six";

fn address(octet: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, octet >> 4], 1000 + u16::from(octet & 15)))
}

fn remote(ufrag: u8, lite: bool, candidates: &[u8]) -> Arc<RemoteAgent> {
    let candidate = |octet: &u8| RemoteCandidate {
        foundation: (octet >> 5).to_string().into(),
        component: if octet & 1 == 0 { Component::Rtp } else { Component::Rtcp },
        priority: 1 + u32::from(*octet),
        address: address(*octet),
        kind: CandidateKind::Host,
    };
    Arc::new(RemoteAgent {
        credentials: RemoteCredentials { ufrag: ufrag.to_string(), password: PASSWORD.into() },
        lite,
        trickle: true,
        candidates: candidates.iter().map(candidate).collect(),
        end_of_candidates: false,
    })
}

fuzz_target!(|input: &[u8]| {
    let [how, steps @ ..] = input else { return };
    let mut now = Instant::now();
    let mut rng = StdRng::seed_from_u64(1);
    let base = |component, address: &str| Base {
        component,
        address: address.parse().expect("an address"),
        priority: priority(126, 65535, component),
        foundation: 0,
    };
    let bases =
        vec![base(Component::Rtp, "198.51.100.1:1"), base(Component::Rtcp, "198.51.100.1:2"), base(Component::Rtp, "198.51.100.2:1")];
    let mut settings = Settings {
        local: LocalCredentials::generate(&mut rng),
        remote: (how & 1 == 0).then(|| remote(1, how & 2 != 0, &[3, 4])),
        role: if how & 4 == 0 { Role::Controlled } else { Role::Controlling },
        mode: if how & 8 == 0 { Mode::Full } else { Mode::Lite },
        generation: 0,
    };
    let mut agent = Agent::new(now, settings.clone(), bases.clone(), rng.clone());
    let (mut buffer, mut reply) = (Vec::new(), Vec::new());
    let mut asked = TransactionId([0; 12]);
    let theirs = IntegrityKey::new(PASSWORD);
    // Kind, argument, length, octets.
    let mut rest = steps;
    while let [kind, argument, length, tail @ ..] = rest {
        let (octets, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let (at, source) = (BaseId(argument % 4), address(*argument));
        match kind % 6 {
            0 => drop(agent.handle_datagram(now, at, source, octets, &mut reply)),
            1 | 2 => {
                let key = IntegrityKey::new(settings.local.password());
                let (class, key) = match kind % 6 {
                    1 => (Class::Request, &key),
                    _ => (if argument & 1 == 0 { Class::Success } else { Class::Error }, &theirs),
                };
                let mut message = Builder::new(&mut buffer, class, asked);
                for octet in octets.iter().take(8) {
                    message = match octet % 6 {
                        0 => message.username(settings.local.ufrag(), "1"),
                        1 => message.priority(u32::from(*octet)),
                        2 => message.use_candidate(),
                        3 => message.tiebreaker(Tiebreaker::Controlled(u64::from(*octet))),
                        4 => message.tiebreaker(Tiebreaker::Controlling(u64::MAX - u64::from(*octet))),
                        _ if class == Class::Error => message.error_code(ErrorCode::RoleConflict),
                        _ => message.mapped_address(source),
                    };
                }
                message.finish(Some(key));
                let datagram = buffer.clone();
                let _ = agent.handle_datagram(now, at, source, &datagram, &mut reply);
            }
            3 => now += Duration::from_millis(u64::from(*argument) * u64::from(*length)),
            4 => {
                settings.remote = Some(remote(1, how & 2 != 0, octets));
                agent.update(now, settings.clone(), bases[..1 + usize::from(argument % 3)].to_vec());
            }
            _ => {
                settings.generation += 1;
                settings.local = LocalCredentials::generate(&mut rng);
                settings.remote = (argument & 1 == 0).then(|| remote(*argument, how & 2 != 0, octets));
                agent.update(now, settings.clone(), bases.clone());
            }
        }
        agent.handle_timeout(now);
        let mut sent = 0;
        while agent.poll_transmit(now, &mut buffer).is_some() {
            sent += 1;
            if let Ok(message) = Message::parse(&buffer) {
                asked = message.transaction();
            }
        }
        assert!(sent <= MAX_PAIRS + 3, "{sent} datagrams at once");
        while agent.poll_event().is_some() {}
        assert!(agent.poll_timeout().is_none_or(|at| at > now), "what is due is done");
        for component in [Component::Rtp, Component::Rtcp] {
            assert!(agent.sources(component).count() <= MAX_PAIRS + 16);
            let path = agent.path(component);
            assert!(path.is_none_or(|path| usize::from(path.base.0) < bases.len()));
        }
    }
});
