//! What a service manager is told: systemd, or whoever else gives the agent a notification socket. Without one, nothing.

use sd_notify::NotifyState;
use tokio::time::{Duration, Instant};
use tracing::debug;

use super::App;

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Service {
    ready: bool,
    /// The configuration is being taken in.
    reloading: bool,
    status: String,
}

/// How often the service manager is told that the loop goes on; none if it does not want to know.
pub(super) fn keep_alive() -> Option<Duration> {
    // Half of what it allows, as sd_watchdog_enabled(3) recommends.
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}

/// Tells that the loop goes on.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Tells that the agent is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells why the agent is about to end.
pub(super) fn failing(why: &str) {
    tell(&[NotifyState::Status(why)]);
}

impl App {
    /// Tells after a pass how it is, and once that the agent is ready: what the sources said is in place.
    pub(super) fn tell_service(&mut self) {
        let pending = self.reconciler.report().pending.iter().count();
        let routes = self.resolved.wanted.datapath.routes.len();
        let problems = self.problems().len();
        let status = if self.settled {
            format!("{routes} routes, {pending} changes pending, {problems} problems")
        } else {
            "waiting for its sources".to_owned()
        };
        let ready = self.settled && !self.resolved.hold;
        if (ready && !self.service.ready) || std::mem::take(&mut self.service.reloading) {
            tell(&[NotifyState::Ready]);
            self.service.ready = true;
        }
        if status != self.service.status {
            tell(&[NotifyState::Status(&status)]);
            self.service.status = status;
        }
    }

    /// Tells that the configuration is being taken in; the next pass tells that this is done. An agent that is not ready is
    /// not to seem so by that.
    pub(super) fn begin_reload(&mut self) {
        if !self.service.ready {
            return;
        }
        self.service.reloading = true;
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!("the service manager cannot be told: {error}"),
        }
    }

    /// When the service manager must be told next that the loop goes on.
    pub(super) fn next_sign(&self) -> Option<Instant> {
        self.keep_alive.map(|interval| self.last_sign + interval)
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("the service manager cannot be told: {error}");
    }
}
