//! Messages of the BPF programs reach the agent's log, at a level that is set while packets pass.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{
    Failure,
    agent::{Settings, log_tail},
    lab::{Endpoint as _, Topology},
    probe::{Answer, Ping, Series},
    state::{Encapsulation, NonAdjacent, State},
    story, wait,
};

#[test]
fn drops_are_logged_from_the_moment_that_the_level_is_set_and_no_packet_is_lost() -> Result<(), Failure> {
    story(Topology::flat(), |lab, agents| {
        let mode = Encapsulation::Never(NonAdjacent::Refuse);
        agents.start(lab, &Settings::default(), &State::of(lab, mode))?;
        let (from, node) = (lab.pod("a1-0")?, lab.node("a1")?);
        let agent = agents.get("a1")?;
        let nobody = node.pod_address(200);
        let message = format!("node_ebpf: from-pod drop-unassigned {} -> {nobody} 98 bytes", from.address());
        let logged = || log_tail(node, 1000).matches(&message).count();
        let ping_nobody = || -> Result<()> {
            let answer = Ping::to(nobody)?.timeout(Duration::from_millis(50)).send(from.netns())?;
            ensure!(answer == Answer::Silence, "{nobody} answers: {answer:?}");
            Ok(())
        };
        let others = Series::start(from, lab.pod("a2-0")?.address())?;

        ping_nobody()?;
        agent.cli(&["log-level", "programs", "debug"])?;
        wait::until("the programs that log to be in place", Duration::from_secs(10), || {
            ping_nobody()?;
            Ok(logged() > 0)
        })?;

        agent.cli(&["log-level", "programs", "off"])?;
        let mut before = logged();
        wait::until("the programs that log to be replaced", Duration::from_secs(10), || {
            ping_nobody()?;
            std::thread::sleep(Duration::from_millis(50));
            let quiet = logged() == before;
            before = logged();
            Ok(quiet)
        })?;
        others.stop()?.expect_no_loss()
    })
}
