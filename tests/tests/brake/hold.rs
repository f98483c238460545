//! What is held, and what is not.

use super::*;

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

/// The change of one node takes a shortcut past the pass over everything, but not past the brake.
#[test]
fn one_node_that_loses_most_of_its_prefixes_is_held() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let few = sixty(lab).without_node("b1");
        let mut many = few.clone();
        for number in 0..200 {
            many.node_mut("other-1")?.pod_prefixes.push(format!("10.246.{number}.0/24").parse()?);
        }
        agents.start(lab, &PATIENT, &many)?;
        let a1 = agents.get("a1")?;
        wait_for_route(lab, a1, "10.246.199.0/24", true)?;
        a1.apply(&few)?;
        wait_for_hold(a1, 200)?;
        ensure!(has_route(lab, a1, "10.246.199.0/24")?, "the routes are there");
        a1.apply(&many)?;
        wait_for_release(a1)?;
        ensure!(kinds(a1)?.iter().filter(|kind| *kind == "brake-held").count() == 1, "it was held once");
        a1.cli(&["events", "--kind", "brake-released"])?
            .contains("all have come back")
            .then_some(())
            .context("it is not told that all have come back")
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
