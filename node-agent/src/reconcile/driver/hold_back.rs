use std::{
    collections::BTreeSet,
    time::{Instant, SystemTime},
};

use super::{Pass, Reconciler};
use crate::{
    datapath::Datapath,
    model::{HostChange, HostView, Prefix, Wanted},
    reconcile::{
        MapChange,
        brake::{Kept, Proposal, in_place, withdrawals},
    },
};

/// Addresses of stated pods, found out only if it matters: for each the routes in force lead to the right node.
pub type AtHome<'a> = &'a dyn Fn() -> BTreeSet<Prefix>;

/// What a pass is to change.
#[derive(Debug, Default)]
pub(super) struct Plans {
    pub(super) maps: Vec<MapChange>,
    pub(super) host: Vec<HostChange>,
}

impl<D: Datapath> Reconciler<D> {
    /// Takes out of the plans what the brake holds, with all that it needs.
    pub(super) fn hold_back(
        &mut self,
        plans: &mut Plans,
        wanted: &Wanted,
        view: &HostView,
        pass: Pass,
        at_home: AtHome<'_>,
    ) {
        if !pass.allow_delete {
            return;
        }
        let observed = self.observed.as_ref();
        let proposal = Proposal {
            withdrawn: withdrawals((&plans.maps, &plans.host), wanted, observed, view, at_home),
            in_place: &|| in_place(observed, view),
            wanted: &|prefix| wanted.datapath.routes.contains_key(prefix),
            healthy: pass.healthy,
            time: SystemTime::now(),
        };
        let held = self.brake.decide(proposal, Instant::now());
        let kept = Kept::of(held, observed, view);
        plans.maps.retain(|change| kept.allows_map(change));
        plans.host.retain(|change| kept.allows_host(change));
    }
}
