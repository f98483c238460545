//! The rounds: each thing once in each of them, in turns, so that what compares two of them was measured under the same
//! conditions.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::bench::{Options, stats::Estimate};

/// What was measured, by what it is of: a sample for each round.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples<K>(BTreeMap<K, Vec<f64>>);

impl<K> Default for Samples<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Samples<K> {
    /// Adds this round's.
    pub fn push(&mut self, of: K, sample: f64) {
        self.0.entry(of).or_default().push(sample);
    }

    /// All of them, in the order of the rounds.
    #[must_use]
    pub fn all(&self, of: K) -> &[f64] {
        self.0.get(&of).map_or(&[], Vec::as_slice)
    }

    /// What they are.
    #[must_use]
    pub fn estimate(&self, of: K) -> Option<Estimate> {
        Estimate::of(self.all(of))
    }

    /// What is left of them round by round without what something else cost.
    #[must_use]
    pub fn net(&self, of: K, without: K) -> Vec<f64> {
        self.all(of).iter().zip(self.all(without)).map(|(of, without)| of - without).collect()
    }

    /// `of` ÷ `to`, both without what something else cost.
    #[must_use]
    pub fn net_ratio(&self, of: K, to: K, without: K) -> Option<Estimate> {
        Estimate::of_ratio(&self.net(of, without), &self.net(to, without))
    }

    /// `of` ÷ `to`.
    #[must_use]
    pub fn ratio(&self, of: K, to: K) -> Option<Estimate> {
        Estimate::of_ratio(self.all(of), self.all(to))
    }
}

/// How far two of the same may be apart.
const SAME: f64 = 0.03;

/// Says how far two of the same were apart.
///
/// # Errors
/// They were too far apart in a run that is not a smoke run: then what it says of others is worth nothing.
pub fn same(what: &str, ratio: &Estimate, options: Options) -> Result<String> {
    let apart = ratio.median - 1.0;
    let text = format!(
        "A/A, {what}: two of the same differ by {:+.1} % ({:.3}–{:.3})",
        apart * 100.0,
        ratio.low,
        ratio.high
    );
    ensure!(
        options.quick || apart.abs() <= SAME,
        "{text}: more than {:.0} %, so this run says nothing. End what else runs on this machine, and run it again",
        SAME * 100.0
    );
    Ok(text)
}

/// The order of a round: each begins with another one and goes the other way round than the one before, so that none
/// always follows the same neighbour.
#[must_use]
pub fn order<T: Copy>(all: &[T], round: usize) -> Vec<T> {
    let mut order = all.to_vec();
    if !order.is_empty() {
        order.rotate_left(round / 2 % all.len());
    }
    if !round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_cost_is_taken_off_round_by_round() {
        let mut samples = Samples::default();
        // The machine is slower by half in the second round.
        for (of, sample) in [("alone", 100.0), ("ours", 150.0), ("theirs", 300.0)] {
            samples.push(of, sample);
            samples.push(of, sample * 1.5);
        }
        assert_eq!(samples.net("ours", "alone"), [50.0, 75.0]);
        let ratio = samples.net_ratio("theirs", "ours", "alone").unwrap();
        assert_eq!((ratio.median, ratio.rounds, ratio.spread()), (4.0, 2, 0.0));
        assert_eq!(samples.ratio("theirs", "ours").unwrap().median, 2.0);
        assert_eq!(samples.ratio("theirs", "nobody"), None);
    }

    #[test]
    fn a_run_in_which_two_of_the_same_differ_is_refused() {
        let ratio = |median: f64| Estimate { median, low: median - 0.01, high: median + 0.01, rounds: 21 };
        let run = |median, quick| same("UDP", &ratio(median), Options { quick });
        assert_eq!(run(1.029, false).unwrap(), "A/A, UDP: two of the same differ by +2.9 % (1.019–1.039)");
        let error = run(0.96, false).unwrap_err().to_string();
        assert!(error.contains("-4.0 %") && error.contains("says nothing"), "{error}");
        assert!(run(1.031, false).is_err() && run(1.2, true).is_ok());
    }

    #[test]
    fn each_round_has_all_in_another_order() {
        assert_eq!(order(&[1, 2, 3], 0), [1, 2, 3]);
        assert_eq!(order(&[1, 2, 3], 1), [3, 2, 1]);
        assert_eq!(order(&[1, 2, 3], 2), [2, 3, 1]);
        assert_eq!(order(&[1, 2, 3], 7), [3, 2, 1]);
        assert!(order::<u8>(&[], 3).is_empty());
    }
}
