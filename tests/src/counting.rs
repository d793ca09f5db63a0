//! Counts what arrives at many sockets, as cheaply as it can.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Adds to `received` until `done`; looks every `pause`, since taking what has gathered at once costs less than waking for each packet.
pub fn receive_all(sockets: &[&UdpSocket], received: &AtomicU64, done: &AtomicBool, pause: Duration) {
    let mut poll: Vec<_> = sockets
        .iter()
        .map(|socket| {
            socket.set_nonblocking(true).expect("non-blocking");
            libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 }
        })
        .collect();
    let mut buffer = [0; 2048];
    while !done.load(Ordering::Relaxed) {
        // SAFETY: the slice is valid and as long as said.
        unsafe { libc::poll(poll.as_mut_ptr(), poll.len() as libc::nfds_t, 100) };
        for (socket, poll) in sockets.iter().zip(&poll) {
            while poll.revents != 0 && socket.recv(&mut buffer).is_ok() {
                received.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(pause);
    }
}
