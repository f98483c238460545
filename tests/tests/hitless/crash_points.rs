//! The agent of a1 ends at every step of its work, and the next one makes good what it left, all under traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsStr,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{self, Agent, Agents, Settings},
    lab::{Endpoint as _, Lab, Node, Pod, Topology},
    state::{Encapsulation, State, StateNode},
    story, wait,
};

use crate::{
    table,
    traffic::{Report, Traffic},
};

/// Points that only other walks come to than the one over a change: another method at a hook, and what the brake keeps.
const CHANGE_ELSEWHERE: &[&str] = &["filter-made", "state-written", "state-kept"];
/// The same for the upgrade: there are no deletions in maps that are new.
const UPGRADE_ELSEWHERE: &[&str] =
    &["endpoint-gone", "next-hop-freed", "route-gone", "route-out-of-trie", "state-written", "state-kept"];
/// How long the agent may take until all is in place.
const DONE_WITHIN: Duration = Duration::from_secs(10);
/// What has not changed for this long is taken for final.
const UNCHANGED: Duration = Duration::from_millis(500);
/// How long a start may take until its crash.
const CRASHES_WITHIN: Duration = Duration::from_secs(20);

/// One of the two states between which the agent is driven back and forth.
pub struct Side {
    pub state: State,
    pub settings: Settings,
    /// Version of the layout that the agent pretends to have.
    pub layout: &'static str,
}

/// What is in place once an agent has done all there is to do.
pub type InPlace = BTreeMap<&'static str, String>;

/// Everything is different on the two sides but what the traffic needs.
fn sides(lab: &mut Lab, layouts: [&'static str; 2], attach: [&'static str; 2]) -> Result<[Side; 2]> {
    let address = lab.node("a1")?.pod_address(12);
    lab.add_pod("a1", address)?;
    let one = State::of(lab, Encapsulation::CrossSubnet);
    let mut two = one.with_encapsulation(Encapsulation::Always);
    // The third pod goes, a node comes, and a prefix moves to another node.
    two.pods.retain(|pod| !pod.addresses.contains(&address));
    two.nodes.push(StateNode {
        name: "a9".to_owned(),
        addresses: vec!["10.0.1.99".parse()?],
        pod_prefixes: vec!["10.244.99.0/24".parse()?],
    });
    let mut one = one;
    let moved = "10.244.50.0/24".parse()?;
    one.node_mut("a2")?.pod_prefixes.push(moved);
    two.node_mut("b1")?.pod_prefixes.push(moved);
    let settings = |masquerade, attach, pod_mtu| Settings {
        masquerade: Some(masquerade),
        attach: Some(attach),
        pod_mtu: Some(pod_mtu),
        ..Settings::default()
    };
    Ok([
        Side { state: one, settings: settings("off", attach[0], "1480"), layout: layouts[0] },
        Side { state: two, settings: settings("on", attach[1], "1460"), layout: layouts[1] },
    ])
}

/// Numbers of the points at which to crash: for each name the first, the middle and the last time it is passed. All of
/// them if `PODROUTE_EVERY_CRASH_POINT` is set, which takes minutes.
pub fn chosen(points: &[String]) -> Vec<(usize, String)> {
    let numbered = |number: usize| (number, points[number - 1].clone());
    if env::var_os("PODROUTE_EVERY_CRASH_POINT").is_some() {
        return (1..=points.len()).map(numbered).collect();
    }
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in points.iter().enumerate() {
        by_name.entry(name).or_default().push(index + 1);
    }
    let mut numbers = BTreeSet::new();
    for times in by_name.values() {
        numbers.extend([times[0], times[times.len() / 2], times[times.len() - 1]]);
    }
    numbers.into_iter().map(numbered).collect()
}

/// Drives a1's agent between the sides.
pub struct Walk<'l> {
    pub lab: &'l Lab,
    pub binary: PathBuf,
    pub sides: [Side; 2],
    /// Names of points that only other walks come to.
    pub elsewhere: &'static [&'static str],
}

