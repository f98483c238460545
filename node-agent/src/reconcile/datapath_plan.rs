//! The changes that turn the maps and hooks as they are into what they should be.
//!
//! Programs run all the while and the agent may stop between any two changes, so the order matters: what
//! is named is written before what names it, and removed after it.
//!
//! ```text
//! settings → next hops → groups → next hops that name groups → endpoints → routes → attach
//!            additions and changes, always allowed
//! detach → endpoints − → routes − → next hops that name groups − → groups − → next hops − → layouts −
//!            deletions, only if allowed
//! ```

mod change;
mod groups;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

pub use change::MapChange;
use groups::Groups;
use node_ebpf_common::{Endpoint, Hook, MAX_NEXT_HOPS, NextHop, NextHopGroup, Route, Settings};

use crate::model::{Attachment, NextHopKey, Prefix, WantedDatapath};

/// What the maps hold and what is attached, as read back from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedDatapath {
    /// Next-hop objects by index, without unused ones.
    pub next_hops: BTreeMap<u32, NextHop>,
    /// Next-hop groups by index, without unused ones.
    pub groups: BTreeMap<u32, NextHopGroup>,
    /// Routes.
    pub routes: BTreeMap<Prefix, Route>,
    /// Endpoints by interface index.
    pub endpoints: BTreeMap<u32, Endpoint>,
    /// The node itself.
    pub settings: Settings,
    /// Attachments of ours, also those whose interface is gone.
    pub attachments: BTreeMap<AttachmentPoint, AttachmentState>,
    /// Versions of other layouts whose maps are still there, for programs of another agent.
    pub other_layouts: BTreeSet<u32>,
}

impl ObservedDatapath {
    /// Gives back the room that many changes have left in the routes: they were inserted in order, which leaves half of
    /// it free.
    pub fn pack(&mut self) {
        self.routes = std::mem::take(&mut self.routes).into_iter().collect();
    }

    /// What is observed after a change was made, without reading it back.
    pub fn record(&mut self, change: &MapChange) {
        match change {
            MapChange::SetSettings(settings) => self.settings = *settings,
            MapChange::SetNextHop { index, next_hop } => {
                self.next_hops.insert(*index, *next_hop);
            }
            MapChange::SetGroup { index, group } => {
                self.groups.insert(*index, *group);
            }
            MapChange::SetEndpoint { link, endpoint } => {
                self.endpoints.insert(*link, *endpoint);
            }
            MapChange::SetRoute { prefix, route } => {
                self.routes.insert(*prefix, *route);
            }
            MapChange::Attach(at) => {
                self.attachments.insert(at.into(), AttachmentState::Current);
            }
            MapChange::Detach(point) => {
                self.attachments.remove(point);
            }
            MapChange::DeleteEndpoint { link } => {
                self.endpoints.remove(link);
            }
            MapChange::DeleteRoute { prefix } => {
                self.routes.remove(prefix);
            }
            MapChange::FreeNextHop { index } => {
                self.next_hops.remove(index);
            }
            MapChange::FreeGroup { index } => {
                self.groups.remove(index);
            }
            MapChange::RemoveLayout { version } => {
                self.other_layouts.remove(version);
            }
        }
    }
}

/// Where a program is attached. Without the interface's name: a renamed interface is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentPoint {
    /// Interface index.
    pub link: u32,
    /// Which program, at which side.
    pub hook: Hook,
}

impl From<&Attachment> for AttachmentPoint {
    fn from(attachment: &Attachment) -> Self {
        Self { link: attachment.link, hook: attachment.hook }
    }
}

/// What state an attachment of ours is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentState {
    /// The program of this agent's build runs there.
    Current,
    /// Another build's program runs there, or none any more: it is to be attached anew, in place.
    Stale,
}

/// How to plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    /// Whether anything may be deleted; not before every source has synced (invariant 2).
    pub allow_delete: bool,
    /// The index from which free ones are looked for: the last plan's [`DatapathPlan::search_from`]. A
    /// program may still hold a route that names a next hop which was just freed, so an index is not
    /// used again before all others have been.
    pub search_from: u32,
}

/// Next hops for which there is no free index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} next hops do not fit: the map holds {limit}, one for each remote node and each local pod (the first left out is {})",
    left_out.len(),
    left_out.first().map(ToString::to_string).unwrap_or_default()
)]
pub struct Exhausted {
    /// How many next hops fit.
    pub limit: u32,
    /// Which are left out; routes to them are left as they are.
    pub left_out: Vec<NextHopKey>,
}

