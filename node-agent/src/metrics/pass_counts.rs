use std::time::Duration;

use super::Histogram;
use crate::api::PassStatus;

/// What all passes came to since the agent started.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PassCounts {
    /// Those that looked at everything.
    pub full: u64,
    /// Those that looked at one changed object only.
    pub shortcut: u64,
    /// Changes to maps and hooks that were made.
    pub datapath_changes: u64,
    /// Changes to the kernel's own tables that were made.
    pub host_changes: u64,
    /// From the first word of a source until the maps held what follows of it.
    pub apply_latency: Histogram,
    /// From the beginning of a pass to its end.
    pub duration: Histogram,
    /// How long each step of [`PassCounts::STEPS`] took, all passes together.
    pub steps: [Duration; 7],
}

impl PassCounts {
    /// The steps of a pass, in their order.
    pub const STEPS: [&str; 7] = ["observe", "select", "resolve", "plan", "maps", "hooks", "host"];

    /// Counts one more pass.
    pub fn add(&mut self, pass: &PassStatus) {
        *if pass.shortcut { &mut self.shortcut } else { &mut self.full } += 1;
        self.datapath_changes += pass.datapath_changes as u64;
        self.host_changes += pass.host_changes as u64;
        if let Some(micros) = pass.source_to_datapath_us {
            self.apply_latency.observe(Duration::from_micros(micros));
        }
        self.duration.observe(Duration::from_micros(pass.total_us));
        let took = [
            pass.observe_us,
            pass.select_us,
            pass.resolve_us,
            pass.plan_us,
            pass.maps_us,
            pass.hooks_us,
            pass.host_us,
        ];
        for (step, micros) in self.steps.iter_mut().zip(took) {
            *step += Duration::from_micros(micros);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_add_up() {
        let mut counts = PassCounts::default();
        let pass = PassStatus {
            number: 1,
            shortcut: false,
            datapath_changes: 3,
            host_changes: 2,
            source_to_datapath_us: Some(1_500),
            observe_us: 1,
            select_us: 2,
            resolve_us: 3,
            plan_us: 4,
            maps_us: 5,
            hooks_us: 6,
            host_us: 7,
            total_us: 2_000,
        };
        counts.add(&pass);
        counts.add(&PassStatus { shortcut: true, source_to_datapath_us: None, ..pass });
        assert_eq!((counts.full, counts.shortcut), (1, 1));
        assert_eq!((counts.datapath_changes, counts.host_changes), (6, 4));
        assert_eq!((counts.apply_latency.count(), counts.duration.count()), (1, 2));
        assert_eq!(counts.steps.map(|step| step.as_micros()), [2, 4, 6, 8, 10, 12, 14]);
    }
}
