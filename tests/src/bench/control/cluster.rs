//! A cluster with so many prefixes.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};

use crate::{
    lab::{Lab, Topology},
    state::{Encapsulation, State, StateNode},
};

/// Nodes at most: a next-hop object each, with room for as many again.
const MOST_NODES: usize = 5_000;
/// Prefixes of one node among many that have few.
const BEHIND_ONE: usize = 10_000;

/// The node whose next hop changes.
pub(super) const GATEWAY_NODE: &str = "n0";

/// One node, in a network that has room for the addresses of all the others.
pub(super) fn topology() -> Result<Topology> {
    let mut topology = Topology::flat();
    let network = topology.subnets.first_mut().and_then(|subnet| subnet.networks.first_mut());
    network.context("the topology has no network")?.prefix = "10.0.0.0/16".parse()?;
    topology.nodes.truncate(1);
    for node in &mut topology.nodes {
        node.subnet = topology.subnets[0].clone();
    }
    Ok(topology)
}

/// The lab's node and pods, and other nodes with so many prefixes: half of them, but 10,000 at most, behind
/// [`GATEWAY_NODE`], the others spread evenly.
pub(super) fn state(lab: &Lab, prefixes: usize) -> State {
    let mut state = State::of(lab, Encapsulation::CrossSubnet);
    let behind_one = BEHIND_ONE.min(prefixes / 2);
    let others = MOST_NODES.min((prefixes - behind_one) / 2);
    let mut numbers = 0..prefixes;
    let mut take = |count: usize| numbers.by_ref().take(count).map(prefix).collect::<Vec<_>>();
    state.nodes.push(node(0, take(behind_one)));
    for index in 0..others {
        let share = (prefixes - behind_one) / others + usize::from(index < (prefixes - behind_one) % others);
        state.nodes.push(node(index + 1, take(share)));
    }
    state
}

fn node(index: usize, pod_prefixes: Vec<IpNet>) -> StateNode {
    StateNode { name: format!("n{index}"), addresses: vec![address(0x0a00_1000, index)], pod_prefixes }
}

/// A /24 of its own for each number.
pub(super) fn prefix(number: usize) -> IpNet {
    let IpAddr::V4(address) = address(0x1000_0000, number * 256) else { unreachable!("made as IPv4") };
    Ipv4Net::new_assert(address, 24).into()
}

fn address(first: u32, offset: usize) -> IpAddr {
    Ipv4Addr::from(first + u32::try_from(offset).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_has_a_place_of_its_own() {
        assert_eq!(prefix(0).to_string(), "16.0.0.0/24");
        assert_eq!(prefix(1_000_000).to_string(), "31.66.64.0/24");
        assert_eq!(node(4_999, Vec::new()).addresses[0].to_string(), "10.0.35.135");
    }
}
