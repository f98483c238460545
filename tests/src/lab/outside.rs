//! A host outside of the cluster: the lab's router under another address. It knows no pods, and no way to
//! them, so only what comes from a node's address gets an answer.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::{Endpoint, Lab};
use crate::{netns::Netns, probe::EchoServer};

/// The host outside. Its echo server ends with it.
#[derive(Debug)]
pub struct Outside {
    netns: Netns,
    server: Option<EchoServer>,
}

impl Outside {
    /// Its address (TEST-NET-1).
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
}

impl Lab {
    /// Gives the router an address outside of the cluster, with an echo server. The router's rules let
    /// pass what is for itself, whoever sends it.
    ///
    /// # Errors
    /// If the address cannot be set, or the server not be started.
    pub fn add_outside(&self) -> Result<Outside> {
        let netns = self.router().clone();
        netns.ip(&format!("address add {}/32 dev lo", Outside::ADDRESS))?;
        let mut outside = Outside { netns, server: None };
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
    fn address(&self) -> IpAddr {
        Self::ADDRESS.into()
    }
    /// It is on none: this is no node's name.
    fn node(&self) -> &str {
        "outside"
    }
    fn is_pod(&self) -> bool {
        false
    }
}
