//! The agent ends, is killed, comes back, is cleaned up: forwarding goes on until cleanup.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use node_ebpf_common::LAYOUT_VERSION;
use tests::{
    Failure,
    agent::{Agents, Settings},
    command,
    lab::{Endpoint, Lab, Node, Topology},
    monitor::RouteMonitor,
    probe::{Ping, Series},
    remains,
    state::{Encapsulation, State},
    story, wait, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Longer than anything takes that is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// From a pod of a1 and from the host itself: to its own node, directly, through the tunnel.
const PAIRS: [(&str, &str); 5] =
    [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-1", "a1-1"), ("a2-1", "a1-0")];

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

fn nothing_is_lost(pings: Vec<Series>) -> Result<()> {
    pings.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())
}

fn a_while() {
    thread::sleep(Duration::from_millis(400));
}

fn started(lab: &Lab, agents: &mut Agents, settings: &Settings) -> Result<()> {
    agents.start(lab, settings, &State::of(lab, MODE))
}

#[test]
fn killed_or_ended_agents_lose_no_packet_and_their_return_changes_no_route() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, &Settings::default())?;
        let map = lab.node("a1")?.bpffs().join(format!("podroute/v{LAYOUT_VERSION}/ROUTES_V4"));
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            let before = (identity_of(&map)?, agents.get("a1")?.counters()?);
            let mut monitor = RouteMonitor::start(lab.node("a1")?)?;
            let pings = pings(lab)?;
            a_while();
            agents.get_mut("a1")?.kill(signal)?;
            a_while();
            agents.get_mut("a1")?.restart()?;
            a_while();
            nothing_is_lost(pings)?;
            let changes = monitor.changes()?;
            ensure!(changes.is_empty(), "{signal}: routes have changed:\n{changes}");
            ensure!(identity_of(&map)? == before.0, "{signal}: the map is another one");
            // Also fails if a counter went back.
            let counted = agents.get("a1")?.counters()?.since(&before.1)?;
            ensure!(counted.dropped() == 0, "{signal}:\n{counted}");
        }
        Ok(())
    })
}

fn identity_of(map: &std::path::Path) -> Result<String> {
    let mut show = std::process::Command::new("bpftool");
    show.args(["--json", "map", "show", "pinned"]).arg(map);
    let shown: serde_json::Value = serde_json::from_str(&command::output(&mut show)?)?;
    Ok(shown["id"].to_string())
}

/// The control experiment for the one above: the same pings see it when forwarding really ends.
#[test]
fn cleanup_under_traffic_loses_packets() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, &Settings::default())?;
        let mut monitor = RouteMonitor::start(lab.node("a1")?)?;
        let pings = pings(lab)?;
        a_while();
        let agent = agents.get_mut("a1")?;
        agent.kill(Signal::SIGKILL)?;
        agent.cleanup(false)?;
        // Long enough for many to get lost, also where the machine is too busy to send as many as it should.
        thread::sleep(Duration::from_secs(1));
        for series in pings {
            let report = series.stop()?;
            ensure!(report.lost().len() >= 20, "{report}");
        }
        ensure!(!monitor.changes()?.is_empty(), "`ip monitor route` has seen nothing");
        Ok(())
    })
}

#[test]
fn cleanup_takes_what_is_ours_and_nothing_else() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        lab.nodes().iter().try_for_each(remains::plant_foreign)?;
        started(lab, agents, &Settings::default())?;
        for pair in PAIRS {
            way::expect(lab, agents, MODE, (lab.pod(pair.0)?, lab.pod(pair.1)?))?;
        }
        for node in lab.nodes() {
            clean_up(lab, agents, node)?;
            remains::expect_foreign(node)?;
        }
        // From nothing, it all comes back.
        started(lab, agents, &Settings::default())?;
        nothing_is_lost(pings(lab)?)
    })
}

