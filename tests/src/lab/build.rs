//! Turns a topology into namespaces, links, addresses and routes.
//!
//! Every namespace starts as a fresh Debian host: forwarding off, no reverse-path filter. Links are made
//! inside of the namespaces, so nothing is left outside of them.

use std::{fmt::Write, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::{
    LabDir, Node, NodePlan, Pod, Subnet, Topology, Wiring,
    host::{Endpoint, nth},
    router::build_router,
};
use crate::{command, family::Family, netns::Netns, wait};

/// The IPv4 gateway address inside of every Calico pod.
const POD_GATEWAY: &str = "169.254.1.1";
/// The IPv6 gateway address inside of every Calico pod: the link-local one that the kernel makes of
/// [`HOST_SIDE_MAC`] (modified EUI-64, RFC 4291 appendix A).
const POD_GATEWAY_V6: &str = "fe80::ecee:eeff:feee:eeee";
/// MAC address of the host's side of every Calico veth.
const HOST_SIDE_MAC: &str = "ee:ee:ee:ee:ee:ee";
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
    let names = names.chain(pods.iter().map(|pod| &*pod.name)).collect::<Vec<_>>();
    add_namespaces(dir, &names, topology.has_v6())?;
    let (switch, router) = (open(dir, SWITCH)?, open(dir, ROUTER)?);
    match topology.wiring {
        Wiring::Switch => build_switch(dir, &switch, topology)?,
        Wiring::Cable => switch.ip_batch(&cable_lines(dir, topology))?,
    }
    build_router(&router, topology)?;
    let nodes = topology.nodes.iter().map(|plan| build_node(dir, plan)).collect::<Result<Vec<_>>>()?;
    let pods = pods.iter().map(|plan| build_pod(dir, plan, topology.pod_mtu)).collect::<Result<Vec<_>>>()?;
    if topology.has_v6() {
        let hosts = nodes.iter().map(|node| &node.netns).chain(pods.iter().map(|pod| &pod.netns));
        hosts.chain([&router]).try_for_each(settled)?;
    }
    Ok(Built { switch, router, nodes, pods })
}

/// A pod to be built.
#[derive(Clone)]
pub(super) struct PodPlan {
    pub name: String,
    pub node: String,
    pub addresses: Vec<IpAddr>,
    /// Index of the interface at the host's side; none for the next one that is free.
    pub index: Option<u32>,
}

fn pod_plans(node: &NodePlan) -> Vec<PodPlan> {
    let plan = |number| PodPlan {
        name: format!("{}-{number}", node.name),
        node: node.name.to_owned(),
        addresses: node.pod_prefixes.iter().map(|prefix| nth(*prefix, FIRST_POD + number)).collect(),
        index: None,
    };
    (0..Topology::PODS_PER_NODE).map(plan).collect()
}

/// Waits until every IPv6 address can be used. Without duplicate address detection that is at once, but the kernel
/// still leaves it to a worker.
pub(super) fn settled(netns: &Netns) -> Result<()> {
    wait::until("IPv6 addresses to be usable", Duration::from_secs(3), || {
        Ok(netns.ip("-6 address show tentative")?.trim().is_empty())
    })?;
    Ok(())
}

pub(super) fn add_namespaces(dir: &LabDir, hosts: &[&str], v6: bool) -> Result<()> {
    let lines: String = hosts.iter().map(|host| format!("netns add {}\n", dir.namespace(host))).collect();
    command::output_with_input(std::process::Command::new("ip").args(["-batch", "-"]), &lines)?;
    hosts.iter().try_for_each(|host| be_as_fresh_debian(&open(dir, host)?, v6))
}

fn open(dir: &LabDir, host: &str) -> Result<Netns> {
    Netns::open(&dir.namespace(host))
}

/// What matters of IPv4.
const SETTINGS_V4: [(&str, &str); 3] =
    [("ipv4/ip_forward", "0"), ("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")];
/// What matters of IPv6; new interfaces take the default. Duplicate address detection would keep addresses from being
/// used for a second, and routers are not asked for.
const SETTINGS_V6: [(&str, &str); 8] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/forwarding", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    // EUI-64.
    ("ipv6/conf/default/addr_gen_mode", "0"),
];

