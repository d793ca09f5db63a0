//! Time to protect and unprotect a packet of 172 octets, for each suite, beside libsrtp.

use std::hint::black_box;
use std::time::Instant;

use e2e::libsrtp::{Direction, Session};
use e2e::srtp::Key;
use rtpengine::proto::srtp::{MAX_OVERHEAD, MasterKey, Protector, SUITES, SessionParameters, Unprotector};

const PACKETS: u32 = 100_000;
const REPEATS: usize = 5;
const LENGTH: usize = 172;

type Buffer = [u8; LENGTH + MAX_OVERHEAD];

fn packet(buffer: &mut Buffer, number: u32) {
    let mut header = [0; 12];
    codec::rtp::write_header(&mut header, false, 0, number as u16, 160 * number, 77);
    buffer[..12].copy_from_slice(&header);
    buffer[12..LENGTH].fill(0xd5);
}

/// Nanoseconds of one packet, of the best of several runs with a state of their own.
fn best<S>(state: impl Fn() -> S, mut round: impl FnMut(&mut S, &mut Buffer)) -> f64 {
    let mut buffer = [0; LENGTH + MAX_OVERHEAD];
    let mut run = || {
        let mut state = state();
        let start = Instant::now();
        for number in 0..PACKETS {
            packet(&mut buffer, number);
            round(&mut state, black_box(&mut buffer));
        }
        start.elapsed().as_nanos() as f64 / f64::from(PACKETS)
    };
    (0..REPEATS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn ours(key: &MasterKey) -> f64 {
    best(
        || (Protector::new(key), Unprotector::new(key)),
        |(protector, unprotector), buffer| {
            let length = protector.protect_rtp(buffer, LENGTH).unwrap();
            assert_eq!(unprotector.unprotect_rtp(&mut buffer[..length]), Ok(LENGTH));
        },
    )
}

fn libsrtps(key: &Key) -> Option<f64> {
    let sessions = || Some((Session::new(key, Direction::Outbound)?, Session::new(key, Direction::Inbound)?));
    sessions()?;
    Some(best(
        || sessions().unwrap(),
        |(sender, receiver), buffer| {
            let length = sender.protect(buffer, LENGTH).unwrap();
            assert_eq!(receiver.unprotect(&mut buffer[..length]), Ok(LENGTH));
        },
    ))
}

fn main() {
    println!("{:>24}: ns to protect and unprotect {LENGTH} octets, ours, libsrtp, ratio", "suite");
    for suite in &SUITES {
        let octets: Vec<u8> = (1..=suite.key_salt_octets() as u8).collect();
        let key = MasterKey::new(suite, &octets, &[], SessionParameters::default()).unwrap();
        let own = ours(&key);
        match libsrtps(&Key::new(suite.name, &octets)) {
            Some(other) => println!("{:>24}: {own:6.0} {other:6.0}  {:.2}", suite.name, own / other),
            None => println!("{:>24}: {own:6.0}      –", suite.name),
        }
    }
}
