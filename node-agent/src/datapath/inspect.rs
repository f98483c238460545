//! What the maps and hooks hold at this moment, for `node-agent explain`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use node_ebpf_common::{Endpoint, NextHop, Route};

use super::{BpfDatapath, DatapathError, clsact, links};
use crate::{
    model::{Attachment, Prefix},
    reconcile::AttachmentPoint,
};

/// The longest match for an address or prefix.
#[derive(Debug, Clone, Copy)]
pub struct LongestMatch {
    /// The shortest prefix by which the same is found.
    pub prefix: Prefix,
    /// The route.
    pub route: Route,
    /// The object that it leads to.
    pub next_hop: NextHop,
}

/// A program at a hook.
#[derive(Debug, Clone)]
pub struct ProgramAt {
    /// Number of the program that should run there.
    pub expected: u32,
    /// Number of the program of ours that runs there.
    pub running: Option<u32>,
    /// How it is attached; none where it is not, because tc does its work.
    pub method: Option<String>,
}

impl BpfDatapath {
    /// What the routes map has for a prefix or around it, by the kernel's own longest-prefix match.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn longest_match(&mut self, target: Prefix) -> Result<Option<LongestMatch>, DatapathError> {
        let address = target.address();
        let Some(route) = self.match_at(address, target.len())? else { return Ok(None) };
        let mut length = target.len();
        while length > 0 && self.match_at(address, length - 1)? == Some(route) {
            length -= 1;
        }
        let next_hop = self.maps().next_hop(route.next_hop)?;
        let prefix = IpNet::new(address, length).map_or(target, Prefix::containing);
        Ok(Some(LongestMatch { prefix, route, next_hop }))
    }

    fn match_at(&mut self, address: IpAddr, length: u8) -> Result<Option<Route>, DatapathError> {
        match address {
            IpAddr::V4(address) => self.maps().match_of_length::<Ipv4Addr>(address, length),
            IpAddr::V6(address) => self.maps().match_of_length::<Ipv6Addr>(address, length),
        }
    }

    /// The endpoint behind an interface.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn endpoint(&mut self, link: u32) -> Result<Option<Endpoint>, DatapathError> {
        self.maps().endpoint(link)
    }

    /// Which program of ours runs at a hook.
    #[must_use]
    pub fn program_at(&self, at: &Attachment) -> ProgramAt {
        // What the kernel does not tell of, nobody here can see.
        let linked = links::running_program(&self.pins, at.hook, at.link, &at.interface).ok().flatten();
        let running = linked.or_else(|| clsact::find(at.hook, at.link).ok().flatten());
        ProgramAt {
            expected: self.program_id(at.hook),
            running,
            method: self.method_at(AttachmentPoint::from(at)),
        }
    }
}
