//! The neighbour that packets are sent to.

use super::{Facts, NeighbourFact, Telling, mac};
use crate::api::{DisagreementKind, Step, StepKind};

pub(super) fn step(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Neighbour);
    facts.neighbours.iter().for_each(|fact| one(&mut told, fact));
    told.done()
}

fn one(told: &mut Telling, fact: &NeighbourFact) {
    let at = format!("{} on {}", fact.address, fact.interface);
    let Some(entry) = &fact.entry else {
        told.row("neighbour", format!("{at}: no entry; the kernel asks when the first packet comes"));
        return;
    };
    let address = entry.mac.map_or("no link-layer address".to_owned(), mac);
    told.row("neighbour", format!("{at}: {address}, {}{}", entry.state, meaning(&entry.state)));
    if entry.mac.is_none() || entry.state == "failed" || entry.state == "incomplete" {
        let (kind, text) = if entry.state == "failed" {
            (DisagreementKind::NeighbourFailed, format!("{at} does not answer: its packets are lost"))
        } else {
            (
                DisagreementKind::NeighbourUnresolved,
                format!("{at} has not answered so far: packets wait for it"),
            )
        };
        told.disagree(
            kind,
            text,
            "see that it runs, has this address, and is on this network (arping, its own link)",
        );
    } else if let (Some(used), Some(known)) = (fact.programs_use, entry.mac)
        && used != known
    {
        told.disagree(
            DisagreementKind::NeighbourMacDiffers,
            format!("{at} answers with {}, but packets are delivered to {}", mac(known), mac(used)),
            "state the pod's MAC address as it is, or leave `mac` out",
        );
    }
}

/// What a state means, where its name does not say it.
fn meaning(state: &str) -> &'static str {
    match state {
        "stale" => " (was confirmed a while ago; asked again when used)",
        "delay" | "probe" => " (being confirmed)",
        "permanent" => " (set by hand or by a program)",
        _ => "",
    }
}
