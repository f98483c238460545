//! Reading the datapath back: what others have changed shows only then.

use std::time::Instant;

use super::{Pass, Reconciler, report::Outcome};
use crate::{datapath::Datapath, model::ChangeObject};

impl<D: Datapath> Reconciler<D> {
    /// Reads the datapath back if that is due.
    pub(super) fn read_back(&mut self, pass: Pass, outcome: &mut Outcome) {
        const WHAT: &str = "read back the datapath";
        let started = Instant::now();
        if !pass.audit && self.observed.is_some() {
            return;
        }
        if !self.report.pending.is_due(WHAT, started) {
            return outcome.tried.postpone(WHAT.to_owned());
        }
        match self.datapath.observe() {
            Ok(observed) => {
                self.even &= self.observed.as_ref() == Some(&observed);
                self.observed = Some(observed);
            }
            Err(error) => {
                (self.observed, self.even) = (None, false);
                let object = (ChangeObject::Datapath, WHAT.to_owned());
                outcome.failed(object, WHAT.to_owned(), error.to_string());
            }
        }
        outcome.work.observe = started.elapsed();
    }

    /// Reads the datapath back between two passes. Tells whether the next one has something to do: somebody has changed
    /// it, or it cannot be read.
    pub fn audit(&mut self) -> bool {
        let Some(before) = &self.observed else { return false };
        match self.datapath.observe_again(before) {
            Ok(observed) if *before == observed => false,
            Ok(observed) => {
                (self.observed, self.even) = (Some(observed), false);
                true
            }
            Err(_) => {
                // The pass finds out and tells.
                (self.observed, self.even) = (None, false);
                true
            }
        }
    }
}
