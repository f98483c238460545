//! Whether the maps hold what they held before, without keeping what is read: entries are compared as they come.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher as _},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
    os::fd::AsFd as _,
};

use aya::{Pod, maps::Map};
use node_ebpf_common::{Route, map_name};

use super::{
    DatapathError, batch,
    maps::{Maps, is_used, is_used_group},
};
use crate::{model::Prefix, reconcile::ObservedDatapath};

impl Maps<'_> {
    /// Whether the maps hold this and nothing else, without what nothing relies on: next-hop objects and groups beyond
    /// all of these.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn hold(&mut self, expected: &ObservedDatapath) -> Result<bool, DatapathError> {
        Ok(self.settings()? == expected.settings
            && self.endpoints()? == expected.endpoints
            && self.hold_next_hops(expected)?
            && self.hold_groups(expected)?
            && self.hold_routes(&expected.routes)?)
    }

    fn hold_next_hops(&mut self, expected: &ObservedDatapath) -> Result<bool, DatapathError> {
        match array_holds(self.map(map_name::NEXT_HOPS)?, &expected.next_hops, is_used) {
            Ok(same) => Ok(same),
            // A kernel that cannot read many at a time.
            Err(_) => Ok(self.used_next_hops()? == expected.next_hops),
        }
    }

    fn hold_groups(&mut self, expected: &ObservedDatapath) -> Result<bool, DatapathError> {
        match array_holds(self.map(map_name::NEXT_HOP_GROUPS)?, &expected.groups, is_used_group) {
            Ok(same) => Ok(same),
            Err(_) => Ok(self.used_groups()? == expected.groups),
        }
    }

    fn hold_routes(&mut self, expected: &BTreeMap<Prefix, Route>) -> Result<bool, DatapathError> {
        let mut found = Fingerprint::default();
        let v4 = self.each_route_of::<Ipv4Addr>(|prefix, route| found.add(prefix, route))?;
        let v6 = self.each_route_of::<Ipv6Addr>(|prefix, route| found.add(prefix, route))?;
        if v4.and(v6).is_err() {
            return Ok(self.routes()? == *expected);
        }
        Ok(found == Fingerprint::of(expected))
    }
}

/// Whether an array holds these entries and no others in use, up to the last of them.
///
/// # Errors
/// The kernel cannot read many at a time.
fn array_holds<V: Pod + Default + PartialEq>(
    array: &Map,
    expected: &BTreeMap<u32, V>,
    is_used: impl Fn(&V) -> bool,
) -> io::Result<bool> {
    let Some((last, _)) = expected.last_key_value() else { return Ok(true) };
    let Map::Array(data) = array else { return Err(io::ErrorKind::Unsupported.into()) };
    let (mut expected, mut same) = (expected.iter(), true);
    batch::read(data.fd().as_fd(), |index: u32, value: V| {
        same = !is_used(&value) || expected.next() == Some((&index, &value));
        if same && index < *last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(same && expected.next().is_none())
}

/// Of a set of routes, the same in whatever order they come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    routes: usize,
    sum: u64,
}

impl Fingerprint {
    fn of(routes: &BTreeMap<Prefix, Route>) -> Self {
        let mut fingerprint = Self::default();
        routes.iter().for_each(|(prefix, route)| fingerprint.add(*prefix, *route));
        fingerprint
    }

    fn add(&mut self, prefix: Prefix, route: Route) {
        // One piece, which takes a fraction of the time of several.
        let mut bytes = [0; 26];
        match prefix.address() {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[..16].copy_from_slice(&address.octets()),
        }
        bytes[16] = u8::from(prefix.address().is_ipv6());
        bytes[17] = prefix.len();
        bytes[18..22].copy_from_slice(&route.next_hop.to_ne_bytes());
        bytes[22..].copy_from_slice(&route.flags.to_ne_bytes());
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        self.routes += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(routes: &[(&str, u32, u32)]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (prefix, next_hop, flags) in routes {
            fingerprint.add(prefix.parse().unwrap(), Route { next_hop: *next_hop, flags: *flags });
        }
        fingerprint
    }

    #[test]
    fn routes_are_told_apart_by_everything_but_their_order() {
        let routes = [("10.244.1.0/24", 1, 0), ("10.244.2.0/24", 2, 0)];
        let same = fingerprint(&routes);
        assert_eq!(same, fingerprint(&[routes[1], routes[0]]));
        for other in [
            ("10.244.2.0/24", 1, 0),
            ("10.244.2.0/24", 2, 1),
            ("10.244.2.0/25", 2, 0),
            ("10.244.3.0/24", 2, 0),
            ("af4:200::/24", 2, 0),
            routes[0],
        ] {
            assert_ne!(same, fingerprint(&[routes[0], other]), "{other:?}");
        }
        assert_ne!(same, fingerprint(&routes[..1]));
        assert_ne!(fingerprint(&[("0.0.0.0/0", 0, 0)]), fingerprint(&[("::/0", 0, 0)]));
    }
}
