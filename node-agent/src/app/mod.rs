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
//!  config file, SIGHUP ────────►│
//!  SIGTERM ────────────────────►┘
//! ```
//!
//! Handlers only mark what is dirty; one loop applies. Stopping leaves everything in place.

mod answer;
mod audit;
mod brake;
mod config;
mod decide;
mod explain;
mod explain_rib;
mod inputs;
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
    fs,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use brake::{Memory, pods_at_home};
use config::ConfigFile;
use decide::Stale;
use inputs::Inputs;
pub use log::LogHandle;
use metrics::Measured;
use network::Uplinks;
use passes::{Passes, Preparation};
use problems::Known;
use service::Service;
use shortcut::News;
use tasks::Tasks;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};
use trace::Tracing;
use watches::{Followed, TableWatcher, Watched};

use crate::{
    api,
    config::{Config, XdpMode},
    datapath::BpfDatapath,
    events::{EventKind, Events},
    host::Host,
    masquerade::MasqueradeTable,
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
    /// What is in force.
    config: Config,
    config_file: ConfigFile,
    log: LogHandle,
    tasks: Tasks,
    table_watch: TableWatcher,
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
/// It cannot start: the configuration in this file is bad, the socket is taken, the kernel refuses the datapath, or netlink
/// does not work. Or one of its tasks has ended.
pub async fn run(path: PathBuf) -> anyhow::Result<()> {
    // Before it is read: what happens in between is seen as a change.
    let text = fs::read(&path).ok();
    let config = Config::load(&path)?;
    let log = log::start(&config.log, config.log_format)?;
    let stop = Stop::on_signals().context("cannot wait for signals")?;
    let hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    // First, so that of two agents on one node only one touches anything.
    let server = api::bind(&config.socket)?;
    let mut tasks = Tasks::default();
    let asks = metrics::serve(config.metrics, &mut tasks).await?;
    let datapath = BpfDatapath::open(&config.bpffs, config.attach, config.program_log, config.xdp)?;
    let (changes, table_watch, followed) = watches::start(&mut tasks, config.masquerade)?;
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
    let (config_sender, config_changed) = mpsc::channel(1);
    tasks.spawn("config-watch", config::follow(path.clone(), text, config_sender));
    let (config_file, tracing) = (ConfigFile::new(path), Tracing::new(traces));
    let stopped = stop.clone();
    let watches = (table_watch, followed);
    let parts = Parts { config, config_file, log, places, datapath, tracing, tasks, watches, stop };
    let mut app = App::new(parts);
    app.events.record(EventKind::AgentStarted, starts);
    app.run(Inputs { updates, changes, calls, asks, config: config_changed, hang_up }, &stopped).await
}

/// What the agent's state begins with.
struct Parts {
    config: Config,
    config_file: ConfigFile,
    log: LogHandle,
    places: BTreeMap<SourceId, String>,
    datapath: BpfDatapath,
    tracing: Tracing,
    tasks: Tasks,
    watches: (TableWatcher, Followed),
    stop: Stop,
}

impl App {
    fn new(parts: Parts) -> Self {
        let Parts { config, config_file, log, places, datapath, tracing, tasks, watches, stop } = parts;
        let (table_watch, followed) = watches;
        let mut events = Events::default();
        let (brake, memory) = Memory::recall(&config, &mut events);
        let (host, now) = (Host::new(), Instant::now());
        Self {
            config_file,
            log,
            tasks,
            table_watch,
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
