//! Addresses that are not of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A network of addresses with a special purpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpecialNetwork {
    pub(crate) network: IpNet,
    /// What its addresses are, in an error: `… is a private address`.
    pub(crate) kind: &'static str,
}

const PRIVATE: &str = "a private address";
const LOOPBACK: &str = "an address of the client's own machine";
const LINK_LOCAL: &str = "a link-local address";
const METADATA: &str = "the address of a cloud's metadata service";
const MULTICAST: &str = "a multicast address";
const DOCUMENTATION: &str = "an address for documentation";
const RESERVED: &str = "a reserved address";
const UNSPECIFIED: &str = "an unspecified address";
const SHARED: &str = "an address of a carrier's or cluster's shared network";
const EMBEDDED: &str = "an address that stands for another one";

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, kind: &'static str) -> SpecialNetwork {
    SpecialNetwork {
        network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)),
        kind,
    }
}

const fn v6(groups: [u16; 8], prefix: u8, kind: &'static str) -> SpecialNetwork {
    let [a, b, c, d, e, f, g, h] = groups;
    SpecialNetwork {
        network: IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(a, b, c, d, e, f, g, h),
            prefix,
        )),
        kind,
    }
}

/// The special-purpose networks of RFC 6890 and its registries at IANA, and the metadata services of clouds.
const NETWORKS: &[SpecialNetwork] = &[
    v4(0, 0, 0, 0, 8, UNSPECIFIED),
    v4(10, 0, 0, 0, 8, PRIVATE),
    v4(100, 64, 0, 0, 10, SHARED),
    v4(100, 100, 100, 200, 32, METADATA),
    v4(127, 0, 0, 0, 8, LOOPBACK),
    v4(168, 63, 129, 16, 32, METADATA),
    v4(169, 254, 0, 0, 16, LINK_LOCAL),
    v4(169, 254, 169, 254, 32, METADATA),
    v4(172, 16, 0, 0, 12, PRIVATE),
    v4(192, 0, 0, 0, 24, RESERVED),
    v4(192, 0, 2, 0, 24, DOCUMENTATION),
    v4(192, 88, 99, 0, 24, RESERVED),
    v4(192, 168, 0, 0, 16, PRIVATE),
    v4(198, 18, 0, 0, 15, RESERVED),
    v4(198, 51, 100, 0, 24, DOCUMENTATION),
    v4(203, 0, 113, 0, 24, DOCUMENTATION),
    v4(224, 0, 0, 0, 4, MULTICAST),
    v4(240, 0, 0, 0, 4, RESERVED),
    // Whatever is not in 2000::/3 is no global unicast address.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, RESERVED),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2, RESERVED),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, RESERVED),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, EMBEDDED),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, UNSPECIFIED),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, EMBEDDED),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, EMBEDDED),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, EMBEDDED),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, RESERVED),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, RESERVED),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, EMBEDDED),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, DOCUMENTATION),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, EMBEDDED),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, RESERVED),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, PRIVATE),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, METADATA),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, METADATA),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, PRIVATE),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
];

/// The well-known prefix of RFC 6052: the way of a network without IPv4 to IPv4 addresses. Which one is in the last 32 bits.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Returns the IPv4 address that an address of NAT64 leads to.
pub(super) fn embedded_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    }
}

/// Returns the smallest special network that an address is in.
pub(super) fn find_special_network(address: IpAddr) -> Option<&'static SpecialNetwork> {
    if embedded_address(address).is_some() {
        return None;
    }
    NETWORKS
        .iter()
        .filter(|special| special.network.contains(&address))
        .max_by_key(|special| special.network.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_kind(address: &str) -> Option<&'static str> {
        find_special_network(address.parse().unwrap()).map(|special| special.kind)
    }

    #[test]
    fn addresses_of_the_internet_are_not_special() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
        ] {
            assert_eq!(find_kind(address), None, "{address}");
        }
    }

    #[test]
    fn special_addresses_are_found() {
        for (address, kind) in [
            ("0.0.0.0", UNSPECIFIED),
            ("0.1.2.3", UNSPECIFIED),
            ("10.255.0.1", PRIVATE),
            ("172.31.0.1", PRIVATE),
            ("192.168.1.1", PRIVATE),
            ("100.64.0.1", SHARED),
            ("100.100.100.200", METADATA),
            ("127.8.9.1", LOOPBACK),
            ("168.63.129.16", METADATA),
            ("169.254.169.254", METADATA),
            ("169.254.170.2", LINK_LOCAL),
            ("192.0.0.192", RESERVED),
            ("192.0.2.1", DOCUMENTATION),
            ("198.19.0.1", RESERVED),
            ("224.0.0.1", MULTICAST),
            ("255.255.255.255", RESERVED),
            ("::", UNSPECIFIED),
            ("::1", LOOPBACK),
            ("::127.0.0.1", EMBEDDED),
            ("::ffff:0:127.0.0.1", EMBEDDED),
            ("64:ff9b:1::7f00:1", EMBEDDED),
            ("2002:7f00:1::", EMBEDDED),
            ("2001:0:1::", EMBEDDED),
            ("2001:db8::1", DOCUMENTATION),
            ("fc00::1", PRIVATE),
            ("fd00:ec2::254", METADATA),
            ("fd20:ce::254", METADATA),
            ("fe80::1", LINK_LOCAL),
            ("fec0::1", PRIVATE),
            ("ff02::1", MULTICAST),
            ("4000::1", RESERVED),
            ("e000::1", RESERVED),
            ("100::1", RESERVED),
            ("1000::1", RESERVED),
        ] {
            assert_eq!(find_kind(address), Some(kind), "{address}");
        }
    }
}
