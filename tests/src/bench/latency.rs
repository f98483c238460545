//! Latencies of many exchanges in many rounds.

use super::stats::{as_f64, percentile};

/// A percentile beyond which fewer samples than these lie is not told: it would be the tale of a few outliers.
const BEYOND: f64 = 10.0;

/// The distribution of the samples of all rounds, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latencies {
    /// How many samples there were.
    pub count: usize,
    /// The median.
    pub median: f64,
    /// As long as this took 99 % at most; none if there are fewer than 1,000 samples.
    pub p99: Option<f64>,
    /// As long as this took 99.9 % at most; none if there are fewer than 10,000 samples.
    pub p999: Option<f64>,
}

impl Latencies {
    /// Of the samples of these rounds together; none if there are none at all.
    #[must_use]
    pub fn of(rounds: &[Vec<f64>]) -> Option<Self> {
        let sorted = merged(rounds);
        // In per mille, because 1 − 0.999 is more than 0.001.
        let tail = |beyond: f64| {
            let told = as_f64(sorted.len()) * beyond / 1000.0 >= BEYOND;
            percentile(&sorted, 1.0 - beyond / 1000.0).filter(|_| told)
        };
        Some(Self {
            count: sorted.len(),
            median: percentile(&sorted, 0.5)?,
            p99: tail(10.0),
            p999: tail(1.0),
        })
    }
}

/// The samples of all rounds, sorted.
#[must_use]
pub fn merged(rounds: &[Vec<f64>]) -> Vec<f64> {
    let mut all = rounds.concat();
    all.sort_unstable_by(f64::total_cmp);
    all
}

/// The percentile (0 to 1) of each round by itself, for ratios round by round; none if a round has no samples.
#[must_use]
pub fn of_each(rounds: &[Vec<f64>], share: f64) -> Option<Vec<f64>> {
    let of_one = |round: &Vec<f64>| percentile(&merged(std::slice::from_ref(round)), share);
    rounds.iter().map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(range: std::ops::Range<usize>) -> Vec<f64> {
        range.rev().map(as_f64).collect()
    }

    #[test]
    fn percentiles_are_those_of_all_rounds_together() {
        let latencies = Latencies::of(&[round(5001..10001), vec![], round(1..5001)]).unwrap();
        assert_eq!((latencies.count, latencies.median), (10_000, 5000.0));
        assert_eq!((latencies.p99, latencies.p999), (Some(9900.0), Some(9990.0)));
        assert_eq!(Latencies::of(&[vec![], vec![]]), None);
    }

    #[test]
    fn a_tail_of_few_samples_is_not_told() {
        for (count, p99, p999) in [
            (1, false, false),
            (999, false, false),
            (1000, true, false),
            (9999, true, false),
            (10000, true, true),
        ] {
            let latencies = Latencies::of(&[round(0..count)]).unwrap();
            assert_eq!((latencies.p99.is_some(), latencies.p999.is_some()), (p99, p999), "{count}");
        }
    }

    #[test]
    fn each_round_has_a_percentile_of_its_own() {
        let rounds = [round(0..101), round(100..201)];
        assert_eq!(of_each(&rounds, 0.5), Some(vec![50.0, 150.0]));
        assert_eq!(of_each(&[round(0..3), vec![]], 0.5), None);
    }
}
