//! Pods that move to another node, or die, while packets are on their way to them (trap 10).

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::{Agents, Settings},
    capture::{Capture, Keep},
    lab::{Endpoint, Lab, Pod, Topology},
    probe::{self, Ping, Series},
    state::{Encapsulation, State, StatePod},
    story,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// The state without a pod, and with another one in its place.
fn with_pods(lab: &Lab, gone: &Pod, come: &Pod) -> State {
    let mut state = State::of(lab, MODE);
    state.pods.retain(|pod| pod.name != gone.full_name() && pod.name != come.full_name());
    state.pods.push(StatePod::of(come));
    state
}

/// Its address is of the block of the node that it leaves: its /32 beats the block, on the old node too.
#[test]
fn a_pod_that_moves_takes_its_packets_with_it() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let address = lab.node("a1")?.pod_address(77);
        let old = lab.add_pod("a1", address)?;
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let pings = ["a1-0", "a2-0", "b1-0"]
            .map(|from| Series::start(lab.pod(from)?, address))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        thread::sleep(Duration::from_millis(300));
        let new = lab.add_pod("b1", address)?;
        let moved = Instant::now();
        agents.apply(&with_pods(lab, &old, &new))?;
        thread::sleep(Duration::from_millis(1200));
        let late = Capture::start(old.netns(), Pod::INSIDE, Keep::Whole)?;
        thread::sleep(Duration::from_millis(300));
        let captured = late.stop()?;
        for report in pings.into_iter().map(Series::stop).collect::<Result<Vec<_>>>()? {
            report.first_answered_after(moved).with_context(|| format!("{report}"))?;
            ensure!(report.last_lost_after(moved) < Duration::from_secs(1), "{report}");
        }
        let strays = captured.packets().filter(|packet| packet.inner().destination == address).count();
        ensure!(strays == 0, "the old pod still gets packets:\n{captured}");
        for from in ["a1-0", "a2-1", "b1-1"] {
            probe::tcp(lab.pod(from)?, &new, 5000)?;
        }
        Ok(())
    })
}

/// A pod goes, and another one comes to an interface of the same index while packets for the first one
/// arrive: none of them is for the second one, and its own are.
#[test]
fn another_pod_at_the_same_index_gets_nothing_of_the_first() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let node = lab.node("a1")?.clone();
        let first = lab.add_pod("a1", node.pod_address(77))?;
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        Ping::to(first.address())?.expect_reply(lab.pod("a2-0")?)?;
        let index = node.netns().interface_index(first.interface())?;
        let to_first = Series::start(lab.pod("a2-0")?, first.address())?;
        thread::sleep(Duration::from_millis(200));
        node.netns().ip(&format!("link delete {}", first.interface()))?;
        let second = lab.add_pod_at("a1", node.pod_address(78), Some(index))?;
        ensure!(node.netns().interface_index(second.interface())? == index, "another index");
        let capture = Capture::start(second.netns(), Pod::INSIDE, Keep::Whole)?;
        // The cluster's state is late: the first pod is still in it.
        thread::sleep(Duration::from_millis(500));
        agents.apply(&with_pods(lab, &first, &second))?;
        settled(lab, agents, &second)?;
        let captured = capture.stop()?;
        to_first.stop()?;
        let strays = captured.packets().filter(|packet| {
            !packet.outgoing && packet.inner().destination == first.address() && packet.to_mac == second.mac()
        });
        ensure!(strays.count() == 0, "the second pod has got packets of the first:\n{captured}");
        Ok(())
    })
}

fn settled(lab: &Lab, agents: &Agents, second: &Pod) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while probe::tcp(lab.pod("a2-0")?, second, 1000).is_err() {
        ensure!(
            Instant::now() < deadline,
            "the second pod is not reached: {:?}",
            agents.get("a1")?.problems()
        );
    }
    let (late, from) = (Capture::start(second.netns(), Pod::INSIDE, Keep::Whole)?, lab.pod("a2-0")?);
    Ping::to(second.address())?.expect_reply(from)?;
    thread::sleep(Duration::from_millis(200));
    let captured = late.stop()?;
    let others = captured.packets().filter(|packet| packet.inner().destination != second.address());
    let others = others.filter(|packet| !packet.outgoing && packet.inner().source == from.address()).count();
    ensure!(others == 0, "what is for others still comes here:\n{captured}");
    Ok(())
}
