//! A way with two nodes and pods of its own. All are built before the first round and stay up, so that nothing is
//! attached or detached in between.

use anyhow::{Context, Result};

use super::{
    bpf::{Attached, Counter},
    cpu::Cpu,
    flannel::{self, Backend},
    frames::{Flows, LENGTH, Route, frames},
    programs,
    sender::Sender,
    way::Way,
    window::{self, Times, Window},
};
use crate::{
    agent::{Agents, Settings},
    kube_proxy::{self, Service},
    lab::{Endpoint, Lab, Node, Pod, Topology},
    netns::Netns,
    offload::{self, Feature},
    state::{Encapsulation, NonAdjacent, State},
};

/// Nodes and pods that are joined by one way.
pub struct Site {
    /// The way.
    pub way: Way,
    /// Programs of the harness. Fields are dropped in this order.
    _attached: Vec<Attached>,
    /// Agents, where Podroute is measured.
    pub agents: Agents,
    sender: Sender,
    frames: [Vec<[u8; LENGTH]>; 2],
    /// What has arrived at the sink.
    pub arrived: Counter,
    /// Nodes a1 and a2 with their pods.
    pub lab: Lab,
}

/// The pod that sends.
pub const FROM: &str = "a1-0";
/// The pod that receives.
pub const TO: &str = "a2-0";

impl Site {
    /// Builds it.
    ///
    /// # Errors
    /// Something cannot be built; what was built is removed.
    pub fn build(way: Way) -> Result<Self> {
        build(way).with_context(|| format!("building nodes for {}", way.name()))
    }

    /// The frames of so many flows, as they are sent.
    #[must_use]
    pub fn frames(&self, flows: Flows) -> &[[u8; LENGTH]] {
        let [one, many] = &self.frames;
        if flows == Flows::One { one } else { many }
    }

    /// Sends each frame once.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub fn send_once(&self, flows: Flows) -> Result<u64> {
        self.sender.send_once(self.frames(flows))
    }

    /// Measures.
    ///
    /// # Errors
    /// Sending fails.
    pub fn measure(&self, cpu: &Cpu, times: Times, flows: Flows) -> Result<Window> {
        let frames = self.frames(flows);
        window::measure(cpu, times, &self.arrived, |end| self.sender.send_until(frames, end))
    }

    /// Where packets are counted and dropped.
    ///
    /// # Errors
    /// The lab is not as expected.
    pub fn sink(&self) -> Result<(&Netns, &str)> {
        place_of_sink(&self.lab, self.way)
    }
}

fn place_of_sink(lab: &Lab, way: Way) -> Result<(&Netns, &str)> {
    Ok(match way {
        Way::Generator => (lab.node("a1")?.netns(), lab.pod(FROM)?.interface()),
        _ => (lab.pod(TO)?.netns(), Pod::INSIDE),
    })
}

fn build(way: Way) -> Result<Site> {
    let lab = Lab::build(Topology::pair())?;
    let (mut agents, mut attached) = (Agents::default(), Vec::new());
    // Where nobody adapts it: no outer header, so all that the uplinks take. (flanneld and the agent set their own.)
    lab.set_pod_mtu(Topology::UPLINK_MTU)?;
    match way {
        Way::Generator => {}
        Way::Floor => attached.extend(floor(&lab)?),
        Way::Routing => lab.route_plainly()?,
        Way::Conntrack => {
            lab.route_plainly()?;
            write_services(&lab)?;
        }
        Way::HostGw => flannel::apply(&lab, Backend::HostGw)?,
        Way::Vxlan => flannel::apply(&lab, Backend::Vxlan)?,
        Way::Direct | Way::Twin => {
            start(&mut agents, &lab, Encapsulation::Never(NonAdjacent::Refuse), None)?;
        }
        Way::Ipip => start(&mut agents, &lab, Encapsulation::Always, None)?,
        Way::Xdp => {
            for node in lab.nodes() {
                // Only a stack completes what the sender left open, not XDP.
                offload::set(node.netns(), Node::UPLINK, Feature::Checksums, false)?;
            }
            start(&mut agents, &lab, Encapsulation::Always, Some("decap"))?;
        }
    }
    let (from, to) = (lab.pod(FROM)?, lab.pod(TO)?);
    let gateway = lab.node("a1")?.netns().mac(from.interface())?;
    let gateway =
        if matches!(way, Way::HostGw | Way::Vxlan) { lab.node("a1")?.netns().mac("cni0")? } else { gateway };
    let no_address = "the pods have IPv4";
    let addresses = [from.v4().context(no_address)?, to.v4().context(no_address)?];
    let route = Route { macs: [from.mac(), gateway], addresses };
    let sender = Sender::open(from.netns(), Pod::INSIDE)?;
    let arrived = Counter::new()?;
    let (netns, interface) = place_of_sink(&lab, way)?;
    attached.push(programs::sink(&arrived)?.attach(netns, interface)?);
    let frames = [frames(&route, Flows::One)?, frames(&route, Flows::Many)?];
    Ok(Site { way, _attached: attached, agents, sender, frames, arrived, lab })
}

/// One that does nothing while it is measured: the audits are far apart.
fn start(agents: &mut Agents, lab: &Lab, mode: Encapsulation, xdp: Option<&'static str>) -> Result<()> {
    let settings = Settings { audit_interval: Some("1h"), xdp, ..Settings::default() };
    agents.start(lab, &settings, &State::of(lab, mode))?;
    for (node, agent) in agents.iter() {
        let problems = agent.problems()?;
        anyhow::ensure!(problems.is_empty(), "the agent on {node} has problems: {problems:?}");
    }
    Ok(())
}

fn floor(lab: &Lab) -> Result<[Attached; 2]> {
    let (near, far) = (lab.node("a1")?.netns(), lab.node("a2")?.netns());
    let macs = [near, far].map(|netns| netns.mac(Node::UPLINK));
    let [from_mac, to_mac] = macs;
    let send = programs::floor_send(near.interface_index(Node::UPLINK)?, to_mac?, from_mac?)?;
    let receive = programs::floor_receive(far.interface_index(lab.pod(TO)?.interface())?)?;
    Ok([send.attach(near, lab.pod(FROM)?.interface())?, receive.attach(far, Node::UPLINK)?])
}

/// A handful of Services, as kube-proxy writes them. Their number costs nothing: they are in maps.
fn write_services(lab: &Lab) -> Result<()> {
    const NAMES: [&str; 8] = ["web", "api", "cache", "queue", "search", "mail", "auth", "store"];
    let endpoints: Vec<_> = lab.pods().iter().map(Endpoint::address).collect();
    let services = (1..).zip(NAMES).map(|(number, name)| {
        Service::new(name, std::net::Ipv4Addr::new(10, 96, 0, number).into(), endpoints.clone())
    });
    let services: Vec<_> = services.collect();
    let pods = "10.244.0.0/16".parse()?;
    lab.nodes()
        .iter()
        .try_for_each(|node| kube_proxy::apply(node, kube_proxy::Mode::Nftables, pods, &services))
}
