//! Changes to the kernel's own tables.

use std::time::Instant;

use tracing::debug;

use super::{
    Reconciler,
    backlog::{Backlog, Tried},
    report::Outcome,
};
use crate::{
    datapath::Datapath,
    model::{ChangeObject, HostChange},
};

/// What fails where none of the changes could be tried.
const EXCHANGE: &str = "change the host's network";

impl<D: Datapath> Reconciler<D> {
    /// Makes changes to the kernel's own tables, in their order.
    pub(super) async fn make_host(&self, changes: &[HostChange], outcome: &mut Outcome) {
        let changes = due(changes, &self.report.pending, &mut outcome.tried, Instant::now());
        if changes.is_empty() || self.stop.is_asked() {
            return;
        }
        match self.host.apply_all(&changes).await {
            Ok(results) => {
                for (change, result) in changes.iter().zip(results) {
                    debug!("{change}");
                    match result {
                        Ok(()) => outcome.work.host_changes += 1,
                        Err(error) => {
                            let object = (change.object_kind(), change.object());
                            outcome.failed(object, change.to_string(), error.to_string());
                        }
                    }
                }
            }
            Err(error) => none_was_tried(&changes, error.to_string(), &mut outcome.tried),
        }
    }
}

/// Those of the changes that are to be made now.
fn due(changes: &[HostChange], backlog: &Backlog, tried: &mut Tried, now: Instant) -> Vec<HostChange> {
    let (due, later): (Vec<_>, Vec<_>) =
        changes.iter().cloned().partition(|change| backlog.is_due(&change.object(), now));
    later.iter().for_each(|change| tried.postpone(change.object()));
    if due.is_empty() || backlog.is_due(EXCHANGE, now) {
        return due;
    }
    tried.postpone(EXCHANGE.to_owned());
    due.iter().for_each(|change| tried.wait(change.object()));
    Vec::new()
}

/// Notes that the exchange with the kernel failed: what was to be changed keeps the place that it has.
fn none_was_tried(changes: &[HostChange], error: String, tried: &mut Tried) {
    tried.fail((ChangeObject::Host, EXCHANGE.to_owned()), EXCHANGE.to_owned(), error, false);
    changes.iter().for_each(|change| tried.wait(change.object()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Setting,
        reconcile::driver::backlog::{RETRY_FIRST, RETRY_LONGEST},
    };

    /// One that failed before, and one that is new.
    fn changes() -> Vec<HostChange> {
        ["eth0", "eth1"].map(|name| HostChange::Set(Setting::LooseReversePath(name.to_owned()))).to_vec()
    }

    #[test]
    fn an_exchange_that_failed_is_not_tried_before_it_is_due() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let failed_before = |backlog: &Backlog| {
            backlog
                .iter()
                .find(|(object, _)| *object == changes()[0].object())
                .map(|(_, pending)| pending.attempts)
        };
        let mut tried = Tried::default();
        tried.fail((ChangeObject::Sysctl, changes()[0].object()), "set".to_owned(), "no".to_owned(), false);
        backlog.conclude(tried, start);

        let mut now = start + RETRY_FIRST;
        let mut tried = Tried::default();
        assert_eq!(due(&changes(), &backlog, &mut tried, now), changes());
        none_was_tried(&changes(), "No buffer space available".to_owned(), &mut tried);
        backlog.conclude(tried, now);
        assert_eq!(backlog.iter().count(), 2, "the exchange, and what failed before");
        assert_eq!(failed_before(&backlog), Some(1));

        // Another pass, for another reason: nothing is tried, nothing forgotten.
        let mut tried = Tried::default();
        assert_eq!(due(&changes(), &backlog, &mut tried, now), []);
        backlog.conclude(tried, now);
        assert_eq!(backlog.next(), Some(now + RETRY_FIRST));
        assert_eq!(failed_before(&backlog), Some(1));

        now += RETRY_LONGEST;
        let mut tried = Tried::default();
        assert_eq!(due(&changes(), &backlog, &mut tried, now), changes());
        backlog.conclude(tried, now);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_not_due_does_not_hold_up_the_rest() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let mut tried = Tried::default();
        tried.fail((ChangeObject::Sysctl, changes()[0].object()), "set".to_owned(), "no".to_owned(), false);
        backlog.conclude(tried, start);
        let mut tried = Tried::default();
        assert_eq!(due(&changes(), &backlog, &mut tried, start), changes()[1..]);
        backlog.conclude(tried, start);
        assert_eq!(backlog.iter().count(), 1);
    }
}
