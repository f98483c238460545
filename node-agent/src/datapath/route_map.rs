//! The two maps of routes, which differ by their name and by the length of an address.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
    os::fd::AsFd as _,
};

use aya::maps::{LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use node_ebpf_common::{Route, map_name};

use super::{
    DatapathError, batch,
    maps::{Maps, failed, gone_is_fine, may_write},
};
use crate::model::Prefix;

/// An address of the family whose routes a map holds.
pub(super) trait RouteAddress: Copy + Into<IpAddr> {
    /// Its bytes in network byte order, as the map has them.
    type Bytes: aya::Pod + Default + Into<Self>;
    /// The map.
    const MAP: &'static str;

    fn bytes(self) -> Self::Bytes;
}

impl RouteAddress for Ipv4Addr {
    type Bytes = [u8; 4];
    const MAP: &'static str = map_name::ROUTES_V4;

    fn bytes(self) -> Self::Bytes {
        self.octets()
    }
}

impl RouteAddress for Ipv6Addr {
    type Bytes = [u8; 16];
    const MAP: &'static str = map_name::ROUTES_V6;

    fn bytes(self) -> Self::Bytes {
        self.octets()
    }
}

/// The trie's key, as plain bytes.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
struct RawKey<B> {
    length: u32,
    address: B,
}

// SAFETY: without padding, and without pointers: any bit pattern is a value.
unsafe impl<B: aya::Pod> aya::Pod for RawKey<B> {}

/// The trie's key.
fn key<A: RouteAddress>(address: A, length: u8) -> Key<A::Bytes> {
    Key::new(u32::from(length), address.bytes())
}

/// The prefix of a key. The kernel keeps no length that is longer than the address.
fn prefix<A: RouteAddress>(key: &Key<A::Bytes>) -> Prefix {
    let address: IpAddr = A::Bytes::into(key.data()).into();
    let whole = IpNet::from(address);
    let length = u8::try_from(key.prefix_len()).unwrap_or(whole.max_prefix_len());
    Prefix::containing(IpNet::new(address, length).unwrap_or(whole))
}

impl Maps<'_> {
    fn trie<A: RouteAddress>(&mut self) -> Result<LpmTrie<&mut MapData, A::Bytes, Route>, DatapathError> {
        self.map(A::MAP)?.try_into().map_err(failed(A::MAP, "find an LPM trie"))
    }

    /// Every route of a family.
    pub(super) fn routes_of<A: RouteAddress>(&mut self) -> Result<BTreeMap<Prefix, Route>, DatapathError> {
        let mut routes = Vec::new();
        if self.each_route_of::<A>(|prefix, route| routes.push((prefix, route)))?.is_ok() {
            // Made of a list, the map is full, and sorted it is made quickly.
            return Ok(routes.into_iter().collect());
        }
        // A kernel that cannot read many at a time.
        let read = |entry: Result<(Key<A::Bytes>, Route), MapError>| {
            let (key, route) = entry.map_err(failed(A::MAP, "read the routes"))?;
            Ok((prefix::<A>(&key), route))
        };
        self.trie::<A>()?.iter().map(read).collect()
    }

    /// Hands over every route of a family, many read in one system call; nothing more once the kernel refuses that.
    pub(super) fn each_route_of<A: RouteAddress>(
        &mut self,
        mut take: impl FnMut(Prefix, Route),
    ) -> Result<io::Result<()>, DatapathError> {
        let Map::LpmTrie(data) = self.map(A::MAP)? else { return Ok(Err(io::ErrorKind::Unsupported.into())) };
        let take = |key: RawKey<A::Bytes>, route: Route| {
            take(prefix::<A>(&Key::new(key.length, key.address)), route);
            ControlFlow::Continue(())
        };
        Ok(batch::read(data.fd().as_fd(), take))
    }

    /// The route of the longest prefix around an address.
    pub(super) fn longest_match<A: RouteAddress>(
        &mut self,
        address: A,
    ) -> Result<Option<Route>, DatapathError> {
        let whole: IpAddr = address.into();
        self.match_of_length(address, IpNet::from(whole).max_prefix_len())
    }

    /// The route of the longest prefix around an address that is not longer than this.
    pub(super) fn match_of_length<A: RouteAddress>(
        &mut self,
        address: A,
        length: u8,
    ) -> Result<Option<Route>, DatapathError> {
        match self.trie::<A>()?.get(&key(address, length), 0) {
            Ok(route) => Ok(Some(route)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed(A::MAP, format!("look up {}/{length}", address.into()))(error)),
        }
    }

    /// Inserts or overwrites a route.
    pub(super) fn insert_route<A: RouteAddress>(
        &mut self,
        address: A,
        length: u8,
        route: Route,
    ) -> Result<(), DatapathError> {
        let mut trie = self.trie::<A>()?;
        let written = may_write().and_then(|()| trie.insert(&key(address, length), route, 0));
        written.map_err(failed(A::MAP, format!("set {}/{length}", address.into())))
    }

    /// Inserts or overwrites routes in one system call. If that fails, some may have been written.
    pub(super) fn insert_routes<A: RouteAddress>(&mut self, routes: &[(A, u8, Route)]) -> io::Result<()> {
        may_write().map_err(io::Error::other)?;
        let map = self.map(A::MAP).map_err(io::Error::other)?;
        let Map::LpmTrie(data) = map else { return Err(io::ErrorKind::Unsupported.into()) };
        let keys: Vec<Key<A::Bytes>> =
            routes.iter().map(|(address, length, _)| key(*address, *length)).collect();
        let values: Vec<Route> = routes.iter().map(|(.., route)| *route).collect();
        batch::update(data.fd().as_fd(), &keys, &values)
    }

    /// Removes a route.
    pub(super) fn remove_route<A: RouteAddress>(
        &mut self,
        address: A,
        length: u8,
    ) -> Result<(), DatapathError> {
        gone_is_fine(self.trie::<A>()?.remove(&key(address, length)))
            .map_err(failed(A::MAP, format!("delete {}/{length}", address.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_both_families_can_be_read_back() {
        for (text, length) in [("10.244.3.0/24", 24), ("0.0.0.0/0", 0), ("10.0.1.11/32", 32)] {
            let net: ipnet::Ipv4Net = text.parse().unwrap();
            let key = key(net.network(), net.prefix_len());
            assert_eq!((key.prefix_len(), key.data()), (length, net.network().octets()));
            assert_eq!(prefix::<Ipv4Addr>(&key), text.parse().unwrap());
        }
        for (text, length) in [("fd00:10:244:3::/64", 64), ("::/0", 0), ("fd00::11/128", 128)] {
            let net: ipnet::Ipv6Net = text.parse().unwrap();
            let key = key(net.network(), net.prefix_len());
            assert_eq!((key.prefix_len(), key.data()), (length, net.network().octets()));
            assert_eq!(prefix::<Ipv6Addr>(&key), text.parse().unwrap());
        }
    }
}
