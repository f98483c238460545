use std::time::Duration;

/// How long things took, counted in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Histogram {
    /// How many took longer than the bucket before allows, and no longer than this one.
    buckets: [u64; Self::BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// The longest time of each bucket in seconds; one more bucket is for all that took longer.
    pub const BOUNDS: [f64; 14] =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    /// Counts one more.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(Self::BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }

    /// All of them together, in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many there were in each bucket, with its bound in seconds.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        Self::BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_first_bucket_that_it_fits() {
        let mut histogram = Histogram::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0005, 2), (0.001, 1), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 20.001_002).abs() < 1e-9, "{}", histogram.sum());
    }

    #[test]
    fn bounds_grow() {
        assert!(Histogram::BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
