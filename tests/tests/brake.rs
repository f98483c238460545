//! A mass withdrawal is held, and traffic goes on, until somebody confirms it or the source repeats it for long enough.

use std::{fs, net::IpAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    lab::{Endpoint, Lab, Topology},
    probe::{Ping, Series},
    state::{Encapsulation, State, StateNode},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Nodes of the cluster that only the file knows.
const OTHERS: u8 = 57;
/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(20);
/// A brake that does not let go within a test.
const PATIENT: Settings = settings("{release-after: 1h}");

const fn settings(brake: &'static str) -> Settings {
    Settings {
        log: None,
        attach: None,
        source_check: None,
        uplinks: None,
        masquerade: None,
        audit_interval: Some("1s"),
        program_log: None,
        pod_mtu: None,
        xdp: None,
        brake: Some(brake),
        state_dir: None,
    }
}

/// The lab's three nodes and 57 others.
fn sixty(lab: &Lab) -> State {
    let mut state = State::of(lab, MODE);
    let other = |number: u8| StateNode {
        name: format!("other-{number}"),
        addresses: vec![IpAddr::from([10, 0, 1, 100 + number])],
        pod_prefixes: vec![prefix(number).parse().expect("a prefix")],
    };
    state.nodes.extend((0..OTHERS).map(other));
    state
}

fn prefix(number: u8) -> String {
    format!("10.245.{number}.0/24")
}

/// What is left after most of the file has been lost: a1 itself and nine of the nodes that are not there.
fn ten(state: &State) -> State {
    let mut state = state.without_node("a2").without_node("b1");
    state.nodes.truncate(10);
    state
}

fn held(agent: &Agent) -> Result<Value> {
    Ok(agent.status()?["brake"]["held"].clone())
}

/// Waits until so many routes are held.
fn wait_for_hold(agent: &Agent, routes: u64) -> Result<Value> {
    let attempt = || {
        let held = held(agent)?;
        ensure!(held["routes"] == routes, "{held}");
        Ok(held)
    };
    Ok(wait::until_ok(&format!("{routes} routes to be held"), PATIENCE, attempt)?.0)
}

fn wait_for_release(agent: &Agent) -> Result<()> {
    wait::until("nothing to be held", PATIENCE, || Ok(held(agent)?.is_null()))?;
    Ok(())
}

/// Whether a1 has a route to this prefix, which is the same in both planes.
fn has_route(lab: &Lab, agent: &Agent, prefix: &str) -> Result<bool> {
    let address = prefix.replace(".0/24", ".10");
    let in_maps = !agent.json(&["lookup", &address])?["kind"].is_null();
    let in_kernel = !lab.node("a1")?.netns().ip(&format!("route show {prefix} proto 77"))?.is_empty();
    ensure!(in_maps == in_kernel, "{prefix}: in the maps {in_maps}, in the kernel's table {in_kernel}");
    Ok(in_maps)
}

fn wait_for_route(lab: &Lab, agent: &Agent, prefix: &str, there: bool) -> Result<()> {
    let what = format!("the route to {prefix} to be {}", if there { "there" } else { "gone" });
    wait::until_ok(&what, PATIENCE, || {
        ensure!(has_route(lab, agent, prefix)? == there, "it is not");
        Ok(())
    })?;
    Ok(())
}

fn kinds(agent: &Agent) -> Result<Vec<String>> {
    let events = agent.json(&["events"])?;
    let kind = |event: &Value| event["kind"].as_str().map(ToOwned::to_owned).context("an event has no kind");
    events.as_array().context("the events are no list")?.iter().map(kind).collect()
}

/// Starts the agents and takes most nodes away from a1, which holds what leads to them.
fn with_hold(lab: &Lab, agents: &mut Agents, settings: &Settings) -> Result<State> {
    let all = sixty(lab);
    agents.start(lab, settings, &all)?;
    let left = ten(&all);
    agents.get("a1")?.apply(&left)?;
    // Of 50 nodes the prefix and the address.
    wait_for_hold(agents.get("a1")?, 100)?;
    Ok(left)
}

/// To the pods of the nodes that are gone from the file, direct and encapsulated.
fn traffic(lab: &Lab) -> Result<Vec<Series>> {
    let from = lab.pod("a1-0")?;
    ["a2-0", "b1-0"].into_iter().map(|pod| Series::start(from, lab.pod(pod)?.address())).collect()
}

/// Invariant 2: a file that lost most of its nodes takes nothing away, until somebody says that it is meant so.
#[test]
fn invariant_2_a_mass_withdrawal_is_held_and_confirmed() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &PATIENT, &sixty(lab))?;
        let a1 = agents.get("a1")?;
        let refused = a1.cli(&["confirm"]).err().context("there is nothing to confirm")?;
        ensure!(format!("{refused:#}").contains("the brake holds nothing"), "{refused:#}");
        let traffic = traffic(lab)?;
        let mut left = ten(&sixty(lab));
        a1.apply(&left)?;
        let held = wait_for_hold(a1, 100)?;
        ensure!(held["prefixes"].as_array().is_some_and(|prefixes| prefixes.len() == 10), "{held}");
        ensure!(held["release-in-seconds"].as_u64().is_some_and(|left| left > 3_000), "{held}");
        let shown = a1.cli(&["status"])?;
        for part in ["HELD\n100 of ", " have been withdrawn since ", "`node-agent confirm`"] {
            ensure!(shown.contains(part), "{part}:\n{shown}");
        }
        ensure!(a1.problems()?.iter().any(|problem| problem.contains("the brake holds routes")), "{shown}");
        let routes = a1.json(&["routes"])?;
        let routes = routes.as_array().context("the routes are no list")?;
        let held_rows = routes.iter().filter(|row| row["next-hop"] == "held" && row["in-bpf"] == true);
        ensure!(held_rows.count() == 100, "{routes:#?}");
        // What is new is made all the same.
        left.node_mut("a1")?.pod_prefixes.push("10.244.77.0/24".parse().context("a prefix")?);
        left.node_mut("other-1")?.pod_prefixes.push("10.246.1.0/24".parse().context("a prefix")?);
        a1.apply(&left)?;
        wait_for_route(lab, a1, "10.246.1.0/24", true)?;
        wait_for_hold(a1, 100)?;
        traffic.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())?;

        let confirmed = a1.json(&["confirm"])?;
        ensure!(confirmed.as_array().is_some_and(|prefixes| prefixes.len() == 100), "{confirmed}");
        wait_for_release(a1)?;
        for gone in [prefix(OTHERS - 1), lab.node("b1")?.pod_prefix().to_string()] {
            wait_for_route(lab, a1, &gone, false)?;
        }
        ensure!(has_route(lab, a1, &prefix(0))?, "those that are stated stay");
        let kinds = kinds(a1)?;
        let at = |kind: &str| kinds.iter().position(|found| found == kind);
        let (begun, ended) = (at("brake-held"), at("brake-released"));
        ensure!(begun.is_some() && begun < ended, "{kinds:?}");
        Ok(())
    })
}

