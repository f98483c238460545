//! A set of prefixes in every structure, and the addresses that are looked up in them.

use std::{net::IpAddr, os::fd::AsFd as _};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, TestRunOptions,
    maps::{Array, HashMap, Map},
};
use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use node_ebpf_common::{
    Address, LookupUsage, LookupWriter, MappedCells, Route, RunningPrograms,
    bench::{GROUPS_V4, GROUPS_V6, LOOKUPS, NOT_FOUND, Work, checksum, map_name},
    map_name as datapath,
};

use super::{
    super::{own_object, prefixes::Pattern, stats::as_f64},
    mix::Mix,
    naive::Naive,
    structure::Structure,
    tables::{self, Entries},
};
use crate::family::Family;

/// The addresses of a pattern, and what must be found for them.
struct Destinations {
    pattern: Pattern,
    /// Their first group in the map.
    first: u32,
    /// What the loop by itself makes of each.
    raw: Vec<u32>,
    /// What must be found for each.
    found: Vec<u32>,
    /// The group that is next.
    next: u32,
}

/// What is looked up where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    /// The addresses.
    pub pattern: Pattern,
    /// Whether each lookup waits for the one before.
    pub dependent: bool,
    /// The structure.
    pub structure: Structure,
}

/// A set of prefixes in every structure.
pub struct Workload {
    /// How its prefixes were made.
    pub mix: Mix,
    /// How many there are.
    pub prefixes: usize,
    /// How full the lookup table is.
    pub usage: Option<LookupUsage>,
    ebpf: Ebpf,
    groups: u32,
    destinations: Vec<Destinations>,
}

impl Workload {
    /// Fills every structure with so many prefixes, and makes so many groups of addresses of each pattern, a power of
    /// two, or as many as there is room for.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn new(mix: Mix, prefixes: usize, groups: u32) -> Result<Self> {
        let mut rng = Rng::with_seed(prefixes as u64);
        let (set, routes) = mix.routes(prefixes, &mut rng);
        let entries = u32::try_from(prefixes)?;
        let patterns = u32::try_from(Pattern::ALL.len())?;
        let most = if mix.family() == Family::V4 { GROUPS_V4 } else { GROUPS_V6 };
        let groups = groups.min(most / patterns);
        let (v4, v6) =
            if mix.family() == Family::V4 { (groups * patterns, 1) } else { (1, groups * patterns) };
        let mut ebpf = own_object::load(&[
            (map_name::HASH_V4, if mix == Mix::V4 { entries } else { 1 }),
            (map_name::DESTINATIONS_V4, v4),
            (map_name::DESTINATIONS_V6, v6),
        ])?;
        tables::fill_tries(&mut ebpf, &Entries::of(&routes))?;
        let usage = (mix.family() == Family::V4).then(|| fill_table(&ebpf, &routes)).transpose()?;
        if mix == Mix::V4 {
            fill_hash(&mut ebpf, &routes)?;
        }
        let naive: Naive = routes.iter().map(|(prefix, route)| (*prefix, route.next_hop)).collect();
        let mut workload = Self { mix, prefixes, usage, ebpf, groups, destinations: Vec::new() };
        for pattern in Pattern::ALL {
            let addresses = set.destinations(pattern, groups as usize * LOOKUPS, &mut rng);
            workload.add(pattern, &addresses, &naive)?;
        }
        Ok(workload)
    }

    fn add(&mut self, pattern: Pattern, addresses: &[IpAddr], naive: &Naive) -> Result<()> {
        let first = self.groups * u32::try_from(self.destinations.len())?;
        write_destinations(&mut self.ebpf, first, addresses)?;
        let raw = addresses.iter().map(|address| words(*address).into_iter().fold(0, |all, word| all ^ word));
        let found = addresses.iter().map(|address| naive.look_up(*address).unwrap_or(NOT_FOUND));
        let (raw, found) = (raw.collect(), found.collect());
        self.destinations.push(Destinations { pattern, first, raw, found, next: 0 });
        Ok(())
    }

    /// How many groups of addresses are looked up in this time, if one address takes that long: one at least, and all
    /// at most.
    #[must_use]
    pub fn groups_in(&self, time: f64, address: f64) -> u32 {
        (1..=self.groups)
            .rev()
            .find(|groups| f64::from(*groups) * as_f64(LOOKUPS) * address <= time)
            .unwrap_or(1)
    }

    /// Whether the table by itself answers for all addresses.
    #[must_use]
    pub fn table_suffices(&self) -> bool {
        self.usage.is_some_and(|usage| usage.left_to_trie == 0)
    }

    /// Looks up so many groups of addresses, all of them at most, after half as many others for the caches; returns
    /// nanoseconds for each address.
    ///
    /// # Errors
    /// Something else was found than must be.
    pub fn measure(&mut self, lookup: Lookup, groups: u32) -> Result<f64> {
        let (structure, pattern) = (lookup.structure.label(), lookup.pattern.label());
        let what = format!("{structure} of {} prefixes, {pattern}", self.prefixes);
        self.look_up(lookup, groups.div_ceil(2)).with_context(|| what.clone())?;
        self.look_up(lookup, groups).context(what)
    }

    fn look_up(&mut self, lookup: Lookup, groups: u32) -> Result<f64> {
        let name = lookup.structure.program(self.mix.family(), lookup.dependent);
        let destinations = self.destinations.iter_mut().find(|known| known.pattern == lookup.pattern);
        let destinations = destinations.context("there are no such addresses")?;
        let (first, next) = (destinations.first, destinations.next);
        let start = Work { checksum: 1, first, groups: self.groups, next, zero: 0 };
        work(&mut self.ebpf)?.set(0, start, 0)?;
        let packet = [0; 64];
        let options = TestRunOptions { data_in: Some(&packet), repeat: groups, ..TestRunOptions::default() };
        let program = own_object::classifier(&mut self.ebpf, &name)?;
        let (nanoseconds, _) = own_object::time_classifier(program, options)?;
        let end = work(&mut self.ebpf)?.get(&0, 0)?;
        let values =
            if lookup.structure == Structure::Loop { &destinations.raw } else { &destinations.found };
        let (before, after) = values.split_at(next as usize * LOOKUPS);
        let looked_up = after.iter().chain(before).take(groups as usize * LOOKUPS);
        let expected = looked_up.fold(1, |before, value| checksum(before, *value));
        ensure!(end.checksum == expected, "a lookup found something else than it must");
        destinations.next = end.next;
        Ok(nanoseconds / as_f64(LOOKUPS))
    }
}

