//! The part of a pass that comes before any change: the host is looked at, and what is wanted is decided, as far as
//! anything that this rests on has changed.

use super::{App, Preparation};
use crate::{
    config::XdpMode,
    host::HostError,
    masquerade::MasqueradeTable,
    model::{HostView, KernelRoute, PodMtu},
    rib::{ResolveSettings, resolve, select},
};

/// What is out of date.
#[derive(Debug)]
pub(super) struct Stale {
    /// The selection: what the sources say has changed.
    pub(super) selection: bool,
    /// The resolution: the host's network, the selection or the settings have changed.
    pub(super) resolution: bool,
    /// What is known of the host: the kernel told of a change, or nothing was read yet.
    pub(super) host: bool,
    /// What is known of the masquerade table: the kernel told of a change.
    pub(super) table: bool,
}

impl Default for Stale {
    /// Everything.
    fn default() -> Self {
        Self { selection: true, resolution: true, host: true, table: false }
    }
}

impl App {
    /// Looks at the host's network, at less cost if the kernel has told of no change since the last time: then its routes
    /// are not read as long as their digest is the same.
    pub(super) async fn observe(&mut self) -> Result<(), HostError> {
        let digest = if self.stale.host { None } else { Some(self.host.routes_digest().await?) };
        let same_routes = digest.is_some() && digest == self.routes_digest;
        let host = &self.host;
        let mut view =
            if same_routes { host.observe_all_but_routes().await? } else { host.observe().await? };
        view.path_mtus = self.path_mtus.iter().map(|(node, learned)| (node, learned.mtu)).collect();
        view.failed_neighbours.clone_from(&self.failed_neighbours);
        // The other ends of veths only if they may have to be changed.
        if self.config.pod_mtu != PodMtu::Keep {
            self.host.observe_peers(&mut view).await?;
        }
        self.routes_digest = digest;
        self.stale.host = false;
        if same_routes {
            view.routes = std::mem::take(&mut self.view.routes);
            self.stale.resolution |= !view.is_same_but_routes(&self.view);
            self.view = view;
        } else {
            self.see(view);
        }
        Ok(())
    }

    /// Takes in how the host's network is.
    pub(super) fn see(&mut self, view: HostView) {
        if (&view.links, &view.addresses) != (&self.view.links, &self.view.addresses) {
            self.reconciler.try_all_again();
        }
        self.stale.resolution |= view != self.view;
        let foreign = view.routes.iter().filter(|route| route.protocol != KernelRoute::PROTOCOL);
        self.foreign = foreign.map(|route| route.destination).collect();
        self.view = view;
    }

    /// Decides what is wanted. Tells whether anything that this rests on has changed.
    pub(super) fn decide(&mut self, preparation: &mut Preparation) -> bool {
        let changed = self.stale.selection || self.stale.resolution;
        if self.stale.selection {
            // First, so that there are never two of each.
            (self.selection, self.resolved) = Default::default();
            self.selection = select(&self.table, &self.config.node);
            self.masquerade =
                self.config.masquerade.then(|| MasqueradeTable::of(&self.selection, &self.config.node));
        }
        preparation.selected();
        if changed {
            self.measured.decided();
            self.resolved = Default::default();
            let settings = ResolveSettings {
                uplinks: self.config.uplinks.clone(),
                source_check: self.config.source_check,
                xdp: self.config.xdp != XdpMode::Off,
                pod_mtu: self.config.pod_mtu,
            };
            self.resolved = resolve(&self.selection, &self.view, &settings);
            self.follow_neighbours();
        }
        preparation.resolved();
        (self.stale.selection, self.stale.resolution) = (false, false);
        changed
    }
}
