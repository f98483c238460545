//! Who claims the prefixes around the target, and why each of them gets it or not.

use super::{Facts, Telling};
use crate::{
    api::{DisagreementKind, Step, StepKind},
    model::Prefix,
    rib::RouteRow,
};

pub(super) fn step(target: Prefix, facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Candidates);
    let decided = &facts.decided;
    for row in &decided.passed_over {
        let reason = row.refused.as_deref().unwrap_or("it has no next hop");
        told.row(row.prefix.to_string(), format!("{}, refused: {reason} ({})", row.next_hop, row.origin));
        told.disagree(
            DisagreementKind::NoNextHop,
            format!("{} should lead to {}, but is not used: {reason}", row.prefix, row.next_hop),
            "put right what the reason names; the agent follows by itself",
        );
        losers(&mut told, row);
    }
    match &decided.route {
        Some(row) => {
            told.row(row.prefix.to_string(), format!("{}, used ({})", row.next_hop, row.origin));
            refused(&mut told, target, row);
            losers(&mut told, row);
        }
        None => told.row("match", "no prefix that Podroute routes contains it"),
    }
    for (prefix, loser) in &decided.unused {
        told.row("unused", format!("{prefix}, {}: {}", loser.candidate, loser.reason));
    }
    for row in &decided.around {
        let state = row.refused.as_deref().unwrap_or("a longer prefix is used");
        told.row(row.prefix.to_string(), format!("{}, around it: {state} ({})", row.next_hop, row.origin));
    }
    for row in &decided.inside {
        let state = row.refused.as_ref().map_or("used".to_owned(), |reason| format!("refused: {reason}"));
        told.row(row.prefix.to_string(), format!("{}, inside of it: {state} ({})", row.next_hop, row.origin));
    }
    if decided.more_inside > 0 {
        told.row("inside", format!("{} more: `node-agent routes` has all", decided.more_inside));
    }
    conflicts(&mut told, facts);
    told.done()
}

/// A prefix that has a route, but not to where it should lead.
fn refused(told: &mut Telling, target: Prefix, row: &RouteRow) {
    if let Some(reason) = &row.refused {
        told.disagree(
            DisagreementKind::NoNextHop,
            format!("{target} does not lead where it should: {reason}"),
            "put right what the reason names; the agent follows by itself",
        );
    }
}

fn losers(told: &mut Telling, row: &RouteRow) {
    for loser in &row.losers {
        told.row(row.prefix.to_string(), format!("not {}: {}", loser.candidate, loser.reason));
    }
}

fn conflicts(told: &mut Telling, facts: &Facts) {
    let Some(row) = &facts.decided.route else { return };
    for rival in &facts.decided.rivals {
        told.disagree(
            DisagreementKind::SourceConflict,
            format!(
                "{} belongs to {} ({}), but is also {}",
                row.prefix, row.next_hop, row.origin, rival.candidate
            ),
            "give each prefix and address to one object only, at the places named",
        );
    }
    let Some(asked) = &facts.asked else { return };
    if asked.node.is_some() && facts.decided.node.is_some() && asked.node != facts.decided.node {
        told.disagree(
            DisagreementKind::NotSelected,
            format!(
                "{} ({}) does not get its packets: they go to {}",
                asked.what, asked.origin, row.next_hop
            ),
            "give the pod an address of its own, within a pod prefix of its node",
        );
    }
}
