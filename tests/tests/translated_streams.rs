//! Streams that netfilter sends on to another node (as a NodePort does): what came out of a tunnel goes into the
//! next, or to a socket of this node, in super-packets, in every encapsulation of both families.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::Settings,
    capture::{Capture, Captured, Keep, Packet},
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

/// What a1's uplink does with super-packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uplink {
    /// Takes them and hands them on.
    Whole,
    /// Has the kernel cut what goes out.
    Cut,
    /// Gets them cut, as from a wire, and merges them.
    Merged,
}

/// Does something while a1's uplink is so.
fn with_uplink<T>(lab: &Lab, uplink: Uplink, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let by = lab.node("a1")?.netns();
    let set = |begin: bool| match uplink {
        Uplink::Whole => Ok(()),
        Uplink::Cut => offload::set(by, Node::UPLINK, Feature::Segmentation, !begin),
        Uplink::Merged => {
            offload::set(lab.switch(), "a1", Feature::Segmentation, !begin)?;
            offload::set(by, Node::UPLINK, Feature::Merging, begin)
        }
    };
    set(true)?;
    let done = body().with_context(|| format!("a1's uplink: {uplink:?}"))?;
    set(false)?;
    Ok(done)
}

/// A stream from a pod on a2 to a port of a1's that is translated to this pod's.
fn through_node_port(lab: &Lab, to: &View<'_>, family: Family, uplink: Uplink) -> Result<Captured> {
    let (from, by) = (lab.pod("a2-0")?, lab.node("a1")?);
    let service = service_address(by, family)?;
    let rules = node_port(service, SocketAddr::new(to.address(), PORT));
    command::output_with_input(by.netns().command("nft").args(["-f", "-"]), &rules)?;
    let captured = with_uplink(lab, uplink, || {
        let capture = Capture::start(by.netns(), Node::UPLINK, Keep::Headers)?;
        probe::without_storm(|| probe::bulk_by(from, service, to, PORT, BYTES))?;
        capture.stop()
    })?;
    by.netns().output("nft", &["delete", "table", "inet", "node_port"])?;
    Ok(captured)
}

/// From a pod on a2 by way of a1 to a pod of the third node.
fn passes(lab: &Lab, family: Family) -> Result<()> {
    let third = lab.nodes().last().context("no nodes")?;
    let to = lab.pods().iter().find(|pod| pod.node() == third.name()).context("no pod")?;
    let to = View::new(to, family).context("no such address")?;
    for uplink in [Uplink::Whole, Uplink::Cut, Uplink::Merged] {
        let captured = through_node_port(lab, &to, family, uplink)?;
        let mut sent = captured.packets().filter(|packet| packet.outgoing).collect::<Vec<_>>();
        sent.retain(|packet| packet.inner().destination == to.address());
        ensure!(!sent.is_empty() && sent.iter().all(|packet| packet.headers.len() == 2), "{captured}");
        ensure!(has_super(&sent) == (uplink != Uplink::Cut), "{uplink:?}: {captured}");
    }
    Ok(())
}

fn has_super(packets: &[Packet]) -> bool {
    packets.iter().any(|packet| packet.length > usize::from(Topology::UPLINK_MTU))
}

#[test]
fn streams_leave_the_tunnel_for_the_host_and_by_it_for_a_local_pod() -> Result<(), Failure> {
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::Always))?;
            for family in Family::ALL {
                ends(lab, family).with_context(|| format!("{name}, {family}"))?;
            }
            for (node, agent) in agents.iter() {
                let counters = agent.counters()?;
                ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// From a pod on a2 to a1's own socket, and to a port of a1's that is translated to a local pod's.
fn ends(lab: &Lab, family: Family) -> Result<()> {
    let (from, host) = (lab.pod("a2-0")?, lab.node("a1")?);
    let local = View::new(lab.pod("a1-0")?, family).context("no such address")?;
    for uplink in [Uplink::Whole, Uplink::Merged] {
        let captured = through_node_port(lab, &local, family, uplink)?;
        let arrived = captured.packets().filter(|packet| !packet.outgoing).collect::<Vec<_>>();
        ensure!(arrived.iter().any(Packet::is_encapsulated), "{captured}");
        ensure!(has_super(&arrived), "{uplink:?}: {captured}");
        if let Some(host) = View::new(host, family) {
            with_uplink(lab, uplink, || probe::without_storm(|| probe::bulk(from, &host, BYTES)))?;
            let back = View::new(from, family).context("no such address")?;
            probe::without_storm(|| probe::bulk(&host, &back, BYTES))?;
        }
    }
    Ok(())
}
