use std::{collections::BTreeMap, time::SystemTime};

use node_ebpf_common::Hook;

use super::{Health, PassCounts};
use crate::{
    api::{CounterRow, LookupTableStatus, MapRow, ObjectCounts, RouteCounts},
    events::EventKind,
    model::{ChangeObject, SourceId},
    rib::{ConflictKind, ProblemKind},
};

/// How the agent is at one moment: plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What runs.
    pub build: Build,
    /// When the agent started, by the wall clock.
    pub started: SystemTime,
    /// Whether it is in step.
    pub health: Health,
    /// The sources.
    pub sources: Vec<SourceSample>,
    /// Other nodes that are used.
    pub nodes: usize,
    /// What the sources state a route for, by source and what became of it. All states of a source are there.
    pub routes: BTreeMap<(SourceId, RouteState), usize>,
    /// Routes in use by kind.
    pub routes_in_use: RouteCounts,
    /// Routes that the brake holds.
    pub routes_held: usize,
    /// Problems that the sources' facts, or how they fit this host, come to, conflicts included.
    pub problems: BTreeMap<ProblemKind, usize>,
    /// Other problems, by where they come from.
    pub other_problems: BTreeMap<&'static str, usize>,
    /// Conflicts.
    pub conflicts: BTreeMap<ConflictKind, usize>,
    /// Events since the agent started.
    pub events: BTreeMap<EventKind, u64>,
    /// Passes since the agent started.
    pub passes: PassCounts,
    /// Attempts to make a change that failed since the agent started.
    pub errors: BTreeMap<ChangeObject, u64>,
    /// Changes that failed and are tried again.
    pub pending: BTreeMap<ChangeObject, usize>,
    /// What became of packets; empty if that cannot be read.
    pub counters: Vec<CounterRow>,
    /// Maps and how full they are.
    pub maps: Vec<MapRow>,
    /// The lookup table in front of the IPv4 routes map.
    pub lookup_table: LookupTableStatus,
    /// Programs in place.
    pub attachments: BTreeMap<Hook, usize>,
    /// Clients that trace packets.
    pub trace_clients: usize,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The agent's version.
    pub version: &'static str,
    /// Version of the layout of the pinned maps.
    pub layout_version: u32,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSample {
    /// Which one.
    pub source: SourceId,
    /// Whether it has told everything it had at its start.
    pub synced: bool,
    /// Whether it cannot be read now.
    pub failed: bool,
    /// When it last said that it has told everything, by the wall clock.
    pub last_sync: Option<SystemTime>,
    /// How much it has told.
    pub objects: ObjectCounts,
}

/// What became of what a source states a route for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteState {
    /// Packets take it.
    Used,
    /// It was selected, but nothing leads there.
    Refused,
    /// Another one has its prefix, or it may not have it.
    Lost,
}

impl RouteState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Used, Self::Refused, Self::Lost];

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

impl Snapshot {
    /// Where problems come from that are no [`ProblemKind`]: changes that are not made because something is not ours or
    /// does not fit, the datapath, the brake, and what watches the kernel.
    pub const OTHER_PROBLEMS: [&str; 5] = ["not-done", "datapath", "brake", "watch", "config"];
}