/// What to do, and what it assumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatapathPlan {
    /// Changes, in the order in which they must be applied.
    pub changes: Vec<MapChange>,
    /// The index of each wanted next hop.
    pub assignments: BTreeMap<NextHopKey, u32>,
    /// Where the next plan starts to look for free indices.
    pub search_from: u32,
    /// Next hops that do not fit. The rest of the plan stands, and its deletions may make room for the
    /// next one.
    pub exhausted: Option<Exhausted>,
    /// Next hops that have only one of their ways, because there is no room for their group.
    pub groups_exhausted: Option<groups::Exhausted>,
}

/// Plans the changes from what is observed to what is wanted.
#[must_use]
pub fn plan(wanted: &WantedDatapath, observed: &ObservedDatapath, options: PlanOptions) -> DatapathPlan {
    let Assigned { assignments, search_from, exhausted } = assign(wanted, observed, options.search_from);
    let mut changes = Vec::new();
    if wanted.settings != observed.settings {
        changes.push(MapChange::SetSettings(wanted.settings));
    }
    let groups = Groups::plan(wanted, observed, &assignments, options.search_from);
    let (owners, others): (Vec<_>, Vec<_>) = next_hops_to_set(wanted, observed, &assignments, &groups)
        .partition(|change| matches!(change, MapChange::SetNextHop { next_hop, .. } if next_hop.group != 0));
    changes.extend(others);
    changes.extend(groups.to_set(observed));
    changes.extend(owners);
    for (link, endpoint) in &wanted.endpoints {
        if observed.endpoints.get(link) != Some(endpoint) {
            changes.push(MapChange::SetEndpoint { link: *link, endpoint: *endpoint });
        }
    }
    changes.extend(routes_to_set(wanted, observed, &assignments));
    let stale = |at: &&Attachment| {
        observed.attachments.get(&AttachmentPoint::from(*at)) != Some(&AttachmentState::Current)
    };
    changes.extend(wanted.attachments.iter().filter(stale).cloned().map(MapChange::Attach));
    if options.allow_delete {
        changes.extend(deletions(wanted, observed, &assignments, &groups));
    }
    DatapathPlan { changes, assignments, search_from, exhausted, groups_exhausted: groups.exhausted }
}

/// Next-hop objects to write, with the groups that they name.
fn next_hops_to_set<'a>(
    wanted: &'a WantedDatapath,
    observed: &'a ObservedDatapath,
    assignments: &'a BTreeMap<NextHopKey, u32>,
    groups: &'a Groups,
) -> impl Iterator<Item = MapChange> + 'a {
    assignments.iter().filter_map(|(key, index)| {
        let next_hop = wanted.next_hops.get(key)?;
        let next_hop = NextHop { identity: key.identity(), group: groups.of(key), ..*next_hop };
        (observed.next_hops.get(index) != Some(&next_hop))
            .then_some(MapChange::SetNextHop { index: *index, next_hop })
    })
}

/// Routes to insert or overwrite: long ones first, so that a new short one does not catch packets for
/// more specific ones that are not there yet.
fn routes_to_set(
    wanted: &WantedDatapath,
    observed: &ObservedDatapath,
    assignments: &BTreeMap<NextHopKey, u32>,
) -> Vec<MapChange> {
    let mut changed: Vec<(Prefix, Route)> = Vec::new();
    for (prefix, route) in &wanted.routes {
        let Some(index) = assignments.get(&route.next_hop) else { continue };
        let route = Route { next_hop: *index, flags: route.flags };
        if observed.routes.get(prefix) != Some(&route) {
            changed.push((*prefix, route));
        }
    }
    changed.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
    changed.into_iter().map(|(prefix, route)| MapChange::SetRoute { prefix, route }).collect()
}

