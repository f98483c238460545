//! What the agent answers to its command line.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use node_ebpf_common::{
    LookupUsage, MAX_ENDPOINTS, MAX_NEXT_HOP_GROUPS, MAX_NEXT_HOPS, NextHop, NextHopKind, counter_index,
    map_name,
};

use super::{
    App,
    passes::{Passes, microseconds},
};
use crate::{
    api::{
        AttachmentRow, Candidate, CounterRow, Encapsulation, EventList, Lookup, LookupTableStatus, MapRow,
        MasqueradeStatus, Neighbour, ObjectCounts, PendingChange, PodMtu, ReconcileStatus, Request, Response,
        RouteCounts, RouteKind, RouteRow, SourceStatus, Status,
    },
    config::ProgramLog,
    fault::{layout_version, max_routes},
    model::{AddressFamily, KernelRoute, Prefix, RouteChange},
    reconcile::Report,
    rib,
};

/// How many changes that failed are told of: where a map is full there may be very many.
const PENDING_SHOWN: usize = 100;

impl App {
    /// Answers one request.
    pub(super) async fn answer(&mut self, request: Request) -> Response {
        let answered = match request {
            Request::Status => Ok(Response::Status(Box::new(self.status()))),
            Request::Routes => self.look_at_host().await.map(|()| Response::Routes(self.routes())),
            Request::Counters => self.counters(),
            Request::Events { since } => Ok(Response::Events(EventList {
                begun: self.events.begun(),
                last: self.events.last(),
                events: self.events.since(since).cloned().collect(),
            })),
            Request::Lookup { address } => match self.look_at_host().await {
                Ok(()) => self.lookup(address).await.map(|lookup| Response::Lookup(Box::new(lookup))),
                Err(error) => Err(error),
            },
            Request::Explain { subject } => {
                self.explain(subject).await.map(|explanation| Response::Explanation(Box::new(explanation)))
            }
            Request::Confirm => self.confirm(),
            Request::ProgramLog { level } => self.set_program_log(level).map(|()| Response::Done),
            Request::Reload => self.reload_now().await.map(Response::Reloaded),
            Request::Trace(_) => Err("a trace is a stream: the server begins it".to_owned()),
            Request::AgentLog { filter } => self.log.set(&filter).map(|()| Response::Done),
        };
        answered.unwrap_or_else(|message| Response::Error { message })
    }

    pub(super) async fn look_at_host(&mut self) -> Result<(), String> {
        self.stale.host = true;
        self.observe().await.map_err(|error| error.to_string())
    }

    pub(super) fn counters(&mut self) -> Result<Response, String> {
        self.counter_rows().map(Response::Counters)
    }

    /// What became of packets, by hook and outcome.
    pub(super) fn counter_rows(&mut self) -> Result<Vec<CounterRow>, String> {
        let counters = self.reconciler.datapath.counters().map_err(|error| error.to_string())?;
        let counter = |hook, outcome| {
            let index = usize::try_from(counter_index(hook, outcome)).unwrap_or(usize::MAX);
            counters.get(index).copied().unwrap_or_default()
        };
        Ok(CounterRow::all(counter))
    }

    pub(super) fn set_program_log(&mut self, level: ProgramLog) -> Result<(), String> {
        self.reconciler.datapath.set_log(level).map_err(|error| error.to_string())?;
        self.reconciler.reattach();
        self.due = tokio::time::Instant::now();
        Ok(())
    }

    pub(super) fn status(&self) -> Status {
        let own = self.selection.own.as_ref();
        let addresses = own.map(|own| own.node.addresses.clone()).unwrap_or_default();
        let report = self.reconciler.report();
        Status {
            node: self.config.node.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layout_version: layout_version(),
            uptime_seconds: self.started.elapsed().as_secs(),
            synced: self.settled,
            sources: self.sources(),
            encapsulation: self.selection.cluster.encapsulation,
            host_addresses: own.map(|own| own.host_addresses.clone()).unwrap_or_default(),
            addresses,
            pod_mtu: PodMtu { bytes: self.resolved.pod_mtu.bytes, from: self.resolved.pod_mtu.from.clone() },
            attachments: self.attachments(),
            maps: self.maps(),
            lookup_table: self.lookup_table(),
            path_mtus: self.path_mtu_rows(),
            routes: self.route_counts(),
            problems: self.problems().into_iter().collect(),
            conflicts: self.known.conflicts(),
            brake: self.brake_status(),
            masquerade: self.masquerade(),
            reconcile: reconcile_status(report, &self.passes),
            config: self.config_file.status(),
            log: self.log.filter().to_owned(),
            program_log: self.reconciler.datapath.log(),
            trace_clients: self.tracing.clients(),
        }
    }

    fn masquerade(&self) -> MasqueradeStatus {
        let table = self.reconciler.masqueraded();
        MasqueradeStatus {
            on: self.config.masquerade,
            in_place: table.is_some(),
            local_pods: table.map_or(0, |table| table.local_pods.len()),
            cluster: table.map_or(0, |table| table.cluster.len()),
        }
    }

