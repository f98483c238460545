//! The BPF side: loads the programs, keeps maps and attachments, and reads them back. The only module that knows aya.
//! Everything is pinned, so the datapath goes on without the agent, and the next agent finds it again.

mod adopt;
mod attach;
mod batch;
mod clsact;
mod compare;
mod error;
mod inspect;
mod kernel;
mod leftovers;
mod links;
mod logs;
mod lookup_table;
mod maps;
#[cfg(test)]
pub mod memory;
mod pins;
mod preflight;
mod program_set;
mod route_map;
mod trace;
mod xdp;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

pub use attach::Method;
pub use error::DatapathError;
pub use inspect::ProgramAt;
pub use leftovers::{detach_leftover, leftovers, remove_leftover};
use lookup_table::LookupTable;
use maps::Maps;
use node_ebpf_common::{Counter, Hook, LookupUsage, NextHop, NextHopGroup, Route, TraceFilter};
pub use pins::Pins;
pub use preflight::{
    OtherPrograms, check_kernel, counts_locked_memory, has_tcx, other_programs, try_programs,
};
use program_set::ProgramSet;
use tokio::task::JoinHandle;
pub use trace::{LeftOut, TraceBatch, TraceOrder, boot_time};
use xdp::Shortfalls;

use crate::{
    config::{AttachMethod, ProgramLog, XdpMode},
    fault::{self, Point},
    model::Prefix,
    reconcile::{AttachmentPoint, AttachmentState, MapChange, ObservedDatapath},
};

/// What the reconcile loop needs of a datapath.
pub trait Datapath {
    /// Reads back everything.
    ///
    /// # Errors
    /// A part cannot be read.
    fn observe(&mut self) -> Result<ObservedDatapath, DatapathError>;

    /// Whether it is other than before, for a fraction of what [`Self::observe`] takes. What nothing relies on is left
    /// out: next-hop objects and groups beyond all that were in use before.
    ///
    /// # Errors
    /// As there.
    fn has_changed(&mut self, before: &ObservedDatapath) -> Result<bool, DatapathError> {
        Ok(self.observe()? != *before)
    }

    /// Makes one change.
    ///
    /// # Errors
    /// The kernel refuses; nothing was changed.
    fn apply(&mut self, change: &MapChange) -> Result<(), DatapathError>;

    /// Writes routes, which do not rely on each other, as if each had been applied by itself; what became of each, at
    /// its place.
    fn set_routes(&mut self, changes: &[MapChange]) -> Vec<Result<(), DatapathError>> {
        changes.iter().map(|change| self.apply(change)).collect()
    }
}

/// The kernel's datapath.
pub struct BpfDatapath {
    pins: Pins,
    method: Method,
    programs: ProgramSet,
    /// None until the routes have been read back.
    lookup_table: Option<LookupTable>,
    shortfalls: Shortfalls,
    log: ProgramLog,
    log_reader: Option<JoinHandle<()>>,
    /// What is traced, while somebody wants it.
    trace: Option<TraceOrder>,
    trace_reader: Option<JoinHandle<()>>,
    /// What programs that have been replaced had left out.
    left_out_before: LeftOut,
}

impl BpfDatapath {
    /// Opens the pinned datapath, or makes a new one. What is attached stays as it is until it is
    /// attached anew.
    ///
    /// # Errors
    /// No bpffs, a foreign map, or a kernel that refuses.
    pub fn open(
        bpffs: &Path,
        attach: AttachMethod,
        log: ProgramLog,
        xdp: XdpMode,
    ) -> Result<Self, DatapathError> {
        kernel::check()?;
        let pins = Pins::new(bpffs);
        pins.create()?;
        adopt::adopt(&pins);
        fault::point(Point::PinsMade);
        let programs = ProgramSet::load(&pins, log, false, xdp)?;
        let mut datapath = Self {
            pins,
            method: Method::choose(attach),
            programs,
            lookup_table: None,
            shortfalls: Shortfalls::default(),
            log,
            log_reader: None,
            trace: None,
            trace_reader: None,
            left_out_before: LeftOut::default(),
        };
        datapath.read_log();
        fault::point(Point::Loaded);
        Ok(datapath)
    }

    /// Loads the programs anew with another log level. The next reconciliation puts them in place, atomically.
    ///
    /// # Errors
    /// The kernel refuses; the old ones stay.
    pub fn set_log(&mut self, log: ProgramLog) -> Result<(), DatapathError> {
        self.load(log, self.trace.clone())
    }

