//! What a DTLS handshake costs: time of either end, and the memory of an association that is kept.

use std::time::{Duration, Instant, SystemTime};

use rtpengine::proto::dtls::{Endpoint, Event, Identity, Path, Role, Settings};
use rtpengine::proto::sdp::model::FingerprintHash;

const HANDSHAKES: usize = 300;

struct End {
    endpoint: Endpoint,
    spent: Duration,
}

impl End {
    fn take(&mut self, datagram: &[u8]) -> bool {
        let begin = Instant::now();
        let _ = self.endpoint.handle_datagram(begin, datagram);
        self.spent += begin.elapsed();
        matches!(self.endpoint.poll_event(), Some(Event::Keyed(_)))
    }
}

fn main() {
    let settings = Settings::default();
    let [client, server] =
        [0, 1].map(|_| Identity::generate(&settings, "bench", SystemTime::now()).expect("identity"));
    let print = |identity: &Identity| identity.certificate().fingerprint(FingerprintHash::Sha256).clone();
    let shake = || -> [End; 2] {
        let end = |identity, role, path, expected| {
            let begin = Instant::now();
            let endpoint = Endpoint::new(identity, role, path, Some(expected), begin).expect("endpoint");
            End { endpoint, spent: begin.elapsed() }
        };
        let mut active = end(&client, Role::Active, Path::Validated, print(&server));
        let mut passive = end(&server, Role::Passive, Path::Claimed { cookie: [3; 16] }, print(&client));
        let (mut done, mut turns) = ([false; 2], 0);
        while done != [true; 2] {
            while let Some(datagram) = active.endpoint.poll_transmit() {
                done[1] |= passive.take(&datagram);
            }
            while let Some(datagram) = passive.endpoint.poll_transmit() {
                done[0] |= active.take(&datagram);
            }
            turns += 1;
            assert!(turns < 20, "no handshake");
        }
        [active, passive]
    };
    let _ = shake();
    let before = resident();
    let kept: Vec<[End; 2]> = (0..HANDSHAKES).map(|_| shake()).collect();
    let octets = resident().saturating_sub(before) / (2 * HANDSHAKES);
    for (side, name) in ["client", "server (with cookie)"].into_iter().enumerate() {
        let spent: Duration = kept.iter().map(|ends| ends[side].spent).sum();
        println!("{name}: {} µs per handshake", spent.as_micros() / HANDSHAKES as u128);
    }
    println!("established association: {octets} octets");
    let mut ends = shake();
    let junk = [&[22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 40][..], &[1; 40]].concat();
    let begin = Instant::now();
    for _ in 0..100_000 {
        ends[1].take(&junk);
    }
    println!("record that is not authentic: {} ns", begin.elapsed().as_nanos() / 100_000);
}

/// Octets of memory in use.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}
