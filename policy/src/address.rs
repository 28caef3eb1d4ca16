//! Which addresses may be dialled: globally reachable unicast, what a rule lists beyond that, and never a metadata
//! service. It looks at numbers only; it neither resolves nor dials, and an address has one verdict in every form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::Code;

/// Judges one address. `private_cidrs` are the ranges that a rule admits although they are not globally reachable; an
/// IPv4 range covers the mapped, 6to4 and NAT64 forms of its addresses too. The pod's own addresses and the sidecar's
/// listeners are judged elsewhere.
///
/// # Errors
/// [`Code::MetadataAddress`] for a metadata service, whatever is listed; [`Code::AddressNotAllowed`] for any other
/// address that may not be dialled.
pub fn judge(address: IpAddr, private_cidrs: &[IpNet]) -> Result<(), Code> {
    if is_metadata(address) {
        return Err(Code::MetadataAddress);
    }
    let address = plain(address);
    let admitted = match reach(address) {
        Reach::Global => true,
        Reach::Listed => private_cidrs.iter().any(|range| range.contains(&address)),
        Reach::Never => false,
    };
    if admitted { Ok(()) } else { Err(Code::AddressNotAllowed) }
}

/// Whether this is one of the metadata services, in any form.
#[must_use]
pub fn is_metadata(address: IpAddr) -> bool {
    let address = plain(address);
    METADATA.iter().any(|(metadata, _)| *metadata == address)
}

/// Whether a rule that lists this range would gain nothing, because no address of it is ever dialled under that form.
#[must_use]
pub fn is_never_admitted(range: &IpNet) -> bool {
    let single = range.prefix_len() == range.max_prefix_len();
    (single && is_metadata(range.addr())) || reach_of(range) == Never
}

/// Whether an address may be dialled only where a rule lists a range for it.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    reach(plain(address)) == Reach::Listed
}

/// The metadata services of clouds, which hand out credentials to whoever asks from inside. By name and source.
pub const METADATA: &[(IpAddr, &str)] = &[
    // AWS IMDS, Azure IMDS, GCP, OpenStack, DigitalOcean, Oracle: docs.aws.amazon.com "Use IMDS", cloud.google.com
    // "About VM metadata", learn.microsoft.com "Azure Instance Metadata Service".
    (v4(169, 254, 169, 254), "instance metadata of AWS, Azure, GCP and others"),
    // docs.aws.amazon.com "Amazon ECS task IAM role" (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI).
    (v4(169, 254, 170, 2), "ECS task credentials"),
    // docs.aws.amazon.com "EKS Pod Identity Agent".
    (v4(169, 254, 170, 23), "EKS pod identity"),
    // docs.cloud-init.io "Scaleway": IPv4 and IPv6.
    (v4(169, 254, 42, 42), "Scaleway instance metadata"),
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]), "Scaleway instance metadata over IPv6"),
    // tencentcloud.com "Viewing Instance Metadata": metadata.tencentyun.com.
    (v4(169, 254, 0, 23), "Tencent Cloud instance metadata"),
    // docs.oracle.com "Instance Metadata Service v2": IPv6-only subnets.
    (v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), "Oracle Cloud instance metadata over IPv6"),
    // techdocs.akamai.com "Metadata service API": Linode, unique-local and link-local (OpenStack has the latter too).
    (v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]), "Linode instance metadata over IPv6"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), "OpenStack and Linode metadata over IPv6"),
    // alibabacloud.com "ECS instance metadata": IPv6.
    (v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200]), "Alibaba Cloud instance metadata over IPv6"),
    // alibabacloud.com "ECS instance metadata".
    (v4(100, 100, 100, 200), "Alibaba Cloud instance metadata"),
    // docs.oracle.com "Retrieving Instance Metadata" of Compute Classic; inside 192.0.0.0/24 of RFC 6890.
    (v4(192, 0, 0, 192), "Oracle Cloud Classic instance metadata"),
    // learn.microsoft.com "What is IP address 168.63.129.16?": Azure's WireServer; globally reachable by its number.
    (v4(168, 63, 129, 16), "Azure WireServer"),
    // docs.aws.amazon.com "Use IMDS": the IPv6 address on Nitro instances.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]), "AWS instance metadata over IPv6"),
    // docs.aws.amazon.com "EKS Pod Identity Agent", IPv6.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]), "EKS pod identity over IPv6"),
    // cloud.google.com "About VM metadata": IPv6-only instances.
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]), "GCP metadata over IPv6"),
];

/// What the IANA registries say of a range, as far as dialling goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Globally reachable unicast.
    Global,
    /// Dialled only where a rule lists it.
    Listed,
    /// Never dialled: no unicast destination, or a form that hides another address.
    Never,
}

use Reach::{Global, Listed, Never};

