//! Clients that trace, in the agent's loop: while there are any, the programs in place are those that
//! trace what they want; when the last has gone, they are replaced by programs that cannot.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use node_ebpf_common::TraceFilter;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::App;
use crate::{
    api::{Response, TraceCall, TraceEnd, TraceRequest, TraceRow},
    datapath::{LeftOut, TraceBatch, TraceOrder, boot_time},
    rib,
    trace::{Names, Share, Way, explain, filter, union},
};

/// Most clients at the same time.
const MOST_CLIENTS: usize = 8;

/// Packets that are remembered for `explain`, without their bytes.
const REMEMBERED: usize = 256;

/// Batches of events that wait for the loop.
const BATCHES: usize = 4;

/// What comes in about tracing.
pub(super) enum TraceInput {
    /// A client wants to begin.
    Begin(TraceCall),
    /// Packets.
    Events(TraceBatch),
    /// The client with this number has enough, or has gone.
    Gone(u64),
}

/// The clients, and where their packets come from.
pub(super) struct Tracing {
    clients: BTreeMap<u64, Client>,
    last_number: u64,
    names: Names,
    calls: mpsc::Receiver<TraceCall>,
    events: (mpsc::Sender<TraceBatch>, mpsc::Receiver<TraceBatch>),
    gone: (mpsc::Sender<u64>, mpsc::Receiver<u64>),
    /// The last packets that any client got, newest first.
    remembered: VecDeque<TraceRow>,
}

struct Client {
    request: TraceRequest,
    share: Share,
    rows: mpsc::Sender<TraceRow>,
    end: oneshot::Sender<TraceEnd>,
    /// What the programs had left out when it began.
    before: LeftOut,
    missed: u64,
}

impl Tracing {
    /// No clients yet; they come by `calls`.
    pub(super) fn new(calls: mpsc::Receiver<TraceCall>) -> Self {
        Self {
            clients: BTreeMap::new(),
            last_number: 0,
            names: Names::default(),
            calls,
            events: mpsc::channel(BATCHES),
            gone: mpsc::channel(MOST_CLIENTS),
            remembered: VecDeque::new(),
        }
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The last packets that any client got, newest first.
    pub(super) fn remembered(&self) -> impl Iterator<Item = &TraceRow> {
        self.remembered.iter()
    }

    /// The next input. It may be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<TraceInput> {
        tokio::select! {
            call = self.calls.recv() => call.map(TraceInput::Begin),
            batch = self.events.1.recv() => batch.map(TraceInput::Events),
            number = self.gone.1.recv() => number.map(TraceInput::Gone),
        }
    }

    fn add(&mut self, client: Client) -> u64 {
        self.last_number += 1;
        let (number, rows, gone) = (self.last_number, client.rows.clone(), self.gone.0.clone());
        tokio::spawn(async move {
            rows.closed().await;
            // The loop ends only with the agent.
            let _ = gone.send(number).await;
        });
        self.clients.insert(number, client);
        number
    }

    /// What the programs should trace for all clients together.
    fn order(&self) -> Option<TraceOrder> {
        let filters = self.clients.values().map(|client| client.share.filter());
        union(filters).map(|filter| TraceOrder { filter, events: self.events.0.clone() })
    }
}

impl App {
    /// Deals with one input.
    pub(super) async fn trace(&mut self, input: TraceInput) {
        match input {
            TraceInput::Begin(call) => self.begin_trace(call).await,
            TraceInput::Events(batch) => self.hand_out(&batch),
            TraceInput::Gone(number) => self.end_trace(number).await,
        }
    }

    async fn begin_trace(&mut self, call: TraceCall) {
        let TraceCall { request, rows, reply, end } = call;
        let response = match self.add_client(request, rows, end) {
            Ok(number) => {
                info!("a client traces packets");
                self.pass().await;
                self.check_begun(number)
            }
            Err(message) => Response::Error { message },
        };
        // Whoever asked may have gone; then its channel is closed, too.
        let _ = reply.send(response);
    }

    fn add_client(
        &mut self,
        request: TraceRequest,
        rows: mpsc::Sender<TraceRow>,
        end: oneshot::Sender<TraceEnd>,
    ) -> Result<u64, String> {
        if self.tracing.clients.len() >= MOST_CLIENTS {
            return Err(format!("{MOST_CLIENTS} clients trace already: end one of them"));
        }
        if self.tracing.clients.is_empty() {
            self.tracing.names.boot = Some(boot_time());
        }
        let share = Share::new(self.trace_filter(&request)?);
        let before = self.reconciler.datapath.left_out().map_err(|error| error.to_string())?;
        Ok(self.tracing.add(Client { request, share, rows, end, before, missed: 0 }))
    }

