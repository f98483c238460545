//! A lab: nodes, pods, a switch and a router, each in a network namespace `podroute-<lab>-<host>`.
//! Labs do not see each other, so tests run side by side. Dropping a lab removes everything of it.

mod build;
mod gateway;
mod host;
mod outside;
mod owner;
mod plain;
mod remove;
mod router;
mod topology;

use std::{net::IpAddr, sync::OnceLock};

use anyhow::{Context, Result, anyhow};

pub use gateway::Gateway;
pub use host::{Endpoint, Node, Pod, View};
pub use outside::Outside;
pub use owner::{LabDir, sweep};
pub use topology::{Network, NodePlan, Subnet, Topology, Wiring};

use crate::{family::Family, netns::Netns, preflight, probe::EchoServer};

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    switch: Netns,
    router: Netns,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    // Threads inside of the namespaces: they end before the namespaces go.
    echo_servers: Vec<EchoServer>,
    // Last, because fields are dropped in this order.
    dir: LabDir,
}

impl Lab {
    /// Builds the topology under a name of its own. The first call of a process removes what crashed
    /// runs left.
    ///
    /// # Errors
    /// If this is not root, a tool is missing, or anything cannot be built; what was built is removed.
    pub fn build(topology: Topology) -> Result<Self> {
        prepare()?;
        Self::build_in(LabDir::unique()?, topology)
    }

    /// Builds the topology under this name, in place of a lab that was kept under it.
    ///
    /// # Errors
    /// As [`Self::build`], and if a live process has a lab of this name.
    pub fn build_named(id: &str, topology: Topology) -> Result<Self> {
        prepare()?;
        Self::build_in(LabDir::named(id)?, topology)
    }

    fn build_in(dir: LabDir, topology: Topology) -> Result<Self> {
        let built = build::build(&dir, &topology)
            .with_context(|| format!("building the lab {} ({})", dir.id(), topology.name))?;
        let build::Built { switch, router, nodes, pods } = built;
        let mut lab = Self { topology, switch, router, nodes, pods, echo_servers: Vec::new(), dir };
        let servers = lab.endpoints().into_iter().map(EchoServer::start).collect::<Result<Vec<_>>>()?;
        lab.echo_servers = servers;
        Ok(lab)
    }

