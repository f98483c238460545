//! What the sources say.

use super::{Facts, Telling};
use crate::api::{DisagreementKind, Step, StepKind};

pub(super) fn step(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Source);
    for source in &facts.sources {
        let state = if source.synced { "synced" } else { "not synced" };
        told.row("source", format!("{}, {state}", source.name));
        if let Some(error) = &source.error {
            told.disagree(
                DisagreementKind::SourceFailed,
                format!("{} cannot be read, and what it said before is in force: {error}", source.name),
                "put right what the error names; the source is read again when it changes",
            );
        }
    }
    let unsynced = facts.sources.iter().find(|source| !source.synced);
    if let Some(source) = unsynced {
        told.disagree(
            DisagreementKind::SourceNotSynced,
            format!("{} has not told all it has: what it states may be missing here", source.name),
            "wait until `node-agent status` says synced, or look why the source cannot be read",
        );
    } else if !facts.settled {
        told.disagree(
            DisagreementKind::SourceNotSynced,
            "the agent has not made a pass with all that the sources have",
            "ask again in a moment; if it stays so, look into the agent's log",
        );
    }
    for stated in &facts.stated {
        told.row("stated", format!("{} ({})", stated.what, stated.origin));
    }
    if facts.stated.is_empty() {
        told.row("stated", "no object has this address or a prefix around it");
    }
    told.done()
}
