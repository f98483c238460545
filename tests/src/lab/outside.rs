//! A host outside of the cluster: the lab's router under another address. It knows no pods, and no way to
//! them, so only what comes from a node's address gets an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Endpoint, Lab};
use crate::{family::Family, netns::Netns, probe::EchoServer};

/// The host outside. Its echo server ends with it.
#[derive(Debug)]
pub struct Outside {
    netns: Netns,
    addresses: Vec<IpAddr>,
    server: Option<EchoServer>,
}

impl Outside {
    /// Its address (TEST-NET-1).
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// Its IPv6 address, where the lab has IPv6 between the nodes.
    pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0xffff, 0, 0, 0, 1);
}

impl Lab {
    /// Gives the router an address outside of the cluster, with an echo server. The router's rules let
    /// pass what is for itself, whoever sends it.
    ///
    /// # Errors
    /// If the address cannot be set, or the server not be started.
    pub fn add_outside(&self) -> Result<Outside> {
        let netns = self.router().clone();
        let has = |family| self.topology().subnets.iter().any(|subnet| subnet.network(family).is_some());
        let mut addresses = Vec::new();
        if has(Family::V4) {
            netns.ip(&format!("address add {}/32 dev lo", Outside::ADDRESS))?;
            addresses.push(Outside::ADDRESS.into());
        }
        if has(Family::V6) {
            netns.ip(&format!("address add {}/128 dev lo nodad", Outside::ADDRESS_V6))?;
            addresses.push(Outside::ADDRESS_V6.into());
        }
        let mut outside = Outside { netns, addresses, server: None };
        outside.server = Some(EchoServer::start(&outside)?);
        Ok(outside)
    }
}

impl Endpoint for Outside {
    fn name(&self) -> &str {
        "outside"
    }
    fn netns(&self) -> &Netns {
        &self.netns
    }
    fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
    /// It is on none: this is no node's name.
    fn node(&self) -> &str {
        "outside"
    }
    fn is_pod(&self) -> bool {
        false
    }
}
