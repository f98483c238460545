//! Turns a topology into namespaces, links, addresses and routes.
//!
//! Every namespace starts as a fresh Debian host: forwarding off, no reverse-path filter. Links are made
//! inside of the namespaces, so nothing is left outside of them.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::{
    LabDir, Node, NodePlan, Pod, Subnet, Topology,
    host::{Endpoint, nth},
};
use crate::{command, netns::Netns};

/// The gateway address inside of every Calico pod.
pub(super) const POD_GATEWAY: &str = "169.254.1.1";
/// MAC address of the host's side of every Calico veth.
pub(super) const HOST_SIDE_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// Number of the first pod's address in its node's prefix.
const FIRST_POD: u8 = 10;
/// The host that holds the bridges, one for each subnet.
pub(super) const SWITCH: &str = "switch";
/// The router between the subnets.
pub(super) const ROUTER: &str = "router";

/// What is built.
pub(super) struct Built {
    pub switch: Netns,
    pub router: Netns,
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
}

pub(super) fn build(dir: &LabDir, topology: &Topology) -> Result<Built> {
    let pods = topology.nodes.iter().flat_map(pod_plans).collect::<Vec<_>>();
    let names = [SWITCH, ROUTER].into_iter().chain(topology.nodes.iter().map(|node| node.name));
    add_namespaces(dir, &names.chain(pods.iter().map(|pod| &*pod.name)).collect::<Vec<_>>())?;
    let (switch, router) = (open(dir, SWITCH)?, open(dir, ROUTER)?);
    build_switch(dir, &switch, topology)?;
    build_router(&router, topology)?;
    let nodes = topology.nodes.iter().map(|plan| build_node(dir, plan)).collect::<Result<Vec<_>>>()?;
    let pods = pods.iter().map(|plan| build_pod(dir, plan, topology.pod_mtu)).collect::<Result<_>>()?;
    Ok(Built { switch, router, nodes, pods })
}

/// A pod to be built.
pub(super) struct PodPlan {
    pub name: String,
    pub node: String,
    pub address: std::net::IpAddr,
}

fn pod_plans(node: &NodePlan) -> Vec<PodPlan> {
    let plan = |number| PodPlan {
        name: format!("{}-{number}", node.name),
        node: node.name.to_owned(),
        address: nth(node.pod_prefix, FIRST_POD + number),
    };
    (0..Topology::PODS_PER_NODE).map(plan).collect()
}

pub(super) fn add_namespaces(dir: &LabDir, hosts: &[&str]) -> Result<()> {
    let lines: String = hosts.iter().map(|host| format!("netns add {}\n", dir.namespace(host))).collect();
    command::output_with_input(std::process::Command::new("ip").args(["-batch", "-"]), &lines)?;
    hosts.iter().try_for_each(|host| be_as_fresh_debian(&open(dir, host)?))
}

fn open(dir: &LabDir, host: &str) -> Result<Netns> {
    Netns::open(&dir.namespace(host))
}

