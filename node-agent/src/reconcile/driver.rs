//! One pass: plan against what is observed, hold back what the brake holds, make the changes, remember what failed.

mod backlog;
mod failed;
mod hold_back;
mod host_changes;
mod notes;
mod points;
mod read_back;
mod report;

use std::time::Instant;

use tracing::{debug, info};

use self::failed::Failed;
use self::hold_back::{AtHome, Plans};
pub use self::notes::PassNotes;
use self::report::Outcome;
pub use self::report::{Report, Work};
use super::{
    AttachmentState, Brake, MapChange, ObservedDatapath, PlanOptions, plan_datapath, plan_host, shortcut,
};
use crate::{
    datapath::Datapath,
    fault::{self, Point},
    host::{Host, HostError},
    masquerade::{self, Masquerade, MasqueradeTable, Nft},
    model::{ChangeObject, HostChange, HostView, Wanted},
    rib::Amendment,
    stop::Stop,
};

/// How many routes are written to the maps together.
const ROUTES_TOGETHER: usize = 1024;

/// How a pass is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Whether anything may be deleted: not before every source has synced (invariant 2).
    pub allow_delete: bool,
    /// Whether the datapath is read back first, instead of trusting what was written (invariant 4).
    pub audit: bool,
    /// Whether every source could be read the last time: what is missing in one that failed is not repeated by it.
    pub healthy: bool,
    /// Whether what is wanted, or the host's network, may be other than in the pass before.
    pub changed: bool,
    /// Whether somebody may have changed the masquerade table.
    pub table_changed: bool,
}

/// Owns the datapath and keeps it, and the kernel's tables, as wanted.
pub struct Reconciler<D> {
    /// The datapath.
    pub datapath: D,
    /// The brake on mass withdrawal.
    pub brake: Brake,
    host: Host,
    stop: Stop,
    masquerade: Masquerade,
    observed: Option<ObservedDatapath>,
    search_from: u32,
    report: Report,
    notes: PassNotes,
    /// Whether the last pass found nothing to do, nothing failed and nothing is held: then the next one has nothing to do
    /// either unless something has changed.
    even: bool,
}

impl<D: Datapath> Reconciler<D> {
    /// Starts with whatever is in place. Once it is asked to stop, it makes no more changes.
    pub fn new(datapath: D, host: Host, brake: Brake, stop: Stop) -> Self {
        let masquerade = Masquerade::new(Nft::system());
        let (report, notes) = Default::default();
        let (observed, search_from, even) = (None, 1, false);
        Self { datapath, brake, host, stop, masquerade, observed, search_from, report, notes, even }
    }

    /// What the passes so far came to.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What people should know of the last pass; nothing if that was asked for already.
    pub fn take_notes(&mut self) -> PassNotes {
        std::mem::take(&mut self.notes)
    }

    /// The datapath as last observed, with the changes made since.
    #[must_use]
    pub fn observed(&self) -> Option<&ObservedDatapath> {
        self.observed.as_ref()
    }

    /// The masquerade table that is in place, as far as is known.
    #[must_use]
    pub fn masqueraded(&self) -> Option<&MasqueradeTable> {
        self.masquerade.in_place()
    }

    /// Forgets what is attached, so that the next pass attaches everything anew, in place.
    pub fn reattach(&mut self) {
        if let Some(observed) = &mut self.observed {
            observed.attachments.values_mut().for_each(|state| *state = AttachmentState::Stale);
        }
        self.even = false;
    }

