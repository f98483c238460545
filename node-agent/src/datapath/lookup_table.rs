//! The lookup table in front of the IPv4 trie: says what the trie says, written after it.

use std::net::IpAddr;

use aya::{Ebpf, maps::Map};
use ipnet::IpNet;
use node_ebpf_common::{Found, LookupUsage, LookupWriter, MappedCells, Route, RunningPrograms, map_name};
use tracing::warn;

use super::{DatapathError, maps::failed};
use crate::model::Prefix;

/// The table of a loaded object's map.
pub(super) struct LookupTable {
    /// The kernel's number of the map.
    map: u32,
    writer: LookupWriter<MappedCells, RunningPrograms>,
}

impl LookupTable {
    /// Maps the table and makes it say what these routes say: those that the trie has.
    ///
    /// # Errors
    /// The map cannot be mapped.
    pub(super) fn open<'r>(
        ebpf: &Ebpf,
        routes: impl IntoIterator<Item = (&'r Prefix, &'r Route)>,
    ) -> Result<Self, DatapathError> {
        let map = map_of(ebpf)?;
        let cells = match ebpf.map(map_name::LOOKUP_V4) {
            Some(Map::Array(data)) => MappedCells::map(data.fd())?,
            _ => return Err(DatapathError::Missing(map_name::LOOKUP_V4)),
        };
        Ok(Self { map, writer: LookupWriter::start(cells, RunningPrograms, of_v4(routes)) })
    }

    /// Whether the programs of this load read this table.
    ///
    /// # Errors
    /// The map cannot be looked at.
    pub(super) fn is_read_by(&self, ebpf: &Ebpf) -> Result<bool, DatapathError> {
        Ok(map_of(ebpf)? == self.map)
    }

    /// Compares it with the routes that the trie has, and puts right what differs.
    pub(super) fn audit<'r>(&mut self, routes: impl IntoIterator<Item = (&'r Prefix, &'r Route)>) {
        let changed = self.writer.reconcile(of_v4(routes));
        tell(changed);
    }

    /// The same, where the trie has the routes that it had the last time.
    pub(super) fn audit_again(&mut self) {
        tell(self.writer.audit());
    }

    /// Follows a route that was written to the trie.
    pub(super) fn set(&mut self, prefix: Prefix, route: Route) {
        if let IpNet::V4(net) = prefix.net() {
            self.writer.set(net, route);
        }
    }

    /// Follows a route that was removed from the trie.
    pub(super) fn remove(&mut self, prefix: Prefix) {
        if let IpNet::V4(net) = prefix.net() {
            self.writer.remove(net);
        }
    }

    /// How full it is.
    pub(super) fn usage(&self) -> LookupUsage {
        self.writer.usage()
    }

    /// What is wrong if programs find something else in it than the trie has for this address; for people.
    pub(super) fn disagreement(&self, address: IpAddr, in_trie: Option<Route>) -> Option<String> {
        let IpAddr::V4(v4) = address else { return None };
        let in_table = match self.writer.look_up(v4.octets()) {
            Found::AskTrie => return None,
            Found::NoRoute => None,
            Found::Route(route) => Some(route),
        };
        (in_table != in_trie).then(|| {
            format!(
                "programs find {} in map {}, but map {} has {}: somebody else has written to one of them, and the next audit puts it right",
                text(in_table),
                map_name::LOOKUP_V4,
                map_name::ROUTES_V4,
                text(in_trie)
            )
        })
    }
}

/// Tells of cells that were not as they had been written.
fn tell(changed: usize) {
    if changed > 0 {
        warn!(
            "map {}: {changed} cells were not what the routes in map {} say, and were put right: somebody else has written to one of them",
            map_name::LOOKUP_V4,
            map_name::ROUTES_V4
        );
    }
}

fn map_of(ebpf: &Ebpf) -> Result<u32, DatapathError> {
    let name = map_name::LOOKUP_V4;
    let Some(Map::Array(data)) = ebpf.map(name) else { return Err(DatapathError::Missing(name)) };
    Ok(data.info().map_err(failed(name, "read the number"))?.id())
}

fn of_v4<'r>(
    routes: impl IntoIterator<Item = (&'r Prefix, &'r Route)>,
) -> impl Iterator<Item = (ipnet::Ipv4Net, Route)> {
    routes.into_iter().filter_map(|(prefix, route)| match prefix.net() {
        IpNet::V4(net) => Some((net, *route)),
        IpNet::V6(_) => None,
    })
}

fn text(route: Option<Route>) -> String {
    match route {
        None => "no route".to_owned(),
        Some(Route { next_hop, flags: 0 }) => format!("next hop {next_hop}"),
        Some(Route { next_hop, flags }) => format!("next hop {next_hop} with flags {flags:#x}"),
    }
}
