//! How a hold ends.

use super::*;

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

#[test]
fn a_withdrawal_that_the_source_repeats_is_made_after_a_while() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let left = with_hold(lab, agents, &settings("{release-after: 8s}"))?;
        let a1 = agents.get("a1")?;
        // A source that fails repeats nothing, for longer than it would have to.
        a1.apply_text("nodes: [")?;
        wait::until("the source to have failed", PATIENCE, || {
            let held = held(a1)?;
            ensure!(held["routes"] == 100, "{held}");
            Ok(held["release-in-seconds"].is_null())
        })?;
        thread::sleep(Duration::from_secs(9));
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
