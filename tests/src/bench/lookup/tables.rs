//! Writing the tries.

use std::os::fd::AsFd as _;

use anyhow::{Result, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData, lpm_trie::Key},
};
use ipnet::IpNet;
use node_ebpf_common::{Route, map_name};

use super::batch;

/// Entries of the tries.
#[derive(Default)]
pub struct Entries {
    /// IPv4.
    pub v4: Vec<(Key<[u8; 4]>, Route)>,
    /// IPv6.
    pub v6: Vec<(Key<[u8; 16]>, Route)>,
}

impl Entries {
    /// These routes.
    #[must_use]
    pub fn of(routes: &[(IpNet, Route)]) -> Self {
        let mut entries = Self::default();
        for (prefix, route) in routes {
            let length = u32::from(prefix.prefix_len());
            match prefix {
                IpNet::V4(v4) => entries.v4.push((Key::new(length, v4.addr().octets()), *route)),
                IpNet::V6(v6) => entries.v6.push((Key::new(length, v6.addr().octets()), *route)),
            }
        }
        entries
    }
}

/// Writes all of them, many at once.
///
/// # Errors
/// The kernel refuses one.
pub fn fill_tries(ebpf: &mut Ebpf, entries: &Entries) -> Result<()> {
    if !entries.v4.is_empty() {
        batch::update_trie(trie(ebpf, map_name::ROUTES_V4)?.fd().as_fd(), &entries.v4)?;
    }
    if !entries.v6.is_empty() {
        batch::update_trie(trie(ebpf, map_name::ROUTES_V6)?.fd().as_fd(), &entries.v6)?;
    }
    Ok(())
}

/// A trie of the object.
///
/// # Errors
/// There is none with this name.
pub fn trie<'e>(ebpf: &'e Ebpf, name: &str) -> Result<&'e MapData> {
    let Some(Map::LpmTrie(map)) = ebpf.map(name) else { bail!("the BPF object has no trie {name}") };
    Ok(map)
}
