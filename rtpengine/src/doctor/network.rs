//! Addresses, media ports, listeners.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use service::address::{SystemInterface, interface_addresses};

use super::Finding;
use super::machine::SOCKETS_A_CALL;
use crate::config::{Config, LocalAddress};

/// Whether packets can be sent from each local address.
pub fn addresses(config: &Config) -> Vec<Finding> {
    let topic = "interface";
    let check = |name: &str, local: &LocalAddress| match UdpSocket::bind((local.address, 0)) {
        Ok(_) if local.address.is_loopback() => Finding::warning(
            topic,
            format!("{name}: {} is reachable from this machine only", local.address),
            format!("interface = {}", suggestion(local.address)),
        ),
        Ok(_) => Finding::fine(topic, format!("{name}: {}, shown as {}", local.address, local.advertised)),
        Err(error) => Finding::failure(
            topic,
            format!("{name}: {} cannot be used: {error}", local.address),
            format!("interface = {}", suggestion(local.address)),
        ),
    };
    let all = config
        .interfaces
        .iter()
        .flat_map(|logical| logical.addresses.iter().map(move |local| check(&logical.name, local)));
    all.collect()
}

/// The addresses of the same family that the machine has.
fn suggestion(wanted: IpAddr) -> String {
    let own = interface_addresses(SystemInterface::Any).unwrap_or_default();
    let fitting: Vec<_> =
        own.iter().filter(|own| own.is_ipv4() == wanted.is_ipv4()).map(ToString::to_string).collect();
    if fitting.is_empty() { "an address of this machine (`ip address`)".into() } else { fitting.join(" or ") }
}

/// Whether there are enough media ports, and whether they are ours alone.
pub fn ports(config: &Config) -> Vec<Finding> {
    let topic = "media ports";
    let (first, last) = (config.port_min, config.port_max);
    let count = u64::from(last - first) + 1;
    let calls = count / SOCKETS_A_CALL;
    let mut findings = Vec::new();
    match config.max_sessions {
        Some(wanted) if calls < wanted => findings.push(Finding::warning(
            topic,
            format!("{first}-{last} do for {calls} calls, max-sessions is {wanted}"),
            format!("port-max = {}", (u64::from(first) + wanted * SOCKETS_A_CALL).min(65_535)),
        )),
        _ => findings.push(Finding::fine(topic, format!("{first}-{last} do for {calls} calls"))),
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    if let (Some(range), Some(reserved)) = (read("ip_local_port_range"), read("ip_local_reserved_ports")) {
        findings.extend(ephemeral((first, last), &range, &reserved));
    }
    let used = ports_in_use(
        &["/proc/net/udp", "/proc/net/udp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default()),
    );
    let taken = used.iter().filter(|port| (first..=last).contains(port)).count() as u64;
    if taken * 10 > count {
        let fix =
            format!("`ss -lnup 'sport >= :{first} and sport <= :{last}'` tells by whom (a running daemon?)");
        findings.push(Finding::warning(topic, format!("{taken} of {count} are in use already"), fix));
    }
    findings
}

/// The kernel gives ports of its range to any client that asks for one.
fn ephemeral((first, last): (u16, u16), range: &str, reserved: &str) -> Option<Finding> {
    let mut bounds = range.split_whitespace().map_while(|word| word.parse::<u16>().ok());
    let (low, high) = (bounds.next()?, bounds.next()?);
    let shared = (low.max(first), high.min(last));
    if shared.0 > shared.1 {
        return None;
    }
    let is_reserved = reserved.trim().split(',').any(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u16>(), to.parse::<u16>());
        matches!((from, to), (Ok(from), Ok(to)) if from <= shared.0 && shared.1 <= to)
    });
    (!is_reserved).then(|| {
        Finding::warning(
            "media ports",
            format!("the kernel gives {}-{} to other programs, too", shared.0, shared.1),
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}"),
        )
    })
}

/// Local ports of the sockets in tables of /proc/net.
fn ports_in_use(tables: &[String]) -> Vec<u16> {
    let port = |line: &str| {
        let local = line.split_whitespace().nth(1)?;
        u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
    };
    tables.iter().flat_map(|table| table.lines().skip(1).filter_map(port)).collect()
}

/// Whether the control ports can be opened.
pub fn listeners(config: &Config) -> Vec<Finding> {
    let control = &config.control;
    let udp = [
        ("listen-ng", &config.listen_ng),
        ("listen-udp", &control.listen_udp),
        ("listen-lrkp", &config.lrkp.listen),
    ];
    let tcp = [
        ("listen-tcp-ng", &control.listen_tcp_ng),
        ("listen-cli", &config.listen_cli),
        ("listen-tcp", &control.listen_tcp),
        ("listen-http", &control.http.listen),
        ("listen-https", &control.http.listen_secure),
    ];
    let udp = udp.into_iter().flat_map(|(option, all)| {
        all.iter().map(move |address| listener(option, "udp", *address, UdpSocket::bind(*address).map(drop)))
    });
    let tcp = tcp.into_iter().flat_map(|(option, all)| {
        all.iter()
            .map(move |address| listener(option, "tcp", *address, TcpListener::bind(*address).map(drop)))
    });
    udp.chain(tcp).collect()
}

fn listener(option: &str, protocol: &str, address: SocketAddr, bound: io::Result<()>) -> Finding {
    let topic = "listener";
    let port = address.port();
    let Err(error) = bound else {
        return Finding::fine(topic, format!("{option}: {address} ({protocol}) is free"));
    };
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let letter = if protocol == "udp" { 'u' } else { 't' };
            format!("`ss -ln{letter}p 'sport = :{port}'` tells by whom: end that program, or change {option}")
        }
        io::ErrorKind::PermissionDenied => {
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit of systemd, or a port above 1023".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{option} = {}:{port}", suggestion(address.ip()))
        }
        _ => format!("another address for {option}"),
    };
    Finding::failure(topic, format!("{option}: {address} ({protocol}): {error}"), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_kernel_gives_away_are_to_be_reserved() {
        let fix =
            |range, reserved| ephemeral((30_000, 39_999), range, reserved).and_then(|finding| finding.fix);
        let expected = "sysctl -w net.ipv4.ip_local_reserved_ports=30000-39999";
        assert_eq!(fix("32768\t60999\n", "\n").as_deref(), Some(expected));
        assert_eq!(fix("32768\t60999\n", "22,35000-36000").as_deref(), Some(expected));
        assert_eq!(fix("32768\t60999\n", "22,30000-39999\n"), None);
        assert_eq!(fix("40000\t60999\n", ""), None);
        assert_eq!(fix("nonsense", ""), None);
    }

    #[test]
    fn ports_are_read_from_the_kernels_tables() {
        let table =
            "  sl  local_address rem_address\n  1: 0100007F:7530 00000000:0000 07\n  2: junk\n".to_owned();
        assert_eq!(ports_in_use(&[table]), [30_000]);
    }
}
