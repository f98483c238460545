//! Upgrades under traffic: a new agent takes over from what an agent of layout version 1 has left running.

mod adopted;
mod layout_1;
mod old_agent;

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use node_ebpf_common::{Hook, LAYOUT_VERSION, Outcome};
use old_agent::{Attached, Method, OldAgent, attached};
use tests::{
    Failure,
    agent::{Agents, Settings},
    lab::{Endpoint, Lab, Node, Topology},
    monitor::RouteMonitor,
    probe::{Ping, Series, Throughput, throughput},
    state::{Encapsulation, State},
    story,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// On one node, directly, through the tunnel.
const PAIRS: [(&str, &str); 5] =
    [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-1", "a1-1"), ("a2-1", "a1-0")];
/// How a1 forwards them, and what it sends itself.
const ON_A1: [(Hook, Outcome); 6] = [
    (Hook::FromPod, Outcome::Local),
    (Hook::FromPod, Outcome::Direct),
    (Hook::FromPod, Outcome::Ipip),
    (Hook::FromUplink, Outcome::Local),
    (Hook::FromUplink, Outcome::DecapLocal),
    (Hook::ToUplink, Outcome::Ipip),
];
/// Seconds: longer than all that happens meanwhile.
const STREAM: u8 = 6;
/// TCP must not have to wait for its retransmission timer (200 ms at least) twice in a row.
const STALL: Duration = Duration::from_millis(500);

#[test]
fn an_upgrade_from_layout_1_loses_nothing() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| upgrade(lab, agents, Method::Tcx))
}

#[test]
fn an_upgrade_from_layout_1_with_clsact_filters_loses_nothing() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| upgrade(lab, agents, Method::Clsact))
}

fn upgrade(lab: &Lab, agents: &mut Agents, method: Method) -> Result<()> {
    let install = |node| OldAgent::install(lab, node, method);
    let old = lab.nodes().iter().map(install).collect::<Result<Vec<_>>>()?;
    let before = old.iter().map(|old| attached(old.node, &old.hooks, method)).collect::<Result<Vec<_>>>()?;
    let mut monitors = lab.nodes().iter().map(RouteMonitor::start).collect::<Result<Vec<_>>>()?;
    let pings = pings(lab)?;
    let stream = thread::scope(|scope| -> Result<Throughput> {
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        let stream = scope.spawn(|| throughput(from, to, STREAM));
        a_while();
        old_programs_forward(&old)?;
        let attach = Some(if method == Method::Tcx { "tcx" } else { "clsact" });
        agents.start(lab, &Settings { attach, ..Settings::default() }, &State::of(lab, MODE))?;
        new_programs_forward(agents, &old)?;
        ensure!(!stream.is_finished(), "the stream ended before the upgrade");
        stream.join().map_err(|_| anyhow!("the stream panicked"))?
    })?;
    for (old, before) in old.iter().zip(&before) {
        replaced_in_place(lab, old, before, method)?;
    }
    for series in pings {
        series.stop()?.expect_no_loss()?;
    }
    ensure!(stream.bytes > 0 && stream.longest_stall <= STALL, "{stream:?}");
    for (monitor, node) in monitors.iter_mut().zip(lab.nodes()) {
        let changes = monitor.changes()?;
        ensure!(changes.is_empty(), "routes of {} have changed:\n{changes}", node.name());
    }
    Ok(())
}

fn pings(lab: &Lab) -> Result<Vec<Series>> {
    let start = |(from, to): &(&str, &str)| -> Result<Series> {
        let (from, to) = (lab.pod(from)?, lab.pod(to)?);
        Ping::to(to.address())?.expect_reply(from)?;
        Series::start(from, to.address())
    };
    let mut all = PAIRS.iter().map(start).collect::<Result<Vec<_>>>()?;
    for to in ["a1-0", "a2-1", "b1-1"] {
        all.push(Series::start(lab.node("a1")?, lab.pod(to)?.address())?);
    }
    Ok(all)
}

fn a_while() {
    thread::sleep(Duration::from_millis(500));
}

/// The traffic runs through the programs of layout 1.
fn old_programs_forward(old: &[OldAgent]) -> Result<()> {
    for (hook, outcome) in ON_A1 {
        let packets = old[0].counters.packets(hook, outcome)?;
        ensure!(packets >= 20, "{} {}: {packets} packets", hook.label(), outcome.label());
    }
    for old in old {
        ensure!(old.counters.all()? > 0, "{} counts nothing", old.node.name());
    }
    Ok(())
}

/// The traffic runs through the programs of the new agents, and through no others.
fn new_programs_forward(agents: &Agents, old: &[OldAgent]) -> Result<()> {
    let counts = || old.iter().map(|old| old.counters.all()).collect::<Result<Vec<_>>>();
    let (last, before) = (counts()?, agents.get("a1")?.counters()?);
    a_while();
    ensure!(counts()? == last, "programs of layout 1 still run");
    let counted = agents.get("a1")?.counters()?.since(&before)?;
    for (hook, outcome) in ON_A1 {
        let packets = counted.packets(hook, outcome);
        ensure!(packets >= 20, "{} {}: {packets} packets\n{counted}", hook.label(), outcome.label());
    }
    for (node, agent) in agents.iter() {
        let counted = agent.counters()?;
        ensure!(counted.dropped() == 0, "{node}:\n{counted}");
    }
    Ok(())
}

/// Every link or filter is the same and has another program, the hooks that layout 1 did not have are attached, and
/// its maps are gone.
fn replaced_in_place(lab: &Lab, old: &OldAgent, before: &Attached, method: Method) -> Result<()> {
    let node = old.node;
    for ((at, (link, program)), (_, (link_now, program_now))) in
        before.iter().zip(attached(node, &old.hooks, method)?)
    {
        ensure!(*link == link_now, "{at:?}: {link} was not kept: now it is {link_now}");
        ensure!(*program != program_now, "{at:?}: still program {program}");
    }
    let local = lab.pods().iter().filter(|pod| pod.node() == node.name());
    let to_pods: Vec<_> = local.map(|pod| (Hook::ToPod, pod.interface().to_owned())).collect();
    attached(node, &to_pods, method)?;
    maps_moved(node, old)
}

fn maps_moved(node: &Node, old: &OldAgent) -> Result<()> {
    ensure!(!old.maps().exists(), "{} is left", old.maps().display());
    let maps = node.bpffs().join(format!("podroute/v{LAYOUT_VERSION}/ROUTES_V4"));
    ensure!(maps.exists(), "there is no {}", maps.display());
    Ok(())
}
