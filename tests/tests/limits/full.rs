//! Maps and tables without room.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::{self, Settings},
    lab::{Endpoint as _, Topology},
    probe::Ping,
    state::State,
    story, wait,
};

use crate::{MODE, SOON, nothing_waits, waits_with};

#[test]
fn a_full_map_is_named_the_rest_goes_on_and_what_waits_comes_when_there_is_room() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let used = agents.get("a1")?.status()?["maps"][0]["entries"].as_u64().context("no entries")?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(nix::sys::signal::Signal::SIGKILL)?;
        a1.cleanup(false)?;
        // Two more than there is room for.
        let mut more = state.clone();
        let far = |number: u8| format!("198.18.{number}.0/24").parse();
        for number in 0..4 {
            more.node_mut("b1")?.pod_prefixes.push(far(number)?);
        }
        a1.apply(&more)?;
        let room = (used + 2).to_string();
        let variables = [("PODROUTE_TEST_MAX_ROUTES", OsStr::new(&room))];
        a1.launch_as(&agent::fault_binary()?, &variables)?;
        let a1 = agents.get("a1")?;
        wait::until("the agent to answer", SOON, || Ok(a1.status().is_ok()))?;
        waits_with(a1, &["198.18.", "ROUTES_V4", "the map is full"])?;
        let pid = a1.status()?["pid"].clone();
        // Nothing else waits for it, and the kernel's own routes have them all.
        for (from, to) in [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-0", "a1-1")] {
            Ping::to(lab.pod(to)?.address())?.expect_reply(lab.pod(from)?)?;
        }
        let kernel = lab.node("a1")?.netns().ip("route show proto 77")?;
        ensure!((0..4).all(|number| kernel.contains(&format!("198.18.{number}.0/24"))), "{kernel}");
        // Room again.
        more.node_mut("b1")?.pod_prefixes.retain(|prefix| far(0).is_ok_and(|first| *prefix != first));
        more.node_mut("b1")?.pod_prefixes.retain(|prefix| far(1).is_ok_and(|second| *prefix != second));
        a1.apply(&more)?;
        nothing_waits(a1)?;
        let last = a1.json(&["lookup", "198.18.3.7"])?;
        ensure!(last["kind"] == "ipip" && last["problem"].is_null(), "{last}");
        ensure!(a1.status()?["pid"] == pid, "it is another process");
        Ok(())
    })
}