impl Walk<'_> {
    /// Gives the agent, which does not run, the files of a side.
    pub fn prepare(&self, agent: &Agent, side: &Side) -> Result<()> {
        // Turned off by somebody: on again where this pod is wanted.
        let interface = self.lab.pod("a1-2")?.interface();
        self.lab.node("a1")?.netns().set_sysctl(&format!("net.ipv4.conf.{interface}.proxy_arp"), "0")?;
        agent.configure(&side.settings)?;
        agent.apply(&side.state)
    }

    /// Lets an agent do all there is to do on this side, and tells what is in place then, once it is as it should be.
    /// The agent has ended afterwards.
    fn complete(
        &self,
        agent: &mut Agent,
        side: &Side,
        log: Option<&Path>,
        check: impl FnMut(&InPlace) -> Result<()>,
    ) -> Result<InPlace> {
        let layout = ("PODROUTE_TEST_LAYOUT", OsStr::new(side.layout));
        let log = log.map(|log| ("PODROUTE_CRASH_LOG", log.as_os_str()));
        let variables: Vec<_> = std::iter::once(layout).chain(log).collect();
        agent.launch_as(&self.binary, &variables)?;
        agent.wait_until_ready()?;
        self.settle(agent, check)
    }

    /// Waits until what is in place is as it should be, tells it, and ends the agent.
    fn settle(&self, agent: &mut Agent, mut check: impl FnMut(&InPlace) -> Result<()>) -> Result<InPlace> {
        let done = wait::until_ok("all to be in place", DONE_WITHIN, || {
            let in_place = in_place(self.lab, agent)?;
            check(&in_place).map(|()| in_place)
        });
        agent.kill(Signal::SIGKILL)?;
        Ok(done?.0)
    }

    /// The points that an agent passes on its way to this side, and every name there is.
    fn points(&self, agents: &mut Agents, side: &Side) -> Result<(Vec<String>, BTreeSet<String>, InPlace)> {
        let log = self.lab.node("a1")?.folder().join("points");
        let _ = fs::remove_file(&log);
        let agent = agents.get_mut("a1")?;
        self.prepare(agent, side)?;
        let in_place = self.complete(agent, side, Some(&log), unchanged())?;
        // What comes behind the first pass that has nothing left to do is not waited for.
        let (points, names) = read_log(&log)?;
        Ok((points, names, in_place))
    }

    /// The points that an agent passes when this side's state comes while it runs on the other side.
    pub fn points_of_life(
        &self,
        agents: &mut Agents,
        [from, to]: [&Side; 2],
    ) -> Result<(Vec<String>, InPlace)> {
        let folder = self.lab.node("a1")?.folder();
        let log = folder.join("points");
        let _ = fs::remove_file(&log);
        let agent = agents.get_mut("a1")?;
        self.live(agent, [from, to], ("PODROUTE_CRASH_LOG", log.as_os_str()))?;
        let in_place = self.settle(agent, unchanged())?;
        Ok((read_log(&log)?.0, in_place))
    }

    /// Starts an agent on one side, and when it has nothing left to do, gives it the state of the other. Its points
    /// count from then.
    fn live(&self, agent: &mut Agent, [from, to]: [&Side; 2], variable: (&str, &OsStr)) -> Result<()> {
        let begun = self.lab.node("a1")?.folder().join("crash-from");
        let _ = fs::remove_file(&begun);
        self.prepare(agent, from)?;
        let layout = ("PODROUTE_TEST_LAYOUT", OsStr::new(from.layout));
        agent.launch_as(&self.binary, &[layout, ("PODROUTE_CRASH_FROM", begun.as_os_str()), variable])?;
        agent.wait_until_ready()?;
        fs::write(&begun, "").with_context(|| format!("writing {}", begun.display()))?;
        agent.apply(&to.state)
    }

    /// Lets an agent crash while it takes in the state of the other side, and the next one make it good.
    pub fn crash_in_life(
        &self,
        agents: &mut Agents,
        [from, to]: [&Side; 2],
        number: usize,
        expected: &InPlace,
    ) -> Result<()> {
        let agent = agents.get_mut("a1")?;
        self.live(agent, [from, to], ("PODROUTE_CRASH_AT", OsStr::new(&number.to_string())))?;
        self.make_good(agent, to, expected)
    }

    /// Lets an agent crash on its way to this side, and the next one make it good.
    fn crash(&self, agents: &mut Agents, side: &Side, number: usize, expected: &InPlace) -> Result<()> {
        let agent = agents.get_mut("a1")?;
        self.prepare(agent, side)?;
        let number = number.to_string();
        let variables =
            [("PODROUTE_TEST_LAYOUT", OsStr::new(side.layout)), ("PODROUTE_CRASH_AT", OsStr::new(&number))];
        agent.launch_as(&self.binary, &variables)?;
        self.make_good(agent, side, expected)
    }

    /// Waits for the crash, and lets the next agent come to what is expected.
    fn make_good(&self, agent: &mut Agent, side: &Side, expected: &InPlace) -> Result<()> {
        let status = agent.wait_for_end(CRASHES_WITHIN)?;
        ensure!(status.signal() == Some(Signal::SIGKILL as i32), "the agent ended with {status}");
        self.complete(agent, side, None, |found| {
            for (what, expected) in expected {
                let found = &found[what];
                ensure!(found == expected, "{what}: expected\n{expected}\nfound\n{found}");
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Crashes at every chosen point, on the way to one side and back in turns. Tells how many crashes
    /// there were.
    fn walk(&self, agents: &mut Agents) -> Result<usize> {
        let mut expected = Vec::new();
        let (mut passed, mut all) = (BTreeSet::new(), BTreeSet::new());
        // Twice: the first way there may start from less.
        for _ in 0..2 {
            expected.clear();
            for side in &self.sides {
                let (points, names, in_place) = self.points(agents, side)?;
                passed.extend(points.iter().cloned());
                all.extend(names);
                expected.push((chosen(&points), in_place));
            }
        }
        let missed: Vec<_> =
            all.difference(&passed).filter(|name| !self.elsewhere.contains(&name.as_str())).collect();
        ensure!(missed.is_empty(), "points that the agent never passed: {missed:?}");
        let rounds = expected.iter().map(|(points, _)| points.len()).max().unwrap_or_default();
        ensure!(rounds > 10, "only {rounds} points");
        for round in 0..rounds {
            for (side, (points, in_place)) in self.sides.iter().zip(&expected) {
                let (number, name) = &points[round.min(points.len() - 1)];
                self.crash(agents, side, *number, in_place).with_context(|| {
                    format!("after a crash at point {number} ({name}), layout {}", side.layout)
                })?;
            }
        }
        Ok(rounds * self.sides.len())
    }
}

/// There is no change after the last one: what is in place stays for a while.
fn unchanged() -> impl FnMut(&InPlace) -> Result<()> {
    let mut last = (InPlace::new(), Instant::now());
    move |found| {
        if *found != last.0 {
            last = (found.clone(), Instant::now());
        }
        ensure!(last.1.elapsed() > UNCHANGED, "it still changes");
        Ok(())
    }
}

/// The points that were passed, and every name there is.
fn read_log(log: &Path) -> Result<(Vec<String>, BTreeSet<String>)> {
    let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    let (names, points) = text.split_once('\n').context("no point was passed")?;
    let names = names.split_whitespace().map(ToOwned::to_owned).collect();
    Ok((points.lines().map(ToOwned::to_owned).collect(), names))
}

/// What is in place, without what differs from run to run: numbers of programs and of next hops, times.
fn in_place(lab: &Lab, agent: &Agent) -> Result<InPlace> {
    let (node, status) = (lab.node("a1")?, agent.status()?);
    let mut in_place = InPlace::new();
    in_place.insert("routes", agent.cli(&["routes"])?);
    in_place.insert("problems", status["problems"].to_string());
    let rows = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let attached =
        rows(&status, "attachments").into_iter().map(|row| format!("{}\n", without(row, "program-id")));
    in_place.insert("attachments", attached.collect());
    in_place.insert("maps", rows(&status, "maps").iter().map(|row| format!("{row}\n")).collect());
    for (what, command) in [
        ("kernel routes", "route show proto 77"),
        ("kernel routes of IPv6", "-6 route show proto 77"),
        ("addresses", "-brief address show"),
    ] {
        in_place.insert(what, node.netns().ip(command)?);
    }
    in_place.insert("nftables", node.netns().output("nft", &["list", "tables"])?);
    in_place.insert("pins", tree(&node.bpffs().join("podroute"))?);
    in_place.insert("state directory", tree(&agent.state_dir())?);
    for from in ["a1-0", "a1-2"] {
        let address = lab.pod(from)?.address().to_string();
        in_place.insert(
            if from == "a1-0" { "lookup of a1-0" } else { "lookup of a1-2" },
            lookup(agent, &address)?,
        );
    }
    in_place.insert("lookup of the prefix that moves", lookup(agent, "10.244.50.7")?);
    in_place.insert("lookup of a node that goes", lookup(agent, "10.244.99.7")?);
    Ok(in_place)
}

/// A lookup, without the neighbour's state.
fn lookup(agent: &Agent, address: &str) -> Result<String> {
    Ok(without(agent.json(&["lookup", address])?, "neighbour").to_string())
}

fn without(mut value: Value, key: &str) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(key);
    }
    value
}

/// Names of everything below a folder.
fn tree(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        names.push(path.display().to_string());
        if path.is_dir() {
            names.push(tree(&path)?);
        }
    }
    names.sort();
    Ok(names.join("\n"))
}

