//! The router between the subnets: it forwards between node addresses and drops, and counts, everything else.

use std::{fmt::Write, net::IpAddr};

use anyhow::{Context, Result};

use super::{Topology, build::router_port};
use crate::{command, family::Family, netns::Netns};

pub(super) fn build_router(router: &Netns, topology: &Topology) -> Result<()> {
    let mut lines = String::new();
    for subnet in topology.subnets.iter().filter(|subnet| topology.has_router(subnet)) {
        let port = router_port(subnet);
        for network in &subnet.networks {
            writeln!(lines, "addr add {}/{} dev {port}", network.gateway, network.prefix.prefix_len())?;
        }
        writeln!(lines, "link set {port} up")?;
    }
    router.ip_batch(&lines)?;
    router.set_sysctl("net.ipv4.ip_forward", "1")?;
    if topology.subnets.iter().any(|subnet| subnet.network(Family::V6).is_some()) {
        router.set_sysctl("net.ipv6.conf.all.forwarding", "1")?;
    }
    let nodes = || topology.nodes.iter().flat_map(|node| node.addresses.iter().copied());
    let rules = rules(&set(nodes(), Family::V4), &set(nodes(), Family::V6));
    command::output_with_input(router.command("nft").args(["-f", "-"]), &rules)?;
    Ok(())
}

/// The rules come before routing: the router has no route to pods, so most of it would never get to a forward chain.
/// What is for the router itself, or for many (neighbour discovery included), is not its to forward.
fn rules(v4: &str, v6: &str) -> String {
    format!(
        "table inet between_nodes {{
            counter forwarded {{}}
            counter dropped {{}}
            set nodes_v4 {{ type ipv4_addr; {v4} }}
            set nodes_v6 {{ type ipv6_addr; {v6} }}
            chain arriving {{
                type filter hook prerouting priority raw; policy accept;
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept
                fib daddr type {{ local, broadcast, anycast, multicast }} accept
                ip saddr @nodes_v4 ip daddr @nodes_v4 counter name forwarded accept
                ip6 saddr @nodes_v6 ip6 daddr @nodes_v6 counter name forwarded accept
                counter name dropped drop
            }}
        }}"
    )
}

/// The addresses of a family as the elements of a set: no word where there are none.
fn set(addresses: impl Iterator<Item = IpAddr>, family: Family) -> String {
    let of_family = addresses.filter(|address| Family::of(*address) == family);
    let elements = of_family.map(|address| address.to_string()).collect::<Vec<_>>().join(", ");
    if elements.is_empty() { elements } else { format!("elements = {{ {elements} }}") }
}

/// Packets of both families that it has dropped.
pub(super) fn drops(router: &Netns) -> Result<u64> {
    let listed = router.output("nft", &["--json", "list", "counter", "inet", "between_nodes", "dropped"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let counters = listed["nftables"].as_array().context("nft lists nothing")?;
    let packets = counters.iter().find_map(|entry| entry["counter"]["packets"].as_u64());
    packets.context("nft lists no counter")
}