    /// Makes one pass: first the datapath, which the kernel's routes rely on, then the kernel's tables. A pod `at_home`
    /// needs no route of its own.
    pub async fn pass(
        &mut self,
        wanted: &Wanted,
        masquerade: Option<&MasqueradeTable>,
        view: &HostView,
        pass: Pass,
        at_home: AtHome<'_>,
    ) {
        let started = Instant::now();
        let mut outcome = Outcome::default();
        self.read_back(pass, &mut outcome);
        if self.even && !pass.changed {
            outcome.conflicts = std::mem::take(&mut self.report.conflicts);
            self.masquerade_pass(masquerade, pass, &mut outcome).await;
            return self.conclude(outcome, started);
        }
        let mut plans = Plans {
            maps: self.plan_datapath(wanted, pass, &mut outcome),
            host: plan_host_changes(wanted, view, pass, &mut outcome),
        };
        self.hold_back(&mut plans, wanted, view, pass, at_home);
        if let Some(observed) = &self.observed {
            self.notes = PassNotes::of(&plans.maps, &wanted.datapath, observed);
        }
        let nothing_to_do = plans.maps.is_empty() && plans.host.is_empty() && pass.allow_delete;
        self.make(&plans.maps, &mut outcome);
        if self.stop.is_asked() {
            return self.conclude(outcome, started);
        }
        fault::point(Point::DatapathDone);
        let datapath_done = Instant::now();
        self.report.datapath_done = Some(datapath_done);
        self.make_host(&plans.host, &mut outcome).await;
        outcome.work.host = datapath_done.elapsed();
        fault::point(Point::HostDone);
        let held = self.brake.hold().map(|hold| hold.prefixes().collect::<Vec<_>>());
        let masquerade = masquerade.map(|table| table.with(held.as_deref().unwrap_or_default()));
        self.masquerade_pass(masquerade.as_deref(), pass, &mut outcome).await;
        self.conclude(outcome, started);
        self.even = nothing_to_do && self.report.pending.is_empty() && self.brake.hold().is_none();
        fault::point(Point::PassDone);
    }

    /// Makes the changes that one changed object comes to, as a pass of its own. Tells whether it could: if not, the
    /// next pass has to find out what is missing.
    pub async fn shortcut(&mut self, amendment: &Amendment, view: &HostView) -> bool {
        let started = Instant::now();
        let Some(observed) = self.observed.as_mut().filter(|_| self.report.pending.is_empty()) else {
            return false;
        };
        let Some(steps) = shortcut::steps(amendment, observed, view) else { return false };
        if !self.brake.admits(amendment, observed.routes.len(), started) {
            return false;
        }
        let mut outcome =
            Outcome { conflicts: std::mem::take(&mut self.report.conflicts), ..Outcome::default() };
        outcome.work.plan = started.elapsed();
        self.make(&steps.maps, &mut outcome);
        let datapath_done = Instant::now();
        self.report.datapath_done = Some(datapath_done);
        self.make_host(&steps.host, &mut outcome).await;
        outcome.work.host = datapath_done.elapsed();
        let complete = outcome.tried.is_clean();
        self.conclude(outcome, started);
        self.even = false;
        complete
    }

    /// Notes that the host's network cannot be read, so that there is no pass. Returns when it is tried again.
    pub fn cannot_look_at_host(&mut self, error: &HostError) -> Instant {
        let what = (ChangeObject::Host, "read the host's network".to_owned());
        self.report.pending.fail_alone(what, error.to_string(), Instant::now())
    }

    /// Makes everything that failed due: what stood in the way may be gone.
    pub fn try_all_again(&mut self) {
        self.report.pending.make_due(Instant::now());
    }

    /// The changes to maps and hooks; none if it is not known what is there.
    fn plan_datapath(&mut self, wanted: &Wanted, pass: Pass, outcome: &mut Outcome) -> Vec<MapChange> {
        let started = Instant::now();
        let Some(observed) = &mut self.observed else { return Vec::new() };
        let options = PlanOptions { allow_delete: pass.allow_delete, search_from: self.search_from };
        let plan = plan_datapath(&wanted.datapath, observed, options);
        self.search_from = plan.search_from;
        outcome.conflicts.extend(plan.exhausted.map(|exhausted| exhausted.to_string()));
        outcome.conflicts.extend(plan.groups_exhausted.map(|exhausted| exhausted.to_string()));
        outcome.work.plan = outcome.work.observe + started.elapsed();
        plan.changes
    }