    fn trace_filter(&self, request: &TraceRequest) -> Result<TraceFilter, String> {
        let index = |name: &str| self.view.link_by_name(name).map(|link| link.index);
        filter(request, &self.config.node, self.table.pods(), index)
    }

    /// After the pass that should have put the programs in place.
    fn check_begun(&mut self, number: u64) -> Response {
        if self.reconciler.datapath.trace().is_some() {
            return Response::Done;
        }
        self.tracing.clients.remove(&number);
        Response::Error {
            message: "the programs cannot be loaded with tracing: look into the agent's log".to_owned(),
        }
    }

    async fn end_trace(&mut self, number: u64) {
        let Some(client) = self.tracing.clients.remove(&number) else { return };
        let now = self.reconciler.datapath.left_out().unwrap_or(client.before);
        let end = TraceEnd {
            limited: (now.limited - client.before.limited) + client.share.limited,
            lost: now.lost - client.before.lost,
            missed: client.missed,
        };
        info!("a client has ended its trace");
        self.pass().await;
        // A client that was killed does not take it.
        let _ = client.end.send(end);
    }

    /// Part of each pass: brings filters and names up to date, and the programs in line with the clients.
    pub(super) fn refresh_trace(&mut self) {
        if self.tracing.clients.is_empty() && self.reconciler.datapath.trace().is_none() {
            return;
        }
        let filters: Vec<_> = self
            .tracing
            .clients
            .iter()
            // A pod that has gone may come back: until then its client sees what was its.
            .filter_map(|(number, client)| Some((*number, self.trace_filter(&client.request).ok()?)))
            .collect();
        for (number, filter) in filters {
            if let Some(client) = self.tracing.clients.get_mut(&number) {
                client.share.set_filter(filter);
            }
        }
        self.tracing.names = self.names();
        match self.reconciler.datapath.set_trace(self.tracing.order()) {
            Ok(true) => self.reconciler.reattach(),
            Ok(false) => {}
            Err(error) => warn!("the programs cannot be loaded for tracing: {error}"),
        }
    }

    fn names(&self) -> Names {
        let own = &self.config.node;
        let nodes = self.table.nodes().flat_map(|node| {
            node.addresses.iter().map(move |address| (*address, format!("node {}", node.name)))
        });
        let pods = self
            .table
            .pods()
            .flat_map(|pod| pod.addresses.iter().map(move |address| (*address, format!("pod {}", pod.name))));
        let local = self.table.pods().filter(|pod| pod.node == *own);
        Names {
            boot: self.tracing.names.boot,
            interfaces: self.view.links.iter().map(|link| (link.index, link.name.clone())).collect(),
            pods: local.map(|pod| (pod.interface.clone(), pod.name.to_string())).collect(),
            addresses: pods.chain(nodes).collect(),
        }
    }

    /// Gives each client what it wants of these, and never waits for one.
    fn hand_out(&mut self, batch: &TraceBatch) {
        let Some(programs) = self.reconciler.datapath.trace() else { return };
        let Self { tracing, selection, resolved, .. } = self;
        let Tracing { clients, names, remembered, .. } = tracing;
        let way = |address: IpAddr| {
            let route = rib::lookup(selection, resolved, address).route?;
            Some(Way { prefix: route.prefix, next_hop: route.next_hop, gateway: route.gateway })
        };
        for event in batch {
            let mut row = None;
            for client in clients.values_mut() {
                if client.share.takes(event, &programs) {
                    let row = row.get_or_insert_with(|| explain(event, names, way));
                    client.give(row, &programs);
                }
            }
            if let Some(row) = row {
                remembered.truncate(REMEMBERED - 1);
                remembered.push_front(TraceRow { packet: String::new(), ..row });
            }
        }
    }
}

impl Client {
    fn give(&mut self, row: &TraceRow, programs: &TraceFilter) {
        let mut row = row.clone();
        let snaplen = self.share.filter().snaplen;
        if snaplen < programs.snaplen {
            // Two digits a byte.
            row.packet.truncate(usize::try_from(snaplen).map_or(usize::MAX, |bytes| bytes * 2));
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.rows.try_send(row) {
            self.missed += 1;
        }
    }
}
