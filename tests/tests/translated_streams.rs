//! Streams that netfilter sends on to another node (as a NodePort does): what came out of a tunnel goes into the
//! next, in super-packets, in every encapsulation of both families.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::Settings,
    capture::{Capture, Keep},
    command,
    family::Family,
    lab::{Endpoint, Lab, Node, Topology, View},
    offload::{self, Feature},
    probe,
    state::{Encapsulation, State},
    story,
};

const PORT: u16 = 30_080;
const BYTES: usize = 4 << 20;

/// What kube-proxy writes for a NodePort whose pod is on another node: both addresses are translated.
fn node_port(address: SocketAddr, to: SocketAddr) -> String {
    let (ip, at) = match (address, to) {
        (SocketAddr::V4(_), SocketAddr::V4(to)) => ("ip", to.to_string()),
        _ => ("ip6", to.to_string()),
    };
    format!(
        "table inet node_port {{
            chain prerouting {{
                type nat hook prerouting priority dstnat; policy accept;
                {ip} daddr {} tcp dport {} counter dnat {ip} to {at}
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                {ip} daddr {} tcp dport {} counter masquerade
            }}
        }}",
        address.ip(),
        address.port(),
        to.ip(),
        to.port()
    )
}

/// The address of a node that its Service is reached by: its own, or where it has none of this family, the one in its
/// pod prefix.
fn service_address(node: &Node, family: Family) -> Result<SocketAddr> {
    let address = node.address_of(family).or_else(|| node.pod_address_of(family, 1));
    Ok(SocketAddr::new(address.context("the node has no such address")?, PORT))
}

#[test]
fn streams_leave_the_tunnel_and_enter_the_next() -> Result<(), Failure> {
    for (topology, families) in [
        (Topology::flat(), &[Family::V4][..]),
        (Topology::dual_stack(), &Family::ALL),
        (Topology::v6_nodes(), &Family::ALL),
        (Topology::v4_nodes(), &Family::ALL),
    ] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::Always))?;
            for family in families {
                passes(lab, *family).with_context(|| format!("{name}, {family}"))?;
            }
            let counters = agents.get("a1")?.counters()?;
            ensure!(counters.packets(Hook::FromUplink, Outcome::DecapStack) > 0, "{counters}");
            ensure!(counters.packets(Hook::ToUplink, Outcome::Ipip) > 0, "{counters}");
            for (node, agent) in agents.iter() {
                let counters = agent.counters()?;
                ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// From a pod on a2 by way of a1 to a pod of the third node, and back.
fn passes(lab: &Lab, family: Family) -> Result<()> {
    let (from, by) = (lab.pod("a2-0")?, lab.node("a1")?);
    let third = lab.nodes().last().context("no nodes")?;
    let to = lab.pods().iter().find(|pod| pod.node() == third.name()).context("no pod")?;
    let to = View::new(to, family).context("no such address")?;
    let service = service_address(by, family)?;
    let rules = node_port(service, SocketAddr::new(to.address(), PORT));
    command::output_with_input(by.netns().command("nft").args(["-f", "-"]), &rules)?;
    for segmenting in [true, false] {
        offload::set(by.netns(), Node::UPLINK, Feature::Segmentation, segmenting)?;
        let uplink = Capture::start(by.netns(), Node::UPLINK, Keep::Headers)?;
        let bulk = probe::bulk_by(from, service, &to, PORT, BYTES)?;
        let uplink = uplink.stop()?;
        println!("{family}, cut at the uplink: {}: {bulk:?}", !segmenting);
        bulk.expect_no_storm()?;
        let mut sent = uplink.packets().filter(|packet| packet.outgoing).collect::<Vec<_>>();
        sent.retain(|packet| packet.inner().destination == to.address());
        ensure!(!sent.is_empty() && sent.iter().all(|packet| packet.headers.len() == 2), "{uplink}");
        let large = sent.iter().any(|packet| packet.length > usize::from(Topology::UPLINK_MTU));
        ensure!(large == segmenting, "{uplink}");
    }
    offload::set(by.netns(), Node::UPLINK, Feature::Segmentation, true)?;
    by.netns().output("nft", &["delete", "table", "inet", "node_port"])?;
    Ok(())
}
