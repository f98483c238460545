//! Through a gateway between two subnets: what XDP forwards in the drivers, against the kernel's forwarding there.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use node_ebpf_common::{Hook, Outcome};

use super::{
    bpf::{Attached, Counter},
    frames::{Flows, Route, SOURCE_PORT, TTL, frame},
    live::LiveSender,
    programs,
    window::{Times, Window},
};
use crate::{
    agent::{Agent, Counters, Settings},
    capture::{Capture, Keep},
    lab::{Endpoint, Gateway, Lab, Node, Topology},
    state::{Encapsulation, State},
    wait,
};

/// A way through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Passage {
    /// Only to the gateway, where XDP drops the frames: what sending costs.
    Generator,
    /// Redirected by XDP at the gateway without a look at the packet: nothing that forwards can be faster.
    Floor,
    /// Podroute with `xdp: transit`.
    Xdp,
    /// Forwarded by the kernel, without any netfilter.
    Kernel,
}

impl Passage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Generator, Self::Floor, Self::Xdp, Self::Kernel];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator alone",
            Self::Floor => "bare redirect",
            Self::Xdp => "Podroute XDP transit",
            Self::Kernel => "kernel forwarding",
        }
    }

    /// What a packet has of its time to live when it arrives.
    fn ttl(self) -> u8 {
        if self == Self::Floor { TTL } else { TTL - 1 }
    }
}

/// A gateway with a node at either side, and one way through it.
pub struct Crossing {
    /// The way.
    pub passage: Passage,
    /// Programs of the harness. Fields are dropped in this order.
    attached: Vec<Attached>,
    agent: Option<Agent>,
    sender: LiveSender,
    arrived: Counter,
    lab: Lab,
}

/// The router's interface towards the sender.
const NEAR: &str = "net-a";
/// The router's interface towards the sink.
const FAR: &str = "net-b";
/// How long the first frames may take: neighbours are asked for, and come to be known.
const FIRST: Duration = Duration::from_secs(5);

impl Crossing {
    /// Builds it.
    ///
    /// # Errors
    /// Something cannot be built; what was built is removed.
    pub fn build(passage: Passage) -> Result<Self> {
        build(passage).with_context(|| format!("building a gateway for {}", passage.name()))
    }

    /// Checks that frames go through as they should, and gets ready to count them.
    ///
    /// # Errors
    /// They do not arrive as they were sent.
    pub fn make_ready(&mut self) -> Result<()> {
        if self.passage != Passage::Generator {
            self.check().with_context(|| format!("frames by {}", self.passage.name()))?;
        }
        self.attach_frame_sink()
    }

    /// Measures.
    ///
    /// # Errors
    /// Sending fails.
    pub fn measure(&self, times: Times, flows: Flows) -> Result<Window> {
        self.sender.measure(times, flows, &self.arrived)
    }

    /// What the gateway's agent has counted; none if there is no agent.
    ///
    /// # Errors
    /// It does not answer.
    pub fn counters(&self) -> Result<Option<Counters>> {
        self.agent.as_ref().map(Agent::counters).transpose()
    }

