//! What the loop waits for, and the loop.

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::info;

use super::{App, HOST_SETTLE, service, tasks::TaskEnded, watches::Told};
use crate::{api, metrics::Ask, model::SourceUpdate, stop::Stop};

/// What the loop waits for, beside its own timers.
pub(super) struct Inputs {
    pub(super) updates: mpsc::Receiver<SourceUpdate>,
    pub(super) changes: Told,
    pub(super) calls: mpsc::Receiver<api::Call>,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// The file of the configuration has changed.
    pub(super) config: mpsc::Receiver<()>,
    /// SIGHUP: the configuration is to be read again.
    pub(super) hang_up: Signal,
}

impl App {
    /// Takes one input after the other. What is going on when the agent is asked to stop is left where it waits next, as
    /// the next agent makes good whatever one leaves.
    pub(super) async fn run(mut self, mut inputs: Inputs, stop: &Stop) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        // Also for a signal from before these two.
        while !stop.is_asked() {
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                ended = self.step(&mut inputs) => ended?,
            }
        }
        service::stopping();
        info!("agent stops; the datapath stays in place (`node-agent cleanup` removes it)");
        Ok(())
    }

    /// Waits for the next input, and deals with it.
    async fn step(&mut self, inputs: &mut Inputs) -> Result<(), TaskEnded> {
        let Inputs { updates, changes, calls, asks, config, hang_up } = inputs;
        let (next_sign, signs) = (self.next_sign().unwrap_or(self.audit), self.keep_alive.is_some());
        tokio::select! {
            Some(update) = updates.recv() => self.take(update).await,
            Some(()) = changes.network.recv() => {
                self.stale.host = true;
                self.due = self.due.min(Instant::now() + HOST_SETTLE);
            }
            Some(()) = changes.hooks.recv() => self.hooks_changed(),
            Some(()) = changes.table.recv() => {
                self.stale.table = true;
                self.due = self.due.min(Instant::now() + HOST_SETTLE);
            }
            Some(report) = changes.path_mtu.recv() => self.learn_path_mtu(&report),
            Ok(()) = changes.failed.changed() => {
                self.failed_neighbours.clone_from(&changes.failed.borrow_and_update());
                self.due = Instant::now();
            }
            Some(news) = changes.watches.recv() => self.follow_watch(news),
            ended = self.tasks.ended() => {
                service::failing(&ended.to_string());
                return Err(ended);
            }
            Some((request, reply)) = calls.recv() => {
                // Whoever asked may have gone.
                let _ = reply.send(self.answer(request).await);
            }
            Some(ask) = asks.recv() => self.tell_metrics(ask),
            Some(()) = config.recv() => drop(self.reload()),
            Some(()) = hang_up.recv() => drop(self.reload()),
            Some(input) = self.tracing.next() => self.trace(input).await,
            () = sleep_until(self.due.min(self.audit)) => self.pass().await,
            () = sleep_until(self.map_audit) => self.audit_datapath(),
            () = sleep_until(next_sign), if signs => {
                self.last_sign = Instant::now();
                service::alive();
            }
        }
        Ok(())
    }
}
