//! The lab's router as a node of the cluster: a gateway with an uplink in each subnet, which runs an agent.

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::{Lab, Node, Wiring, build};
use crate::{command, state::StateNode};

/// The router, that forwards everything from now on.
#[derive(Debug)]
pub struct Gateway {
    node: Node,
}

impl Gateway {
    /// Makes the router of this lab forward between pods too, and counts what its stack forwards. Its uplinks are
    /// such that frames can be redirected to them: the other ends of its veths receive by NAPI, which takes GRO or
    /// an XDP program there. And nodes compute checksums themselves: a veth leaves that to whoever gets a packet
    /// out of the machine in the end, but only a stack knows that, not XDP.
    ///
    /// # Errors
    /// If a setting is refused, or the bpffs cannot be mounted.
    pub fn of(lab: &Lab) -> Result<Self> {
        let rules = "delete table inet between_nodes
            table inet gateway {
                counter forwarded {}
                chain forward { type filter hook forward priority filter; counter name forwarded; }
            }";
        command::output_with_input(lab.router.command("nft").args(["-f", "-"]), rules)?;
        if lab.topology.wiring == Wiring::Switch {
            for subnet in &lab.topology.subnets {
                lab.switch.output("ethtool", &["-K", &format!("router-{}", subnet.name), "gro", "on"])?;
            }
        }
        for node in &lab.nodes {
            if lab.topology.wiring == Wiring::Cable {
                node.netns.output("ethtool", &["-K", Node::UPLINK, "gro", "on"])?;
            }
            node.netns.output("ethtool", &["-K", Node::UPLINK, "tx", "off"])?;
        }
        let subnet = lab.topology.subnets.first().context("the lab has no subnet")?.clone();
        let node = Node {
            name: build::ROUTER.to_owned(),
            netns: lab.router.clone(),
            addresses: subnet.networks.iter().map(|network| network.gateway).collect(),
            pod_prefixes: vec!["10.244.100.0/24".parse()?],
            folder: lab.dir.path().join(build::ROUTER),
            subnet,
        };
        build::mount_bpffs(&node.bpffs())?;
        Ok(Self { node })
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What the cluster state says of it.
    #[must_use]
    pub fn state(&self) -> StateNode {
        let addresses: Vec<IpAddr> = self.node.addresses.clone();
        StateNode { name: self.node.name.clone(), addresses, pod_prefixes: self.node.pod_prefixes.clone() }
    }

    /// Packets that its stack has forwarded.
    ///
    /// # Errors
    /// If the counter cannot be read.
    pub fn forwarded_by_stack(&self) -> Result<u64> {
        let arguments = ["--json", "list", "counter", "inet", "gateway", "forwarded"];
        let listed: serde_json::Value = serde_json::from_str(&self.node.netns.output("nft", &arguments)?)?;
        let counters = listed["nftables"].as_array().context("nft lists nothing")?;
        let packets = counters.iter().find_map(|entry| entry["counter"]["packets"].as_u64());
        packets.context("nft lists no counter")
    }

    /// Makes it forget its neighbours.
    ///
    /// # Errors
    /// If that is refused.
    pub fn forget_neighbours(&self) -> Result<()> {
        self.node.netns.ip("neigh flush all")?;
        Ok(())
    }
}
