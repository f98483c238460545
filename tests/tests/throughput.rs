//! That one TCP stream does not break down by encapsulation: the same pods, with and without, in one run.
//!
//! What encapsulation costs, to the hundredth, is measured by `cargo xtask bench veth`: a test cannot tell 0.89 from
//! 0.91 on a machine that does other things as well.

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

/// Of what a stream reaches without encapsulation. Segments cut, checksums made in software or data sent again cost
/// more than half; the header itself costs about a tenth.
const AT_LEAST: f64 = 0.5;
/// Rounds at least, so that one lucky one does not decide.
const ROUNDS: usize = 7;
/// Rounds at most: others work on the machine too.
const ROUNDS_AT_MOST: usize = 25;
/// How long one transfer takes.
const TIME: Duration = Duration::from_millis(150);

/// A way of the same packets: the mode that makes it, its kind of next hop, the pods' family, and the family of the
/// nodes' addresses that the state tells of.
struct Form(Encapsulation, &'static str, Family, Option<Family>);

const fn direct(family: Family) -> Form {
    Form(Encapsulation::Never(NonAdjacent::Ipip), "direct", family, None)
}

const fn ipip(family: Family) -> Form {
    Form(Encapsulation::Always, "ipip", family, None)
}

/// With an outer header of the other family, as if the nodes had no other addresses.
const fn over_other(family: Family) -> Form {
    Form(Encapsulation::Always, "ipip", family, Some(family.other()))
}

#[test]
fn a_stream_does_not_break_down_by_encapsulation() -> Result<(), Failure> {
    let (v4, v6) = (Family::V4, Family::V6);
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::Always))?;
        for forms in [
            [direct(v4), ipip(v4)],
            [direct(v6), ipip(v6)],
            [direct(v4), over_other(v4)],
            [direct(v6), over_other(v6)],
        ] {
            compare(lab, agents, &forms)?;
        }
        Ok(())
    })
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
        "{:?} over {:?}: direct {}, ipip {}, ratio {ratio:.2} after {} rounds",
        forms[1].2,
        forms[1].3.unwrap_or(forms[1].2),
        rates_of(&rates[0]),
        rates_of(&rates[1]),
        rates[0].len()
    );
    println!("{result}");
    ensure!(ratio >= AT_LEAST, "{result}");
    Ok(())
}

/// Bytes a second from a pod on a1 to one on a2. The mode is changed while the agents run.
fn measure(lab: &Lab, agents: &Agents, Form(mode, kind, family, nodes): &Form) -> Result<f64> {
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let of_family = |pod| View::new(pod, *family).context("no such address");
    let mut state = State::of(lab, *mode);
    for node in &mut state.nodes {
        node.addresses.retain(|address| nodes.is_none_or(|family| Family::of(*address) == family));
    }
    agents.apply(&state)?;
    for (pod, other) in [(from, to), (to, from)] {
        let (agent, address) = (agents.get(pod.node())?, of_family(other)?.address().to_string());
        wait::until(&format!("{} to change to {kind}", pod.node()), Duration::from_secs(10), || {
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
