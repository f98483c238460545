//! Typed access to the maps, in the model's terms.

use std::{collections::BTreeMap, net::IpAddr};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key},
};
use ipnet::Ipv4Net;
use node_ebpf_common::{
    COUNTERS, Counter, Endpoint, MAX_NEXT_HOPS, NextHop, NextHopKind, Route, Settings, map_name,
};

use super::DatapathError;
use crate::model::Prefix;

/// The maps of a loaded object.
pub struct Maps<'e>(pub &'e mut Ebpf);

fn failed(map: &'static str, action: impl Into<String>) -> impl FnOnce(MapError) -> DatapathError {
    let action = action.into();
    move |error| DatapathError::Map { action, map, error }
}

/// Deleting what is gone already is no failure.
fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl<'e> Maps<'e> {
    fn map(&mut self, name: &'static str) -> Result<&mut Map, DatapathError> {
        self.0.map_mut(name).ok_or(DatapathError::Missing(name))
    }

    fn routes_v4(&mut self) -> Result<LpmTrie<&mut MapData, [u8; 4], Route>, DatapathError> {
        let map = map_name::ROUTES_V4;
        self.map(map)?.try_into().map_err(failed(map, "find an LPM trie"))
    }

    fn next_hops(&mut self) -> Result<Array<&mut MapData, NextHop>, DatapathError> {
        let map = map_name::NEXT_HOPS;
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
        self.routes_v4()?
            .iter()
            .map(|entry| {
                let (key, route) = entry.map_err(failed(map_name::ROUTES_V4, "read the routes"))?;
                let net = Ipv4Net::new(key.data().into(), u8::try_from(key.prefix_len()).unwrap_or(32));
                Ok((Prefix::from(net.unwrap_or_default()), route))
            })
            .collect()
    }

    /// What this address leads to.
    pub fn lookup(&mut self, address: IpAddr) -> Result<Option<(Route, NextHop)>, DatapathError> {
        let route = match self.routes_v4()?.get(&key_v4(Prefix::host(address))?, 0) {
            Ok(route) => route,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(failed(map_name::ROUTES_V4, format!("look up {address}"))(error)),
        };
        let index = route.next_hop;
        let next_hop = self
            .next_hops()?
            .get(&index, 0)
            .map_err(failed(map_name::NEXT_HOPS, format!("read entry {index}")))?;
        Ok(Some((route, next_hop)))
    }

    /// Writes a route.
    pub fn set_route(&mut self, prefix: Prefix, route: Route) -> Result<(), DatapathError> {
        let key = key_v4(prefix)?;
        self.routes_v4()?.insert(&key, route, 0).map_err(failed(map_name::ROUTES_V4, format!("set {prefix}")))
    }

    /// Removes a route.
    pub fn delete_route(&mut self, prefix: Prefix) -> Result<(), DatapathError> {
        let key = key_v4(prefix)?;
        gone_is_fine(self.routes_v4()?.remove(&key))
            .map_err(failed(map_name::ROUTES_V4, format!("delete {prefix}")))
    }

    /// Every next-hop object in use, by index.
    pub fn used_next_hops(&mut self) -> Result<BTreeMap<u32, NextHop>, DatapathError> {
        let array = self.next_hops()?;
        let mut used = BTreeMap::new();
        for index in 0..MAX_NEXT_HOPS {
            let next_hop =
                array.get(&index, 0).map_err(failed(map_name::NEXT_HOPS, format!("read entry {index}")))?;
            if next_hop.kind != NextHopKind::Unused as u32 {
                used.insert(index, next_hop);
            }
        }
        Ok(used)
    }

    /// Writes a next-hop object.
    pub fn set_next_hop(&mut self, index: u32, next_hop: NextHop) -> Result<(), DatapathError> {
        self.next_hops()?
            .set(index, next_hop, 0)
            .map_err(failed(map_name::NEXT_HOPS, format!("set entry {index}")))
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
        self.endpoints_map()?
            .insert(interface, endpoint, 0)
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

/// The trie's key for a prefix.
fn key_v4(prefix: Prefix) -> Result<Key<[u8; 4]>, DatapathError> {
    match prefix.address() {
        IpAddr::V4(address) => Ok(Key::new(u32::from(prefix.len()), address.octets())),
        IpAddr::V6(_) => Err(DatapathError::Missing("map for IPv6 routes")),
    }
}
