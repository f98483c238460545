//! Changes that failed: each is tried again at its own pace, and nothing else waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tracing::warn;

use crate::model::ChangeObject;

/// First retry of what failed; doubles with each attempt.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Retries are never further apart.
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// A change that failed and stays to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What was to be done the last time.
    pub change: String,
    /// Why it failed the last time.
    pub error: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it is tried again.
    pub next: Instant,
    /// What sort of object it is about.
    pub kind: ChangeObject,
    /// Whether there was no room for it.
    full: bool,
}

/// What failed, by the object that it would change: the next attempt may want something else of the same object.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    pending: BTreeMap<String, Pending>,
    /// How many attempts have failed so far, by sort of object.
    failures: BTreeMap<ChangeObject, u64>,
}

/// A change that failed.
#[derive(Debug)]
struct Failure {
    kind: ChangeObject,
    object: String,
    change: String,
    error: String,
    full: bool,
}

/// What became of the backlog in one pass.
#[derive(Debug, Default)]
pub(super) struct Tried {
    failed: Vec<Failure>,
    /// Objects whose change is still wanted, but not due.
    postponed: BTreeSet<String>,
    /// Objects whose change is still wanted, and waits for another one that failed or is not due.
    waiting: BTreeSet<String>,
}

impl Tried {
    /// A change that failed; `full` tells that there was no room for it.
    pub(super) fn fail(
        &mut self,
        (kind, object): (ChangeObject, String),
        change: String,
        error: String,
        full: bool,
    ) {
        self.failed.push(Failure { kind, object, change, error, full });
    }

    /// A change that is left for later.
    pub(super) fn postpone(&mut self, object: String) {
        self.postponed.insert(object);
    }

    /// A change that waits for another one.
    pub(super) fn wait(&mut self, object: String) {
        self.waiting.insert(object);
    }

    /// Whether nothing failed.
    pub(super) fn is_clean(&self) -> bool {
        self.failed.is_empty()
    }
}

impl Backlog {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Everything in it, by object.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Pending)> {
        self.pending.iter().map(|(object, pending)| (object.as_str(), pending))
    }

    /// How many attempts have failed since the agent started, by sort of object; of the others none has.
    #[must_use]
    pub fn failures(&self) -> &BTreeMap<ChangeObject, u64> {
        &self.failures
    }

    /// When the first of it is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.next).min()
    }

    /// Whether a change of this object is to be made now.
    pub(super) fn is_due(&self, object: &str, now: Instant) -> bool {
        self.pending.get(object).is_none_or(|pending| pending.next <= now)
    }

    /// Whether a change of this object failed because there was no room for it.
    pub(super) fn found_no_room(&self, object: &str) -> bool {
        self.pending.get(object).is_some_and(|pending| pending.full)
    }

    /// Makes everything due: what stood in the way may be gone.
    pub(super) fn make_due(&mut self, now: Instant) {
        self.pending.values_mut().for_each(|pending| pending.next = pending.next.min(now));
    }

    /// Takes in that something failed without which there is no pass; everything else stays as it is. Returns when it is
    /// tried again. The next pass that there is forgets it.
    pub(super) fn fail_alone(
        &mut self,
        (kind, what): (ChangeObject, String),
        error: String,
        now: Instant,
    ) -> Instant {
        let known = self.pending.remove(&what);
        self.add(Failure { kind, object: what.clone(), change: what, error, full: false }, known, now)
    }

    /// Takes in what a pass has tried: what neither failed, nor was postponed, nor waits is done, or not wanted any more.
    pub(super) fn conclude(&mut self, tried: Tried, now: Instant) {
        let mut before = std::mem::take(&mut self.pending);
        for failure in tried.failed {
            let known = before.remove(&failure.object);
            self.add(failure, known, now);
        }
        let kept = tried.postponed.into_iter().filter_map(|object| before.remove_entry(&object));
        self.pending.extend(kept);
        // With what it waits for, not before: left at a time that is past, it would call for passes without a pause.
        let sooner = self.pending.values().map(|pending| pending.next).filter(|next| *next > now).min();
        let sooner = sooner.unwrap_or(now + RETRY_FIRST);
        for object in tried.waiting {
            if let Some(pending) = before.remove(&object) {
                let next = pending.next.max(sooner);
                self.pending.insert(object, Pending { next, ..pending });
            }
        }
    }

    /// Adds what failed, of which this was known, and tells it if that is news. Returns when it is tried again.
    fn add(&mut self, failure: Failure, known: Option<Pending>, now: Instant) -> Instant {
        let Failure { kind, object, change, error, full } = failure;
        *self.failures.entry(kind).or_default() += 1;
        if known.as_ref().is_none_or(|known| known.error != error) {
            warn!("cannot {change}: {error}");
        }
        let attempts = known.map_or(0, |known| known.attempts) + 1;
        let next = now + back_off(attempts);
        self.pending.insert(object, Pending { change, error, attempts, next, kind, full });
        next
    }
}

