//! How long the parts of the last passes took.

use std::time::Duration;

use tokio::time::Instant;

use crate::{api::PassStatus, metrics::PassCounts, reconcile::Report};

/// The passes so far, as the status and the metrics tell of them.
#[derive(Debug, Default)]
pub(super) struct Passes {
    /// The last one.
    pub(super) last: Option<PassStatus>,
    /// The last one that changed anything.
    pub(super) last_changing: Option<PassStatus>,
    /// All of them together.
    pub(super) counts: PassCounts,
}

/// The part of a pass that comes before any change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preparation {
    /// Start, then the end of each step: observe, select, resolve.
    ends: [Instant; 4],
}

impl Preparation {
    pub(super) fn starts() -> Self {
        Self { ends: [Instant::now(); 4] }
    }

    pub(super) fn observed(&mut self) {
        self.ends[1] = Instant::now();
    }

    pub(super) fn selected(&mut self) {
        self.ends[2] = Instant::now();
    }

    pub(super) fn resolved(&mut self) {
        self.ends[3] = Instant::now();
    }
}

impl Passes {
    /// Takes in a pass that has just ended, and when the sources began to tell what it acted on.
    pub(super) fn record(&mut self, preparation: Preparation, report: &Report, told: Option<Instant>) {
        let [started, observed, selected, resolved] = preparation.ends;
        let work = report.work;
        let datapath_done = report.datapath_done.map(Instant::from_std);
        let pass = PassStatus {
            number: report.passes,
            shortcut: resolved == started,
            datapath_changes: work.datapath_changes,
            host_changes: work.host_changes,
            source_to_datapath_us: told.zip(datapath_done).map(|(told, done)| microseconds(done - told)),
            observe_us: microseconds(observed - started),
            select_us: microseconds(selected - observed),
            resolve_us: microseconds(resolved - selected),
            plan_us: microseconds(work.plan),
            maps_us: microseconds(work.maps),
            hooks_us: microseconds(work.hooks),
            host_us: microseconds(work.host),
            total_us: microseconds(started.elapsed()),
        };
        self.counts.add(&pass);
        self.last = Some(pass);
        if work.changes() > 0 {
            self.last_changing = Some(pass);
        }
    }
}

pub(super) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
