//! Typed access to the maps, in the model's terms.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
    os::fd::AsFd as _,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};
use node_ebpf_common::{
    COUNTERS, Counter, Endpoint, MAX_NEXT_HOP_GROUPS, MAX_NEXT_HOPS, NextHop, NextHopGroup, NextHopKind,
    Route, Settings, map_name,
};

use super::{DatapathError, batch};
use crate::{
    fault::{self, Operation},
    model::Prefix,
};

/// The maps of a loaded object.
pub struct Maps<'e>(pub &'e mut Ebpf);

pub(super) fn failed(map: &'static str, action: impl Into<String>) -> impl FnOnce(MapError) -> DatapathError {
    let action = action.into();
    move |error| DatapathError::Map { action, map, error }
}

/// Whether a next-hop object stands for anything.
pub(super) fn is_used(next_hop: &NextHop) -> bool {
    next_hop.kind != NextHopKind::Unused as u32
}

/// Whether a next-hop group stands for anything.
pub(super) fn is_used_group(group: &NextHopGroup) -> bool {
    group.identity != 0
}

/// Fails if a test wants the kernel to refuse to write.
pub(super) fn may_write() -> Result<(), MapError> {
    fault::refuse(Operation::MapUpdate).map_err(MapError::IoError)
}

/// Deleting what is gone already is no failure.
pub(super) fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl<'e> Maps<'e> {
    pub(super) fn map(&mut self, name: &'static str) -> Result<&mut Map, DatapathError> {
        self.0.map_mut(name).ok_or(DatapathError::Missing(name))
    }

    fn next_hops(&mut self) -> Result<Array<&mut MapData, NextHop>, DatapathError> {
        let map = map_name::NEXT_HOPS;
        self.map(map)?.try_into().map_err(failed(map, "find an array"))
    }

    fn groups(&mut self) -> Result<Array<&mut MapData, NextHopGroup>, DatapathError> {
        let map = map_name::NEXT_HOP_GROUPS;
        self.map(map)?.try_into().map_err(failed(map, "find an array"))
    }

    fn endpoints_map(&mut self) -> Result<HashMap<&mut MapData, u32, Endpoint>, DatapathError> {
        let map = map_name::ENDPOINTS;
        self.map(map)?.try_into().map_err(failed(map, "find a hash"))
    }

    fn settings_map(&mut self) -> Result<Array<&mut MapData, Settings>, DatapathError> {
        let map = map_name::SETTINGS;
        self.map(map)?.try_into().map_err(failed(map, "find an array"))
    }

    /// Every route.
    pub fn routes(&mut self) -> Result<BTreeMap<Prefix, Route>, DatapathError> {
        let mut routes = self.routes_of::<Ipv4Addr>()?;
        routes.append(&mut self.routes_of::<Ipv6Addr>()?);
        Ok(routes)
    }

    /// What this address leads to.
    pub fn lookup(&mut self, address: IpAddr) -> Result<Option<(Route, NextHop)>, DatapathError> {
        let found = match address {
            IpAddr::V4(address) => self.longest_match(address)?,
            IpAddr::V6(address) => self.longest_match(address)?,
        };
        let Some(route) = found else { return Ok(None) };
        let next_hop = self.next_hop(route.next_hop)?;
        Ok(Some((route, next_hop)))
    }

    /// A next-hop object.
    pub(super) fn next_hop(&mut self, index: u32) -> Result<NextHop, DatapathError> {
        self.next_hops()?.get(&index, 0).map_err(failed(map_name::NEXT_HOPS, format!("read entry {index}")))
    }

    /// The endpoint behind an interface.
    pub(super) fn endpoint(&mut self, interface: u32) -> Result<Option<Endpoint>, DatapathError> {
        match self.endpoints_map()?.get(&interface, 0) {
            Ok(endpoint) => Ok(Some(endpoint)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed(map_name::ENDPOINTS, format!("read interface {interface}"))(error)),
        }
    }

    /// Writes a route.
    pub fn set_route(&mut self, prefix: Prefix, route: Route) -> Result<(), DatapathError> {
        match prefix.address() {
            IpAddr::V4(address) => self.insert_route(address, prefix.len(), route),
            IpAddr::V6(address) => self.insert_route(address, prefix.len(), route),
        }
    }

    /// Writes routes in a system call for each family. If that fails, some may have been written.
    pub fn set_routes(&mut self, routes: impl Iterator<Item = (Prefix, Route)>) -> io::Result<()> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, route) in routes {
            match prefix.address() {
                IpAddr::V4(address) => v4.push((address, prefix.len(), route)),
                IpAddr::V6(address) => v6.push((address, prefix.len(), route)),
            }
        }
        if !v4.is_empty() {
            self.insert_routes(&v4)?;
        }
        if v6.is_empty() { Ok(()) } else { self.insert_routes(&v6) }
    }

    /// Removes a route.
    pub fn delete_route(&mut self, prefix: Prefix) -> Result<(), DatapathError> {
        match prefix.address() {
            IpAddr::V4(address) => self.remove_route(address, prefix.len()),
            IpAddr::V6(address) => self.remove_route(address, prefix.len()),
        }
    }

    /// Every next-hop object in use, by index.
    pub fn used_next_hops(&mut self) -> Result<BTreeMap<u32, NextHop>, DatapathError> {
        let mut used = BTreeMap::new();
        if let Map::Array(data) = self.map(map_name::NEXT_HOPS)? {
            let take = |index: u32, next_hop: NextHop| {
                if is_used(&next_hop) {
                    used.insert(index, next_hop);
                }
                ControlFlow::Continue(())
            };
            if batch::read(data.fd().as_fd(), take).is_ok() {
                return Ok(used);
            }
        }
        // A kernel that cannot read many at a time.
        let array = self.next_hops()?;
        used.clear();
        for index in 0..MAX_NEXT_HOPS {
            let next_hop =
                array.get(&index, 0).map_err(failed(map_name::NEXT_HOPS, format!("read entry {index}")))?;
            if is_used(&next_hop) {
                used.insert(index, next_hop);
            }
        }
        Ok(used)
    }

    /// Writes a next-hop object.
    pub fn set_next_hop(&mut self, index: u32, next_hop: NextHop) -> Result<(), DatapathError> {
        let mut array = self.next_hops()?;
        may_write()
            .and_then(|()| array.set(index, next_hop, 0))
            .map_err(failed(map_name::NEXT_HOPS, format!("set entry {index}")))
    }

    /// Every next-hop group in use, by index.
    pub fn used_groups(&mut self) -> Result<BTreeMap<u32, NextHopGroup>, DatapathError> {
        let mut used = BTreeMap::new();
        if let Map::Array(data) = self.map(map_name::NEXT_HOP_GROUPS)? {
            let take = |index: u32, group: NextHopGroup| {
                if is_used_group(&group) {
                    used.insert(index, group);
                }
                ControlFlow::Continue(())
            };
            if batch::read(data.fd().as_fd(), take).is_ok() {
                return Ok(used);
            }
        }
        // A kernel that cannot read many at a time.
        let array = self.groups()?;
        used.clear();
        for index in 0..MAX_NEXT_HOP_GROUPS {
            let group = array
                .get(&index, 0)
                .map_err(failed(map_name::NEXT_HOP_GROUPS, format!("read entry {index}")))?;
            if is_used_group(&group) {
                used.insert(index, group);
            }
        }
        Ok(used)
    }

    /// Writes a next-hop group.
    pub fn set_group(&mut self, index: u32, group: NextHopGroup) -> Result<(), DatapathError> {
        let mut array = self.groups()?;
        may_write()
            .and_then(|()| array.set(index, group, 0))
            .map_err(failed(map_name::NEXT_HOP_GROUPS, format!("set entry {index}")))
    }

    /// Every endpoint, by interface index.
    pub fn endpoints(&mut self) -> Result<BTreeMap<u32, Endpoint>, DatapathError> {
        self.endpoints_map()?
            .iter()
            .map(|entry| entry.map_err(failed(map_name::ENDPOINTS, "read the endpoints")))
            .collect()
    }

    /// Writes an endpoint.
    pub fn set_endpoint(&mut self, interface: u32, endpoint: Endpoint) -> Result<(), DatapathError> {
        let mut map = self.endpoints_map()?;
        may_write()
            .and_then(|()| map.insert(interface, endpoint, 0))
            .map_err(failed(map_name::ENDPOINTS, format!("set interface {interface}")))
    }

    /// Removes an endpoint.
    pub fn delete_endpoint(&mut self, interface: u32) -> Result<(), DatapathError> {
        gone_is_fine(self.endpoints_map()?.remove(&interface))
            .map_err(failed(map_name::ENDPOINTS, format!("delete interface {interface}")))
    }

    /// The node's own settings.
    pub fn settings(&mut self) -> Result<Settings, DatapathError> {
        self.settings_map()?.get(&0, 0).map_err(failed(map_name::SETTINGS, "read entry 0"))
    }

    /// Writes the node's own settings.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), DatapathError> {
        self.settings_map()?.set(0, settings, 0).map_err(failed(map_name::SETTINGS, "set entry 0"))
    }

    /// Every counter, summed over all CPUs, at its [`node_ebpf_common::counter_index`].
    pub fn counters(&mut self) -> Result<Vec<Counter>, DatapathError> {
        let name = map_name::COUNTERS;
        let map = self.map(name)?;
        let array: PerCpuArray<_, Counter> =
            (&*map).try_into().map_err(failed(name, "find a per-CPU array"))?;
        let sum = |index| {
            let each = array.get(&index, 0).map_err(failed(name, format!("read entry {index}")))?;
            Ok(each.iter().fold(Counter::default(), |sum, cpu| Counter {
                packets: sum.packets + cpu.packets,
                bytes: sum.bytes + cpu.bytes,
            }))
        };
        (0..COUNTERS).map(sum).collect()
    }
}