/// The control for the one above: without a brake the same file does take the routes away.
#[test]
fn without_a_brake_a_mass_withdrawal_is_made_at_once() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let all = sixty(lab);
        agents.start(lab, &settings("{share: 100}"), &all)?;
        let a1 = agents.get("a1")?;
        let traffic = traffic(lab)?;
        a1.apply(&ten(&all))?;
        wait_for_route(lab, a1, &prefix(OTHERS - 1), false)?;
        wait_for_route(lab, a1, &lab.node("b1")?.pod_prefix().to_string(), false)?;
        // Long enough for some to be lost.
        wait::until("pings to be lost", PATIENCE, || {
            Ok(Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?).is_err())
        })?;
        for series in traffic {
            let report = series.stop()?;
            ensure!(!report.lost().is_empty(), "{report}");
        }
        ensure!(held(a1)?.is_null(), "the brake is off");
        Ok(())
    })
}

/// A held pod keeps its programs and its endpoint: it can send and be reached.
#[test]
fn pods_that_are_missing_in_the_file_keep_all_that_they_need() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let all = State::of(lab, MODE);
        agents.start(lab, &settings("{share: 1, at-least: 2, release-after: 1h}"), &all)?;
        let a1 = agents.get("a1")?;
        let both_ways = [("a1-0", "b1-0"), ("a2-0", "a1-1"), ("a1-0", "a1-1")];
        let start = |(from, to): (&str, &str)| Series::start(lab.pod(from)?, lab.pod(to)?.address());
        let traffic = both_ways.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        let attachments = a1.status()?["attachments"].clone();
        let mut without = all.clone();
        without.pods.retain(|pod| pod.node != "a1");
        a1.apply(&without)?;
        let held = wait_for_hold(a1, 2)?;
        let addresses = ["a1-0", "a1-1"].map(|pod| lab.pod(pod).map(|pod| format!("{}/32", pod.address())));
        let addresses = addresses.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(held["prefixes"] == serde_json::json!(addresses), "{held}");
        ensure!(a1.status()?["attachments"] == attachments, "a program was detached");
        traffic.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())?;
        a1.cli(&["confirm"])?;
        wait_for_release(a1)?;
        wait::until("the programs to be detached", PATIENCE, || {
            Ok(a1.status()?["attachments"].as_array().is_some_and(|left| left.len() == 2))
        })?;
        Ok(())
    })
}

#[test]
fn a_withdrawal_that_the_source_repeats_is_made_after_a_while() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let left = with_hold(lab, agents, &settings("{release-after: 4s}"))?;
        let a1 = agents.get("a1")?;
        // A source that fails repeats nothing, for longer than it would have to.
        a1.apply_text("nodes: [")?;
        wait::until("the source to have failed", PATIENCE, || {
            let held = held(a1)?;
            ensure!(held["routes"] == 100, "{held}");
            Ok(held["release-in-seconds"].is_null())
        })?;
        thread::sleep(Duration::from_secs(5));
        ensure!(held(a1)?["routes"] == 100, "it was released while the source had failed");
        a1.apply(&left)?;
        wait_for_release(a1)?;
        wait_for_route(lab, a1, &prefix(OTHERS - 1), false)?;
        let events = a1.cli(&["events"])?;
        ensure!(
            events.contains("brake-released   100 held routes are withdrawn: the sources have repeated"),
            "{events}"
        );
        Ok(())
    })
}

