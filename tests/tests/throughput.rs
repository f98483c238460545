//! What encapsulation costs one TCP stream: the same pods, with and without, in one run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::{Agents, Settings},
    family::Family,
    lab::{Endpoint, Lab, Topology, View},
    probe,
    state::{Encapsulation, NonAdjacent, State},
    story, wait,
};

/// Of what a stream reaches without encapsulation.
const AT_LEAST: f64 = 0.90;
/// Rounds at least, so that one lucky one does not decide.
const ROUNDS: usize = 7;
/// Rounds at most: others work on the machine too.
const ROUNDS_AT_MOST: usize = 25;
/// How long one transfer takes.
const TIME: Duration = Duration::from_millis(150);

/// A way of the same packets: the mode that makes it, its kind of next hop, and the pods' family.
struct Form(Encapsulation, &'static str, Family);

const fn direct(family: Family) -> Form {
    Form(Encapsulation::Never(NonAdjacent::Ipip), "direct", family)
}

const fn ipip(family: Family) -> Form {
    Form(Encapsulation::Always, "ipip", family)
}

#[test]
fn a_stream_loses_at_most_a_tenth_by_encapsulation() -> Result<(), Failure> {
    for (topology, forms) in [
        (
            Topology::dual_stack(),
            &[[direct(Family::V4), ipip(Family::V4)], [direct(Family::V6), ipip(Family::V6)]][..],
        ),
        (Topology::v6_nodes(), &[[direct(Family::V4), ipip(Family::V4)]]),
        // IPv6 cannot go between these nodes without encapsulation.
        (Topology::v4_nodes(), &[[direct(Family::V4), ipip(Family::V6)]]),
    ] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::Always))?;
            forms.iter().try_for_each(|forms| compare(lab, agents, forms).context(name))
        })?;
    }
    Ok(())
}

/// Measures in turns, so that what else the machine does hits both, until the medians are as close as demanded.
fn compare(lab: &Lab, agents: &Agents, forms: &[Form; 2]) -> Result<()> {
    let (mut rates, mut ratio) = ([Vec::new(), Vec::new()], 0.0);
    while rates[0].len() < ROUNDS || ratio < AT_LEAST && rates[0].len() < ROUNDS_AT_MOST {
        for (form, rates) in forms.iter().zip(&mut rates) {
            rates.push(measure(lab, agents, form)?);
        }
        ratio = median(&rates[1]) / median(&rates[0]);
    }
    let rates_of = |rates: &[f64]| format!("{:.1} Gbit/s", median(rates) * 8e-9);
    let result = format!(
        "{}: direct {} {}, ipip {} {}, ratio {ratio:.2} after {} rounds",
        lab.topology().name,
        forms[0].2,
        rates_of(&rates[0]),
        forms[1].2,
        rates_of(&rates[1]),
        rates[0].len()
    );
    println!("{result}");
    ensure!(ratio >= AT_LEAST, "{result}");
    Ok(())
}

/// Bytes a second from a pod on a1 to one on a2. The mode is changed while the agents run.
fn measure(lab: &Lab, agents: &Agents, Form(mode, kind, family): &Form) -> Result<f64> {
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let of_family = |pod| View::new(pod, *family).context("no such address");
    agents.apply(&State::of(lab, *mode))?;
    for (pod, other) in [(from, to), (to, from)] {
        let (agent, address) = (agents.get(pod.node())?, of_family(other)?.address().to_string());
        wait::until(&format!("{} to change to {kind}", pod.node()), Duration::from_secs(2), || {
            Ok(agent.json(&["lookup", &address])?["kind"] == *kind)
        })?;
    }
    probe::rate(from, &of_family(to)?, TIME)
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