fn work(ebpf: &mut Ebpf) -> Result<Array<&mut aya::maps::MapData, Work>> {
    Ok(ebpf.map_mut(map_name::WORK).context("no map of work")?.try_into()?)
}

/// The words of an address as they are in a packet; of IPv4 one.
fn words(address: IpAddr) -> Vec<u32> {
    match address {
        IpAddr::V4(v4) => vec![u32::from_ne_bytes(v4.octets())],
        IpAddr::V6(v6) => Address::from_octets(v6.octets()).words().to_vec(),
    }
}

fn write_destinations(ebpf: &mut Ebpf, first: u32, addresses: &[IpAddr]) -> Result<()> {
    for (index, group) in (first..).zip(addresses.chunks_exact(LOOKUPS)) {
        if group[0].is_ipv4() {
            let map = ebpf.map_mut(map_name::DESTINATIONS_V4).context("no map of destinations")?;
            let group: [u32; LOOKUPS] = std::array::from_fn(|place| words(group[place])[0]);
            Array::<_, [u32; LOOKUPS]>::try_from(map)?.set(index, group, 0)?;
        } else {
            let map = ebpf.map_mut(map_name::DESTINATIONS_V6).context("no map of destinations")?;
            let group: [Address; LOOKUPS] = std::array::from_fn(|place| match group[place] {
                IpAddr::V6(v6) => Address::from_octets(v6.octets()),
                IpAddr::V4(v4) => Address::from_v4(v4.octets()),
            });
            Array::<_, [Address; LOOKUPS]>::try_from(map)?.set(index, group, 0)?;
        }
    }
    Ok(())
}

/// Makes the lookup table say what the routes say.
fn fill_table(ebpf: &Ebpf, routes: &[(IpNet, Route)]) -> Result<LookupUsage> {
    let writer = LookupWriter::start(map_table(ebpf)?, RunningPrograms, v4(routes));
    Ok(writer.usage())
}

/// The memory of the lookup table.
///
/// # Errors
/// It cannot be mapped.
pub fn map_table(ebpf: &Ebpf) -> Result<MappedCells> {
    let Some(Map::Array(map)) = ebpf.map(datapath::LOOKUP_V4) else {
        bail!("the BPF object has no array {}", datapath::LOOKUP_V4)
    };
    Ok(MappedCells::map(map.fd().as_fd())?)
}

/// The routes of IPv4.
pub fn v4(routes: &[(IpNet, Route)]) -> impl Iterator<Item = (Ipv4Net, Route)> {
    routes.iter().filter_map(|(prefix, route)| match prefix {
        IpNet::V4(v4) => Some((*v4, *route)),
        IpNet::V6(_) => None,
    })
}

fn fill_hash(ebpf: &mut Ebpf, routes: &[(IpNet, Route)]) -> Result<()> {
    let map = ebpf.map_mut(map_name::HASH_V4).context("no hash")?;
    let mut hash = HashMap::<_, u32, Route>::try_from(map)?;
    for (prefix, route) in v4(routes) {
        hash.insert(u32::from_ne_bytes(prefix.addr().octets()), route, 0)?;
    }
    Ok(())
}
