//! Services as kube-proxy has them: the rules that its nftables and iptables modes write, by hand.
//!
//! Names and order of tables, chains, sets and rules follow kube-proxy 1.33 (`pkg/proxy/nftables`,
//! `pkg/proxy/iptables`), the masquerade mark 0x4000 included; what has no part in the way of a packet
//! (comments, counters, firewall for load balancers, session affinity) is left out.

mod iptables;
mod nftables;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    command,
    family::Family,
    lab::{Endpoint, Node},
    probe::ECHO_PORT,
};

/// Which of kube-proxy's modes writes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One table `kube-proxy` with verdict maps.
    Nftables,
    /// Chains `KUBE-…` in the tables `nat` and `filter`.
    Iptables,
}

/// `externalTrafficPolicy` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any endpoint; what comes from outside gets the node's source address.
    Cluster,
    /// Only endpoints on the node that it comes to; the source address stays.
    Local,
}

/// A Service with its endpoints, for TCP and UDP. Every endpoint is an echo server.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Its ClusterIP.
    pub cluster_ip: IpAddr,
    /// Port at the ClusterIP.
    pub port: u16,
    /// Port at every node's address; none if it is not reached from outside.
    pub node_port: Option<u16>,
    /// What becomes of traffic from outside.
    pub policy: Policy,
    /// Addresses of the pods behind it. With [`Policy::Local`] only those of the node that gets the rules.
    pub endpoints: Vec<IpAddr>,
}

/// Port of the pods behind a Service.
pub const TARGET_PORT: u16 = ECHO_PORT;

/// The protocols of each Service.
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

/// kube-proxy's mark on what gets the node's source address.
const MASQUERADE: &str = "0x4000";

impl Service {
    /// A Service on port 80.
    #[must_use]
    pub fn new(name: &'static str, cluster_ip: IpAddr, endpoints: Vec<IpAddr>) -> Self {
        Self { name, cluster_ip, port: 80, node_port: None, policy: Policy::Cluster, endpoints }
    }

    /// The same at every node's address.
    #[must_use]
    pub fn at_nodes(self, node_port: u16, policy: Policy) -> Self {
        Self { node_port: Some(node_port), policy, ..self }
    }

    /// Where clients in the cluster connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.cluster_ip, self.port)
    }
}

/// Writes a node's rules for all Services of one family, in place of those before.
///
/// # Errors
/// If they are not taken.
pub fn apply(node: &Node, mode: Mode, pods: IpNet, services: &[Service]) -> Result<()> {
    let v4 = pods.addr().is_ipv4();
    let family = if v4 { Family::V4 } else { Family::V6 };
    match mode {
        Mode::Nftables => {
            let node_ip = node.address_of(family);
            let rules = nftables::rules(pods, node_ip, services)?;
            command::output_with_input(node.netns().command("nft").args(["-f", "-"]), &rules)?;
        }
        Mode::Iptables => {
            let restore = if v4 { "iptables-restore" } else { "ip6tables-restore" };
            let rules = iptables::rules(pods, services)?;
            command::output_with_input(&mut node.netns().command(restore), &rules)?;
        }
    }
    Ok(())
}

/// Removes the rules again.
///
/// # Errors
/// If they cannot be removed.
pub fn remove(node: &Node, mode: Mode, family: Family) -> Result<()> {
    let v4 = family == Family::V4;
    match mode {
        Mode::Nftables => {
            node.netns().output("nft", &["delete", "table", if v4 { "ip" } else { "ip6" }, "kube-proxy"])?;
        }
        Mode::Iptables => {
            let restore = if v4 { "iptables-restore" } else { "ip6tables-restore" };
            let empty = "*filter\nCOMMIT\n*nat\nCOMMIT\n";
            command::output_with_input(&mut node.netns().command(restore), empty)?;
        }
    }
    Ok(())
}