    /// The lab's name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.dir.id()
    }

    /// What it was built from.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All pods.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Every pod, then every node.
    #[must_use]
    pub fn endpoints(&self) -> Vec<&dyn Endpoint> {
        let pods = self.pods.iter().map(|pod| pod as &dyn Endpoint);
        pods.chain(self.nodes.iter().map(|node| node as &dyn Endpoint)).collect()
    }

    /// The node with this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| anyhow!("the lab has no node {name}"))
    }

    /// The pod with this name (`a1-0`).
    ///
    /// # Errors
    /// If there is none.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods.iter().find(|pod| pod.name == name).ok_or_else(|| anyhow!("the lab has no pod {name}"))
    }

    /// The host that holds the bridges. A node's end of its link there has the node's name.
    #[must_use]
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// The router between the subnets.
    #[must_use]
    pub fn router(&self) -> &Netns {
        &self.router
    }

    /// Name of the router's interface in a subnet.
    #[must_use]
    pub fn router_interface(subnet: &Subnet) -> String {
        build::router_port(subnet)
    }

    /// Packets that the router has dropped because they were not between node addresses.
    ///
    /// # Errors
    /// If its rules cannot be read.
    pub fn router_drops(&self) -> Result<u64> {
        router::drops(&self.router)
    }

    /// Adds a pod with this address to a node and returns it.
    ///
    /// # Errors
    /// If there is no such node or the pod cannot be built.
    pub fn add_pod(&mut self, node: &str, address: IpAddr) -> Result<Pod> {
        self.add_pod_at(node, address, None)
    }

    /// The same with this index of the interface at the host's side.
    ///
    /// # Errors
    /// As [`Self::add_pod`], and if there is an interface of this index.
    pub fn add_pod_at(&mut self, node: &str, address: IpAddr, index: Option<u32>) -> Result<Pod> {
        let node = self.node(node)?.name.clone();
        let name = build::next_pod_name(&self.pods, &node);
        let plan = build::PodPlan { name, node, addresses: vec![address], index };
        build::add_namespaces(&self.dir, &[&plan.name], self.topology.has_v6())?;
        let pod = build::build_pod(&self.dir, &plan, self.topology.pod_mtu)?;
        if self.topology.has_v6() {
            build::settled(&pod.netns)?;
            build::settled(&self.node(&pod.node)?.netns)?;
        }
        self.echo_servers.push(EchoServer::start(&pod)?);
        self.pods.push(pod.clone());
        Ok(pod)
    }

    /// Gives a node a second interface in its own subnet: up, without an address.
    ///
    /// # Errors
    /// If there is no such node or the link cannot be made.
    pub fn add_uplink(&self, node: &str, interface: &str) -> Result<()> {
        let node = self.node(node)?;
        let port = format!("{}-{interface}", node.name);
        self.switch.ip_batch(&build::port_lines(&self.dir, &node.subnet, &port, &node.name, interface))?;
        node.netns.ip(&format!("link set {interface} up"))?;
        Ok(())
    }

    /// Gives the router a second interface in a node's subnet, with addresses that end in 2 and answer there only: another
    /// gateway. What comes in there is forwarded as by the first one. Returns the interface and the addresses.
    ///
    /// # Errors
    /// If there is no such node or the link cannot be made.
    pub fn add_gateway(&self, node: &str) -> Result<(String, Vec<IpAddr>)> {
        let subnet = &self.node(node)?.subnet;
        let interface = format!("second-{}", subnet.name);
        let port = format!("router-{}-2", subnet.name);
        self.switch.ip_batch(&build::port_lines(&self.dir, subnet, &port, build::ROUTER, &interface))?;
        self.router.set_sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
        let addresses: Vec<IpAddr> =
            subnet.networks.iter().map(|network| host::nth(network.prefix, 2)).collect();
        let mut lines = format!("link set {interface} up\n");
        for address in &addresses {
            let (bits, nodad) = match Family::of(*address) {
                Family::V4 => (32, ""),
                Family::V6 => (128, " nodad"),
            };
            lines += &format!("addr add {address}/{bits} dev {interface}{nodad}\n");
        }
        self.router.ip_batch(&lines)?;
        Ok((interface, addresses))
    }

    /// Sets the MTU of every link between the nodes: uplinks, switch and router. Not where cables join them.
    ///
    /// # Errors
    /// If one cannot be set.
    pub fn set_uplink_mtu(&self, mtu: u16) -> Result<()> {
        for subnet in &self.topology.subnets {
            self.router.ip(&format!("link set {} mtu {mtu}", build::router_port(subnet)))?;
            self.switch.ip(&format!("link set router-{} mtu {mtu}", subnet.name))?;
        }
        for node in &self.nodes {
            self.switch.ip(&format!("link set {} mtu {mtu}", node.name))?;
            node.netns.ip(&format!("link set {} mtu {mtu}", Node::UPLINK))?;
        }
        Ok(())
    }

    /// Sets the MTU of every pod's interface, at both sides.
    ///
    /// # Errors
    /// If one cannot be set.
    pub fn set_pod_mtu(&self, mtu: u16) -> Result<()> {
        for pod in &self.pods {
            pod.netns.ip(&format!("link set {} mtu {mtu}", Pod::INSIDE))?;
            self.node(&pod.node)?.netns.ip(&format!("link set {} mtu {mtu}", pod.interface))?;
        }
        Ok(())
    }

    /// Leaves the lab up when this process ends. Its echo servers end all the same.
    ///
    /// # Errors
    /// If the lab's owner file cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        self.dir.keep()
    }
}

fn prepare() -> Result<()> {
    static SWEPT: OnceLock<Result<(), String>> = OnceLock::new();
    preflight::check()?;
    let swept = SWEPT.get_or_init(|| sweep().map_err(|error| format!("{error:#}")));
    swept.clone().map_err(|error| anyhow!("cleaning up after an earlier run: {error}"))
}