/// The IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 as of 2025), and what else is no ordinary
/// unicast. The longest matching line counts. IPv4 that no line covers is global; the last IPv6 lines cover everything.
const RANGES: &[(IpNet, Reach)] = &[
    // "this network", RFC 791 3.2; 0.0.0.0 reaches the host itself on Linux
    (net4(0, 0, 0, 0, 8), Never),
    // private use, RFC 1918
    (net4(10, 0, 0, 0, 8), Listed),
    // shared address space (CGNAT), RFC 6598
    (net4(100, 64, 0, 0, 10), Listed),
    // loopback, RFC 1122 3.2.1.3
    (net4(127, 0, 0, 0, 8), Listed),
    // link-local, RFC 3927
    (net4(169, 254, 0, 0, 16), Listed),
    // private use, RFC 1918
    (net4(172, 16, 0, 0, 12), Listed),
    // IETF protocol assignments, RFC 6890 2.1; its anycast exceptions are not let out
    (net4(192, 0, 0, 0, 24), Listed),
    // documentation, RFC 5737
    (net4(192, 0, 2, 0, 24), Listed),
    // 6to4 relay anycast, deprecated by RFC 7526
    (net4(192, 88, 99, 0, 24), Listed),
    // private use, RFC 1918
    (net4(192, 168, 0, 0, 16), Listed),
    // benchmarking, RFC 2544
    (net4(198, 18, 0, 0, 15), Listed),
    // documentation, RFC 5737
    (net4(198, 51, 100, 0, 24), Listed),
    // documentation, RFC 5737
    (net4(203, 0, 113, 0, 24), Listed),
    // multicast, RFC 5771
    (net4(224, 0, 0, 0, 4), Never),
    // reserved, RFC 1112 4
    (net4(240, 0, 0, 0, 4), Listed),
    // limited broadcast, RFC 8190
    (net4(255, 255, 255, 255, 32), Never),
    // reserved, RFC 4291: `::`, v4-compatible ::/96, ::ffff:0:0:0/96, 64:ff9b:1::/48 (RFC 8215)
    (net6([0, 0], 8), Never),
    // loopback, RFC 4291 2.5.3
    (LOOPBACK6, Listed),
    // reserved, RFC 4291; holds 100::/64 discard-only (RFC 6666), 100:0:0:1::/64 (RFC 9780)
    (net6([0x0100, 0], 8), Listed),
    // IETF protocol assignments, RFC 2928; its global exceptions follow
    (net6([0x2001, 0], 23), Listed),
    // Teredo, RFC 4380: embeds an obscured IPv4 address
    (net6([0x2001, 0], 32), Never),
    // Port Control Protocol anycast, RFC 7723
    (ANYCAST_PCP, Global),
    // TURN anycast, RFC 8155
    (ANYCAST_TURN, Global),
    // DNS-SD service registration anycast, RFC 9665
    (ANYCAST_SRP, Global),
    // AMT, RFC 7450
    (net6([0x2001, 0x3], 32), Global),
    // AS112-v6, RFC 7535
    (AS112, Global),
    // ORCHIDv2, RFC 7343
    (net6([0x2001, 0x20], 28), Global),
    // drone remote identification, RFC 9374
    (net6([0x2001, 0x30], 28), Global),
    // documentation, RFC 3849
    (net6([0x2001, 0xdb8], 32), Listed),
    // 6to4, RFC 3056: an address is taken apart before this table is asked
    (net6([0x2002, 0], 16), Never),
    // documentation, RFC 9637
    (net6([0x3fff, 0], 20), Listed),
    // segment routing SIDs, RFC 9602
    (net6([0x5f00, 0], 16), Listed),
    // unique local, RFC 4193
    (net6([0xfc00, 0], 7), Listed),
    // link-local, RFC 4291 2.5.6
    (net6([0xfe80, 0], 10), Listed),
    // site-local, deprecated by RFC 3879
    (net6([0xfec0, 0], 10), Listed),
    // multicast, RFC 4291 2.7
    (net6([0xff00, 0], 8), Never),
    // the only block that IANA allots as global unicast
    (net6([0x2000, 0], 3), Global),
    // everything else is reserved by the IETF, RFC 4291 2.4
    (net6([0, 0], 0), Listed),
];

const LOOPBACK6: IpNet = net(v6([0, 0, 0, 0, 0, 0, 0, 1]), 128);
const ANYCAST_PCP: IpNet = net(v6([0x2001, 1, 0, 0, 0, 0, 0, 1]), 128);
const ANYCAST_TURN: IpNet = net(v6([0x2001, 1, 0, 0, 0, 0, 0, 2]), 128);
const ANYCAST_SRP: IpNet = net(v6([0x2001, 1, 0, 0, 0, 0, 0, 3]), 128);
const AS112: IpNet = net(v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0]), 48);

