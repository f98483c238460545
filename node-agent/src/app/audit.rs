//! How often the datapath is read back. Of the kernel's own tables the kernel tells when somebody changes them; of maps and
//! of links at interfaces nobody tells.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::{App, HOST_SETTLE};

/// The share of a processor that reading back between two audits may take.
const SHARE: f64 = 0.002;
/// It is not done more often than this.
const SHORTEST: Duration = Duration::from_millis(500);

impl App {
    /// Reads the datapath back; a pass follows if somebody has changed it.
    pub(super) fn audit_datapath(&mut self) {
        let (started, before) = (Instant::now(), processor_time());
        let changed = self.reconciler.audit();
        if changed {
            self.due = started;
        }
        // Not the time of day, most of which others have on a busy machine.
        let took = processor_time()
            .zip(before)
            .map_or_else(|| started.elapsed(), |(now, before)| now.saturating_sub(before));
        // What somebody has changed is read whole, which tells nothing of how long it takes to find nothing.
        self.map_audit = self.map_audit_after(if changed { Duration::ZERO } else { took });
        self.map_audited = Instant::now();
    }

    /// Has the datapath read back soon, as filters at interfaces have changed; not without a pause where they change all
    /// the time.
    pub(super) fn hooks_changed(&mut self) {
        let soon = (Instant::now() + HOST_SETTLE).max(self.map_audited + SHORTEST);
        self.map_audit = self.map_audit.min(soon);
    }

    /// When the datapath is read back again, after it has taken so long.
    pub(super) fn map_audit_after(&self, took: Duration) -> Instant {
        Instant::now() + interval(took, self.config.audit_interval)
    }
}

/// As often as the share allows for; where that is hardly more often than everything is audited anyway, not besides.
fn interval(took: Duration, audit: Duration) -> Duration {
    let interval = took.div_f64(SHARE).max(SHORTEST);
    if interval * 2 > audit { audit } else { interval }
}

/// Processor time that this thread has taken so far.
fn processor_time() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_less_often() {
        let (ms, audit) = (Duration::from_millis, Duration::from_secs(10));
        assert_eq!(interval(Duration::ZERO, audit), SHORTEST);
        assert_eq!(interval(Duration::from_micros(900), audit), SHORTEST);
        assert_eq!(interval(ms(4), audit), Duration::from_secs(2));
        assert_eq!(interval(ms(12), audit), audit);
        assert_eq!(interval(ms(3), ms(100)), ms(100), "as it is configured");
    }
}
