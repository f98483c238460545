//! A node as Flannel makes it: a bridge for the pods, routes or a VXLAN device to the other node, and the rules that
//! flanneld writes (`pkg/trafficmngr/iptables`, 0.27, with its default `--ip-masq`).

use std::{fmt::Write, net::Ipv4Addr};

use anyhow::{Context, Result};

use crate::{
    command,
    lab::{Endpoint, Lab, Node},
};

/// How packets get to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// As they are, by routes.
    HostGw,
    /// In UDP, by a VXLAN device.
    Vxlan,
}

/// Address that the lab's pods take for that of their gateway.
const GATEWAY_MAC: &str = "ee:ee:ee:ee:ee:ee";
const CLUSTER: &str = "10.244.0.0/16";
const MTU_VXLAN: u16 = 1450;

/// Makes the nodes of a lab Flannel's.
///
/// # Errors
/// Something is refused.
pub fn apply(lab: &Lab, backend: Backend) -> Result<()> {
    for node in lab.nodes() {
        let netns = node.netns();
        netns.set_sysctl("net.ipv4.ip_forward", "1")?;
        netns.ip_batch(&bridge_lines(lab, node)?).context("a bridge for pods")?;
        // Kubernetes demands it, where the kernel has it at all.
        if netns.sysctl("net.bridge.bridge-nf-call-iptables").is_ok() {
            netns.set_sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
        }
        if backend == Backend::Vxlan {
            let local = node.v4().context("Flannel's nodes have IPv4")?;
            netns.ip_batch(&format!(
                "link add flannel.1 mtu {MTU_VXLAN} type vxlan id 1 dev {} local {local} dstport 8472 nolearning\n\
                 addr add {}/32 dev flannel.1\nlink set flannel.1 up\n",
                Node::UPLINK,
                first(node)?
            ))?;
        }
        let rules = rules(&node.pod_prefix().to_string());
        command::output_with_input(&mut netns.command("iptables-restore"), &rules)?;
    }
    for node in lab.nodes() {
        for other in lab.nodes().iter().filter(|other| other.name() != node.name()) {
            lead(node, other, backend)?;
        }
    }
    match backend {
        Backend::HostGw => Ok(()),
        Backend::Vxlan => lab.set_pod_mtu(MTU_VXLAN),
    }
}

/// The bridge has the address that the pods know for their gateway's, its ports have others.
fn bridge_lines(lab: &Lab, node: &Node) -> Result<String> {
    let mut lines = format!("link add cni0 address {GATEWAY_MAC} type bridge\n");
    for (number, pod) in lab.pods().iter().filter(|pod| pod.node() == node.name()).enumerate() {
        let port = pod.interface();
        writeln!(lines, "link set {port} address 0a:58:0a:f4:00:{number:02x}")?;
        writeln!(lines, "link set {port} master cni0\nlink set {port} type bridge_slave hairpin on")?;
    }
    let length = node.pod_prefix().prefix_len();
    writeln!(lines, "link set cni0 up\naddr add {}/{length} dev cni0", node.pod_address(1))?;
    Ok(lines)
}

/// Tells a node where another one's pods are.
fn lead(node: &Node, other: &Node, backend: Backend) -> Result<()> {
    let (prefix, address) = (other.pod_prefix(), other.address());
    match backend {
        Backend::HostGw => {
            node.netns().ip(&format!("route add {prefix} via {address} dev {}", Node::UPLINK))?
        }
        Backend::Vxlan => {
            let mac = other.netns().mac("flannel.1")?.map(|byte| format!("{byte:02x}")).join(":");
            let gateway = first(other)?;
            node.netns().ip_batch(&format!(
                "neigh add {gateway} lladdr {mac} dev flannel.1 nud permanent\n\
                 route add {prefix} via {gateway} dev flannel.1 onlink\n"
            ))?;
            let entry =
                ["fdb", "append", &mac, "dev", "flannel.1", "dst", &address.to_string(), "self", "permanent"];
            node.netns().output("bridge", &entry)?
        }
    };
    Ok(())
}

/// The first address of a node's pods' prefix: that of its VXLAN device.
fn first(node: &Node) -> Result<Ipv4Addr> {
    match node.pod_prefix() {
        ipnet::IpNet::V4(prefix) => Ok(prefix.network()),
        ipnet::IpNet::V6(prefix) => anyhow::bail!("{prefix} is not IPv4"),
    }
}

fn rules(pods: &str) -> String {
    let mut text = "*filter\n:FLANNEL-FWD - [0:0]\n-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n"
        .to_owned();
    for direction in ["-s", "-d"] {
        text += &format!(
            "-A FLANNEL-FWD {direction} {CLUSTER} -m comment --comment \"flanneld forward\" -j ACCEPT\n"
        );
    }
    text += "COMMIT\n*nat\n:FLANNEL-POSTRTG - [0:0]\n-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n";
    for (what, target) in [
        ("-m mark --mark 0x4000/0x4000".to_owned(), "RETURN"),
        (format!("-s {pods} -d {CLUSTER}"), "RETURN"),
        (format!("-s {CLUSTER} -d {pods}"), "RETURN"),
        (format!("! -s {CLUSTER} -d {pods}"), "RETURN"),
        (format!("-s {CLUSTER} ! -d 224.0.0.0/4"), "MASQUERADE --random-fully"),
        (format!("! -s {CLUSTER} -d {CLUSTER}"), "MASQUERADE --random-fully"),
    ] {
        text += &format!("-A FLANNEL-POSTRTG {what} -m comment --comment \"flanneld masq\" -j {target}\n");
    }
    text + "COMMIT\n"
}
