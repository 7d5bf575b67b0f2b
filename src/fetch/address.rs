//! Addresses of the public internet. Pure: no I/O, no configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a host is written as, if it is no name. The brackets around an IPv6 address are not part of it.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Tells whether `ip` is an address on the internet. Any other may be the server itself, its neighbours, or the metadata
/// service of its cloud.
///
/// An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is the IPv4 address, since that is what gets connected to. The
/// other ways to hide one in IPv6 (compatible, NAT64, 6to4, Teredo) are not public.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !V4_SPECIAL.iter().any(|(net, length)| covers_v4(*net, *length, ip)),
        IpAddr::V6(ip) => {
            covers_v6(V6_GLOBAL.0, V6_GLOBAL.1, ip)
                && !V6_SPECIAL.iter().any(|(net, length)| covers_v6(*net, *length, ip))
        }
    }
}

/// Networks of IANA's registry of special-purpose IPv4 addresses that are not public, and one address more.
const V4_SPECIAL: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),     // this network; 0.0.0.0 connects to the server itself
    (Ipv4Addr::new(10, 0, 0, 0), 8),    // private
    (Ipv4Addr::new(100, 64, 0, 0), 10), // carrier-grade NAT; the metadata service of Alibaba
    (Ipv4Addr::new(127, 0, 0, 0), 8),   // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // formally public, but the platform services of every Azure host
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local; the metadata service of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),  // protocol assignments; the metadata service of Oracle
    (Ipv4Addr::new(192, 0, 2, 0), 24),  // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112, answered by the nearest server
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),   // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),   // reserved, and broadcast
];

/// Network of all addresses assigned for the public internet. Loopback, link-local, site-local, unique local, multicast,
/// IPv4-compatible and NAT64 addresses lie outside.
const V6_GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks within [`V6_GLOBAL`] that are not public.
const V6_SPECIAL: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

fn covers_v4(net: Ipv4Addr, length: u32, ip: Ipv4Addr) -> bool {
    (net.to_bits() ^ ip.to_bits()) >> (32 - length) == 0
}

fn covers_v6(net: Ipv6Addr, length: u32, ip: Ipv6Addr) -> bool {
    (net.to_bits() ^ ip.to_bits()) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class, addresses.
    const REFUSED: &[(&str, &[&str])] = &[
        ("this network", &["0.0.0.0", "0.1.2.3", "0.255.255.255"]),
        ("private", &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"]),
        ("carrier-grade NAT", &["100.64.0.0", "100.100.100.200", "100.127.255.255"]),
        ("loopback", &["127.0.0.1", "127.255.255.255", "::1"]),
        ("link-local", &["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1"]),
        ("cloud platforms", &["168.63.129.16", "192.0.0.192", "fd00:ec2::254"]),
        ("protocol assignments", &["192.0.0.0", "192.0.0.255", "192.31.196.1", "2001::", "2001:1ff:ffff::"]),
        ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"]),
        ("benchmarking", &["198.18.0.0", "198.19.255.255", "2001:2::1"]),
        ("6to4", &["192.88.99.1", "2002::", "2002:7f00:1::1", "2002:808:808::1"]),
        ("Teredo", &["2001:0:4136:e378:8000:63bf:3fff:fdd2"]),
        ("multicast", &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1"]),
        ("reserved", &["240.0.0.0", "255.255.255.254", "255.255.255.255", "4000::1", "5f00::1", "100::1"]),
        ("unspecified", &["::"]),
        ("unique local", &["fc00::1", "fdff:ffff::1"]),
        ("site-local", &["fec0::1", "feff::1"]),
        ("IPv4-compatible", &["::127.0.0.1", "::10.0.0.1", "::8.8.8.8"]),
        ("IPv4-mapped", &["::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]),
        ("IPv4-translated", &["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"]),
        ("NAT64", &["64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1"]),
    ];

    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2001:db7::1",
        "2001:db9::1",
        "2003::1",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "3ffe:ffff::1",
        "3fff:1000::1",
    ];

    #[test]
    fn every_class_is_judged() {
        for (class, addresses) in REFUSED {
            for address in *addresses {
                assert!(!is_public(address.parse().unwrap()), "{class}: {address}");
            }
        }
        for address in PUBLIC {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
