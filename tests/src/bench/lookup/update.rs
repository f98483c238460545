//! What it costs to write the structures.

use std::time::Duration;

use anyhow::{Result, bail};
use aya::{
    Ebpf,
    maps::{LpmTrie, MapData, MapError},
};
use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use node_ebpf_common::{LookupWriter, Route, RunningPrograms, bench, map_name};

use super::{
    super::{own_object, own_object::processor_time, stats::as_f64},
    mix::Mix,
    tables::{Entries, fill_tries},
    workload::{map_table, v4},
};
use crate::family::Family;

/// Changes of which one is the average.
const CHANGES: usize = 64;

/// Nanoseconds of processor time, one of each a round. Those of the table are for IPv4 only.
#[derive(Default)]
pub struct Costs {
    /// A prefix of an empty trie, by a system call each.
    pub trie: Vec<f64>,
    /// The same, all in one system call.
    pub trie_batch: Vec<f64>,
    /// A prefix of a table that is filled at once, as at the start.
    pub table: Vec<f64>,
    /// A prefix of a table that is filled by one change after the other.
    pub table_each: Vec<f64>,
    /// One more prefix in the full trie, or one less.
    pub trie_change: Vec<f64>,
    /// One more prefix in the full table, or one less.
    pub table_change: Vec<f64>,
}

/// Fills the structures once with so many prefixes.
///
/// # Errors
/// The kernel refuses something.
pub fn measure(mix: Mix, prefixes: usize, costs: &mut Costs) -> Result<()> {
    let mut rng = Rng::with_seed(prefixes as u64);
    let (set, routes) = mix.routes(prefixes, &mut rng);
    let changes: Vec<(IpNet, Route)> =
        set.unused.iter().take(CHANGES).map(|prefix| (*prefix, Route { next_hop: 1, flags: 0 })).collect();
    let (entries, changes_in_trie) = (Entries::of(&routes), Entries::of(&changes));
    let mut ebpf = empty()?;
    costs.trie_batch.push(each(prefixes, || fill_tries(&mut ebpf, &entries))?);
    let mut ebpf = empty()?;
    costs.trie.push(each(prefixes, || insert(&mut ebpf, &entries))?);
    costs.trie_change.push(each(2 * changes.len(), || {
        insert(&mut ebpf, &changes_in_trie)?;
        remove(&mut ebpf, &changes_in_trie)
    })?);
    if mix.family() == Family::V4 {
        write_table(prefixes, &routes, &changes, costs)?;
    }
    Ok(())
}

fn write_table(
    prefixes: usize,
    routes: &[(IpNet, Route)],
    changes: &[(IpNet, Route)],
    costs: &mut Costs,
) -> Result<()> {
    let (routes, changes): (Vec<(Ipv4Net, Route)>, Vec<_>) = (v4(routes).collect(), v4(changes).collect());
    let ebpf = empty()?;
    let cells = map_table(&ebpf)?;
    costs.table.push(each(prefixes, || {
        LookupWriter::start(cells, RunningPrograms, routes.iter().copied());
        Ok(())
    })?);
    let ebpf = empty()?;
    let mut writer = LookupWriter::start(map_table(&ebpf)?, RunningPrograms, []);
    costs.table_each.push(each(prefixes, || {
        routes.iter().for_each(|(prefix, route)| writer.set(*prefix, *route));
        Ok(())
    })?);
    costs.table_change.push(each(2 * changes.len(), || {
        changes.iter().for_each(|(prefix, route)| writer.set(*prefix, *route));
        changes.iter().for_each(|(prefix, _)| writer.remove(*prefix));
        Ok(())
    })?);
    Ok(())
}

/// An object with empty maps.
fn empty() -> Result<Ebpf> {
    own_object::load(&[
        (bench::map_name::HASH_V4, 1),
        (bench::map_name::DESTINATIONS_V4, 1),
        (bench::map_name::DESTINATIONS_V6, 1),
    ])
}

/// Nanoseconds of processor time of one of so many.
fn each(count: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = processor_time()?;
    work()?;
    let taken: Duration = processor_time()?.saturating_sub(start);
    Ok(taken.as_secs_f64() * 1e9 / as_f64(count))
}

fn insert(ebpf: &mut Ebpf, entries: &Entries) -> Result<()> {
    with_tries(ebpf, |v4, v6| {
        entries.v4.iter().try_for_each(|(key, route)| v4.insert(key, route, 0))?;
        entries.v6.iter().try_for_each(|(key, route)| v6.insert(key, route, 0))
    })
}

fn remove(ebpf: &mut Ebpf, entries: &Entries) -> Result<()> {
    with_tries(ebpf, |v4, v6| {
        entries.v4.iter().try_for_each(|(key, _)| v4.remove(key))?;
        entries.v6.iter().try_for_each(|(key, _)| v6.remove(key))
    })
}

type Trie<'e, A> = LpmTrie<&'e mut MapData, A, Route>;

fn with_tries(
    ebpf: &mut Ebpf,
    change: impl FnOnce(&mut Trie<'_, [u8; 4]>, &mut Trie<'_, [u8; 16]>) -> Result<(), MapError>,
) -> Result<()> {
    let (mut v4, mut v6) = (None, None);
    for (name, map) in ebpf.maps_mut() {
        match name {
            map_name::ROUTES_V4 => v4 = Some(Trie::<[u8; 4]>::try_from(map)?),
            map_name::ROUTES_V6 => v6 = Some(Trie::<[u8; 16]>::try_from(map)?),
            _ => {}
        }
    }
    match (&mut v4, &mut v6) {
        (Some(v4), Some(v6)) => Ok(change(v4, v6)?),
        _ => bail!("the BPF object has no tries"),
    }
}
