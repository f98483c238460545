//! What is still to be done, and what is wrong.

use super::{AUDIT_HEALS, Facts, Telling};
use crate::api::{DisagreementKind, Step, StepKind};

pub(super) fn step(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Pending);
    let pending = &facts.pending;
    for change in &pending.changes {
        told.disagree(
            DisagreementKind::ChangePending,
            format!("the agent cannot {}: {} (tried {} times)", change.change, change.error, change.attempts),
            "put right what the error names; the agent tries again by itself",
        );
    }
    for problem in &pending.problems {
        told.disagree(DisagreementKind::Problem, problem.clone(), "put right what it names");
    }
    if pending.other_changes + pending.other_problems > 0 {
        told.row(
            "elsewhere",
            format!(
                "{} failed changes and {} problems that do not name this: `node-agent status`",
                pending.other_changes, pending.other_problems
            ),
        );
    }
    match pending.masquerade {
        (true, false) => told.disagree(
            DisagreementKind::MasqueradeMissing,
            "masquerade is on, but its nftables table is not in place: what pods send out of the cluster keeps their address",
            AUDIT_HEALS,
        ),
        (true, true) => told.row("masquerade", "on, in place: towards the cluster addresses stay as they are"),
        (false, _) => {}
    }
    told.done()
}

/// Whether a text names one of these words: an address, a prefix, a node, an interface.
#[must_use]
pub fn concerns(text: &str, words: &[String]) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_');
    let split = text.split(|c: char| !inside(c)).map(|word| word.trim_end_matches(['.', ':']));
    split.into_iter().any(|word| words.iter().any(|wanted| wanted == word))
}
