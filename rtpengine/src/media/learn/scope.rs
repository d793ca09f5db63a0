//! Which addresses can belong to one host, seen from here.

use std::net::IpAddr;

/// How far packets with an address are carried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Not beyond the machine.
    Machine,
    /// Not beyond a site or provider, or nowhere at all (RFC 6890).
    Site,
    Global,
}

fn scope(address: IpAddr) -> Scope {
    let is_site = match address {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            v4.is_private()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_unspecified()
                || octets[0] == 0
                || octets[0] >= 240
                // Carrier-grade NAT (RFC 6598), protocol assignments, benchmarking (RFC 2544).
                || octets[0] == 100 && octets[1] & 0xc0 == 64
                || octets[..3] == [192, 0, 0]
                || octets[0] == 198 && octets[1] & 0xfe == 18
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || segments[..2] == [0x2001, 0xdb8]
        }
    };
    match address.to_canonical() {
        address if address.is_loopback() => Scope::Machine,
        _ if is_site => Scope::Site,
        _ => Scope::Global,
    }
}

/// Whether a party that was signalled at one address may be seen here at another one because of a NAT between: only where the signalled
/// one means nothing outside of its site.
pub fn may_be_behind_nat(signalled: IpAddr, seen: IpAddr) -> bool {
    match scope(signalled) {
        Scope::Global => false,
        Scope::Machine => scope(seen) != Scope::Machine,
        Scope::Site => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_routed_may_hide_behind_another_one() {
        const CASES: &[(&str, &str, bool)] = &[
            ("10.1.2.3", "8.8.8.8", true),
            ("172.31.0.1", "8.8.8.8", true),
            ("192.168.1.1", "10.0.0.1", true),
            ("100.64.0.1", "8.8.8.8", true),
            ("100.128.0.1", "8.8.8.8", false),
            ("169.254.1.1", "8.8.8.8", true),
            ("192.0.2.7", "127.0.0.1", true),
            ("198.19.255.1", "8.8.8.8", true),
            ("198.20.0.1", "8.8.8.8", false),
            ("9.9.9.9", "8.8.8.8", false),
            ("9.9.9.9", "10.0.0.1", false),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "8.8.8.8", true),
            ("fd00::1", "2600::1", true),
            ("fe80::1", "2600::1", true),
            ("2001:db8::1", "2600::1", true),
            ("2600::2", "2600::1", false),
            ("::1", "::1", false),
        ];
        for (signalled, seen, expected) in CASES {
            let got = may_be_behind_nat(signalled.parse().unwrap(), seen.parse().unwrap());
            assert_eq!(got, *expected, "{signalled} seen as {seen}");
        }
    }
}
