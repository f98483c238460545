//! Which neighbours answer, by the states that the kernel tells of.

use std::{collections::BTreeSet, ops::Bound};

use netlink_packet_route::neighbour::NeighbourState;

use crate::model::LinkNeighbour;

/// The neighbours that are followed, and those of them that do not answer.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    watched: BTreeSet<LinkNeighbour>,
    failed: BTreeSet<LinkNeighbour>,
    /// Those of which the kernel has not heard for a while.
    stale: BTreeSet<LinkNeighbour>,
    /// The last one of those that have failed that was asked.
    asked: Option<LinkNeighbour>,
}

impl Verdicts {
    /// Follows nobody yet, but knows that these did not answer.
    pub(super) fn knowing(failed: BTreeSet<LinkNeighbour>) -> Self {
        Self { failed, ..Self::default() }
    }

    /// Those that are followed.
    pub(super) fn watched(&self) -> &BTreeSet<LinkNeighbour> {
        &self.watched
    }

    /// Those that do not answer.
    pub(super) fn failed(&self) -> &BTreeSet<LinkNeighbour> {
        &self.failed
    }

    /// Follows these from now on; what is known of them stays known.
    pub(super) fn watch(&mut self, watched: BTreeSet<LinkNeighbour>) {
        self.failed.retain(|neighbour| watched.contains(neighbour));
        self.stale.retain(|neighbour| watched.contains(neighbour));
        self.watched = watched;
    }

    /// Takes in a neighbour's state. Tells whether it answers no more or again.
    ///
    /// One that is being asked for the first time, or again after it has failed, is what it was: it must not come and go
    /// with each question.
    pub(super) fn take(&mut self, neighbour: LinkNeighbour, state: NeighbourState) -> bool {
        if !self.watched.contains(&neighbour) {
            return false;
        }
        if state == NeighbourState::Stale {
            self.stale.insert(neighbour);
        } else {
            self.stale.remove(&neighbour);
        }
        match state {
            NeighbourState::Failed => self.failed.insert(neighbour),
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Noarp
            | NeighbourState::Permanent => self.failed.remove(&neighbour),
            _ => false,
        }
    }

    /// Whether any has to be asked until it answers.
    pub(super) fn asks(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Whom to ask now, `most` of each sort: those that have failed, by turns, and those of which the kernel has not heard
    /// for a while.
    pub(super) fn next_to_ask(&mut self, most: usize) -> Vec<LinkNeighbour> {
        let after = self.asked.map_or(Bound::Unbounded, Bound::Excluded);
        let (later, first) = (self.failed.range((after, Bound::Unbounded)), self.failed.iter());
        let mut ask: Vec<LinkNeighbour> =
            later.chain(first).copied().take(most.min(self.failed.len())).collect();
        self.asked = ask.last().copied();
        ask.extend(std::iter::from_fn(|| self.stale.pop_first()).take(most));
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(number: u8) -> Vec<LinkNeighbour> {
        (0..number).map(|last| LinkNeighbour { link: 2, address: [10, 0, 1, last].into() }).collect()
    }

    fn watching(number: u8) -> (Verdicts, Vec<LinkNeighbour>) {
        let (mut verdicts, all) = (Verdicts::default(), neighbours(number));
        verdicts.watch(all.iter().copied().collect());
        (verdicts, all)
    }

    #[test]
    fn a_neighbour_fails_once_and_is_back_when_it_answers() {
        use NeighbourState::{Delay, Failed, Incomplete, Permanent, Probe, Reachable, Stale};
        let (mut verdicts, all) = watching(2);
        // State, whether that changes anything, and whether it counts as failed then.
        for (state, changes, failed) in [
            (Incomplete, false, false),
            (Reachable, false, false),
            (Stale, false, false),
            (Delay, false, false),
            (Probe, false, false),
            (Failed, true, true),
            (Failed, false, true),
            (Incomplete, false, true),
            (Failed, false, true),
            (Incomplete, false, true),
            (Reachable, true, false),
            (Failed, true, true),
            (Permanent, true, false),
        ] {
            assert_eq!(verdicts.take(all[0], state), changes, "{state:?}");
            assert_eq!(verdicts.failed().contains(&all[0]), failed, "{state:?}");
            assert_eq!(verdicts.asks(), failed);
        }
    }

    #[test]
    fn nobody_else_counts_and_who_is_followed_no_more_is_forgotten() {
        let (mut verdicts, all) = watching(2);
        let other = LinkNeighbour { link: 3, ..all[0] };
        assert!(!verdicts.take(other, NeighbourState::Failed));
        assert!(
            verdicts.take(all[0], NeighbourState::Failed) && verdicts.take(all[1], NeighbourState::Failed)
        );
        verdicts.watch(BTreeSet::from([all[1], other]));
        assert_eq!(*verdicts.failed(), BTreeSet::from([all[1]]));
        assert_eq!(verdicts.next_to_ask(9), [all[1]]);
        // Also where somebody else has begun to follow them.
        let mut verdicts = Verdicts::knowing(BTreeSet::from([all[0], all[1]]));
        verdicts.watch(BTreeSet::from([all[1], other]));
        assert_eq!(*verdicts.failed(), BTreeSet::from([all[1]]));
    }

    #[test]
    fn of_many_each_has_its_turn() {
        let (mut verdicts, all) = watching(5);
        all.iter().for_each(|one| assert!(verdicts.take(*one, NeighbourState::Failed)));
        assert_eq!(verdicts.next_to_ask(2), all[..2]);
        assert_eq!(verdicts.next_to_ask(2), all[2..4]);
        assert_eq!(verdicts.next_to_ask(2), [all[4], all[0]]);
        assert!(verdicts.take(all[1], NeighbourState::Reachable));
        assert_eq!(verdicts.next_to_ask(9), [all[2], all[3], all[4], all[0]]);
    }

    #[test]
    fn one_not_heard_of_for_a_while_is_asked_once_each_time() {
        let (mut verdicts, all) = watching(3);
        verdicts.take(all[0], NeighbourState::Stale);
        verdicts.take(all[1], NeighbourState::Stale);
        verdicts.take(all[1], NeighbourState::Reachable);
        assert_eq!((verdicts.next_to_ask(9), verdicts.next_to_ask(9)), (vec![all[0]], vec![]));
    }
}