#[test]
fn what_is_stated_again_leaves_the_hold_and_a_rest_that_is_no_mass_goes() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        with_hold(lab, agents, &PATIENT)?;
        let a1 = agents.get("a1")?;
        let mut back = sixty(lab);
        back.nodes.truncate(40);
        a1.apply(&back)?;
        wait_for_hold(a1, 40)?;
        back.nodes = sixty(lab).nodes;
        back.nodes.truncate(55);
        a1.apply(&back)?;
        wait_for_release(a1)?;
        wait_for_route(lab, a1, &prefix(OTHERS - 1), false)?;
        ensure!(has_route(lab, a1, &prefix(40))?, "what came back is there");
        Ok(())
    })
}

/// What is held outlives the agent; what somebody else did to its memory does no harm.
#[test]
fn a_restart_goes_on_holding() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        with_hold(lab, agents, &settings("{release-after: 20s}"))?;
        let traffic = traffic(lab)?;
        let since = held(agents.get("a1")?)?["since"].clone();
        let waited = |agent: &Agent| -> Result<bool> {
            Ok(held(agent)?["release-in-seconds"].as_u64().is_some_and(|left| left <= 16))
        };
        wait::until("some of the time to pass", PATIENCE, || waited(agents.get("a1")?))?;
        agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
        agents.get_mut("a1")?.restart()?;
        let a1 = agents.get("a1")?;
        let held = wait_for_hold(a1, 100)?;
        ensure!(held["since"] == since, "{held}");
        let left = held["release-in-seconds"].as_u64();
        ensure!(left.is_none_or(|left| (1..=18).contains(&left)), "the time began anew, or ended: {held}");
        traffic.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())?;
        wait_for_release(a1)?;
        wait_for_route(lab, a1, &prefix(OTHERS - 1), false)
    })
}

/// The brake needs no memory to act at a start: what is in place is in the maps and in the kernel's table.
#[test]
fn routes_that_are_missing_at_the_start_are_held_even_if_the_memory_is_damaged() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let all = sixty(lab);
        agents.start(lab, &PATIENT, &all)?;
        let traffic = traffic(lab)?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGKILL)?;
        let document = a1.state_dir().join("brake.json");
        fs::write(&document, "{\"podroute\":\"bra").context("writing a torn document")?;
        a1.apply(&ten(&all))?;
        a1.restart()?;
        wait_for_hold(a1, 100)?;
        traffic.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())?;
        ensure!(kinds(a1)?.contains(&"state-set-aside".to_owned()), "{}", a1.cli(&["events"])?);
        ensure!(a1.state_dir().join("brake.json.bad").exists(), "it was not set aside");
        a1.kill(Signal::SIGTERM)?;
        a1.cleanup(false)?;
        ensure!(!a1.state_dir().exists(), "cleanup has left the state directory");
        Ok(())
    })
}

#[test]
fn a_small_cluster_loses_nodes_without_a_question() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let all = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &all)?;
        let a1 = agents.get("a1")?;
        for node in ["a2", "b1"] {
            wait_for_route(lab, a1, &lab.node(node)?.pod_prefix().to_string(), true)?;
        }
        a1.apply(&all.without_node("a2").without_node("b1"))?;
        for node in ["a2", "b1"] {
            wait_for_route(lab, a1, &lab.node(node)?.pod_prefix().to_string(), false)?;
        }
        ensure!(held(a1)?.is_null(), "two of three nodes are no mass");
        Ok(())
    })
}

/// A file without any node is refused, and one that lacks this node cannot be used: then nothing at all is touched.
#[test]
fn a_file_without_this_node_touches_nothing() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let all = sixty(lab);
        agents.start(lab, &settings("{release-after: 1s}"), &all)?;
        let traffic = traffic(lab)?;
        let a1 = agents.get("a1")?;
        a1.apply_text("nodes: []\n")?;
        wait::until("the source to have failed", PATIENCE, || {
            Ok(a1.cli(&["status"])?.contains("a cluster without nodes"))
        })?;
        a1.apply(&ten(&all).without_node("a1"))?;
        wait::until("the problem to be told", PATIENCE, || {
            Ok(a1.problems()?.iter().any(|problem| problem.contains("is not in the cluster state")))
        })?;
        // Longer than a withdrawal must be repeated.
        thread::sleep(Duration::from_secs(3));
        ensure!(has_route(lab, a1, &prefix(OTHERS - 1))?, "a route has gone");
        traffic.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())
    })
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told_and_done_without() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let settings = Settings { state_dir: Some("/proc/podroute"), ..PATIENT };
        with_hold(lab, agents, &settings)?;
        let a1 = agents.get("a1")?;
        let problems = a1.problems()?;
        let told = |problem: &String| problem.contains("cannot make the folder /proc/podroute");
        ensure!(problems.iter().any(told), "{problems:?}");
        Ok(())
    })
}
