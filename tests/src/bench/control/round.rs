//! One round: an agent starts with nothing in place, changes a few things, and starts again.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::cluster::{self, GATEWAY_NODE};
use crate::{
    agent::{Agent, Settings},
    lab::{Endpoint, Lab, Node},
    state::State,
    wait,
};

/// How long the largest size may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the agent says of a pass; times in microseconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Pass {
    pub(super) number: u64,
    pub(super) shortcut: bool,
    pub(super) datapath_changes: u64,
    pub(super) host_changes: u64,
    pub(super) source_to_datapath_us: Option<u64>,
    pub(super) observe_us: u64,
    pub(super) select_us: u64,
    pub(super) resolve_us: u64,
    pub(super) plan_us: u64,
    pub(super) maps_us: u64,
    pub(super) host_us: u64,
    pub(super) total_us: u64,
}

/// Something that was done, as the agent tells it, and as it looks from outside.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    /// The pass that did it; of a restart the first one.
    pub(super) pass: Pass,
    /// Reading and checking the file took this long, in microseconds.
    pub(super) read_us: u64,
    /// From the start of the process, or from before the change, until the status tells that it is in force.
    pub(super) outside: Duration,
}

/// What one round came to.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) load: Deed,
    /// Resident memory once all is in place, and the most there was meanwhile, in MiB.
    pub(super) resident: f64,
    pub(super) peak: f64,
    pub(super) add: Deed,
    pub(super) remove: Deed,
    pub(super) next_hop: Deed,
    pub(super) restart: Deed,
}

/// What of the status is looked at.
struct Seen {
    pid: u64,
    read_us: u64,
    last: Pass,
    last_changing: Option<Pass>,
}

/// Measures a round with so many prefixes.
pub(super) fn measure(prefixes: usize) -> Result<Round> {
    let lab = Lab::build(cluster::topology()?)?;
    let node = lab.node("a1")?;
    // No audit: it would come in the middle of what is measured.
    let settings = Settings { log: Some("warn"), audit_interval: Some("1h"), ..Settings::default() };
    let state = cluster::state(&lab, prefixes);
    let mut one_more = state.clone();
    one_more.nodes.last_mut().context("no node")?.pod_prefixes.push(cluster::prefix(prefixes));

    let started = Instant::now();
    let mut agent = Agent::start(node, &settings, &state)?;
    let load = settled(&agent, started, 0)?;
    let (resident, peak) = memory(see(&agent)?.pid)?;
    let add = changed(&agent, &one_more)?;
    let remove = changed(&agent, &state)?;
    let next_hop = next_hop_changed(&agent, node, &state)?;
    agent.kill(Signal::SIGKILL)?;
    let restart = started_again(&mut agent)?;
    agent.kill(Signal::SIGKILL)?;
    agent.cleanup(false)?;
    Ok(Round { load, resident, peak, add, remove, next_hop, restart })
}

/// Starts the agent with everything in place: its first pass puts its own programs in place of the same ones.
fn started_again(agent: &mut Agent) -> Result<Deed> {
    let started = Instant::now();
    agent.launch()?;
    let waited = wait::until_ok("the agent's first pass", PATIENCE, || see(agent));
    let (seen, _) = waited?;
    Ok(Deed { pass: seen.last, read_us: seen.read_us, outside: started.elapsed() })
}

/// Replaces the file and waits until it is in force, and the agent has nothing left to do.
fn changed(agent: &Agent, state: &State) -> Result<Deed> {
    let before = see(agent)?.last.number;
    let started = Instant::now();
    agent.apply(state)?;
    let deed = settled(agent, started, before)?;
    ensure!(deed.pass.datapath_changes == 1, "one prefix took more than one map write: {deed:?}");
    Ok(deed)
}

/// Gives the host another route to the node that many prefixes are behind, and takes it away again.
fn next_hop_changed(agent: &Agent, node: &Node, state: &State) -> Result<Deed> {
    let other = state.nodes.iter().find(|node| node.name == GATEWAY_NODE).context("no such node")?;
    let route = format!("{} via {}", other.addresses[0], node.subnet().gateway());
    let before = see(agent)?.last.number;
    let started = Instant::now();
    node.netns().ip(&format!("route add {route}"))?;
    let deed = settled(agent, started, before)?;
    let before = see(agent)?.last.number;
    node.netns().ip(&format!("route del {route}"))?;
    settled(agent, Instant::now(), before)?;
    Ok(deed)
}

/// Waits until a pass after this one has changed something, and one after that has found nothing to do.
fn settled(agent: &Agent, started: Instant, after: u64) -> Result<Deed> {
    let mut in_force = None;
    let mut seen = None;
    wait::until("the agent to have nothing left to do", PATIENCE, || {
        let Ok(now) = see(agent) else { return Ok(false) };
        if now.last_changing.as_ref().is_some_and(|pass| pass.number > after) {
            in_force.get_or_insert_with(|| started.elapsed());
        }
        let idle = now.last.number > after && now.last.datapath_changes + now.last.host_changes == 0;
        let done = idle && in_force.is_some();
        seen = Some(now);
        Ok(done)
    })?;
    let seen = seen.context("no status")?;
    let pass = seen.last_changing.filter(|pass| pass.number > after).unwrap_or(seen.last);
    Ok(Deed { pass, read_us: seen.read_us, outside: in_force.unwrap_or_default() })
}

/// The status, once the agent has made a pass with all that the file has and nothing has failed.
fn see(agent: &Agent) -> Result<Seen> {
    let status = agent.status()?;
    let reconcile = &status["reconcile"];
    ensure!(status["synced"] == true, "not synced yet");
    ensure!(reconcile["pending"].as_array().is_some_and(Vec::is_empty), "failed: {}", reconcile["pending"]);
    Ok(Seen {
        pid: status["pid"].as_u64().context("no pid")?,
        read_us: status["sources"][0]["read-us"].as_u64().context("no time of reading")?,
        last: Pass::deserialize(&reconcile["last-pass"])?,
        last_changing: Option::deserialize(&reconcile["last-changing-pass"])?,
    })
}

/// Resident memory of a process and the most it ever had, in MiB.
fn memory(pid: u64) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
        let kibibytes: f64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kibibytes / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