    /// Makes changes to maps and hooks, in their order.
    fn make(&mut self, changes: &[MapChange], outcome: &mut Outcome) {
        let Some(observed) = &mut self.observed else { return };
        let planned = Instant::now();
        let backlog = &self.report.pending;
        // What failed in this pass, or before and is not due: other changes may rely on it.
        let mut failed = Failed::default();
        let mut refused = false;
        let mut rest = changes;
        while let Some(first) = rest.first().filter(|_| !self.stop.is_asked()) {
            let all_due = failed.is_empty() && backlog.is_empty();
            let together = if all_due { routes_at_first(rest) } else { 0 };
            let (now, later) = rest.split_at(together.max(1));
            rest = later;
            if !backlog.is_due(&first.object(), planned) {
                outcome.tried.postpone(first.object());
                failed.push(first, backlog.found_no_room(&first.object()));
                continue;
            }
            if failed.holds_up(first, observed) {
                debug!("{first} waits for what it relies on");
                // So does what relies on this one.
                failed.push(first, false);
                outcome.tried.wait(first.object());
                continue;
            }
            fault::point(points::before(first));
            let begun = Instant::now();
            let results =
                if together > 1 { self.datapath.set_routes(now) } else { vec![self.datapath.apply(first)] };
            if matches!(first, MapChange::Attach(_) | MapChange::Detach(_)) {
                outcome.work.hooks += begun.elapsed();
            }
            for (change, result) in now.iter().zip(results) {
                debug!("{change}");
                match result {
                    Ok(()) => {
                        observed.record(change);
                        outcome.work.datapath_changes += 1;
                    }
                    Err(error) => {
                        let full = error.is_full();
                        let object = (change.object_kind(), change.object());
                        outcome.tried.fail(object, change.to_string(), error.to_string(), full);
                        failed.push(change, full);
                        refused = true;
                    }
                }
            }
        }
        outcome.work.maps = planned.elapsed() - outcome.work.hooks;
        if changes.len() > observed.routes.len() / 2 {
            observed.pack();
        }
        if refused {
            // What is there after a failure shows when it is read back.
            self.observed = None;
        }
    }

    /// Before every source has synced the cluster's prefixes are not all known, and those that are missing
    /// would be masqueraded: what is in place stays.
    async fn masquerade_pass(&mut self, wanted: Option<&MasqueradeTable>, pass: Pass, outcome: &mut Outcome) {
        if !pass.allow_delete {
            return;
        }
        let object = format!("nftables table {}", masquerade::TABLE);
        if !self.report.pending.is_due(&object, Instant::now()) {
            return outcome.tried.postpone(object);
        }
        match self.masquerade.pass(wanted, pass.audit || pass.table_changed).await {
            Ok(changed) => outcome.work.host_changes += usize::from(changed),
            Err(failed) => {
                let object = (ChangeObject::Masquerade, object);
                outcome.failed(object, failed.change, failed.error.to_string());
            }
        }
    }

    fn conclude(&mut self, outcome: Outcome, started: Instant) {
        let report = &mut self.report;
        report.passes += 1;
        report.work = Work { total: started.elapsed(), ..outcome.work };
        report.conflicts = outcome.conflicts;
        report.pending.conclude(outcome.tried, Instant::now());
        if report.work.changes() > 0 {
            report.last_change = Some(Instant::now());
            info!("{} changes in {:.1?}", report.work.changes(), report.work.total);
        }
    }
}

/// The changes to the kernel's own tables.
fn plan_host_changes(wanted: &Wanted, view: &HostView, pass: Pass, outcome: &mut Outcome) -> Vec<HostChange> {
    let plan = plan_host(&wanted.host, view);
    outcome.conflicts.extend(plan.conflicts.iter().map(ToString::to_string));
    plan.changes.into_iter().filter(|change| pass.allow_delete || !change.is_removal()).collect()
}

/// How many of the first changes write routes and can be made together.
fn routes_at_first(changes: &[MapChange]) -> usize {
    let routes = changes.iter().take_while(|change| matches!(change, MapChange::SetRoute { .. }));
    routes.take(ROUTES_TOGETHER).count()
}

#[cfg(test)]
mod tests;
