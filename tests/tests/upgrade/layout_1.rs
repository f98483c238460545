//! The maps of layout version 1, as they were: frozen here, whatever becomes of the layout.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, lpm_trie::Key},
};
use node_ebpf_common::{Hook, Outcome};

/// Names of the maps.
pub const MAPS: [&str; 5] = ["ROUTES_V4", "NEXT_HOPS", "ENDPOINTS", "SETTINGS", "COUNTERS"];
/// Hooks, in the order of the counters map.
pub const HOOKS: [Hook; 3] = [Hook::FromPod, Hook::FromUplink, Hook::ToUplink];
/// Outcomes that had a number.
const OUTCOMES: u32 = 25;
const OUTCOMES_PER_HOOK: u32 = 48;

/// Numbers of the kinds of next hop.
pub mod kind {
    pub const LOCAL: u32 = 1;
    pub const DIRECT: u32 = 2;
    pub const IPIP: u32 = 3;
    pub const HOST: u32 = 4;
    pub const UNASSIGNED: u32 = 5;
}

/// Flag of a route to a remote node's own address.
pub const NODE_ADDRESS: u32 = 1;

/// An address, IPv4 in its IPv4-mapped form.
pub type Address = [u8; 16];

/// The address as the maps hold it.
pub fn address(v4: Ipv4Addr) -> Address {
    v4.to_ipv6_mapped().octets()
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct NextHop {
    pub identity: u64,
    pub kind: u32,
    pub interface: u32,
    pub gateway: Address,
    pub tunnel_source: Address,
    pub tunnel_destination: Address,
    pub mtu: u32,
    pub mac_destination: [u8; 6],
    pub mac_source: [u8; 6],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Route {
    pub next_hop: u32,
    pub flags: u32,
}

/// Its source check is strict.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Endpoint {
    pub address_v4: Address,
    pub address_v6: Address,
    pub source_check: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Settings {
    pub node_v4: Address,
    pub node_v6: Address,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Counter {
    packets: u64,
    bytes: u64,
}

// SAFETY: C layout, of integers only and without padding (80, 8, 40, 32 and 16 bytes).
unsafe impl aya::Pod for NextHop {}
// SAFETY: as above.
unsafe impl aya::Pod for Route {}
// SAFETY: as above.
unsafe impl aya::Pod for Endpoint {}
// SAFETY: as above.
unsafe impl aya::Pod for Settings {}
// SAFETY: as above.
unsafe impl aya::Pod for Counter {}

const _: () = assert!(size_of::<NextHop>() == 80 && size_of::<Endpoint>() == 40);

/// What an agent writes into the maps.
#[derive(Default)]
pub struct Tables {
    /// From index 1 on.
    pub next_hops: Vec<NextHop>,
    /// Network, prefix length, index of the next hop, flags.
    pub routes: Vec<(Ipv4Addr, u8, u32, u32)>,
    pub endpoints: Vec<(u32, Endpoint)>,
    pub settings: Settings,
}

impl Tables {
    /// Adds a next hop and returns its index.
    pub fn next_hop(&mut self, next_hop: NextHop) -> Result<u32> {
        // No agent of layout 1 comes back for it: any number that no other has will do.
        let identity = self.next_hops.len() as u64 + 1;
        self.next_hops.push(NextHop { identity, ..next_hop });
        Ok(u32::try_from(self.next_hops.len())?)
    }

    /// Fills the maps.
    pub fn write(&self, ebpf: &mut Ebpf) -> Result<()> {
        Array::<_, Settings>::try_from(map(ebpf, "SETTINGS")?)?.set(0, self.settings, 0)?;
        let mut next_hops = Array::<_, NextHop>::try_from(map(ebpf, "NEXT_HOPS")?)?;
        for (index, next_hop) in (1..).zip(&self.next_hops) {
            next_hops.set(index, next_hop, 0)?;
        }
        let mut endpoints = HashMap::<_, u32, Endpoint>::try_from(map(ebpf, "ENDPOINTS")?)?;
        for (interface, endpoint) in &self.endpoints {
            endpoints.insert(interface, endpoint, 0)?;
        }
        let mut routes = LpmTrie::<_, [u8; 4], Route>::try_from(map(ebpf, "ROUTES_V4")?)?;
        for (network, length, next_hop, flags) in &self.routes {
            let key = Key::new(u32::from(*length), network.octets());
            routes.insert(&key, Route { next_hop: *next_hop, flags: *flags }, 0)?;
        }
        Ok(())
    }
}

fn map<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Map> {
    ebpf.map_mut(name).with_context(|| format!("the object of layout 1 has no map {name}"))
}

/// The counters, which can be read as long as this lives, pinned or not.
pub struct Counters(PerCpuArray<MapData, Counter>);

impl Counters {
    /// Opens the pinned map.
    pub fn open(pin: &Path) -> Result<Self> {
        Ok(Self(Map::PerCpuArray(MapData::from_pin(pin)?).try_into()?))
    }

    /// Packets that ended so.
    pub fn packets(&self, hook: Hook, outcome: Outcome) -> Result<u64> {
        self.at(hook as u32 * OUTCOMES_PER_HOOK + outcome as u32)
    }

    /// Packets of all hooks and outcomes.
    pub fn all(&self) -> Result<u64> {
        let outcomes = |hook: Hook| (0..OUTCOMES).map(move |one| hook as u32 * OUTCOMES_PER_HOOK + one);
        HOOKS.into_iter().flat_map(outcomes).map(|index| self.at(index)).sum()
    }

    fn at(&self, index: u32) -> Result<u64> {
        Ok(self.0.get(&index, 0)?.iter().map(|cpu| cpu.packets).sum())
    }
}
