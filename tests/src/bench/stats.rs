//! Medians and their uncertainty, without any assumption on how the samples are distributed.

use serde::{Deserialize, Serialize};

/// A ratio whose interval is wider than this share of it is not printed.
pub const WIDEST: f64 = 0.15;

/// The median of a number of samples, and how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of its 95 % confidence interval; the least sample where there are fewer than six.
    pub low: f64,
    /// Upper end, likewise.
    pub high: f64,
    /// How many samples there were: one a round.
    pub rounds: usize,
}

impl Estimate {
    /// Of these samples; none if there are none, or one is no number.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() || samples.iter().any(|sample| !sample.is_finite()) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = rank(sorted.len());
        let (low, high) = (sorted[rank], sorted[sorted.len() - 1 - rank]);
        Some(Self { median: middle(&sorted), low, high, rounds: sorted.len() })
    }

    /// Of the ratio `of` ÷ `to`, round by round: both were measured under the same conditions only within a round.
    /// None as for [`Self::of`], or if the numbers of rounds differ.
    #[must_use]
    pub fn of_ratio(of: &[f64], to: &[f64]) -> Option<Self> {
        if of.len() != to.len() {
            return None;
        }
        let ratios = of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>();
        Self::of(&ratios)
    }

    /// Width of the interval as a share of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median.abs()
    }

    /// Whether it is certain enough to be told: at least six samples, and an interval no wider than [`WIDEST`].
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.rounds >= 6 && self.spread() <= WIDEST
    }
}

/// The median of sorted samples.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[half - 1], sorted[half]) } else { sorted[half] }
}

/// How many samples to leave out at each end, so that what remains holds the median with a probability of 95 %: each
/// sample is below the true median with a probability of one half, so the number of those that are follows the
/// binomial distribution (the interval of the sign test).
fn rank(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut below, mut rank) = (probability, 0);
    for left_out in 1..count.div_ceil(2) {
        if below > 0.025 {
            break;
        }
        rank = left_out - 1;
        probability *= as_f64(count - left_out + 1) / as_f64(left_out);
        below += probability;
    }
    rank
}

/// A count as a number to calculate with.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of rounds and packets are far below 2^52")]
pub fn as_f64(count: usize) -> f64 {
    count as f64
}

/// The smallest value below which this share (0 to 1) of the sorted values lies; none of no values.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is an index"
)]
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let index = (share.clamp(0.0, 1.0) * as_f64(sorted.len())).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_within_their_intervals() {
        for count in 1..60 {
            let samples: Vec<f64> = (0..count).rev().map(as_f64).collect();
            let estimate = Estimate::of(&samples).unwrap();
            assert!((estimate.low..=estimate.high).contains(&estimate.median), "{estimate:?}");
            assert_eq!((estimate.median * 2.0, estimate.rounds), (as_f64(count - 1), count));
        }
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&[1.0, f64::NAN]), None);
    }

    /// Table values of the sign test: of 6 samples the interval is from the least to the greatest, of 21 from the 6th
    /// to the 16th, of 30 from the 10th to the 21st.
    #[test]
    fn intervals_are_those_of_the_sign_test() {
        for (count, first) in [(5, 1), (6, 1), (8, 1), (9, 2), (21, 6), (30, 10), (50, 18)] {
            let samples: Vec<f64> = (1..=count).map(as_f64).collect();
            let estimate = Estimate::of(&samples).unwrap();
            assert_eq!((estimate.low, estimate.high), (as_f64(first), as_f64(count + 1 - first)), "{count}");
        }
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine is twice as slow in every other round, for both.
        let slow = |number: usize| if number.is_multiple_of(2) { 2.0 } else { 1.0 };
        let of: Vec<f64> = (0..21).map(|round| 300.0 * slow(round)).collect();
        let to: Vec<f64> = (0..21).map(|round| 100.0 * slow(round)).collect();
        let ratio = Estimate::of_ratio(&of, &to).unwrap();
        assert_eq!((ratio.median, ratio.spread()), (3.0, 0.0));
        assert!(ratio.is_certain());
        assert!(!Estimate::of(&of).unwrap().is_certain());
        assert_eq!(Estimate::of_ratio(&of, &to[1..]), None);
    }

    #[test]
    fn too_few_rounds_or_too_wide_an_interval_are_not_certain() {
        assert!(!Estimate::of(&[1.0; 5]).unwrap().is_certain());
        assert!(Estimate::of(&[1.0; 6]).unwrap().is_certain());
        assert!(!Estimate::of(&[1.0, 1.0, 1.0, 1.3, 1.3, 1.3]).unwrap().is_certain());
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<f64> = (1..=1000).map(as_f64).collect();
        for (share, value) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            assert_eq!(percentile(&sorted, share), Some(value));
        }
        assert_eq!(percentile(&[], 0.5), None);
    }
}
