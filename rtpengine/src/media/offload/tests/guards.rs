//! Guards of ports: who is expected there, and what becomes of the numbers of those who are not.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::super::{Dropped, Guard, Policy};
use super::{DELAY, HOST, Scene, rtp, scene};
use crate::media::plan::{CallKey, DropReason};

const SECOND: Duration = Duration::from_secs(1);

impl Scene {
    fn guard(&self, party: usize) -> Guard {
        self.kernel.lock().guards[&self.local(party)].0.clone()
    }

    /// The guard before a party's port has dropped so many by now.
    fn drops(&self, party: usize, wrong_source: u64, over_budget: u64) {
        let mut state = self.kernel.lock();
        state.dropped_at += 1;
        let guard = state.guards.get_mut(&self.local(party)).unwrap();
        guard.1 = Dropped { wrong_source, over_budget };
    }

    /// Errors of a party's stream, and of these what came from somebody else, and what was too much.
    fn errors(&self, party: usize) -> [u64; 3] {
        let shared = &self.parties[party].stream.shared;
        let of = |reason| shared.drops[reason as usize].get();
        [shared.ingress.errors.get(), of(DropReason::WrongSource), of(DropReason::OverBudget)]
    }
}

#[test]
fn a_port_is_open_until_its_party_is_known() {
    let mut scene = scene();
    let open = scene.guard(0);
    assert_eq!((open.policy, open.any_datagram), (Policy::Open, false));
    assert_eq!((open.sources.as_slice(), open.ssrcs.as_slice()), (&[scene.peer(0)][..], &[][..]));
    scene.pass(0, &rtp(0, 10, 7));
    scene.worker.turn(DELAY);
    let known = scene.guard(0);
    assert_eq!(known.policy, Policy::Learned);
    assert_eq!((known.sources.as_slice(), known.ssrcs.as_slice()), (&[scene.peer(0)][..], &[7][..]));
    assert_eq!(scene.guard(1).policy, Policy::Open, "the other one was not heard");
}

#[test]
fn a_guard_follows_the_party_and_its_ssrcs() {
    let mut scene = scene();
    scene.settle();
    scene.worker.turn(SECOND);
    scene.pass(0, &rtp(0, 4000, 9));
    assert_eq!(scene.guard(0).ssrcs.as_slice(), [9, 7], "the newest one first");
    let moved = UdpSocket::bind((HOST, 0)).unwrap();
    let to: SocketAddr = moved.local_addr().unwrap();
    scene.worker.turn(SECOND);
    for sequence_number in 4001..4004 {
        moved.send_to(&rtp(0, sequence_number, 9), scene.local(0)).unwrap();
        scene.worker.turn(Duration::from_millis(100));
    }
    assert!(scene.guard(0).sources.contains(&to), "{:?}", scene.guard(0));
}

#[test]
fn what_a_guard_drops_is_counted_once() {
    let mut scene = scene();
    scene.settle();
    scene.drops(0, 5, 3);
    scene.worker.turn(SECOND);
    assert_eq!((scene.errors(0), scene.errors(1)), ([8, 5, 3], [0; 3]));
    scene.worker.turn(SECOND);
    assert_eq!(scene.errors(0), [8, 5, 3], "nothing more has come");
    // Whoever asks need not wait.
    scene.drops(0, 6, 3);
    scene.worker.refresh(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.errors(0), [9, 6, 3]);
    // The last ones go with the call.
    scene.drops(0, 6, 7);
    scene.worker.remove(CallKey(1));
    scene.worker.turn(Duration::ZERO);
    assert_eq!(scene.errors(0), [13, 6, 7]);
    assert!(scene.kernel.lock().guards.is_empty());
}

#[test]
fn without_a_guard_everything_comes_up() {
    let mut scene = scene();
    scene.kernel.lock().fails = true;
    scene.kernel.lock().guards.clear();
    scene.pass(0, &rtp(0, 10, 7));
    assert!(scene.kernel.lock().guards.is_empty());
    scene.kernel.lock().fails = false;
    scene.pass(0, &rtp(0, 11, 9));
    assert_eq!(scene.guard(0).policy, Policy::Learned, "the next change tries again");
}
