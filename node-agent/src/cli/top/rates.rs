use std::time::Duration;

use crate::api::CounterRow;

/// What became of packets at one hook: how many a second, and so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    pub(super) hook: String,
    pub(super) outcome: String,
    pub(super) dropped: bool,
    pub(super) meaning: String,
    /// Since the reading before; none without one, or if the counter has begun anew.
    pub(super) per_second: Option<PerSecond>,
    /// Packets so far.
    pub(super) packets: u64,
}

/// What passes in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct PerSecond {
    pub(super) packets: f64,
    pub(super) bytes: f64,
}

/// Rates of all counters that are not zero, from two readings and the time between them.
pub(super) fn rates(before: Option<(&[CounterRow], Duration)>, now: &[CounterRow]) -> Vec<Rate> {
    let rate = |row: &CounterRow| Rate {
        hook: row.hook.clone(),
        outcome: row.outcome.clone(),
        dropped: row.ending == "dropped",
        meaning: row.meaning.clone(),
        per_second: before.and_then(|(before, passed)| per_second(before, row, passed)),
        packets: row.packets,
    };
    now.iter().filter(|row| row.packets > 0).map(rate).collect()
}

fn per_second(before: &[CounterRow], now: &CounterRow, passed: Duration) -> Option<PerSecond> {
    let same = |row: &&CounterRow| (&row.hook, &row.outcome) == (&now.hook, &now.outcome);
    let before = before.iter().find(same)?;
    let seconds = passed.as_secs_f64();
    let rate = |before: u64, now: u64| {
        Some(now.checked_sub(before)? as f64 / seconds).filter(|rate| rate.is_finite())
    };
    Some(PerSecond { packets: rate(before.packets, now.packets)?, bytes: rate(before.bytes, now.bytes)? })
}

/// A rate for people: three digits or so, and a prefix.
pub(super) fn with_prefix(value: f64) -> String {
    let (mut value, mut prefixes) = (value, ["", "k", "M", "G", "T"].into_iter());
    let mut prefix = prefixes.next().unwrap_or_default();
    // What would be shown as 1000 has the next prefix.
    while value >= 999.5 {
        let Some(next) = prefixes.next() else { break };
        (value, prefix) = (value / 1000.0, next);
    }
    let digits = if value < 9.95 && value > 0.0 { 1 } else { 0 };
    format!("{value:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use node_ebpf_common::{Counter, Hook, Outcome};

    use super::*;

    fn reading(direct: u64, dropped: u64) -> Vec<CounterRow> {
        CounterRow::all(|hook, outcome| match (hook, outcome) {
            (Hook::FromPod, Outcome::Direct) => Counter { packets: direct, bytes: direct * 100 },
            (Hook::FromPod, Outcome::DropUnassigned) => Counter { packets: dropped, bytes: dropped * 60 },
            _ => Counter::default(),
        })
    }

    #[test]
    fn a_rate_is_what_came_in_the_time_between() {
        let (before, now) = (reading(100, 0), reading(400, 3));
        let rates = rates(Some((&before, Duration::from_millis(1_500))), &now);
        let [direct, dropped] = rates.as_slice() else { panic!("{rates:?}") };
        assert_eq!(direct.per_second, Some(PerSecond { packets: 200.0, bytes: 20_000.0 }));
        assert_eq!((direct.dropped, direct.packets), (false, 400));
        assert_eq!(dropped.per_second, Some(PerSecond { packets: 2.0, bytes: 120.0 }));
        assert!(dropped.dropped);
    }

    #[test]
    fn without_a_reading_before_or_with_a_counter_that_went_back_there_is_no_rate() {
        let none = |rates: Vec<Rate>| rates.iter().all(|rate| rate.per_second.is_none());
        assert!(none(rates(None, &reading(4, 0))));
        assert!(none(rates(Some((&reading(9, 0), Duration::from_secs(1))), &reading(4, 0))));
        assert!(none(rates(Some((&reading(1, 0), Duration::ZERO)), &reading(4, 0))));
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.5, "0.5"), (9.94, "9.9"), (10.4, "10"), (999.4, "999"), (999.6, "1.0k")];
        let large = [(12_345.0, "12k"), (1_500_000.0, "1.5M"), (2e9, "2.0G"), (5e15, "5000T")];
        for (value, text) in cases.into_iter().chain(large) {
            assert_eq!(with_prefix(value), text, "{value}");
        }
    }
}