/// The address that a packet would reach in the end: the embedded IPv4 address where there is one (mapped, 6to4, NAT64).
#[must_use]
pub fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => address,
    }
}

fn reach(address: IpAddr) -> Reach {
    reach_of(&IpNet::from(address))
}

fn reach_of(range: &IpNet) -> Reach {
    RANGES
        .iter()
        .filter(|(line, _)| line.contains(range))
        .max_by_key(|(line, _)| line.prefix_len())
        .map_or(Global, |(_, reach)| *reach)
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(segments: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = segments;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

const fn net(address: IpAddr, prefix: u8) -> IpNet {
    IpNet::new_assert(address, prefix)
}

const fn net4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    net(v4(a, b, c, d), prefix)
}

const fn net6(start: [u16; 2], prefix: u8) -> IpNet {
    net(v6([start[0], start[1], 0, 0, 0, 0, 0, 0]), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(address: &str, listed: &[&str]) -> Result<(), Code> {
        let listed: Vec<IpNet> = listed.iter().map(|range| range.parse().unwrap()).collect();
        judge(address.parse().unwrap(), &listed)
    }

    #[test]
    fn no_line_of_the_table_stands_twice_or_has_bits_behind_its_prefix() {
        for (index, (range, _)) in RANGES.iter().enumerate() {
            assert_eq!(range.trunc(), *range);
            assert!(RANGES[..index].iter().all(|(other, _)| other != range), "{range}");
        }
    }

    #[test]
    fn globally_reachable_unicast_is_dialled() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "192.0.1.0",
            "192.31.196.1",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860::8888",
            "2001:1::1",
            "2001:4:112::1",
            "2001:200::1",
            "2620:4f:8000::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(verdict(address, &[]), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_is_not_globally_reachable_is_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.9",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:0:808:808::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            assert_eq!(verdict(address, &[]), Err(Code::AddressNotAllowed), "{address}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_is_judged_in_place_of_its_form() {
        for form in ["::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1", "2002:7f00:1::"] {
            assert_eq!(verdict(form, &[]), Err(Code::AddressNotAllowed), "{form}");
        }
        for form in ["10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1"] {
            assert_eq!(verdict(form, &["10.0.0.0/8"]), Ok(()), "{form}");
        }
        assert_eq!(verdict("::ffff:10.0.0.1", &["::/0"]), Err(Code::AddressNotAllowed));
    }

    #[test]
    fn a_rule_admits_the_private_ranges_that_it_lists() {
        for (address, range) in [
            ("127.0.0.1", "127.0.0.0/8"),
            ("::1", "::1/128"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("fd12::1", "fd00::/8"),
            ("100.64.0.1", "100.64.0.0/10"),
            ("169.254.1.1", "169.254.0.0/16"),
            ("fe80::1", "fe80::/10"),
            ("198.18.0.1", "198.18.0.0/15"),
            ("240.0.0.1", "240.0.0.0/4"),
        ] {
            assert_eq!(verdict(address, &[range]), Ok(()), "{address}");
            assert_eq!(verdict(address, &["192.168.0.0/16"]), Err(Code::AddressNotAllowed), "{address}");
        }
    }

    #[test]
    fn metadata_is_refused_whatever_is_listed_and_however_it_is_written() {
        let everything = ["0.0.0.0/0", "::/0"];
        for (address, _) in METADATA {
            assert_eq!(verdict(&address.to_string(), &everything), Err(Code::MetadataAddress), "{address}");
        }
        for form in
            ["::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::168.63.129.16"]
        {
            assert_eq!(verdict(form, &everything), Err(Code::MetadataAddress), "{form}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_whatever_is_listed() {
        for address in [
            "0.0.0.0",
            "0.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::10.0.0.1",
            "ff02::1",
            "2001::1",
            "64:ff9b:1::a00:1",
            "::ffff:0:a00:1",
        ] {
            assert_eq!(verdict(address, &["0.0.0.0/0", "::/0"]), Err(Code::AddressNotAllowed), "{address}");
        }
    }

    #[test]
    fn a_range_that_gains_nothing_is_known() {
        for (range, expected) in [
            ("169.254.169.254/32", true),
            ("fd00:ec2::254/128", true),
            ("224.0.0.0/8", true),
            ("0.0.0.0/32", true),
            ("::ffff:10.0.0.0/104", true),
            ("64:ff9b:1::/48", true),
            ("169.254.0.0/16", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("::1/128", false),
            ("240.0.0.0/4", false),
            ("fd00::/8", false),
        ] {
            assert_eq!(is_never_admitted(&range.parse().unwrap()), expected, "{range}");
        }
    }

    #[test]
    fn only_private_addresses_need_a_listed_range() {
        for (address, expected) in [("10.0.0.1", true), ("::1", true), ("1.1.1.1", false), ("224.0.0.1", false)] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }
}
