//! Holds over the end of the agent that began them.

use super::*;

/// What is held outlives the agent; what somebody else did to its memory does no harm.
#[test]
fn a_restart_goes_on_holding() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        with_hold(lab, agents, &settings("{release-after: 40s}"))?;
        let traffic = traffic(lab)?;
        let since = held(agents.get("a1")?)?["since"].clone();
        let waited = |agent: &Agent| -> Result<bool> {
            Ok(held(agent)?["release-in-seconds"].as_u64().is_some_and(|left| left <= 33))
        };
        wait::until("some of the time to pass", PATIENCE, || waited(agents.get("a1")?))?;
        agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
        agents.get_mut("a1")?.restart()?;
        let a1 = agents.get("a1")?;
        let held = wait_for_hold(a1, 100)?;
        ensure!(held["since"] == since, "{held}");
        let left = held["release-in-seconds"].as_u64().context("the time stands still")?;
        // It is written down every two seconds.
        ensure!(left <= 36, "the time began anew: {held}");
        traffic.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())?;
        a1.cli(&["confirm"])?;
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
