//! The neighbours that packets are sent to: which of them are asked whether they are still there.

use std::collections::BTreeSet;

use node_ebpf_common::NextHop;
use tracing::warn;

use super::App;
use crate::{
    model::{LinkNeighbour, NextHopKey, WantedDatapath},
    rib::address_of,
};

impl App {
    /// Has the neighbours followed on which the resolution depends.
    pub(super) fn follow_neighbours(&self) {
        self.followed.send_if_modified(|followed| {
            let changes = !self.resolved.hold && *followed != self.resolved.deciding;
            if changes {
                followed.clone_from(&self.resolved.deciding);
            }
            changes
        });
    }

    /// Keeps the neighbours fresh to which XDP sends past the stack.
    pub(super) async fn confirm_neighbours(&self) {
        let used = sent_to(&self.resolved.wanted.datapath);
        if let Err(error) = self.host.confirm_neighbours(&used).await {
            warn!("neighbours that XDP sends to are not confirmed: {error}");
        }
    }
}

/// The neighbours that packets are sent to beyond this host: other nodes, gateways, members of groups, and next hops of
/// routes to what is outside.
fn sent_to(wanted: &WantedDatapath) -> BTreeSet<LinkNeighbour> {
    let elsewhere = |key: &NextHopKey| matches!(key, NextHopKey::Node(_) | NextHopKey::Via(_));
    let neighbour =
        |hop: &NextHop| Some(LinkNeighbour { link: hop.interface, address: address_of(hop.gateway)? });
    let elsewhere = wanted.next_hops.iter().filter(|(key, _)| elsewhere(key));
    elsewhere.filter_map(|(_, hop)| neighbour(hop)).collect()
}

#[cfg(test)]
mod tests {
    use node_ebpf_common::Address;

    use super::*;
    use crate::model::{AddressFamily, NextHopSet, NodePath, Via};

    #[test]
    fn nodes_gateways_and_next_hops_of_routes_are_sent_to() {
        let (v4, gateway) = (AddressFamily::V4, "10.0.9.1".parse().unwrap());
        let node = NodePath { node: "b1".parse().unwrap(), inner: v4, outer: v4 };
        let via = |node| NextHopKey::Via(Via { node, gateway, interface: 3 });
        let group = NextHopSet { inner: v4, next_hops: BTreeSet::from([gateway]) };
        let keys = [
            (NextHopKey::Host, 1),
            (NextHopKey::Pod("default/web".parse().unwrap()), 2),
            (NextHopKey::Node(node.clone()), 3),
            (via(Some(node)), 4),
            (via(None), 5),
            (NextHopKey::Group(group), 6),
        ];
        let hop = |interface: u32| {
            let gateway = Address::from_v4([10, 0, 1, 1]);
            NextHop { interface, gateway, ..NextHop::default() }
        };
        let next_hops = keys.into_iter().map(|(key, interface)| (key, hop(interface))).collect();
        let wanted = WantedDatapath { next_hops, ..WantedDatapath::default() };
        let links: Vec<u32> = sent_to(&wanted).into_iter().map(|neighbour| neighbour.link).collect();
        assert_eq!(links, [3, 4, 5], "a group's own object is a copy of a member's");
    }
}