/// Adds the `clsact` qdiscs of a1's interfaces before there is traffic: when one comes, the kernel deactivates the
/// interface for a moment (`qdisc_graft` in net/sched/sch_api.c), and drops what its stack sends there meanwhile.
fn add_qdiscs(lab: &Lab) -> Result<()> {
    let node = lab.node("a1")?;
    let pods = lab.pods().iter().filter(|pod| pod.node() == "a1").map(Pod::interface);
    for interface in pods.chain([Node::UPLINK]) {
        node.netns().output("tc", &["qdisc", "add", "dev", interface, "clsact"])?;
    }
    Ok(())
}

fn crashes(
    what: &str,
    layouts: [&'static str; 2],
    attach: [&'static str; 2],
    elsewhere: &'static [&'static str],
) -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let sides = sides(lab, layouts, attach)?;
        agents.start(lab, &sides[0].settings, &sides[0].state)?;
        agents.get_mut("a1")?.kill(Signal::SIGTERM)?;
        let walk = Walk { lab, binary: agent::fault_binary()?, sides, elsewhere };
        if attach.contains(&"clsact") {
            add_qdiscs(lab)?;
        }
        let traffic = Traffic::start(lab)?;
        let walked = walk.walk(agents);
        let report: Report = traffic.stop()?;
        table::row(&format!("{what} ({} crashes)", walked?), &report)?;
        report.expect_no_loss()
    })
}

/// Invariant 1, with the real agent: it may end at any step, and the next one makes it good.
#[test]
fn invariant_1_a_crash_at_every_step_of_a_change_loses_nothing_and_is_made_good() -> Result<(), Failure> {
    crashes("crash at every step of a change", ["4077", "4077"], ["tcx", "tcx"], CHANGE_ELSEWHERE)
}

/// The same on the way to another layout and another way to attach, and back.
#[test]
fn invariant_1_a_crash_at_every_step_of_an_upgrade_loses_nothing_and_is_made_good() -> Result<(), Failure> {
    crashes(
        "crash at every step of an upgrade and a downgrade",
        ["4077", "4078"],
        ["tcx", "clsact"],
        UPGRADE_ELSEWHERE,
    )
}
