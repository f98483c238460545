//! The agent of a1 ends at every step while it takes in news: on its shortcut for one node's change, and when the brake
//! holds what is withdrawn and lets it go, which it writes down in the state directory.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{self, Agents, Settings},
    lab::{Lab, Topology},
    state::{Encapsulation, State, StateNode},
    story,
};

use crate::{
    crash_points::{Side, Walk, chosen},
    table,
    traffic::Traffic,
};

/// Version of the layout that the agents pretend to have.
const LAYOUT: &str = "4077";

/// Points of a pass that has nothing to do.
const OF_EACH_PASS: [&str; 3] = ["datapath-done", "host-done", "pass-done"];

/// The lab's state with a pod that only these stories have.
fn state(lab: &mut Lab) -> Result<State> {
    let address = lab.node("a1")?.pod_address(12);
    lab.add_pod("a1", address)?;
    Ok(State::of(lab, Encapsulation::CrossSubnet))
}

/// Crashes at the chosen points on the way from one state to the other and back. The agent has to pass these points,
/// each list one directly behind the other.
fn crashes(
    what: &str,
    states: fn(&mut Lab) -> Result<[State; 2]>,
    passes: &[&[&str]],
) -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let settings =
            Settings { brake: Some("{release-after: 1h}"), attach: Some("tcx"), ..Settings::default() };
        let sides = states(lab)?.map(|state| Side { state, settings: settings.clone(), layout: LAYOUT });
        agents.start(lab, &sides[0].settings, &sides[0].state)?;
        agents.get_mut("a1")?.kill(Signal::SIGTERM)?;
        let walk = Walk { lab, binary: agent::fault_binary()?, sides, elsewhere: &[] };
        let traffic = Traffic::start(lab)?;
        let walked = there_and_back(&walk, agents, passes);
        let report = traffic.stop()?;
        table::row(&format!("{what} ({} crashes)", walked?), &report)?;
        report.expect_no_loss()
    })
}

/// Tells how many crashes there were.
fn there_and_back(walk: &Walk, agents: &mut Agents, passes: &[&[&str]]) -> Result<usize> {
    let [one, two] = &walk.sides;
    let ways = [[one, two], [two, one]];
    let mut expected = Vec::new();
    let mut all = String::from(" ");
    for way in ways {
        let (mut points, in_place) = walk.points_of_life(agents, way)?;
        // Passes that find nothing to do may come, or not.
        let work = points.iter().rposition(|point| !OF_EACH_PASS.contains(&point.as_str()));
        points.truncate(work.map_or(0, |last| last + 1));
        all.extend(points.iter().map(|point| format!("{point} ")));
        expected.push((chosen(&points), in_place));
    }
    for row in passes {
        ensure!(all.contains(&format!(" {} ", row.join(" "))), "{row:?} was not passed, but{all}");
    }
    let rounds = expected.iter().map(|(points, _)| points.len()).max().unwrap_or_default();
    for round in 0..rounds {
        for (way, (points, in_place)) in ways.into_iter().zip(&expected) {
            let (number, name) = &points[round.min(points.len() - 1)];
            walk.crash_in_life(agents, way, *number, in_place)
                .with_context(|| format!("after a crash at point {number} ({name}) of a change"))?;
        }
    }
    Ok(rounds * ways.len())
}

/// One node has a prefix more, or not: that takes the shortcut, where the kernel's routes come directly behind the maps.
#[test]
fn invariant_1_a_crash_at_every_step_of_the_shortcut_is_made_good() -> Result<(), Failure> {
    let states = |lab: &mut Lab| {
        let two = state(lab)?;
        let mut one = two.clone();
        one.node_mut("a2")?.pod_prefixes.push("10.244.50.0/24".parse()?);
        Ok([one, two])
    };
    let passes: &[&[&str]] = &[&["route-in-trie", "netlink"], &["route-out-of-trie", "netlink"]];
    crashes("crash at every step of the shortcut", states, passes)
}

/// Most nodes lose their prefixes, and have them again: the brake holds the routes and writes it down, then forgets.
#[test]
fn invariant_1_a_crash_at_every_step_of_a_hold_is_made_good() -> Result<(), Failure> {
    let states = |lab: &mut Lab| {
        let mut two = state(lab)?;
        // The nodes stay, so that every object keeps its line: a running agent goes on to name the line it read first.
        for number in 0..30 {
            two.nodes.push(StateNode {
                name: format!("other-{number}"),
                addresses: vec![format!("10.0.1.{}", 100 + number).parse()?],
                pod_prefixes: Vec::new(),
            });
        }
        let mut one = two.clone();
        for number in 0..30 {
            let prefix = format!("10.245.{number}.0/24").parse()?;
            one.node_mut(&format!("other-{number}"))?.pod_prefixes.push(prefix);
        }
        Ok([one, two])
    };
    crashes("crash at every step of a hold and its end", states, &[&["state-written", "state-kept"]])
}
