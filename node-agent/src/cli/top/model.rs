use std::time::Instant;

use super::{
    asker::Answer,
    hops::{Hop, hops},
    rates::{Rate, rates},
};
use crate::api::{CounterRow, Status};

/// Everything that is drawn.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) status: Option<Status>,
    pub(super) rates: Vec<Rate>,
    pub(super) hops: Vec<Hop>,
    /// How many of the next hops are above the first one that is drawn.
    pub(super) scroll: usize,
    /// Why there was no answer the last time.
    pub(super) problem: Option<String>,
    before: Option<(Instant, Vec<CounterRow>)>,
}

impl Model {
    /// Takes in what the agent has answered.
    pub(super) fn take(&mut self, answer: Answer) {
        let Answer { at, status, counters, routes } = answer;
        let before = self.before.as_ref().map(|(time, rows)| (rows.as_slice(), at.duration_since(*time)));
        self.rates = rates(before, &counters);
        self.before = Some((at, counters));
        if let Some(routes) = routes {
            self.hops = hops(&routes);
        }
        self.status = Some(status);
        self.problem = None;
        self.scroll_by(0);
    }

    /// Moves the list of next hops by so many rows, as far as there are any.
    pub(super) fn scroll_by(&mut self, rows: isize) {
        self.scroll = self.scroll.saturating_add_signed(rows).min(self.hops.len().saturating_sub(1));
    }
}
