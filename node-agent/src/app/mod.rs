//! The running agent: every task and channel.
//!
//! ```text
//!  sources ──────SourceUpdate──►┐
//!  host/watch ──HostChanged────►│  App: owns table, reconciler, view     ┌─► datapath (maps, links)
//!  host/path_mtu ─TooBigReport─►│
//!  host/reachability ─failed───►│ (and is told whom to follow)
//!  api/server ──Call──────────► │  dirty ► observe ► select ► resolve ►  ┤
//!  metrics/server ──Ask──────►  │
//!  tracing (api, datapath) ───► │          pass (plan, apply)            └─► host (routes, sysctls)
//!  audit timer ────────────────►│                                        (and nft, for masquerade)
//!  SIGTERM ────────────────────►┘
//! ```
//!
//! Handlers only mark what is dirty; one loop applies. Stopping leaves everything in place.

mod answer;
mod audit;
mod brake;
mod decide;
mod explain;
mod explain_rib;
mod log;
mod memory;
mod metrics;
mod neighbours;
mod network;
mod panic;
mod passes;
mod path_mtu;
mod problems;
mod service;
mod shortcut;
mod tasks;
mod trace;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use brake::{Memory, pods_at_home};
use decide::Stale;
pub use log::LogHandle;
use metrics::Measured;
use network::Uplinks;
use passes::{Passes, Preparation};
use problems::Known;
use service::Service;
use shortcut::News;
use tasks::{TaskEnded, Tasks};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use trace::Tracing;
use tracing::info;
use watches::{Followed, Told, Watched};

use crate::{
    api,
    config::{Config, XdpMode},
    datapath::BpfDatapath,
    events::{EventKind, Events},
    host::Host,
    masquerade::MasqueradeTable,
    metrics::Ask,
    model::{HostView, LinkNeighbour, Prefix, SourceEvent, SourceId, SourceUpdate},
    reconcile::{Pass, Reconciler},
    rib::{PathMtus, Resolved, Selection, Table},
    source,
    stop::Stop,
};

/// How long the host's network must have been changing before it is looked at: changes come in groups.
const HOST_SETTLE: Duration = Duration::from_millis(20);
/// How long a source that has not said Synced is waited for after its last word.
const SOURCE_SETTLE: Duration = Duration::from_millis(50);

/// The agent's state, owned by its loop.
struct App {
    config: Config,
    log: LogHandle,
    tasks: Tasks,
    /// The watches that are broken, each with what to tell of it.
    broken_watches: BTreeMap<Watched, String>,
    /// Takes the neighbours on which a choice among several ways depends.
    followed: Followed,
    /// Those of them that do not answer.
    failed_neighbours: BTreeSet<LinkNeighbour>,
    tracing: Tracing,
    host: Host,
    table: Table,
    /// Where each source reads, for people.
    places: BTreeMap<SourceId, String>,
    reconciler: Reconciler<BpfDatapath>,
    view: HostView,
    path_mtus: PathMtus,
    selection: Selection,
    resolved: Resolved,
    /// Destinations of the host's routes that are not ours.
    foreign: BTreeSet<Prefix>,
    news: News,
    passes: Passes,
    measured: Measured,
    /// When a source first said what no pass has acted on yet.
    told: Option<Instant>,
    events: Events,
    memory: Memory,
    known: Known,
    uplinks: Uplinks,
    started: Instant,
    /// Whether a pass has been made with all that the sources have.
    settled: bool,
    /// When the next pass is due.
    due: Instant,
    /// When everything is read back the next time.
    audit: Instant,
    /// When the datapath alone is read back the next time.
    map_audit: Instant,
    /// When that was last done.
    map_audited: Instant,
    service: Service,
    /// How often the service manager wants a sign, and when it had the last one.
    keep_alive: Option<Duration>,
    last_sign: Instant,
    stale: Stale,
    /// Digest of the host's routes as they are in the view; none if it is not known.
    routes_digest: Option<u64>,
    /// What the masquerade table should hold; none if there should be none.
    masquerade: Option<MasqueradeTable>,
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// It cannot start: the socket is taken, the kernel refuses the datapath, or netlink does not work. Or one of its tasks has
/// ended.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let log = log::start(&config.log, config.log_format)?;
    let stop = Stop::on_signals().context("cannot wait for signals")?;
    // First, so that of two agents on one node only one touches anything.
    let server = api::bind(&config.socket)?;
    let mut tasks = Tasks::default();
    let asks = metrics::serve(config.metrics, &mut tasks).await?;
    let datapath = BpfDatapath::open(&config.bpffs, config.attach, config.program_log, config.xdp)?;
    let (changes, followed) = watches::start(&mut tasks, config.masquerade)?;
    let sources = source::enabled(&config);
    let starts = format!(
        "agent of node {} starts: version {}, state {}, pins in {}, programs attached by {}",
        config.node,
        env!("CARGO_PKG_VERSION"),
        sources.iter().map(|source| source.place()).collect::<Vec<_>>().join(", "),
        config.bpffs.display(),
        datapath.method().label()
    );
    let (update_sender, updates) = mpsc::channel(1024);
    let (call_sender, calls) = mpsc::channel(16);
    let (trace_sender, traces) = mpsc::channel(1);
    let places = sources.iter().map(|source| (source.id(), source.place())).collect();
    for source in sources {
        tasks.adopt(format!("source-{}", source.id()), source.spawn(update_sender.clone()));
    }
    drop(update_sender);
    tasks.adopt("api", tokio::spawn(server.run(call_sender, trace_sender)));
    let mut app =
        App::new(config, log, places, datapath, Tracing::new(traces), (tasks, followed), stop.clone());
    app.events.record(EventKind::AgentStarted, starts);
    app.run(Inputs { updates, changes, calls, asks }, &stop).await
}