    /// Sets what is traced. Tells whether the programs were loaded anew for that: if so, the next
    /// reconciliation puts them in place of the running ones, atomically.
    ///
    /// # Errors
    /// The kernel refuses; everything stays as it was.
    pub fn set_trace(&mut self, order: Option<TraceOrder>) -> Result<bool, DatapathError> {
        match (&mut self.trace, order) {
            (None, None) => Ok(false),
            (Some(current), Some(order)) => {
                if current.filter != order.filter {
                    trace::set_filter(&mut self.programs.ebpf, order.filter)?;
                    current.filter = order.filter;
                }
                Ok(false)
            }
            (_, order) => self.load(self.log, order).map(|()| true),
        }
    }

    /// What is traced; none if nothing is.
    #[must_use]
    pub fn trace(&self) -> Option<TraceFilter> {
        self.trace.as_ref().map(|order| order.filter)
    }

    /// How many packets got no event, since the agent started.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn left_out(&self) -> Result<LeftOut, DatapathError> {
        let (before, now) = (self.left_out_before, trace::left_out(&self.programs.ebpf)?);
        Ok(LeftOut { limited: before.limited + now.limited, lost: before.lost + now.lost })
    }

    /// Loads the programs anew, and reads what they say.
    fn load(&mut self, log: ProgramLog, order: Option<TraceOrder>) -> Result<(), DatapathError> {
        let left_out = self.left_out()?;
        let mut programs = ProgramSet::load(&self.pins, log, order.is_some(), self.programs.xdp_mode())?;
        if let Some(table) = &self.lookup_table
            && !table.is_read_by(&programs.ebpf)?
        {
            // Somebody has removed the map's pin, and these programs have another map.
            self.lookup_table = None;
        }
        let reader = match &order {
            Some(order) => {
                trace::set_filter(&mut programs.ebpf, order.filter)?;
                Some(trace::read(&mut programs.ebpf, order.events.clone())?)
            }
            None => None,
        };
        if let Some(before) = std::mem::replace(&mut self.trace_reader, reader) {
            before.abort();
        }
        (self.programs, self.log, self.trace, self.left_out_before) = (programs, log, order, left_out);
        self.read_log();
        Ok(())
    }

    /// The log level of the programs.
    #[must_use]
    pub fn log(&self) -> ProgramLog {
        self.log
    }

    /// How programs are attached.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// How a program of this hook is attached at this interface; none if it is not, because tc does its work.
    #[must_use]
    pub fn method_at(&self, point: AttachmentPoint) -> Option<String> {
        match point.hook {
            Hook::Xdp if self.shortfalls.is_refused(point.link) => None,
            Hook::Xdp => Some(format!("native, {}", self.programs.xdp_mode().label())),
            _ => Some(self.method.label().to_owned()),
        }
    }

    /// What does not work as configured although nothing has failed.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.shortfalls.texts()
    }

    /// The kernel's number of the current program of a hook.
    #[must_use]
    pub fn program_id(&self, hook: Hook) -> u32 {
        self.programs.id(hook)
    }

    /// Every counter, summed over all CPUs, at its [`node_ebpf_common::counter_index`].
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&mut self) -> Result<Vec<Counter>, DatapathError> {
        self.maps().counters()
    }

    /// What the programs find for this address, by the kernel's own longest-prefix match.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn lookup(&mut self, address: IpAddr) -> Result<Option<(Route, NextHop)>, DatapathError> {
        self.maps().lookup(address)
    }

    /// How full the lookup table is.
    #[must_use]
    pub fn lookup_usage(&self) -> LookupUsage {
        self.lookup_table.as_ref().map(LookupTable::usage).unwrap_or_default()
    }

    /// What is wrong if programs find another route for this address than the one that [`Self::lookup`] gave; for
    /// people.
    #[must_use]
    pub fn lookup_disagreement(&self, address: IpAddr, found: Option<Route>) -> Option<String> {
        self.lookup_table.as_ref()?.disagreement(address, found)
    }

    /// The lookup table, in step with the trie.
    fn lookup_table(&mut self) -> Result<&mut LookupTable, DatapathError> {
        let table = match self.lookup_table.take() {
            Some(table) => table,
            None => {
                let routes = self.maps().routes_of::<Ipv4Addr>()?;
                LookupTable::open(&self.programs.ebpf, &routes)?
            }
        };
        Ok(self.lookup_table.insert(table))
    }

    fn set_route(&mut self, prefix: Prefix, route: Route) -> Result<(), DatapathError> {
        self.maps().set_route(prefix, route)?;
        fault::point(Point::RouteInTrie);
        self.lookup_table()?.set(prefix, route);
        Ok(())
    }

    /// Lets the lookup table follow a route that is in the trie now.
    fn follow(&mut self, change: &MapChange) -> Result<(), DatapathError> {
        if let MapChange::SetRoute { prefix, route } = change {
            self.lookup_table()?.set(*prefix, *route);
        }
        Ok(())
    }

    fn delete_route(&mut self, prefix: Prefix) -> Result<(), DatapathError> {
        self.maps().delete_route(prefix)?;
        fault::point(Point::RouteOutOfTrie);
        self.lookup_table()?.remove(prefix);
        Ok(())
    }

    /// What is attached.
    fn attachments(&mut self) -> Result<BTreeMap<AttachmentPoint, AttachmentState>, DatapathError> {
        self.programs.keep_pinned(&self.pins)?;
        let mut attachments = attach::Attached::observe(&self.pins)?.states(&self.programs, self.method);
        self.shortfalls.review(&mut self.programs, &mut attachments)?;
        Ok(attachments)
    }

    fn maps(&mut self) -> Maps<'_> {
        Maps(&mut self.programs.ebpf)
    }

    fn read_log(&mut self) {
        if let Some(reader) = self.log_reader.take() {
            reader.abort();
        }
        if self.log != ProgramLog::Off {
            self.log_reader = logs::forward(&mut self.programs.ebpf);
        }
    }
}