    pub(super) fn sources(&self) -> Vec<SourceStatus> {
        let status = |status: rib::SourceStatus| SourceStatus {
            place: self.places.get(&status.source).cloned().unwrap_or_default(),
            source: status.source,
            synced: status.synced,
            error: status.error,
            read_us: status.read.map(microseconds),
            objects: ObjectCounts { nodes: status.nodes, pods: status.pods, routes: status.routes },
        };
        self.table.statuses().into_iter().map(status).collect()
    }

    fn attachments(&self) -> Vec<AttachmentRow> {
        let attached = self.reconciler.observed().map(|observed| observed.attachments.keys());
        let datapath = &self.reconciler.datapath;
        attached
            .into_iter()
            .flatten()
            .filter_map(|point| {
                Some(AttachmentRow {
                    interface: self.interface_name(point.link),
                    hook: point.hook.label().to_owned(),
                    method: datapath.method_at(*point)?,
                    program_id: datapath.program_id(point.hook),
                })
            })
            .collect()
    }

    pub(super) fn interface_name(&self, index: u32) -> String {
        self.view.link_by_index(index).map_or_else(|| format!("#{index}"), |link| link.name.clone())
    }

    pub(super) fn maps(&self) -> Vec<MapRow> {
        let Some(observed) = self.reconciler.observed() else { return Vec::new() };
        let routes = |family| observed.routes.keys().filter(|prefix| prefix.family() == family).count();
        let row = |name: &str, entries: usize, max_entries| MapRow {
            name: name.to_owned(),
            entries: u32::try_from(entries).unwrap_or(u32::MAX),
            max_entries,
        };
        vec![
            row(map_name::ROUTES_V4, routes(AddressFamily::V4), max_routes()),
            row(map_name::ROUTES_V6, routes(AddressFamily::V6), max_routes()),
            row(map_name::NEXT_HOPS, observed.next_hops.len(), MAX_NEXT_HOPS),
            row(map_name::NEXT_HOP_GROUPS, observed.groups.len(), MAX_NEXT_HOP_GROUPS),
            row(map_name::ENDPOINTS, observed.endpoints.len(), MAX_ENDPOINTS),
        ]
    }

    pub(super) fn lookup_table(&self) -> LookupTableStatus {
        let LookupUsage { chunks, max_chunks, left_to_trie } = self.reconciler.datapath.lookup_usage();
        LookupTableStatus { chunks, max_chunks, left_to_trie }
    }

    pub(super) fn route_counts(&self) -> RouteCounts {
        let wanted = &self.resolved.wanted.datapath;
        let mut counts = RouteCounts::default();
        for route in wanted.routes.values() {
            if let Some(kind) = wanted.next_hops.get(&route.next_hop).and_then(kind_of) {
                counts.count(kind);
            }
        }
        counts
    }

    fn routes(&self) -> Vec<RouteRow> {
        let in_kernel: BTreeSet<Prefix> =
            self.view.routes.iter().filter(|route| is_ours(route)).map(|route| route.destination).collect();
        let mut rows = Vec::new();
        for row in rib::rows(&self.selection, &self.resolved) {
            let losers = row.losers.iter().map(|loser| unused_row(row.prefix, loser));
            let losers: Vec<RouteRow> = losers.collect();
            rows.push(self.route_row(row, &in_kernel));
            rows.extend(losers);
        }
        rows.extend(rib::unused(&self.selection).map(|(prefix, loser)| unused_row(prefix, &loser)));
        rows.sort_by_key(|row| row.prefix);
        rows.extend(self.held_rows(&in_kernel));
        rows
    }

    fn route_row(&self, row: rib::RouteRow, in_kernel: &BTreeSet<Prefix>) -> RouteRow {
        let in_bpf =
            self.reconciler.observed().is_some_and(|observed| observed.routes.contains_key(&row.prefix));
        let wanted = &self.resolved.wanted.datapath;
        let kind = wanted
            .routes
            .get(&row.prefix)
            .and_then(|route| wanted.next_hops.get(&route.next_hop))
            .and_then(kind_of);
        RouteRow {
            in_kernel: in_kernel.contains(&row.prefix),
            prefix: row.prefix,
            next_hop: row.next_hop,
            kind,
            gateway: row.gateway,
            interface: row.interface,
            tunnel_destination: row.tunnel_destination,
            mtu: row.mtu,
            origin: row.origin.to_string(),
            in_bpf,
            state: row.refused.unwrap_or_else(|| RouteRow::USED.to_owned()),
        }
    }

