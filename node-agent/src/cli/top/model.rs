use std::time::{Duration, Instant};

use super::{
    hops::{Hop, hops},
    rates::{Rate, rates},
};
use crate::api::{CounterRow, RouteRow, Status};

/// Routes are asked for anew when the agent has changed something, and after this time.
const ROUTES_HOLD: Duration = Duration::from_secs(30);

/// Everything that is drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) status: Option<Status>,
    pub(super) rates: Vec<Rate>,
    pub(super) hops: Vec<Hop>,
    /// How many of the next hops are above the first one that is drawn.
    pub(super) scroll: usize,
    /// Why there was no answer the last time.
    pub(super) problem: Option<String>,
    before: Option<(Instant, Vec<CounterRow>)>,
    routes: Option<(Instant, Mark)>,
}

/// Tells whether routes may be others: the agent, its last pass that changed anything, what failed and what is wrong.
type Mark = (u32, Option<u64>, usize, usize);

fn mark(status: &Status) -> Mark {
    let changing = status.reconcile.last_changing_pass.map(|pass| pass.number);
    (status.pid, changing, status.reconcile.pending_total, status.problems.len())
}

impl Model {
    /// Whether the routes should be asked for.
    pub(super) fn wants_routes(&self, status: &Status, now: Instant) -> bool {
        self.routes.is_none_or(|(at, known)| known != mark(status) || now.duration_since(at) >= ROUTES_HOLD)
    }

    /// Takes in what the agent has answered at this time.
    pub(super) fn take(
        &mut self,
        status: Status,
        counters: &[CounterRow],
        routes: Option<&[RouteRow]>,
        now: Instant,
    ) {
        let before = self.before.as_ref().map(|(at, rows)| (rows.as_slice(), now.duration_since(*at)));
        self.rates = rates(before, counters);
        self.before = Some((now, counters.to_vec()));
        if let Some(routes) = routes {
            self.hops = hops(routes);
            self.routes = Some((now, mark(&status)));
        }
        self.status = Some(status);
        self.scroll_by(0);
    }

    /// Moves the list of next hops by so many rows, as far as there are any.
    pub(super) fn scroll_by(&mut self, rows: isize) {
        self.scroll = self.scroll.saturating_add_signed(rows).min(self.hops.len().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::PassStatus, cli::status::tests::status};

    #[test]
    fn routes_are_asked_for_when_they_may_be_others() {
        let (mut model, start) = (Model::default(), Instant::now());
        assert!(model.wants_routes(&status(), start), "the first time");
        model.take(status(), &[], Some(&[]), start);
        let soon = start + Duration::from_secs(1);
        assert!(!model.wants_routes(&status(), soon));
        assert!(model.wants_routes(&status(), start + ROUTES_HOLD));
        let mut changed = status();
        changed.reconcile.last_changing_pass = Some(PassStatus { number: 8, ..PassStatus::default() });
        assert!(model.wants_routes(&changed, soon));
        assert!(model.wants_routes(&Status { problems: vec!["no way".to_owned()], ..status() }, soon));
        assert!(model.wants_routes(&Status { pid: 43, ..status() }, soon), "another agent");
    }
}
