//! What the metrics server is told.

use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use node_ebpf_common::Hook;
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::{App, tasks::Tasks};
use crate::{
    api::{RouteCounts, SourceStatus},
    fault::layout_version,
    metrics::{self, Ask, Build, Health, RouteState, Snapshot, SourceSample},
    model::SourceId,
};

/// Questions that wait for the loop.
const WAITING: usize = 4;

/// Routes by source and what became of them.
type ByState = BTreeMap<(SourceId, RouteState), usize>;

/// What is remembered for metrics alone.
#[derive(Debug)]
pub(super) struct Measured {
    started: SystemTime,
    /// When each source last said that it has told everything.
    synced: BTreeMap<SourceId, SystemTime>,
    /// What became of the sources' routes, and those in use by kind; none if that has changed since it was counted.
    routes: Option<(ByState, RouteCounts)>,
}

impl Default for Measured {
    /// At the agent's start.
    fn default() -> Self {
        Self { started: SystemTime::now(), synced: BTreeMap::new(), routes: None }
    }
}

impl Measured {
    /// Notes that a source has told everything.
    pub(super) fn synced(&mut self, source: &SourceId) {
        self.synced.insert(source.clone(), SystemTime::now());
    }

    /// Notes that the selection or the resolution is another one.
    pub(super) fn decided(&mut self) {
        self.routes = None;
    }
}

/// Begins to serve metrics and health if they are enabled. What is asked of the loop comes out of the channel.
pub(super) async fn serve(
    listen: Option<SocketAddr>,
    tasks: &mut Tasks,
) -> anyhow::Result<mpsc::Receiver<Ask>> {
    let (sender, asks) = mpsc::channel(WAITING);
    if let Some(address) = listen {
        let server = metrics::bind(address).await?;
        info!("metrics and health are served at http://{address}/metrics, /healthz and /readyz");
        tasks.adopt("metrics", tokio::spawn(server.run(sender)));
    }
    Ok(asks)
}

impl App {
    /// Answers the metrics server. Whoever asked may have gone.
    pub(super) fn tell_metrics(&mut self, ask: Ask) {
        match ask {
            Ask::Health(reply) => drop(reply.send(self.health())),
            Ask::Snapshot(reply) => drop(reply.send(Box::new(self.snapshot()))),
        }
    }

    fn health(&self) -> Health {
        let waiting = self.table.statuses().into_iter().filter(|status| !status.synced);
        let pending = &self.reconciler.report().pending;
        let failed =
            pending.iter().map(|(_, pending)| format!("cannot {}: {}", pending.change, pending.error));
        Health {
            waiting_for: waiting.map(|status| (status.source, status.error)).collect(),
            settled: self.settled,
            hold: self.resolved.hold,
            failed: pending.iter().count(),
            first_failed: failed.take(Health::NAMED).collect(),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let counters = self.counter_rows().unwrap_or_else(|error| {
            debug!("there are no metrics of packets: {error}");
            Vec::new()
        });
        // Counted once for each decision: there may be very many.
        let known = self.measured.routes.take();
        let (routes, routes_in_use) = known.unwrap_or_else(|| (self.count_routes(), self.route_counts()));
        self.measured.routes = Some((routes.clone(), routes_in_use));
        let report = self.reconciler.report();
        Snapshot {
            build: Build { version: env!("CARGO_PKG_VERSION"), layout_version: layout_version() },
            started: self.measured.started,
            health: self.health(),
            sources: self.source_samples(),
            nodes: self.selection.nodes.len(),
            routes,
            routes_in_use,
            routes_held: self.reconciler.brake.hold().map_or(0, |hold| hold.len()),
            problems: count(self.stated_problems().map(|problem| problem.kind)),
            other_problems: count(self.other_problems().map(|(from, _)| from)),
            conflicts: count(self.known.conflicts().iter().map(|conflict| conflict.kind)),
            events: self.events.counts().clone(),
            passes: self.passes.counts.clone(),
            errors: report.pending.failures().clone(),
            pending: count(report.pending.iter().map(|(_, pending)| pending.kind)),
            counters,
            maps: self.maps(),
            lookup_table: self.lookup_table(),
            attachments: self.count_attachments(),
            trace_clients: self.tracing.clients(),
        }
    }

    fn source_samples(&self) -> Vec<SourceSample> {
        let sample = |status: SourceStatus| SourceSample {
            last_sync: self.measured.synced.get(&status.source).copied(),
            source: status.source,
            synced: status.synced,
            failed: status.error.is_some(),
            objects: status.objects,
        };
        self.sources().into_iter().map(sample).collect()
    }

    fn count_routes(&self) -> ByState {
        let statuses = self.table.statuses();
        let all =
            statuses.iter().flat_map(|status| RouteState::ALL.map(|state| (status.source.clone(), state)));
        let mut counts: BTreeMap<_, usize> = all.map(|of| (of, 0)).collect();
        let in_use = &self.resolved.wanted.datapath.routes;
        for (prefix, candidate) in &self.selection.routes {
            let state = if in_use.contains_key(prefix) { RouteState::Used } else { RouteState::Refused };
            *counts.entry((candidate.origin.source.clone(), state)).or_default() += 1;
        }
        for loser in self.selection.losers.values().flatten() {
            *counts.entry((loser.candidate.origin.source.clone(), RouteState::Lost)).or_default() += 1;
        }
        counts
    }

    fn count_attachments(&self) -> BTreeMap<Hook, usize> {
        let observed = self.reconciler.observed();
        count(observed.into_iter().flat_map(|observed| observed.attachments.keys()).map(|point| point.hook))
    }
}

/// How many there are of each.
fn count<K: Ord>(kinds: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    kinds.for_each(|kind| *counts.entry(kind).or_default() += 1);
    counts
}