/// New namespaces take some of their settings from the machine's own: set what matters.
fn be_as_fresh_debian(netns: &Netns, v6: bool) -> Result<()> {
    let settings = SETTINGS_V4.iter().chain(SETTINGS_V6.iter().filter(|_| v6));
    netns
        .run(|| {
            settings.into_iter().try_for_each(|(name, value)| {
                fs::write(format!("/proc/sys/net/{name}"), value).with_context(|| format!("sysctl {name}"))
            })
        })?
        .with_context(|| format!("in {}", netns.name()))?;
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

/// Commands that join the hosts of each subnet, without anything of the switch.
fn cable_lines(dir: &LabDir, topology: &Topology) -> String {
    let cable = |subnet: &Subnet| {
        let mut ends: Vec<_> =
            topology.nodes_in(subnet).into_iter().map(|node| (node, Node::UPLINK.to_owned())).collect();
        if topology.has_router(subnet) {
            ends.push((ROUTER, router_port(subnet)));
        }
        let ends = ends
            .iter()
            .map(|(host, name)| format!("{name} mtu {} netns {}", Topology::UPLINK_MTU, dir.namespace(host)));
        format!("link add {}\n", ends.collect::<Vec<_>>().join(" type veth peer name "))
    };
    topology.subnets.iter().map(cable).collect()
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

fn build_node(dir: &LabDir, plan: &NodePlan) -> Result<Node> {
    let netns = open(dir, plan.name)?;
    let (uplink, subnet) = (Node::UPLINK, &plan.subnet);
    let mut lines = String::new();
    for address in plan.addresses.iter().filter_map(|address| subnet.with_length(*address)) {
        writeln!(lines, "addr add {address} dev {uplink}")?;
    }
    writeln!(lines, "link set {uplink} up")?;
    for network in &subnet.networks {
        writeln!(lines, "route add default via {}", network.gateway)?;
    }
    netns.ip_batch(&lines)?;
    let node = Node {
        name: plan.name.to_owned(),
        netns,
        addresses: plan.addresses.clone(),
        subnet: subnet.clone(),
        pod_prefixes: plan.pod_prefixes.clone(),
        folder: dir.path().join(plan.name),
    };
    mount_bpffs(&node.bpffs())?;
    Ok(node)
}

pub(super) fn mount_bpffs(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting a bpffs at {}: does this kernel have BPF?", path.display()))
}

pub(super) fn build_pod(dir: &LabDir, plan: &PodPlan, mtu: u16) -> Result<Pod> {
    let node = open(dir, &plan.node)?;
    let netns = open(dir, &plan.name)?;
    let mac = pod_mac(plan.addresses[0]);
    let interface = format!("veth-{}", plan.name);
    let mac_text = mac.map(|byte| format!("{byte:02x}")).join(":");
    let inside = Pod::INSIDE;
    let index = plan.index.map_or_else(String::new, |index| format!("index {index} "));
    node.ip_batch(&format!(
        "link add {interface} {index}mtu {mtu} address {HOST_SIDE_MAC} type veth peer name {inside} mtu {mtu} address \
         {mac_text} netns {}\nlink set {interface} up\n",
        netns.name()
    ))?;
    let addresses: String = plan.addresses.iter().map(|address| address_lines(*address)).collect();
    netns.ip_batch(&format!("link set {inside} up\n{addresses}"))?;
    let PodPlan { name, node, addresses, .. } = plan.clone();
    Ok(Pod { name, netns, addresses, node, interface, mac })
}

/// Commands that give a pod this address, and a default route for its family. The IPv4 gateway answers no ARP as long
/// as nothing runs on the node, the IPv6 one is an address that the node has.
fn address_lines(address: IpAddr) -> String {
    let (inside, bits) = (Pod::INSIDE, Family::of(address).bits());
    let address = format!("addr add {address}/{bits} dev {inside}\n");
    let route = if bits == Family::V4.bits() {
        format!(
            "neigh add {POD_GATEWAY} lladdr {HOST_SIDE_MAC} dev {inside} nud permanent\n\
             route add default via {POD_GATEWAY} dev {inside} onlink\n"
        )
    } else {
        format!("route add default via {POD_GATEWAY_V6} dev {inside}\n")
    };
    address + &route
}

/// A MAC address of its own for each pod, from the last bytes of its IP address, as people can read it.
fn pod_mac(address: IpAddr) -> [u8; 6] {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let last = &bytes[bytes.len() - 2..];
    [0x02, 0, 0, 0, last[0], last[1]]
}

/// The pod's interface inside loses its address with the namespace; only the plan is needed to name it.
pub(super) fn next_pod_name(pods: &[Pod], node: &str) -> String {
    format!("{node}-{}", pods.iter().filter(|pod| pod.node() == node).count())
}
