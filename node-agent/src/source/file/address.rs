use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{StateDefect, raw::RawList};
use crate::{
    model::Prefix,
    yaml::{Findings, Place},
};

/// Ranges of IPv4 in which no node and no pod can have its address.
const RESERVED_V4: &[(Ipv4Net, &str)] = &[
    (Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8), "unspecified"),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "loopback"),
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "link-local"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4), "multicast"),
    (Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32), "broadcast"),
];

/// The same for IPv6.
const RESERVED_V6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), "IPv4-mapped"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), "link-local"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8), "multicast"),
];

/// The reserved range that the prefix has addresses in, and of which kind it is.
fn reserved(prefix: &Prefix) -> Option<(Prefix, &'static str)> {
    let v4 = RESERVED_V4.iter().map(|&(range, kind)| (Prefix::from(range), kind));
    let v6 = RESERVED_V6.iter().map(|&(range, kind)| (Prefix::from(range), kind));
    v4.chain(v6).find(|(range, _)| range.covers(prefix) || prefix.covers(range))
}

/// The prefix, if all its addresses can belong to pods.
pub(super) fn check_prefix(text: &str) -> Result<Prefix, StateDefect> {
    let prefix: Prefix = text.parse()?;
    match reserved(&prefix) {
        None => Ok(prefix),
        Some((range, kind)) => Err(StateDefect::ReservedPrefix { prefix, kind, range }),
    }
}

pub(super) fn check_address(text: &str, example: &'static str) -> Result<IpAddr, StateDefect> {
    let address = text.parse().map_err(|_| StateDefect::NotAnAddress { value: text.to_owned(), example })?;
    match reserved(&Prefix::host(address)) {
        None => Ok(address),
        Some((range, kind)) => Err(StateDefect::ReservedAddress { address, kind, range }),
    }
}

/// The addresses of one node or pod: at least one, at most one of each family. `field` is the path of the
/// object, `whole` its place, `example` an address of its kind.
pub(super) fn check_addresses(
    list: Option<RawList>,
    (field, whole): (&str, Place),
    example: &'static str,
    findings: &mut Findings<StateDefect>,
) -> Vec<(IpAddr, Place)> {
    let field = format!("{field}.addresses");
    let place = list.as_ref().map_or(whole, |list| list.place);
    let written = list.map(|list| list.value).unwrap_or_default();
    if written.is_empty() {
        findings.add(place, field, StateDefect::NoAddress);
        return Vec::new();
    }
    let mut addresses: Vec<(IpAddr, Place)> = Vec::new();
    for (index, text) in written.into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(address) = findings.check(text.place, &field, check_address(&text.value, example)) else {
            continue;
        };
        match addresses.iter().find(|(other, _)| other.is_ipv4() == address.is_ipv4()) {
            None => addresses.push((address, text.place)),
            Some(&(first, _)) => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                findings.add(text.place, field, StateDefect::SecondAddress { address, first, family });
            }
        }
    }
    addresses
}