    /// What the programs do with packets to this address: from the map itself, explained by the table.
    async fn lookup(&mut self, address: IpAddr) -> Result<Lookup, String> {
        let found = self.reconciler.datapath.lookup(address).map_err(|error| error.to_string())?;
        let explained = rib::lookup(&self.selection, &self.resolved, address);
        let (kind, hop) = match &found {
            Some((_, hop)) => (kind_of(hop), *hop),
            None => (None, NextHop::default()),
        };
        let ipip = kind == Some(RouteKind::Ipip);
        let gateway = rib::address_of(hop.gateway);
        let tunnel_destination = rib::address_of(hop.tunnel_destination).filter(|_| ipip);
        let route = explained.route.as_ref().filter(|_| found.is_some());
        let neighbour = self.neighbour(kind, hop, address).await?;
        Ok(Lookup {
            address,
            prefix: route.map(|row| row.prefix),
            next_hop: route.map(|row| row.next_hop.clone()),
            kind,
            encapsulation: if ipip { Encapsulation::Ipip } else { Encapsulation::None },
            gateway,
            interface: (hop.interface != 0).then(|| self.interface_name(hop.interface)),
            tunnel_source: rib::address_of(hop.tunnel_source).filter(|_| ipip),
            tunnel_destination,
            mtu: Some(hop.mtu).filter(|mtu| *mtu > 0),
            path_mtu: tunnel_destination.and_then(|node| self.path_mtu_row(node)),
            neighbour,
            origin: route.map(|row| row.origin.to_string()),
            kernel_route: self.kernel_route(address),
            candidates: candidates(&explained),
            problem: self.reconciler.datapath.lookup_disagreement(address, found.map(|(route, _)| route)),
        })
    }

    /// The kernel's neighbour entry that a packet's link-layer address comes from.
    async fn neighbour(
        &self,
        kind: Option<RouteKind>,
        hop: NextHop,
        address: IpAddr,
    ) -> Result<Option<Neighbour>, String> {
        let of = match kind {
            Some(RouteKind::Direct | RouteKind::Ipip) => rib::address_of(hop.gateway).unwrap_or(address),
            Some(RouteKind::Local) => address,
            _ => return Ok(None),
        };
        let entry = self.host.neighbour(hop.interface, of).await.map_err(|error| error.to_string())?;
        Ok(entry.map(|entry| Neighbour {
            address: entry.address,
            mac: entry.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
            state: entry.state,
        }))
    }

    /// The main table's own choice.
    fn kernel_route(&self, address: IpAddr) -> Option<String> {
        let matching = self.view.routes.iter().filter(|route| route.destination.contains(address));
        let best = matching.max_by_key(|route| (route.destination.len(), std::cmp::Reverse(route.metric)))?;
        let interface = best.link.map(|index| self.interface_name(index));
        Some(RouteChange { route: best.clone(), interface }.to_string())
    }
}

fn is_ours(route: &KernelRoute) -> bool {
    route.protocol == KernelRoute::PROTOCOL
}

fn kind_of(next_hop: &NextHop) -> Option<RouteKind> {
    NextHopKind::from_u32(next_hop.kind).and_then(RouteKind::of)
}

fn unused_row(prefix: Prefix, loser: &rib::LoserRow) -> RouteRow {
    RouteRow {
        prefix,
        next_hop: loser.candidate.clone(),
        kind: None,
        gateway: None,
        interface: None,
        tunnel_destination: None,
        mtu: None,
        origin: loser.origin.to_string(),
        in_bpf: false,
        in_kernel: false,
        state: loser.reason.clone(),
    }
}

fn candidates(explained: &rib::Lookup) -> Vec<Candidate> {
    let row = |row: &rib::RouteRow| Candidate {
        prefix: row.prefix,
        next_hop: row.next_hop.clone(),
        origin: row.origin.to_string(),
        state: row.refused.clone().unwrap_or_else(|| RouteRow::USED.to_owned()),
    };
    let loser = |prefix: Prefix, loser: &rib::LoserRow| Candidate {
        prefix,
        next_hop: loser.candidate.clone(),
        origin: loser.origin.to_string(),
        state: loser.reason.clone(),
    };
    let rows = explained.route.iter().chain(&explained.passed_over);
    rows.flat_map(|one| {
        std::iter::once(row(one)).chain(one.losers.iter().map(move |lost| loser(one.prefix, lost)))
    })
    .chain(explained.unused.iter().map(|(prefix, lost)| loser(*prefix, lost)))
    .collect()
}

fn reconcile_status(report: &Report, passes: &Passes) -> ReconcileStatus {
    ReconcileStatus {
        passes: report.passes,
        last_change_seconds_ago: report.last_change.map(|at| at.elapsed().as_secs()),
        last_duration_ms: (report.passes > 0)
            .then(|| u64::try_from(report.work.total.as_millis()).unwrap_or(u64::MAX)),
        last_pass: passes.last,
        last_changing_pass: passes.last_changing,
        pending_total: report.pending.iter().count(),
        pending: pending(report).take(PENDING_SHOWN).collect(),
    }
}

/// Every change that failed.
pub(super) fn pending(report: &Report) -> impl Iterator<Item = PendingChange> {
    let now = Instant::now();
    report.pending.iter().map(move |(_, pending)| PendingChange {
        change: pending.change.clone(),
        error: pending.error.clone(),
        attempts: pending.attempts,
        next_retry_seconds: pending.next.saturating_duration_since(now).as_secs(),
    })
}
