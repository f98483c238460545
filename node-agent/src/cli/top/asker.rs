use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::api::{AskError, CounterRow, Request, Response, RouteRow, Status, ask};

/// Routes are asked for anew when the agent has changed something, and after this time.
const ROUTES_HOLD: Duration = Duration::from_secs(30);

/// What the agent has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) counters: Vec<CounterRow>,
    /// None if they are those of before.
    pub(super) routes: Option<Vec<RouteRow>>,
}

/// Asks for what is drawn.
#[derive(Debug)]
pub(super) struct Asker {
    socket: PathBuf,
    known: Known,
}

/// Which routes are known: when they were asked for, and how the agent was.
#[derive(Debug, Default)]
struct Known(Option<(Instant, Mark)>);

/// Tells whether routes may be others: the agent, its last pass that changed anything, what failed and what is wrong.
type Mark = (u32, Option<u64>, usize, usize);

fn mark(status: &Status) -> Mark {
    let changing = status.reconcile.last_changing_pass.map(|pass| pass.number);
    (status.pid, changing, status.reconcile.pending_total, status.problems.len())
}

impl Known {
    /// Whether the routes should be asked for.
    fn may_be_others(&self, status: &Status, now: Instant) -> bool {
        self.0.is_none_or(|(at, known)| known != mark(status) || now.duration_since(at) >= ROUTES_HOLD)
    }
}

impl Asker {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, known: Known::default() }
    }

    /// Asks. For routes, which cost the agent most, only where they may be others.
    pub(super) async fn ask(&mut self) -> Result<Answer, AskError> {
        let socket = &self.socket;
        let other = || AskError::Unknown {
            socket: socket.clone(),
            reason: "an answer to another question".to_owned(),
        };
        let Response::Status(status) = ask(socket, &Request::Status).await? else { return Err(other()) };
        let Response::Counters(counters) = ask(socket, &Request::Counters).await? else {
            return Err(other());
        };
        let at = Instant::now();
        let mut answer = Answer { at, status: *status, counters, routes: None };
        if self.known.may_be_others(&answer.status, at) {
            let Response::Routes(routes) = ask(socket, &Request::Routes).await? else { return Err(other()) };
            answer.routes = Some(routes);
            self.known = Known(Some((at, mark(&answer.status))));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::PassStatus, cli::status::tests::status};

    #[test]
    fn routes_are_asked_for_when_they_may_be_others() {
        let start = Instant::now();
        assert!(Known::default().may_be_others(&status(), start), "the first time");
        let known = Known(Some((start, mark(&status()))));
        let soon = start + Duration::from_secs(1);
        assert!(!known.may_be_others(&status(), soon));
        assert!(known.may_be_others(&status(), start + ROUTES_HOLD));
        let mut changed = status();
        changed.reconcile.last_changing_pass = Some(PassStatus { number: 8, ..PassStatus::default() });
        assert!(known.may_be_others(&changed, soon));
        assert!(known.may_be_others(&Status { problems: vec!["no way".to_owned()], ..status() }, soon));
        assert!(known.may_be_others(&Status { pid: 43, ..status() }, soon), "another agent");
    }
}