impl Datapath for BpfDatapath {
    fn observe(&mut self) -> Result<ObservedDatapath, DatapathError> {
        let attachments = self.attachments()?;
        let routes = self.maps().routes()?;
        match &mut self.lookup_table {
            Some(table) => table.audit(&routes),
            None => self.lookup_table = Some(LookupTable::open(&self.programs.ebpf, &routes)?),
        }
        let mut maps = self.maps();
        Ok(ObservedDatapath {
            next_hops: maps.used_next_hops()?,
            groups: maps.used_groups()?,
            routes,
            endpoints: maps.endpoints()?,
            settings: maps.settings()?,
            attachments,
            other_layouts: self.pins.other_layouts()?,
        })
    }

    fn has_changed(&mut self, before: &ObservedDatapath) -> Result<bool, DatapathError> {
        let same = self.attachments()? == before.attachments
            && self.pins.other_layouts()? == before.other_layouts
            && self.maps().hold(before)?;
        if let Some(table) = self.lookup_table.as_mut().filter(|_| same) {
            table.audit_again();
            return Ok(false);
        }
        Ok(true)
    }

    fn apply(&mut self, change: &MapChange) -> Result<(), DatapathError> {
        match change {
            MapChange::SetSettings(settings) => self.maps().set_settings(*settings),
            MapChange::SetNextHop { index, next_hop } => self.maps().set_next_hop(*index, *next_hop),
            MapChange::SetGroup { index, group } => self.maps().set_group(*index, *group),
            MapChange::SetEndpoint { link, endpoint } => self.maps().set_endpoint(*link, *endpoint),
            MapChange::SetRoute { prefix, route } => self.set_route(*prefix, *route),
            MapChange::Attach(at) if at.hook == Hook::Xdp => {
                self.shortfalls.attach(&mut self.programs, &self.pins, at)
            }
            MapChange::Attach(at) => attach::attach(&mut self.programs, &self.pins, at, self.method),
            MapChange::Detach(point) if point.hook == Hook::Xdp => {
                self.shortfalls.detach(&mut self.programs, &self.pins, point.link)
            }
            MapChange::Detach(point) => attach::detach(&self.pins, *point),
            MapChange::DeleteEndpoint { link } => self.maps().delete_endpoint(*link),
            MapChange::DeleteRoute { prefix } => self.delete_route(*prefix),
            MapChange::FreeNextHop { index } => self.maps().set_next_hop(*index, NextHop::default()),
            MapChange::FreeGroup { index } => self.maps().set_group(*index, NextHopGroup::default()),
            MapChange::RemoveLayout { version } => self.pins.remove_layout(*version),
        }
    }

    fn set_routes(&mut self, changes: &[MapChange]) -> Vec<Result<(), DatapathError>> {
        let routes = changes.iter().filter_map(|change| match change {
            MapChange::SetRoute { prefix, route } => Some((*prefix, *route)),
            _ => None,
        });
        match self.maps().set_routes(routes) {
            Ok(()) => {
                fault::point(Point::RouteInTrie);
                changes.iter().map(|change| self.follow(change)).collect()
            }
            // The kernel cannot, or refuses one of them: each by itself tells which.
            Err(_) => changes.iter().map(|change| self.apply(change)).collect(),
        }
    }
}
