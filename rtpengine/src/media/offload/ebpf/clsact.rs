//! Kernels before 6.6: programs hang on a queueing discipline and stay when their daemon dies. The next daemon takes them away.
//!
//! A filter of ours has the program's name and its daemon's process number as handle. Daemons that share a network namespace have to share
//! the numbering of processes, too.

use std::io;
use std::path::Path;

use super::route::{half, open, receive, send, word};

const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
/// The ingress of the discipline `clsact`.
const INGRESS: u32 = 0xffff_fff2;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
/// Lengths of `nlmsghdr` and `tcmsg`.
const HEADER: usize = 16;
const FILTER: usize = 20;

/// A filter as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// Process of its daemon.
    handle: u32,
    /// Priority and protocol.
    info: u32,
}

/// Takes away programs with this name whose daemons are gone; returns how many.
///
/// # Errors
/// What the kernel says.
pub fn remove_orphans(ifindex: u32, name: &str) -> io::Result<usize> {
    let socket = open(0)?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    send(&socket, &request(RTM_GETTFILTER, flags, ifindex, Found { handle: 0, info: 0 }))?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
    while {
        let length = receive(&socket, &mut buffer)?;
        filters(buffer.get(..length).unwrap_or_default(), name, &mut found)
    } {}
    let orphans = found.into_iter().filter(|filter| !Path::new(&format!("/proc/{}", filter.handle)).exists());
    let mut removed = 0;
    for orphan in orphans {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        send(&socket, &request(RTM_DELTFILTER, flags, ifindex, orphan))?;
        let length = receive(&socket, &mut buffer)?;
        let answer = buffer.get(..length).unwrap_or_default();
        // An acknowledgement is an error of number 0.
        removed += usize::from(word(answer, HEADER) == Some(0));
    }
    Ok(removed)
}

fn request(kind: u16, flags: u16, ifindex: u32, filter: Found) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + FILTER);
    message.extend(((HEADER + FILTER) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    for field in [ifindex, filter.handle, INGRESS, filter.info] {
        message.extend(field.to_ne_bytes());
    }
    message
}

/// Adds the filters with this name of one datagram of the kernel's list; whether more datagrams follow.
fn filters(mut datagram: &[u8], name: &str, found: &mut Vec<Found>) -> bool {
    while let (Some(length), Some(kind)) = (word(datagram, 0), half(datagram, 4)) {
        let length = length as usize;
        let Some(message) = datagram.get(..length).filter(|message| message.len() >= HEADER) else {
            return false;
        };
        if kind != RTM_NEWTFILTER {
            return false;
        }
        let options = attribute(message.get(HEADER + FILTER..).unwrap_or_default(), TCA_OPTIONS);
        let label = options.and_then(|options| attribute(options, TCA_BPF_NAME));
        let is_ours = label.is_some_and(|label| label.strip_suffix(&[0]).unwrap_or(label) == name.as_bytes());
        if let (true, Some(handle), Some(info)) =
            (is_ours, word(message, HEADER + 8), word(message, HEADER + 16))
        {
            found.push(Found { handle, info });
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (usize::from(half(attributes, 0)?), half(attributes, 2)?);
        let value = attributes.get(4..length)?;
        // The highest bits are flags.
        if kind & 0x3fff == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(handle: u32, name: &str) -> Vec<u8> {
        let put = |kind: u16, value: &[u8]| {
            let mut octets = (4 + value.len() as u16).to_ne_bytes().to_vec();
            octets.extend(kind.to_ne_bytes());
            octets.extend(value);
            octets.resize(octets.len().next_multiple_of(4), 0);
            octets
        };
        let mut message = request(RTM_NEWTFILTER, 0, 1, Found { handle, info: 49_152 << 16 | 3 });
        message.extend(put(1, b"bpf\0"));
        message.extend(put(
            TCA_OPTIONS | 0x8000,
            &[put(9, &[0; 4]), put(TCA_BPF_NAME, name.as_bytes())].concat(),
        ));
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message
    }

    #[test]
    fn filters_of_ours_are_found_among_others() {
        let mut found = Vec::new();
        let datagram = [message(7, "rtpengine\0"), message(8, "other\0"), message(9, "rtpengine\0")].concat();
        assert!(filters(&datagram, "rtpengine", &mut found));
        let info = 49_152 << 16 | 3;
        assert_eq!(found, [Found { handle: 7, info }, Found { handle: 9, info }]);
        let mut end = message(1, "rtpengine\0");
        end[4..6].copy_from_slice(&(libc::NLMSG_DONE as u16).to_ne_bytes());
        assert!(!filters(&end, "rtpengine", &mut found));
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic_or_run_forever(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            filters(&octets, "rtpengine", &mut Vec::new());
            let mut datagram = message(1, "rtpengine\0");
            datagram.truncate(36);
            datagram.extend(octets);
            let length = datagram.len() as u32;
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            filters(&datagram, "rtpengine", &mut Vec::new());
        }
    }
}