fn clean_up(lab: &Lab, agents: &mut Agents, node: &Node) -> Result<()> {
    let programs = remains::program_ids(agents.get(node.name())?)?;
    let agent = agents.get_mut(node.name())?;
    agent.kill(Signal::SIGTERM)?;
    let before = remains::snapshot(node, lab.pods())?;
    let listed = agent.cleanup(true)?;
    let after = remains::snapshot(node, lab.pods())?;
    ensure!(after == before, "--dry-run has changed something, from\n{before}\nto\n{after}");
    let remote = lab.nodes().iter().filter(|other| other.name() != node.name());
    let prefixes = remote.map(|other| other.pod_prefix().to_string());
    for expected in prefixes.chain(["ROUTES_V4".to_owned(), node.pod_address(1).to_string()]) {
        ensure!(listed.contains(&expected), "--dry-run does not list {expected}:\n{listed}");
    }
    agent.cleanup(false)?;
    remains::expect_nothing_of_ours(node, lab.pods(), &programs)?;
    // Once more does no harm.
    agent.cleanup(false)?;
    Ok(())
}

#[test]
fn clsact_forwards_as_well_survives_the_agent_and_is_cleaned_up() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let settings = Settings { attach: Some("clsact"), ..Settings::default() };
        // A foreign filter in the same qdisc must survive.
        remains::plant_foreign(lab.node("a1")?)?;
        started(lab, agents, &settings)?;
        let status = agents.get("a1")?.status()?;
        let rows = status["attachments"].as_array().map(Vec::as_slice).unwrap_or_default();
        ensure!(!rows.is_empty() && rows.iter().all(|row| row["method"] == "clsact"), "{status}");
        for (from, to) in way::pairs(lab) {
            way::expect(lab, agents, MODE, (from, to))?;
        }
        let pings = pings(lab)?;
        a_while();
        agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
        a_while();
        agents.get_mut("a1")?.restart()?;
        nothing_is_lost(pings)?;
        for node in lab.nodes() {
            clean_up(lab, agents, node)?;
        }
        remains::expect_foreign(lab.node("a1")?)
    })
}

/// After an upgrade nothing uses the maps of the layout before.
#[test]
fn maps_of_another_layout_go_once_every_program_is_replaced() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let node = lab.node("a1")?;
        let other = node.bpffs().join("podroute").join(format!("v{}", LAYOUT_VERSION - 1));
        fs::create_dir_all(&other).with_context(|| format!("creating {}", other.display()))?;
        let pin = other.join("NEXT_HOPS");
        let mut create = node.netns().command("bpftool");
        create.args(["map", "create"]).arg(&pin);
        create.args(["type", "array", "key", "4", "value", "4", "entries", "1", "name", "NEXT_HOPS"]);
        command::output(&mut create)?;
        started(lab, agents, &Settings::default())?;
        wait::until("the other layout's maps to be removed", PATIENCE, || Ok(!other.exists()))?;
        ensure!(node.bpffs().join(format!("podroute/v{LAYOUT_VERSION}")).exists(), "our own stay");
        way::expect(lab, agents, MODE, (lab.pod("a1-0")?, lab.pod("b1-0")?))?;
        clean_up(lab, agents, node)
    })
}

#[test]
fn a_route_changed_by_hand_is_put_right_and_a_foreign_one_is_left() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, &Settings::default())?;
        let node = lab.node("a1")?;
        remains::plant_foreign(node)?;
        let prefix = lab.node("b1")?.pod_prefix();
        let route = || node.netns().ip(&format!("route show {prefix}"));
        let right = route()?;
        ensure!(right.contains("proto 77"), "{right}");
        for change in [
            format!("route del {prefix}"),
            format!("route replace {prefix} via {} proto 77", lab.node("a2")?.address()),
        ] {
            node.netns().ip(&change)?;
            wait::until(&format!("`ip {change}` to be undone"), PATIENCE, || Ok(route()? == right))?;
        }
        remains::expect_foreign(node)
    })
}
