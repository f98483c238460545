//! What an operator should look at: problems, and among them conflicts, with the events of their coming and going.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::App;
use crate::{
    api::ConflictRow,
    events::{EventKind, Events},
    metrics::Snapshot,
    model::SourceId,
    rib::{Claimant, Conflict, ConflictKind, Problem},
};

/// What has been told and is still there.
#[derive(Debug, Default)]
pub(super) struct Known {
    problems: BTreeSet<String>,
    /// Since when each conflict has been known, and what follows from it.
    conflicts: BTreeMap<Conflict, (SystemTime, String)>,
}

impl Known {
    /// Tells of each problem and each conflict once when it comes and once when it goes.
    fn update<'a>(
        &mut self,
        stated: impl Iterator<Item = &'a Problem>,
        others: impl Iterator<Item = String>,
        events: &mut Events,
    ) {
        let (mut problems, mut conflicts) = (BTreeSet::new(), BTreeMap::new());
        let now = SystemTime::now();
        for problem in stated {
            match &problem.conflict {
                None => {
                    problems.insert(problem.text.clone());
                }
                Some(conflict) => {
                    let since = self.conflicts.get(&**conflict).map_or(now, |known| known.0);
                    conflicts.insert((**conflict).clone(), (since, problem.text.clone()));
                }
            }
        }
        problems.extend(others);
        for problem in problems.difference(&self.problems) {
            events.record(EventKind::ProblemFound, problem.as_str());
        }
        for problem in self.problems.difference(&problems) {
            events.record(EventKind::ProblemGone, problem.as_str());
        }
        let news = conflicts.iter().filter(|(conflict, _)| !self.conflicts.contains_key(conflict));
        for (conflict, (_, text)) in news {
            events.record_about(EventKind::ConflictFound, conflict.about.as_str(), text.as_str());
        }
        let gone = self.conflicts.iter().filter(|(conflict, _)| !conflicts.contains_key(conflict));
        for (conflict, (_, text)) in gone {
            events.record_about(EventKind::ConflictGone, conflict.about.as_str(), text.as_str());
        }
        *self = Self { problems, conflicts };
    }

    /// The conflicts, all losers of one winner together.
    pub(super) fn conflicts(&self) -> Vec<ConflictRow> {
        let mut rows: BTreeMap<(ConflictKind, &str, &Claimant), ConflictRow> = BTreeMap::new();
        for (conflict, (since, text)) in &self.conflicts {
            let Conflict { kind, about, winner, loser } = conflict;
            let row = rows.entry((*kind, about, winner)).or_insert_with(|| ConflictRow {
                kind: *kind,
                about: about.clone(),
                winner: winner.clone(),
                losers: Vec::new(),
                since: *since,
                problems: Vec::new(),
            });
            row.losers.push(loser.clone());
            row.problems.push(text.clone());
            row.since = row.since.min(*since);
        }
        rows.into_values().collect()
    }
}

impl App {
    /// Everything that an operator should look at.
    pub(super) fn problems(&self) -> BTreeSet<String> {
        let others = self.other_problems().map(|(_, text)| text);
        self.stated_problems().map(ToString::to_string).chain(others).collect()
    }

    pub(super) fn stated_problems(&self) -> impl Iterator<Item = &Problem> {
        self.selection.problems.iter().chain(&self.resolved.problems)
    }

    /// Problems that are no [`crate::rib::ProblemKind`], with where they come from: [`Snapshot::OTHER_PROBLEMS`].
    pub(super) fn other_problems(&self) -> impl Iterator<Item = (&'static str, String)> {
        let [not_done, datapath, brake, watch, config] = Snapshot::OTHER_PROBLEMS;
        let conflicts = self.reconciler.report().conflicts.iter().cloned().map(move |text| (not_done, text));
        let of_datapath = self.reconciler.datapath.problems().map(move |text| (datapath, text));
        let of_brake = self.brake_problems().map(move |text| (brake, text));
        let of_watches = self.watch_problems().map(move |text| (watch, text));
        let of_config = self.config_problems().map(move |text| (config, text));
        conflicts.chain(of_datapath).chain(of_brake).chain(of_watches).chain(of_config)
    }

    /// Tells of each problem once when it comes and once when it goes.
    pub(super) fn tell_of_problems(&mut self) {
        let stated = self.selection.problems.iter().chain(&self.resolved.problems);
        let others: Vec<String> = self.other_problems().map(|(_, text)| text).collect();
        self.known.update(stated, others.into_iter(), &mut self.events);
    }

    /// Tells that a source is in step, when it says so for the first time and when it had failed.
    pub(super) fn tell_of_sync(&mut self, source: &SourceId) {
        let was = self.table.statuses().into_iter().find(|status| status.source == *source);
        if was.is_none_or(|was| !was.synced || was.error.is_some()) {
            let text = format!("source {source} has told all it has");
            self.events.record_about(EventKind::SourceSynced, source.to_string(), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::ProblemKind;

    fn node(name: &str) -> Claimant {
        Claimant { name: format!("node {name}"), origin: None }
    }

    fn conflict(loser: &str) -> Problem {
        let (kind, about) = (ConflictKind::DuplicatePodPrefix, "10.244.2.0/24".to_owned());
        let conflict = Conflict { kind, about, winner: node("a2"), loser: node(loser) };
        Problem::of(conflict, format!("not {loser}"))
    }

    fn told(events: &Events, since: u64) -> Vec<String> {
        events.since(since).map(|event| format!("{} {}", event.kind, event.text)).collect()
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let (mut known, mut events) = (Known::default(), Events::default());
        let lo = Problem::new(ProblemKind::NoLoopback, "no lo");
        for _ in 0..2 {
            known.update([&lo, &conflict("b1")].into_iter(), ["no xdp".to_owned()].into_iter(), &mut events);
        }
        assert_eq!(
            told(&events, 0),
            ["problem-found no lo", "problem-found no xdp", "conflict-found not b1"]
        );
        assert_eq!(events.since(2).next().unwrap().object.as_deref(), Some("10.244.2.0/24"));
        known.update([&lo].into_iter(), std::iter::empty(), &mut events);
        assert_eq!(told(&events, 3), ["problem-gone no xdp", "conflict-gone not b1"]);
        assert_eq!(known.conflicts(), []);
    }

    #[test]
    fn losers_of_one_winner_are_one_conflict() {
        let (mut known, mut events) = (Known::default(), Events::default());
        known.update([&conflict("b1")].into_iter(), std::iter::empty(), &mut events);
        let since = known.conflicts()[0].since;
        known.update([&conflict("c1"), &conflict("b1")].into_iter(), std::iter::empty(), &mut events);
        let rows = known.conflicts();
        let [row] = rows.as_slice() else { panic!("{rows:#?}") };
        assert_eq!((row.kind, row.about.as_str()), (ConflictKind::DuplicatePodPrefix, "10.244.2.0/24"));
        assert_eq!((&row.winner, row.losers.as_slice()), (&node("a2"), [node("b1"), node("c1")].as_slice()));
        assert_eq!(row.problems, ["not b1", "not c1"]);
        assert_eq!(row.since, since, "the first of them");
        assert_eq!(events.last(), 2);
    }
}
