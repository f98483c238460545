//! What routers tell of the path MTU to other nodes.

use std::{collections::BTreeSet, net::IpAddr};

use node_ebpf_common::NextHopKind;
use tokio::time::Instant;
use tracing::debug;

use super::App;
use crate::{
    api::PathMtuRow,
    model::TooBigReport,
    rib::{LearnedMtu, address_of},
};

/// Reports that wait for the loop; routers repeat what gets lost.
pub(super) const WAITING: usize = 64;

impl App {
    pub(super) fn learn_path_mtu(&mut self, report: &TooBigReport) {
        let now = Instant::now();
        let TooBigReport { router, source, destination, mtu } = *report;
        let tunnel_mtu = self.resolved.tunnel_mtu(source, destination);
        match self.path_mtus.learn(report, tunnel_mtu, now.into_std()) {
            Ok(LearnedMtu { mtu, .. }) => {
                debug!("router {router} takes packets to {destination} up to {mtu} bytes");
                self.due = now;
            }
            Err(why) => {
                debug!(
                    "ignored that router {router} takes {source} to {destination} up to {mtu} bytes: {why}"
                );
            }
        }
    }

    /// Forgets what has held long enough, and comes back when the next one has.
    pub(super) fn expire_path_mtus(&mut self, now: Instant) {
        for destination in self.path_mtus.expire(now.into_std()) {
            debug!("larger packets to {destination} are tried again");
        }
        if let Some(at) = self.path_mtus.next_expiry() {
            self.due = self.due.min(Instant::from_std(at));
        }
    }

    /// Forgets nodes that have gone, or that are not encapsulated any more.
    pub(super) fn retain_path_mtus(&mut self) {
        let next_hops = self.resolved.wanted.datapath.next_hops.values();
        let tunnels = next_hops.filter(|next_hop| next_hop.kind == NextHopKind::Ipip as u32);
        let ends: BTreeSet<IpAddr> =
            tunnels.filter_map(|next_hop| address_of(next_hop.tunnel_destination)).collect();
        self.path_mtus.retain(|destination| ends.contains(&destination));
    }

    pub(super) fn path_mtu_rows(&self) -> Vec<PathMtuRow> {
        self.path_mtus.iter().map(|(destination, learned)| row(destination, learned)).collect()
    }

    /// What a router has told of the way to this node.
    pub(super) fn path_mtu_row(&self, node_address: IpAddr) -> Option<PathMtuRow> {
        self.path_mtus.get(node_address).map(|learned| row(node_address, learned))
    }
}

fn row(node_address: IpAddr, learned: &LearnedMtu) -> PathMtuRow {
    let left = learned.until.saturating_duration_since(std::time::Instant::now());
    PathMtuRow { node_address, bytes: learned.mtu, router: learned.router, seconds_left: left.as_secs() }
}