/// How long to wait after so many attempts.
fn back_off(attempts: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(RETRY_LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed(objects: &[&str]) -> Tried {
        let mut tried = Tried::default();
        objects.iter().for_each(|object| {
            let about = (ChangeObject::Route, (*object).to_owned());
            tried.fail(about, format!("set {object}"), "no".to_owned(), false);
        });
        tried
    }

    #[test]
    fn each_object_has_its_own_pace() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        backlog.conclude(failed(&["a", "b"]), start);
        assert!(!backlog.is_due("a", start) && backlog.is_due("c", start));
        let second = start + RETRY_FIRST;
        assert!(backlog.is_due("a", second) && backlog.is_due("b", second));
        // Only one of them fails again, the other one is done.
        backlog.conclude(failed(&["b"]), second);
        assert_eq!(backlog.iter().map(|(object, _)| object).collect::<Vec<_>>(), ["b"]);
        assert_eq!(backlog.next(), Some(second + 2 * RETRY_FIRST));
        // One that is new does not wait for it, nor it for the new one.
        let mut tried = failed(&["c"]);
        tried.postpone("b".to_owned());
        backlog.conclude(tried, second);
        assert_eq!(backlog.next(), Some(second + RETRY_FIRST));
        assert!(!backlog.is_due("b", second + RETRY_FIRST));
        // What nobody wants any more is forgotten, but not that it failed.
        backlog.conclude(Tried::default(), second);
        assert!(backlog.is_empty());
        assert_eq!(backlog.failures(), &BTreeMap::from([(ChangeObject::Route, 4)]));
    }

    #[test]
    fn what_fails_alone_leaves_the_others_and_is_forgotten_by_the_next_pass() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        backlog.conclude(failed(&["a"]), start);
        for attempt in 1..=3 {
            let next = backlog.fail_alone((ChangeObject::Host, "look".to_owned()), "no".to_owned(), start);
            assert_eq!(next, start + back_off(attempt));
        }
        assert_eq!(backlog.iter().map(|(object, _)| object).collect::<Vec<_>>(), ["a", "look"]);
        let mut tried = Tried::default();
        tried.postpone("a".to_owned());
        backlog.conclude(tried, start);
        assert_eq!(backlog.iter().map(|(object, _)| object).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_change_of_the_host_makes_everything_due() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        (0..10).for_each(|_| backlog.conclude(failed(&["a"]), start));
        assert_eq!(backlog.next(), Some(start + RETRY_LONGEST));
        backlog.make_due(start);
        assert!(backlog.is_due("a", start));
        assert_eq!(
            backlog.iter().next().map(|(_, pending)| pending.attempts),
            Some(10),
            "and forgets nothing"
        );
    }

    #[test]
    fn what_waits_for_another_change_keeps_its_place_and_calls_for_no_pass_of_its_own() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        (0..3).for_each(|_| backlog.conclude(failed(&["route"]), start));
        let due = start + RETRY_LONGEST;
        for others in [&["next hop"][..], &[]] {
            let mut tried = failed(others);
            tried.wait("route".to_owned());
            tried.wait("never tried".to_owned());
            backlog.conclude(tried, due);
            let of_route = backlog.iter().find(|(object, _)| *object == "route").map(|(_, pending)| pending);
            assert_eq!(
                of_route.map(|pending| (pending.attempts, pending.next)),
                Some((3, due + RETRY_FIRST))
            );
            assert_eq!(backlog.iter().count(), others.len() + 1, "what was never tried has not failed");
        }
    }

    proptest! {
        /// Whatever fails and for how long: all is done in the end, and nothing is tried more often than its pace allows.
        #[test]
        fn everything_converges_at_its_own_pace(refusals in proptest::collection::vec(0_u32..12, 1..20)) {
            let (mut backlog, mut now) = (Backlog::default(), Instant::now());
            let mut left = refusals.clone();
            let mut attempts = vec![0_u32; left.len()];
            let mut last = vec![None; left.len()];
            let mut done = vec![false; left.len()];
            let mut passes = 0;
            while done.iter().any(|done| !done) {
                let mut tried = Tried::default();
                for index in (0..left.len()).filter(|index| !done[*index]).collect::<Vec<_>>() {
                    let object = index.to_string();
                    if !backlog.is_due(&object, now) {
                        tried.postpone(object);
                        continue;
                    }
                    if let Some(last) = last[index].replace(now) {
                        prop_assert!(now - last >= back_off(attempts[index]));
                    }
                    attempts[index] += 1;
                    if left[index] == 0 {
                        done[index] = true;
                    } else {
                        left[index] -= 1;
                        tried.fail((ChangeObject::Route, object), "set".to_owned(), "no".to_owned(), false);
                    }
                }
                backlog.conclude(tried, now);
                now = backlog.next().unwrap_or(now);
                passes += 1;
                prop_assert!(passes < 1_000);
            }
            prop_assert!(backlog.is_empty());
            for (attempts, refusals) in attempts.iter().zip(&refusals) {
                prop_assert_eq!(*attempts, refusals + 1);
            }
        }
    }
}
