//! Reading the datapath back: what others have changed shows only then.

use std::time::Instant;

use super::{Pass, Reconciler, report::Outcome};
use crate::{
    datapath::{Datapath, DatapathError},
    model::ChangeObject,
};

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
        match self.look() {
            Ok(changed) => self.even &= !changed,
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
        if self.observed.is_none() {
            return false;
        }
        match self.look() {
            Ok(false) => false,
            Ok(true) => {
                self.even = false;
                true
            }
            Err(_) => {
                // The pass finds out and tells.
                (self.observed, self.even) = (None, false);
                true
            }
        }
    }

    /// Looks whether the datapath is other than was known, and reads all of it if it is.
    fn look(&mut self) -> Result<bool, DatapathError> {
        let changed = match &self.observed {
            Some(before) => self.datapath.has_changed(before)?,
            None => true,
        };
        if changed {
            self.observed = Some(self.datapath.observe()?);
        }
        Ok(changed)
    }
}