/// Everything that is there and not wanted, what names before what is named. Short routes go before
/// longer ones inside them, which until then lead where they should.
fn deletions(
    wanted: &WantedDatapath,
    observed: &ObservedDatapath,
    assignments: &BTreeMap<NextHopKey, u32>,
    groups: &Groups,
) -> Vec<MapChange> {
    let attached: BTreeSet<AttachmentPoint> = wanted.attachments.iter().map(AttachmentPoint::from).collect();
    let unwanted = observed.attachments.keys().filter(|at| !attached.contains(at));
    let mut changes: Vec<MapChange> = unwanted.copied().map(MapChange::Detach).collect();

    let unwanted = observed.endpoints.keys().filter(|link| !wanted.endpoints.contains_key(link));
    changes.extend(unwanted.map(|link| MapChange::DeleteEndpoint { link: *link }));

    let mut unwanted: Vec<Prefix> =
        observed.routes.keys().copied().filter(|prefix| !wanted.routes.contains_key(prefix)).collect();
    unwanted.sort_by_key(Prefix::len);
    changes.extend(unwanted.into_iter().map(|prefix| MapChange::DeleteRoute { prefix }));

    // A route whose wanted next hop did not fit stays as it is, and so does what it names.
    let unchanged = observed.routes.iter().filter(|(prefix, _)| {
        wanted.routes.get(prefix).is_some_and(|route| !assignments.contains_key(&route.next_hop))
    });
    let mut kept: BTreeSet<u32> = unchanged.map(|(_, route)| route.next_hop).collect();
    let kept_groups = groups.kept(observed, &mut kept, assignments);
    kept.extend(assignments.values());
    let unwanted = observed.next_hops.iter().filter(|(index, _)| !kept.contains(index));
    let (owners, others): (Vec<_>, Vec<_>) = unwanted.partition(|(_, next_hop)| next_hop.group != 0);
    changes.extend(owners.into_iter().map(|(index, _)| MapChange::FreeNextHop { index: *index }));
    let unwanted = observed.groups.keys().filter(|index| !kept_groups.contains(index));
    changes.extend(unwanted.map(|index| MapChange::FreeGroup { index: *index }));
    changes.extend(others.into_iter().map(|(index, _)| MapChange::FreeNextHop { index: *index }));
    // By now every program of ours is this build's, or detached.
    changes
        .extend(observed.other_layouts.iter().map(|version| MapChange::RemoveLayout { version: *version }));
    changes
}

struct Assigned {
    assignments: BTreeMap<NextHopKey, u32>,
    search_from: u32,
    exhausted: Option<Exhausted>,
}

/// Gives every wanted next hop an index: the one at which an object of its identity is observed (the
/// lowest, if a crash left several), otherwise a free one.
fn assign(wanted: &WantedDatapath, observed: &ObservedDatapath, search_from: u32) -> Assigned {
    let mut by_identity: BTreeMap<u64, VecDeque<u32>> = BTreeMap::new();
    for (index, next_hop) in observed.next_hops.range(1..MAX_NEXT_HOPS) {
        by_identity.entry(next_hop.identity).or_default().push_back(*index);
    }
    let mut free = FreeIndices::new(observed, search_from);
    let mut assignments = BTreeMap::new();
    let mut left_out = Vec::new();
    for key in wanted.next_hops.keys() {
        let known = by_identity.get_mut(&key.identity()).and_then(VecDeque::pop_front);
        match known.or_else(|| free.next()) {
            Some(index) => {
                assignments.insert(key.clone(), index);
            }
            None => left_out.push(key.clone()),
        }
    }
    let exhausted = (!left_out.is_empty()).then_some(Exhausted { limit: MAX_NEXT_HOPS - 1, left_out });
    Assigned { assignments, search_from: free.next_start(), exhausted }
}

/// Free indices, once around from a start. Index 0 is never one of them: a zeroed route names it.
struct FreeIndices {
    occupied: BTreeSet<u32>,
    start: u32,
    taken: u32,
}

impl FreeIndices {
    /// How many indices there are.
    const ALL: u32 = MAX_NEXT_HOPS - 1;

    /// What a route or a group names is not free even if no object is there: an object that is written there would
    /// be taken for the route's.
    fn new(observed: &ObservedDatapath, start: u32) -> Self {
        let named = observed.routes.values().map(|route| route.next_hop);
        let members = observed.groups.values().flat_map(|group| group.buckets);
        let occupied = observed.next_hops.keys().copied().chain(named).chain(members).collect();
        Self { occupied, start, taken: 0 }
    }

    /// The index that follows the last one given out.
    fn next_start(&self) -> u32 {
        self.at(self.taken)
    }

    fn at(&self, offset: u32) -> u32 {
        1 + (self.start.saturating_sub(1) % Self::ALL + offset) % Self::ALL
    }
}

impl Iterator for FreeIndices {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.taken < Self::ALL {
            let index = self.at(self.taken);
            self.taken += 1;
            if !self.occupied.contains(&index) {
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests;