/// What the loop waits for, beside its own timers.
struct Inputs {
    updates: mpsc::Receiver<SourceUpdate>,
    changes: Told,
    calls: mpsc::Receiver<api::Call>,
    asks: mpsc::Receiver<Ask>,
}

impl App {
    fn new(
        config: Config,
        log: LogHandle,
        places: BTreeMap<SourceId, String>,
        datapath: BpfDatapath,
        tracing: Tracing,
        (tasks, followed): (Tasks, Followed),
        stop: Stop,
    ) -> Self {
        let mut events = Events::default();
        let (brake, memory) = Memory::recall(&config, &mut events);
        let (host, now) = (Host::new(), Instant::now());
        Self {
            log,
            tasks,
            followed,
            failed_neighbours: BTreeSet::new(),
            tracing,
            table: Table::new(places.keys().cloned()),
            places,
            reconciler: Reconciler::new(datapath, host.clone(), brake, stop),
            host,
            view: HostView::default(),
            path_mtus: PathMtus::default(),
            selection: Selection::default(),
            resolved: Resolved { hold: true, ..Resolved::default() },
            foreign: BTreeSet::new(),
            news: News::default(),
            passes: Passes::default(),
            measured: Measured::default(),
            told: None,
            events,
            memory,
            known: Known::default(),
            uplinks: Uplinks::default(),
            broken_watches: BTreeMap::new(),
            settled: false,
            started: now,
            due: now + config.audit_interval,
            audit: now + config.audit_interval,
            map_audit: now + config.audit_interval,
            map_audited: now,
            service: Service::default(),
            keep_alive: service::keep_alive(),
            last_sign: now,
            stale: Stale::default(),
            routes_digest: None,
            masquerade: None,
            config,
        }
    }

    /// Takes one input after the other. What is going on when the agent is asked to stop is left where it waits next, as
    /// the next agent makes good whatever one leaves.
    async fn run(mut self, mut inputs: Inputs, stop: &Stop) -> anyhow::Result<()> {
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
        let Inputs { updates, changes, calls, asks } = inputs;
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

    /// Takes in what a source says. A pass comes when it has said everything, or has paused.
    async fn take(&mut self, update: SourceUpdate) {
        let now = Instant::now();
        self.news.take(&update, &self.table);
        match &update.event {
            SourceEvent::Synced => {
                self.due = now;
                self.measured.synced(&update.source);
                self.tell_of_sync(&update.source);
            }
            SourceEvent::Read(_) => {}
            SourceEvent::Failed(error) => {
                let text = format!("source {}: {error}; what it said before stays in force", update.source);
                self.reconciler.brake.interrupt();
                self.events.record_about(EventKind::SourceFailed, update.source.to_string(), text);
            }
            SourceEvent::Upsert(_) | SourceEvent::Withdraw(_) => {
                self.due = now + SOURCE_SETTLE;
                self.told.get_or_insert(now);
            }
        }
        let synced = matches!(update.event, SourceEvent::Synced);
        self.stale.selection |= self.table.apply(update);
        if synced {
            self.shortcut().await;
        }
    }

    /// Makes one pass, and tells how it is.
    async fn pass(&mut self) {
        self.work().await;
        self.tell_service();
    }

    /// Observes, decides and makes one pass.
    async fn work(&mut self) {
        let now = Instant::now();
        let mut preparation = Preparation::starts();
        let audit = now >= self.audit;
        self.audit = if audit { now + self.config.audit_interval } else { self.audit };
        self.due = self.audit;
        self.expire_path_mtus(now);
        if audit {
            self.check_state_dir();
        }
        if let Err(error) = self.observe().await {
            self.stale.host = true;
            let next = self.reconciler.cannot_look_at_host(&error);
            self.due = self.due.min(Instant::from_std(next));
            return;
        }
        preparation.observed();
        self.news = News::Nothing;
        let changed = self.decide(&mut preparation);
        self.refresh_trace();
        self.follow_uplinks();
        self.settled = self.table.ready();
        if self.settled {
            self.tell_of_problems();
        }
        if self.resolved.hold {
            // Nothing that can be used repeats nothing.
            self.reconciler.brake.interrupt();
            return;
        }
        self.retain_path_mtus();
        let healthy = self.sources_are_healthy();
        let table_changed = std::mem::take(&mut self.stale.table);
        let pass = Pass { allow_delete: self.settled, audit, healthy, changed, table_changed };
        let at_home = || pods_at_home(&self.table, &self.selection);
        let (wanted, view) = (&self.resolved.wanted, &self.view);
        self.reconciler.pass(wanted, self.masquerade.as_ref(), view, pass, &at_home).await;
        let read_back = self.reconciler.report().work.observe;
        if !read_back.is_zero() {
            // The first time, and where somebody has changed it, it takes much longer than any other, and tells nothing.
            let usual = audit && self.reconciler.report().work.datapath_changes == 0;
            self.map_audit = self.map_audit_after(if usual { read_back } else { Duration::ZERO });
        }
        self.passes.record(preparation, self.reconciler.report(), self.told.take());
        self.follow_brake();
        self.tell_of_pass();
        if changed || self.reconciler.report().work.changes() > 0 {
            memory::give_back();
        }
        if audit && self.config.xdp != XdpMode::Off {
            self.confirm_neighbours().await;
        }
        if let Some(next) = self.reconciler.report().pending.next() {
            self.due = self.due.min(Instant::from_std(next));
        }
    }

    fn sources_are_healthy(&self) -> bool {
        self.table.statuses().iter().all(|status| status.synced && status.error.is_none())
    }
}
