//! What passes did.

use std::time::{Duration, Instant};

use super::backlog::{Backlog, Tried};
use crate::model::ChangeObject;

/// What a pass did, and how long each part of it took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Changes to maps and hooks that were made.
    pub datapath_changes: usize,
    /// Changes to the kernel's own tables that were made, the masquerade table being one.
    pub host_changes: usize,
    /// Reading back the datapath; nothing where that was not due.
    pub observe: Duration,
    /// Planning the changes of the datapath, after reading it back.
    pub plan: Duration,
    /// Making those to maps.
    pub maps: Duration,
    /// Making those to hooks.
    pub hooks: Duration,
    /// Planning and making the changes to the kernel's own tables.
    pub host: Duration,
    /// All of it, the masquerade table too.
    pub total: Duration,
}

impl Work {
    /// How many changes were made.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.datapath_changes + self.host_changes
    }
}

/// What the passes so far came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many passes there were.
    pub passes: u64,
    /// What the last pass did, and how long it took.
    pub work: Work,
    /// When the last pass was done with the datapath.
    pub datapath_done: Option<Instant>,
    /// When a pass last changed anything.
    pub last_change: Option<Instant>,
    /// What failed and stays to be made.
    pub pending: Backlog,
    /// What is not done because it would touch what is not ours, or does not fit.
    pub conflicts: Vec<String>,
}

/// What a pass came to so far.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) work: Work,
    pub(super) tried: Tried,
    pub(super) conflicts: Vec<String>,
}

impl Outcome {
    /// Notes a change of an object that failed.
    pub(super) fn failed(&mut self, object: (ChangeObject, String), change: String, error: String) {
        self.tried.fail(object, change, error, false);
    }
}
