//! The rig's lookup table in front of the IPv4 trie.

use aya::maps::Map;
use ipnet::IpNet;
use node_ebpf_common::{LookupWriter, MappedCells, Route, RunningPrograms, map_name};

use super::rig::{Cluster, Rig};

/// A writer of the rig's table.
pub type Table = LookupWriter<MappedCells, RunningPrograms>;

impl Rig {
    /// The memory of the table.
    pub fn mapped_cells(&mut self) -> MappedCells {
        let Map::Array(data) = self.map(map_name::LOOKUP_V4) else { panic!("not an array") };
        MappedCells::map(data.fd()).expect("the map can be mapped")
    }

    /// Fills the table with the routes of the cluster.
    pub fn with_lookup_table(self) -> Self {
        self.with_lookup_table_of(&Cluster::new().routes)
    }

    /// Fills the table with the IPv4 routes of these.
    pub fn with_lookup_table_of(mut self, routes: &[(IpNet, Route)]) -> Self {
        let routes = routes.iter().filter_map(|(prefix, route)| match prefix {
            IpNet::V4(v4) => Some((*v4, *route)),
            IpNet::V6(_) => None,
        });
        let cells = self.mapped_cells();
        self.table = Some(Table::start(cells, RunningPrograms, routes));
        self
    }

    /// Its writer.
    pub fn table(&mut self) -> &mut Table {
        self.table.as_mut().expect("a rig with a table")
    }
}
