//! How often the datapath is read back. Of the kernel's own tables the kernel tells when somebody changes them; of maps and
//! of links at interfaces nobody tells.

use std::time::Duration;

use tokio::time::Instant;

use super::App;

/// The share of a processor that reading back may take.
const SHARE: f64 = 0.001;
/// It is not done more often than this.
const SHORTEST: Duration = Duration::from_millis(500);

impl App {
    /// Reads the datapath back; a pass follows if somebody has changed it.
    pub(super) fn audit_datapath(&mut self) {
        let started = Instant::now();
        if self.reconciler.audit() {
            self.due = started;
        }
        self.map_audit = self.map_audit_after(started.elapsed());
    }

    /// When the datapath is read back again, after it has taken so long.
    pub(super) fn map_audit_after(&self, took: Duration) -> Instant {
        Instant::now() + interval(took, self.config.audit_interval)
    }
}

/// As often as the share allows for, but at least every `longest`.
fn interval(took: Duration, longest: Duration) -> Duration {
    took.div_f64(SHARE).max(SHORTEST).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_less_often() {
        let (ms, longest) = (Duration::from_millis, Duration::from_secs(10));
        assert_eq!(interval(Duration::ZERO, longest), SHORTEST);
        assert_eq!(interval(Duration::from_micros(400), longest), SHORTEST);
        assert_eq!(interval(ms(2), longest), Duration::from_secs(2));
        assert_eq!(interval(ms(40), longest), longest);
        assert_eq!(interval(ms(3), ms(100)), ms(100), "as it is configured");
    }
}
