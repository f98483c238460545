//! What the agent of a large cluster takes of a node that has nothing to tell it, and whose metrics are scraped.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use tests::{
    Failure,
    agent::{Agent, Settings},
    lab::{Endpoint as _, Node, Topology},
    metrics::get,
    state::{Encapsulation, State, StateNode},
    story, wait,
};

const NODES: u32 = 5_000;
const PREFIXES_PER_NODE: u32 = 2;
/// The first node's address: 10.0.16.0.
const FIRST_NODE: u32 = 0x0a00_1000;
/// Resident memory at most, in MiB.
const MEMORY: f64 = 60.0;
/// Share of a processor at most.
const SHARE: f64 = 0.005;
/// How long it is watched: two audits, each time so often.
const WINDOW: Duration = Duration::from_secs(20);
const WINDOWS: usize = 3;
/// How often its metrics are scraped in each.
const SCRAPES: u32 = 2;
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9470);

/// One node, in a network that has room for the addresses of all the others.
fn topology() -> Result<Topology> {
    let mut topology = Topology::flat();
    topology.subnets[0].networks[0].prefix = "10.0.0.0/16".parse()?;
    topology.nodes.truncate(1);
    for node in &mut topology.nodes {
        node.subnet = topology.subnets[0].clone();
    }
    Ok(topology)
}

fn with_others(mut state: State) -> State {
    let address = |first: u32, offset: u32| Ipv4Addr::from(first + offset);
    for index in 0..NODES {
        let prefix = |number: u32| {
            Ipv4Net::new_assert(address(0x1000_0000, (index * PREFIXES_PER_NODE + number) * 256), 24).into()
        };
        state.nodes.push(StateNode {
            name: format!("n{index}"),
            addresses: vec![IpAddr::V4(address(FIRST_NODE, index))],
            pod_prefixes: (0..PREFIXES_PER_NODE).map(prefix).collect(),
        });
    }
    state
}

/// The kernel knows every node as a neighbour, and reaches some by two gateways, which the agent has to follow.
fn with_neighbours(node: &Node) -> Result<()> {
    let uplink = Node::UPLINK;
    let leg = |gateway: &str| format!("nexthop via {gateway} dev {uplink}");
    let mut lines = format!("route add 10.0.16.0/24 {} {}\n", leg("10.0.0.2"), leg("10.0.0.3"));
    for index in 0..NODES {
        let address = Ipv4Addr::from(FIRST_NODE + index);
        // The kernel has no limit for those that somebody sets.
        lines += &format!("neigh add {address} lladdr 02:77:00:00:00:01 nud permanent dev {uplink}\n");
    }
    node.netns().ip_batch(&lines)
}

/// Number of the last pass and the changes that it made, once nothing is pending.
fn last_pass(agent: &Agent) -> Result<(u64, u64)> {
    let status = agent.status()?;
    ensure!(status["synced"] == true, "not synced yet");
    let pass = &status["reconcile"]["last-pass"];
    let field = |name: &str| pass[name].as_u64().with_context(|| format!("no {name} in {pass}"));
    Ok((field("number")?, field("datapath-changes")? + field("host-changes")?))
}

/// Processor time of a process so far, of all its threads: what others on the machine take is not in it.
fn processor_time(pid: u64) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = text.split_whitespace().next().context("no time in schedstat")?;
        total += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(total)
}

/// The share of a processor that a process takes: the median of several windows, as one may hold what happens seldom.
fn share(pid: u64, scrape: impl Fn() -> Result<()>) -> Result<f64> {
    let mut shares = Vec::new();
    for _ in 0..WINDOWS {
        let (before, start) = (processor_time(pid)?, Instant::now());
        for _ in 0..SCRAPES {
            scrape()?;
            thread::sleep(WINDOW / SCRAPES);
        }
        let took = processor_time(pid)?.saturating_sub(before);
        shares.push(took.as_secs_f64() / start.elapsed().as_secs_f64());
    }
    println!("shares of a processor in windows of {WINDOW:?}: {shares:.5?}");
    shares.sort_by(f64::total_cmp);
    Ok(shares[WINDOWS / 2])
}

/// Resident memory of a process in MiB.
fn memory(pid: u64) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kibibytes / 1024.0)
}

#[test]
fn an_idle_agent_of_5000_nodes_takes_60_mib_and_half_a_percent_of_a_processor_at_most() -> Result<(), Failure>
{
    let topology = topology()?;
    story(topology, |lab, agents| {
        let metrics = Some("{listen: \"127.0.0.1:9470\"}");
        with_neighbours(lab.node("a1")?)?;
        let settings = Settings { log: Some("info"), metrics, ..Settings::default() };
        agents.start(lab, &settings, &with_others(State::of(lab, Encapsulation::CrossSubnet)))?;
        let agent = agents.get("a1")?;
        let mut last = (0, Instant::now());
        wait::until("the agent to have nothing left to do", Duration::from_secs(60), || {
            thread::sleep(Duration::from_millis(200));
            let (number, changes) = last_pass(agent)?;
            if number != last.0 || changes > 0 {
                last = (number, Instant::now());
            }
            Ok(last.1.elapsed() > Duration::from_secs(3))
        })?;
        let pid = agent.status()?["pid"].as_u64().context("no pid")?;
        let before = last_pass(agent)?.0;
        let share = share(pid, || {
            // As Prometheus does it.
            let scraped = get(lab.node("a1")?.netns(), SERVER, "/metrics")?;
            ensure!(scraped.status == 200, "{scraped:?}");
            Ok(())
        })?;
        let (memory, passes) = (memory(pid)?, last_pass(agent)?.0 - before);
        println!(
            "{NODES} nodes, {} prefixes: {memory:.1} MiB, {:.3} % of a processor, {passes} passes",
            NODES * PREFIXES_PER_NODE,
            share * 100.0
        );
        ensure!(passes >= 2, "only {passes} passes: nothing was audited");
        ensure!(memory <= MEMORY, "{memory:.1} MiB");
        ensure!(share <= SHARE, "{:.2} % of a processor", share * 100.0);
        Ok(())
    })
}
