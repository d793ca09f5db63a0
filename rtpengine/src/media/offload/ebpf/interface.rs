//! What has to be known of a network interface.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

/// A network interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// Packets have an Ethernet header (those of the loopback interface, too).
    pub is_ethernet: bool,
    /// Longest IP packet.
    pub mtu: u32,
}

impl Interface {
    /// Four system calls.
    ///
    /// # Errors
    /// There is none with this number.
    pub fn read(ifindex: u32) -> io::Result<Self> {
        let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
        // SAFETY: the buffer has the length that the function asks for.
        if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: filled with a terminated string.
        let text = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let ask = |request| {
            // SAFETY: all-zero is a valid value of this plain C structure.
            let mut asked: libc::ifreq = unsafe { std::mem::zeroed() };
            asked.ifr_name = name;
            // SAFETY: both requests write into the structure, which is live.
            let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut asked) };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(asked) }
        };
        let hardware = ask(libc::SIOCGIFHWADDR)?;
        // SAFETY: the request has filled this member.
        let kind = unsafe { hardware.ifr_ifru.ifru_hwaddr.sa_family };
        let mtu = ask(libc::SIOCGIFMTU)?;
        // SAFETY: as above.
        let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
        let is_ethernet = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&kind);
        Ok(Self { name: text, is_ethernet, mtu: u32::try_from(mtu).unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interface_is_the_loopback_one() {
        let interface = Interface::read(1).unwrap();
        assert_eq!((interface.name.as_str(), interface.is_ethernet), ("lo", true));
        assert!(interface.mtu >= 1500);
        assert!(Interface::read(u32::MAX).is_err());
    }
}
