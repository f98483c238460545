//! The MTU of pods' interfaces follows the uplinks' at both ends of the veth, while the pods talk.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{Agent, Settings},
    lab::{Endpoint, Lab, Pod, Topology},
    netns::Netns,
    probe::{self, Series},
    state::{Encapsulation, State},
    story, wait,
};

/// A change must have arrived by then.
const SOON: Duration = Duration::from_secs(1);
/// Longer than anything takes that is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn mtu(netns: &Netns, interface: &str) -> Result<u16> {
    let shown = netns.output("ip", &["-json", "link", "show", "dev", interface])?;
    let links: serde_json::Value = serde_json::from_str(&shown)?;
    let mtu = links[0]["mtu"].as_u64().with_context(|| format!("no MTU in {shown}"))?;
    Ok(u16::try_from(mtu)?)
}

/// The MTU at the host's end and at the pod's end.
fn both_ends(lab: &Lab, pod: &Pod) -> Result<(u16, u16)> {
    let outside = mtu(lab.node(pod.node())?.netns(), pod.interface())?;
    Ok((outside, mtu(pod.netns(), Pod::INSIDE)?))
}

/// Waits until every pod has this MTU at both ends.
fn expect_everywhere(lab: &Lab, expected: u16) -> Result<()> {
    let what = format!("an MTU of {expected} at every pod");
    wait::until_ok(&what, PATIENCE, || {
        for pod in lab.pods() {
            let ends = both_ends(lab, pod)?;
            ensure!(ends == (expected, expected), "pod {}: {ends:?} (host's, pod's end)", pod.name());
        }
        Ok(())
    })?;
    Ok(())
}

fn passes(agent: &Agent) -> Result<u64> {
    agent.status()?["reconcile"]["passes"].as_u64().context("no passes in the status")
}

#[test]
fn pods_follow_the_uplinks_while_they_talk() -> Result<(), Failure> {
    story(Topology::two_subnets().with_pod_mtu(1500), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        expect_everywhere(lab, 1480)?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        let pings = Series::start(from, to.address())?;
        let sent = thread::scope(|scope| -> Result<_> {
            let tcp = scope.spawn(|| probe::throughput(from, to, 4));
            for uplink in [1400, 1500] {
                thread::sleep(Duration::from_secs(1));
                lab.set_uplink_mtu(uplink)?;
                expect_everywhere(lab, uplink - 20)?;
            }
            tcp.join().unwrap_or_else(|_| Err(anyhow!("the transfer panicked")))
        })?;
        pings.stop()?.expect_no_loss()?;
        ensure!(sent.longest_stall < SOON && sent.bytes > 1_000_000, "{sent:?}");
        let status = agents.get("a1")?.status()?;
        ensure!(status["pod-mtu"]["bytes"] == 1480, "{}", status["pod-mtu"]);
        let why = "eth0 has 1500, less 20 for an outer header";
        ensure!(status["pod-mtu"]["from"] == why, "{}", status["pod-mtu"]);
        Ok(())
    })
}

/// Each end that is set makes the kernel tell of a change, which the agent looks at.
#[test]
fn a_change_by_hand_is_put_right_and_then_there_is_peace() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        // Nobody tells the host of a change inside of a pod: the audit finds it.
        let settings = Settings { audit_interval: Some("500ms"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, Encapsulation::CrossSubnet))?;
        expect_everywhere(lab, 1480)?;
        let (pod, node) = (lab.pod("a1-0")?, lab.node("a1")?);
        for wrong in [1400, 9000] {
            pod.netns().ip(&format!("link set {} mtu {wrong}", Pod::INSIDE))?;
            expect_everywhere(lab, 1480)?;
            node.netns().ip(&format!("link set {} mtu {wrong}", pod.interface()))?;
            expect_everywhere(lab, 1480)?;
        }
        let agent = agents.get("a1")?;
        thread::sleep(SOON);
        let before = passes(agent)?;
        thread::sleep(2 * SOON);
        let made = passes(agent)? - before;
        // Four audits, and what IPv6 does in a new lab. A change that brought about the next one would make a
        // pass every 20 ms.
        ensure!(made <= 15, "{made} passes in two seconds in which nothing happened");
        Ok(())
    })
}

#[test]
fn a_number_is_taken_and_keep_touches_nothing() -> Result<(), Failure> {
    story(Topology::two_subnets().with_pod_mtu(1500), |lab, agents| {
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings { pod_mtu: Some("keep"), ..Settings::default() }, &state)?;
        lab.set_uplink_mtu(1400)?;
        let agent = agents.get_mut("a1")?;
        wait::until("the route to follow the uplink", PATIENCE, || {
            Ok(agent.json(&["lookup", "10.244.3.10"])?["mtu"] == 1380)
        })?;
        expect_everywhere(lab, 1500)?;
        let status = agent.status()?;
        ensure!(status["pod-mtu"]["bytes"].is_null(), "{}", status["pod-mtu"]);
        agent.configure(&Settings { pod_mtu: Some("1300"), ..Settings::default() })?;
        agent.kill(Signal::SIGTERM)?;
        agent.restart()?;
        for name in ["a1-0", "a1-1"] {
            let pod = lab.pod(name)?;
            wait::until(&format!("1300 at pod {name}"), PATIENCE, || {
                Ok(both_ends(lab, pod)? == (1300, 1300))
            })?;
        }
        expect_ends(lab, "b1-0", (1500, 1500))
    })
}

fn expect_ends(lab: &Lab, pod: &str, expected: (u16, u16)) -> Result<()> {
    let ends = both_ends(lab, lab.pod(pod)?)?;
    ensure!(ends == expected, "pod {pod}: {ends:?}, not {expected:?}");
    Ok(())
}

/// The kernel takes all IPv6 addresses off an interface whose MTU falls below 1280.
#[test]
fn pods_keep_their_ipv6_addresses_however_small_the_uplink() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        expect_everywhere(lab, 1460)?;
        lab.set_uplink_mtu(1300)?;
        expect_everywhere(lab, 1280)?;
        for pod in lab.pods() {
            let shown = pod.netns().ip(&format!("-6 address show dev {} scope global", Pod::INSIDE))?;
            ensure!(shown.contains("inet6"), "pod {} has lost its IPv6 address", pod.name());
        }
        let problems = agents.get("a1")?.problems()?;
        let told = problems.iter().any(|text| text.contains("an MTU of 1260 is too small"));
        ensure!(told, "{problems:?}");
        Ok(())
    })
}
