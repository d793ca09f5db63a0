//! A small network of its own: this thread's namespace with the relay in it, and a namespace for each of two parties, joined to it by a
//! cable (veth).

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use crate::daemon::wait_for;

/// The namespaces of two parties. Dropping it leaves the thread in the relay's namespace, which ends with it.
#[derive(Debug)]
pub struct Lan {
    relay: File,
    parties: [File; 2],
    /// [`VLAN`] can be used.
    pub has_vlans: bool,
}

/// The relay's and the party's address on the cable to the first and to the second party.
pub const V4: [[&str; 2]; 2] = [["10.77.1.1", "10.77.1.2"], ["10.77.2.1", "10.77.2.2"]];
/// The same for IPv6.
pub const V6: [[&str; 2]; 2] = [["fd77:1::1", "fd77:1::2"], ["fd77:2::1", "fd77:2::2"]];
/// The same on a VLAN of the cables.
pub const VLAN: [[&str; 2]; 2] = [["10.78.1.1", "10.78.1.2"], ["10.78.2.1", "10.78.2.2"]];

impl Lan {
    /// Builds it; `None`, with a message, where that is not allowed or the tools are missing. Children of this thread start in the
    /// relay's namespace.
    pub fn build() -> Option<Self> {
        match Self::try_build() {
            Ok(lan) => Some(lan),
            Err(error) => {
                eprintln!(
                    "SKIPPED: network namespaces need CAP_SYS_ADMIN, CAP_NET_ADMIN and iproute2: {error}"
                );
                None
            }
        }
    }

    fn try_build() -> io::Result<Self> {
        let parties = [new_namespace()?, new_namespace()?];
        let relay = new_namespace()?;
        ip("link set lo up")?;
        let mut has_vlans = false;
        for (number, party) in parties.iter().enumerate() {
            let [[relay_v4, party_v4], [relay_v6, party_v6], [relay_vlan, party_vlan]] =
                [V4[number], V6[number], VLAN[number]];
            ip(&format!("link add cable{number} type veth peer name far{number}"))?;
            // The descriptor is the child's as well, since `File` closes on exec but /proc does not.
            let path = format!("/proc/{}/fd/{}", std::process::id(), party.as_raw_fd());
            ip(&format!("link set far{number} netns {path}"))?;
            let ends = [("cable", relay_v4, relay_v6, relay_vlan), ("far", party_v4, party_v6, party_vlan)];
            for (name, v4, v6, vlan) in ends {
                let namespace = if name == "far" { party } else { &relay };
                enter(namespace)?;
                ip("link set lo up")?;
                ip(&format!("addr add {v4}/24 dev {name}{number}"))?;
                ip(&format!("addr add {v6}/64 dev {name}{number} nodad"))?;
                ip(&format!("link set {name}{number} up"))?;
                // Not every kernel has VLANs.
                let vlans = format!("link add link {name}{number} name {name}{number}.7 type vlan id 7");
                has_vlans = ip(&vlans).is_ok();
                if has_vlans {
                    ip(&format!("addr add {vlan}/24 dev {name}{number}.7"))?;
                    ip(&format!("link set {name}{number}.7 up"))?;
                }
                if name == "far" {
                    ip(&format!("route add default via {relay_v4}"))?;
                    ip(&format!("route add default via {relay_v6}"))?;
                    // What leaves with the VLAN's address leaves by the VLAN, where answers to it come from.
                    if has_vlans {
                        ip(&format!("route add default via {relay_vlan} table 7"))?;
                        ip(&format!("rule add from {party_vlan} lookup 7"))?;
                    }
                }
            }
            enter(&relay)?;
        }
        for (number, party) in parties.iter().enumerate() {
            enter(party)?;
            await_link(&format!("far{number}"))?;
            enter(&relay)?;
            await_link(&format!("cable{number}"))?;
        }
        let lan = Self { relay, parties, has_vlans };
        lan.warm_up()?;
        Ok(lan)
    }

    /// Every party has heard the relay's host and been heard: neighbours are known, addresses no longer tentative.
    fn warm_up(&self) -> io::Result<()> {
        for addresses in [V4, V6] {
            for (party, [_, far]) in addresses.into_iter().enumerate() {
                let socket = self.at(party, || UdpSocket::bind((far, 0)))?;
                let own = UdpSocket::bind((addresses[0][0], 0))?;
                for (from, to) in [(&own, &socket), (&socket, &own)] {
                    to.set_read_timeout(Some(Duration::from_millis(20)))?;
                    let target = to.local_addr()?;
                    let arrived = wait_for(Duration::from_secs(20), || {
                        let _ = from.send_to(b"hello", target);
                        to.recv(&mut [0; 16]).ok()
                    });
                    arrived.ok_or_else(|| io::Error::other(format!("nothing arrives at {target}")))?;
                }
            }
        }
        Ok(())
    }

    /// Parties make checksums themselves from here on, as what comes from a wire has them; otherwise a veth leaves that to the device.
    ///
    /// # Errors
    /// Their interfaces cannot do without.
    pub fn make_checksums(&self) -> io::Result<()> {
        [0, 1]
            .into_iter()
            .try_for_each(|party| self.at(party, || leave_no_checksum_to(&format!("far{party}"))))
    }

    /// Runs something in a party's namespace; sockets that it opens stay there.
    pub fn at<T>(&self, party: usize, run: impl FnOnce() -> T) -> T {
        enter(&self.parties[party]).expect("the namespace exists");
        let result = run();
        enter(&self.relay).expect("the namespace exists");
        result
    }
}

/// What is sent before the kernel has noticed the carrier is lost without a word; that may take it a second.
fn await_link(name: &str) -> io::Result<()> {
    let up = wait_for(Duration::from_secs(10), || {
        ip(&format!("link show {name}")).ok()?.contains("state UP").then_some(())
    });
    up.ok_or_else(|| io::Error::other(format!("{name} has no carrier")))
}

/// Runs `ip` in the thread's namespace.
///
/// # Errors
/// Its words.
pub fn ip(arguments: &str) -> io::Result<String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("ip {arguments}: {words}")))
}

/// Transmit checksums are not left to this interface any more.
fn leave_no_checksum_to(name: &str) -> io::Result<()> {
    // `ETHTOOL_STXCSUM` and off: `struct ethtool_value`.
    let mut value: [u32; 2] = [0x17, 0];
    // SAFETY: integers and a pointer, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, octet) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request and what it points to are live and of the types that this request has.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn new_namespace() -> io::Result<File> {
    // SAFETY: plain system call; it changes this thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    File::open("/proc/thread-self/ns/net")
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: plain system call on a live descriptor; it changes this thread only.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
