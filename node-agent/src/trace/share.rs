//! Which of the events a client gets: the programs report what any client wants.

use std::collections::BTreeMap;

use node_ebpf_common::{TraceEvent, TraceFilter};

/// One client's share of the events.
#[derive(Debug, Clone)]
pub struct Share {
    filter: TraceFilter,
    wanted: u64,
    /// By CPU: the second, and the events in it.
    spent: BTreeMap<u32, (u64, u32)>,
    /// Packets left out here because of the client's own rate.
    pub limited: u64,
}

impl Share {
    /// The share of a client with this filter.
    #[must_use]
    pub fn new(filter: TraceFilter) -> Self {
        Self { filter, wanted: 0, spent: BTreeMap::new(), limited: 0 }
    }

    /// What the client wants.
    #[must_use]
    pub fn filter(&self) -> &TraceFilter {
        &self.filter
    }

    /// Replaces the filter.
    pub fn set_filter(&mut self, filter: TraceFilter) {
        self.filter = filter;
    }

    /// Whether the client gets an event that has passed the programs' filter. Sampling and rate are only
    /// looked at where the programs' are others: what they have sampled is not sampled again.
    pub fn takes(&mut self, event: &TraceEvent, programs: &TraceFilter) -> bool {
        if !self.filter.wants(event) {
            return false;
        }
        self.wanted += 1;
        if programs.sample != self.filter.sample
            && !self.wanted.is_multiple_of(self.filter.sample.max(1).into())
        {
            return false;
        }
        programs.rate == self.filter.rate || self.is_within_rate(event)
    }

    fn is_within_rate(&mut self, event: &TraceEvent) -> bool {
        let second = event.time / 1_000_000_000;
        let spent = self.spent.entry(event.cpu).or_insert((second, 0));
        if spent.0 != second {
            *spent = (second, 0);
        }
        if spent.1 >= self.filter.rate {
            self.limited += 1;
            return false;
        }
        spent.1 += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of 100 events, one each 100 ms, on two CPUs in turn, a client gets.
    fn taken(filter: TraceFilter, programs: TraceFilter) -> (usize, u64) {
        let mut share = Share::new(filter);
        let event = |number: u32| TraceEvent {
            time: u64::from(number) * SECOND / 10,
            cpu: number % 2,
            outcome: number % 4,
            ..TraceEvent::EMPTY
        };
        let taken = (0..100).filter(|number| share.takes(&event(*number), &programs)).count();
        (taken, share.limited)
    }

    #[test]
    fn a_client_alone_gets_what_the_programs_report() {
        for filter in [
            TraceFilter::ALL,
            TraceFilter { sample: 7, ..TraceFilter::ALL },
            TraceFilter { rate: 1, ..TraceFilter::ALL },
        ] {
            assert_eq!(taken(filter, filter), (100, 0), "{filter:?}");
        }
    }

    #[test]
    fn a_client_among_others_gets_its_own() {
        let all = TraceFilter::ALL;
        assert_eq!(taken(TraceFilter { outcomes: 0b11, ..all }, all), (50, 0));
        assert_eq!(taken(TraceFilter { sample: 10, ..all }, all), (10, 0));
        // Of the five events a second on each CPU.
        assert_eq!(taken(TraceFilter { rate: 2, ..all }, all), (40, 60));
        assert_eq!(taken(TraceFilter { rate: 5, ..all }, all), (100, 0));
    }
}