/// New namespaces take some of their settings from the machine's own: set what matters.
fn be_as_fresh_debian(netns: &Netns) -> Result<()> {
    let settings = [("ip_forward", "0"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")];
    netns
        .run(|| {
            settings
                .iter()
                .try_for_each(|(name, value)| fs::write(format!("/proc/sys/net/ipv4/{name}"), value))
        })?
        .with_context(|| format!("sysctls of {}", netns.name()))?;
    netns.ip("link set lo up")?;
    Ok(())
}

fn build_switch(dir: &LabDir, switch: &Netns, topology: &Topology) -> Result<()> {
    // Where the bridge-netfilter module is loaded, it would defragment and filter what is bridged.
    if Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        switch.set_sysctl("net.bridge.bridge-nf-call-iptables", "0")?;
        switch.set_sysctl("net.bridge.bridge-nf-call-ip6tables", "0")?;
    }
    let mut lines = String::new();
    for subnet in &topology.subnets {
        let bridge = bridge(subnet);
        writeln!(lines, "link add {bridge} type bridge mcast_snooping 0")?;
        writeln!(lines, "link set {bridge} up")?;
        lines += &port_lines(dir, subnet, &format!("router-{}", subnet.name), ROUTER, &router_port(subnet));
    }
    for node in &topology.nodes {
        lines += &port_lines(dir, &node.subnet, node.name, node.name, Node::UPLINK);
    }
    switch.ip_batch(&lines)
}

pub(super) fn bridge(subnet: &Subnet) -> String {
    format!("br-{}", subnet.name)
}

pub(super) fn router_port(subnet: &Subnet) -> String {
    format!("net-{}", subnet.name)
}

/// Commands that give `host` an interface in the subnet; the bridge's end of it is called `port`.
pub(super) fn port_lines(dir: &LabDir, subnet: &Subnet, port: &str, host: &str, interface: &str) -> String {
    let (mtu, namespace, bridge) = (Topology::UPLINK_MTU, dir.namespace(host), bridge(subnet));
    format!(
        "link add {port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {namespace}\n\
         link set {port} master {bridge} up\n"
    )
}

fn build_router(router: &Netns, topology: &Topology) -> Result<()> {
    let mut lines = String::new();
    for subnet in &topology.subnets {
        let port = router_port(subnet);
        writeln!(lines, "addr add {}/{} dev {port}", subnet.gateway, subnet.prefix.prefix_len())?;
        writeln!(lines, "link set {port} up")?;
    }
    router.ip_batch(&lines)?;
    router.set_sysctl("net.ipv4.ip_forward", "1")?;
    let nodes = topology.nodes.iter().map(|node| node.address.to_string()).collect::<Vec<_>>().join(", ");
    // Before routing: the router has no route to pods, so most of it would never get to a forward chain.
    let rules = format!(
        "table ip between_nodes {{
            counter forwarded {{}}
            counter dropped {{}}
            set nodes {{ type ipv4_addr; elements = {{ {nodes} }} }}
            chain arriving {{
                type filter hook prerouting priority raw; policy accept;
                fib daddr type != unicast accept
                ip saddr @nodes ip daddr @nodes counter name forwarded accept
                counter name dropped drop
            }}
        }}"
    );
    command::output_with_input(router.command("nft").args(["-f", "-"]), &rules)?;
    Ok(())
}

fn build_node(dir: &LabDir, plan: &NodePlan) -> Result<Node> {
    let netns = open(dir, plan.name)?;
    let (uplink, subnet) = (Node::UPLINK, &plan.subnet);
    netns.ip_batch(&format!(
        "addr add {}/{} dev {uplink}\nlink set {uplink} up\nroute add default via {}\n",
        plan.address,
        subnet.prefix.prefix_len(),
        subnet.gateway
    ))?;
    let node = Node {
        name: plan.name.to_owned(),
        netns,
        address: plan.address,
        subnet: subnet.clone(),
        pod_prefix: plan.pod_prefix,
        folder: dir.path().join(plan.name),
    };
    mount_bpffs(&node.bpffs())?;
    Ok(node)
}

fn mount_bpffs(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting a bpffs at {}: does this kernel have BPF?", path.display()))
}

pub(super) fn build_pod(dir: &LabDir, plan: &PodPlan, mtu: u16) -> Result<Pod> {
    let node = open(dir, &plan.node)?;
    let netns = open(dir, &plan.name)?;
    let mac = pod_mac(plan.address);
    let interface = format!("veth-{}", plan.name);
    let mac_text = mac.map(|byte| format!("{byte:02x}")).join(":");
    let inside = Pod::INSIDE;
    node.ip_batch(&format!(
        "link add {interface} mtu {mtu} address {HOST_SIDE_MAC} type veth peer name {inside} mtu {mtu} address \
         {mac_text} netns {}\nlink set {interface} up\n",
        netns.name()
    ))?;
    netns.ip_batch(&format!(
        "link set {inside} up\naddr add {}/32 dev {inside}\n\
         neigh add {POD_GATEWAY} lladdr {HOST_SIDE_MAC} dev {inside} nud permanent\n\
         route add default via {POD_GATEWAY} dev {inside} onlink\n",
        plan.address
    ))?;
    Ok(Pod { name: plan.name.clone(), netns, address: plan.address, node: plan.node.clone(), interface, mac })
}

/// A MAC address of its own for each pod, from the last bytes of its IP address, as people can read it.
fn pod_mac(address: std::net::IpAddr) -> [u8; 6] {
    let bytes = match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let last = &bytes[bytes.len() - 2..];
    [0x02, 0, 0, 0, last[0], last[1]]
}

/// The pod's interface inside loses its address with the namespace; only the plan is needed to name it.
pub(super) fn next_pod_name(pods: &[Pod], node: &str) -> String {
    format!("{node}-{}", pods.iter().filter(|pod| pod.node() == node).count())
}