    /// Checks that since then so many packets at least went through by XDP, and none was dropped.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn expect_transit(&self, before: Option<&Counters>, least: u64) -> Result<()> {
        let (Some(before), Some(now)) = (before, self.counters()?) else { return Ok(()) };
        let counted = now.since(before)?;
        let transit = counted.packets(Hook::Xdp, Outcome::Transit);
        ensure!(
            transit >= least && counted.dropped() == 0,
            "{transit} of {least} frames went through by XDP:\n{counted}"
        );
        Ok(())
    }

    /// How many frames have arrived so far.
    ///
    /// # Errors
    /// The counter cannot be read.
    pub fn arrived(&self) -> Result<u64> {
        self.arrived.read()
    }

    /// Sends frames of all flows, and checks that each arrives, with one hop less where it was forwarded.
    fn check(&self) -> Result<()> {
        wait::until("the first frames", FIRST, || {
            let before = self.arrived()?;
            self.sender.send_once(Flows::One)?;
            Ok(self.arrived()? > before)
        })?;
        // Whoever was asked for is known by now.
        let (before, counted) = (self.arrived()?, self.counters()?);
        let capture = Capture::start(self.lab.node("b1")?.netns(), Node::UPLINK, Keep::Whole)?;
        let sent = self.sender.send_once(Flows::Many)?;
        wait::until("all frames", FIRST, || Ok(self.arrived()? - before >= sent))?;
        let captured = capture.stop()?;
        let arrived: Vec<_> = captured.arrived(self.lab.pod("b1-0")?.address()).collect();
        let from = self.lab.pod("a1-0")?.address();
        let as_sent = arrived.iter().all(|packet| {
            packet.headers.len() == 1
                && packet.inner().source == from
                && packet.inner().ttl == self.passage.ttl()
        });
        let different = arrived.iter().map(|packet| &packet.payload).collect::<BTreeSet<_>>().len();
        ensure!(
            as_sent && different == usize::from(Flows::Many.count()),
            "{different} different: {captured}"
        );
        self.expect_transit(counted.as_ref(), sent)
    }

    /// Where frames come as frames, they are counted and dropped before they become anything else.
    fn attach_frame_sink(&mut self) -> Result<()> {
        let (netns, interface) = match self.passage {
            Passage::Generator => (self.lab.router(), NEAR),
            Passage::Floor | Passage::Xdp => (self.lab.node("b1")?.netns(), Node::UPLINK),
            Passage::Kernel => return Ok(()),
        };
        self.attached.push(programs::frame_sink(&self.arrived)?.attach(netns, interface)?);
        Ok(())
    }
}

fn build(passage: Passage) -> Result<Crossing> {
    let lab = Lab::build(Topology::gateway())?;
    lab.route_plainly()?;
    let (mut agent, mut attached) = (None, Vec::new());
    match passage {
        Passage::Xdp => agent = Some(start(&lab)?),
        Passage::Floor => attached.push(redirect(&lab)?),
        Passage::Generator | Passage::Kernel => forward_plainly(&lab)?,
    }
    let no_address = "the pods have IPv4";
    let addresses = [lab.pod("a1-0")?.v4().context(no_address)?, lab.pod("b1-0")?.v4().context(no_address)?];
    let node = lab.node("a1")?.netns();
    let macs = [node.mac(Node::UPLINK)?, lab.router().mac(NEAR)?];
    let sender =
        LiveSender::open(node, Node::UPLINK, frame(&Route { macs, addresses }, 0)?.to_vec(), &[SOURCE_PORT])?;
    let arrived = Counter::new()?;
    attached.push(programs::sink(&arrived)?.attach(lab.node("b1")?.netns(), Node::UPLINK)?);
    Ok(Crossing { passage, attached, agent, sender, arrived, lab })
}

/// Redirects whatever comes in, to where frames are taken as frames.
fn redirect(lab: &Lab) -> Result<Attached> {
    let router = lab.router();
    lab.node("b1")?.netns().output("ethtool", &["-K", Node::UPLINK, "gro", "on"])?;
    programs::frame_floor(router.interface_index(FAR)?)?.attach(router, NEAR)
}

/// The gateway with an agent that does nothing while it is measured.
fn start(lab: &Lab) -> Result<Agent> {
    let gateway = Gateway::of(lab)?;
    let mut state = State::of(lab, Encapsulation::CrossSubnet);
    state.nodes.push(gateway.state());
    let settings = Settings { xdp: Some("transit"), audit_interval: Some("1h"), ..Settings::default() };
    let mut agent = Agent::start(gateway.node(), &settings, &state)?;
    agent.wait_until_ready()?;
    ensure!(agent.problems()?.is_empty(), "the gateway's agent has problems: {:?}", agent.problems()?);
    Ok(agent)
}

/// The router as a gateway of the kernel: no rules, routes to the pods, and frames come in as from a network card.
fn forward_plainly(lab: &Lab) -> Result<()> {
    let router = lab.router();
    router.output("nft", &["flush", "ruleset"])?;
    for node in lab.nodes() {
        router.ip(&format!("route add {} via {}", node.pod_prefix(), node.address()))?;
    }
    router.output("ethtool", &["-K", NEAR, "gro", "on"])?;
    Ok(())
}
