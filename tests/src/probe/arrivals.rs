//! Which numbers of a sequence have arrived, and when.

use std::time::{Duration, Instant};

/// What has arrived of a numbered sequence.
#[derive(Debug, Default)]
pub struct Arrivals {
    seen: Vec<bool>,
    distinct: u32,
    repeated: u32,
    late: u32,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Arrivals {
    /// Takes in the number that has just arrived.
    pub(super) fn take(&mut self, sequence: u32) {
        self.take_at(sequence, Instant::now());
    }

    fn take_at(&mut self, sequence: u32, now: Instant) {
        let Ok(place) = usize::try_from(sequence) else { return };
        if self.seen.len() <= place {
            self.seen.resize(place + 1, false);
        } else if self.seen[place] {
            self.repeated += 1;
            return;
        } else {
            self.late += 1;
        }
        self.seen[place] = true;
        self.distinct += 1;
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now.saturating_duration_since(last));
        }
    }

    /// How many different numbers have arrived.
    #[must_use]
    pub fn distinct(&self) -> u32 {
        self.distinct
    }

    /// How often one arrived again.
    #[must_use]
    pub fn repeated(&self) -> u32 {
        self.repeated
    }

    /// How many arrived after a higher number.
    #[must_use]
    pub fn late(&self) -> u32 {
        self.late
    }

    /// The longest time between two.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    /// The first and the last number below `sent` that is missing.
    #[must_use]
    pub fn missing(&self, sent: u32) -> Option<(u32, u32)> {
        let missing = |number: &u32| {
            usize::try_from(*number).is_ok_and(|place| !self.seen.get(place).copied().unwrap_or(false))
        };
        Some(((0..sent).find(missing)?, (0..sent).rev().find(missing)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_repeated_or_late_is_told() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for (sequence, at) in [(0, 0), (1, 1), (4, 9), (3, 10), (3, 50), (6, 12)] {
            arrivals.take_at(sequence, start + Duration::from_millis(at));
        }
        assert_eq!((arrivals.distinct(), arrivals.repeated(), arrivals.late()), (5, 1, 1));
        assert_eq!(arrivals.longest_gap(), Duration::from_millis(8));
        assert_eq!(arrivals.missing(7), Some((2, 5)));
        assert_eq!(arrivals.missing(9), Some((2, 8)));
        assert_eq!(arrivals.missing(2), None);
    }
}
