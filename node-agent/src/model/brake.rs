use std::time::Duration;

/// When a withdrawal of routes is too large to be believed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakeSettings {
    /// The largest share of the routes in place, in per cent, that is withdrawn without question; 100 for any.
    pub share: u8,
    /// The least number of routes that is ever held.
    pub at_least: usize,
    /// How long the sources must repeat a withdrawal that is held until it is believed.
    pub release_after: Duration,
}

impl Default for BrakeSettings {
    fn default() -> Self {
        Self { share: 30, at_least: 20, release_after: Duration::from_secs(300) }
    }
}

impl BrakeSettings {
    /// Whether so many withdrawals, of so many routes in place before them, are too many.
    #[must_use]
    pub fn exceeded_by(&self, withdrawn: usize, in_place: usize) -> bool {
        let share = withdrawn.saturating_mul(100) > usize::from(self.share).saturating_mul(in_place);
        self.share < 100 && withdrawn >= self.at_least.max(1) && share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_share_and_not_less_than_the_least_number_is_too_many() {
        let settings = BrakeSettings::default();
        for (withdrawn, in_place, too_many) in [
            (20, 20, true),
            (20, 66, true),
            (20, 67, false),
            (19, 19, false),
            (30, 100, false),
            (31, 100, true),
            (0, 0, false),
        ] {
            assert_eq!(settings.exceeded_by(withdrawn, in_place), too_many, "{withdrawn} of {in_place}");
        }
        let off = BrakeSettings { share: 100, ..settings };
        assert!(!off.exceeded_by(1_000, 1_000));
        let all = BrakeSettings { share: 0, at_least: 0, ..settings };
        assert!(all.exceeded_by(1, 1_000) && !all.exceeded_by(0, 1_000));
    }
}
