use std::collections::BTreeMap;

use node_ebpf_common::NextHop;

use crate::{
    model::{NextHopKey, NodePath, WantedDatapath},
    reconcile::{AttachmentPoint, AttachmentState, MapChange, ObservedDatapath},
};

/// What people should know of a pass's changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PassNotes {
    /// Remote nodes that are reached another way, with the next hops before and after.
    pub ways: Vec<(NodePath, NextHop, NextHop)>,
    /// How many programs are put in the place of others.
    pub programs_replaced: usize,
}

impl PassNotes {
    /// What these changes to what is observed mean.
    pub(super) fn of(changes: &[MapChange], wanted: &WantedDatapath, observed: &ObservedDatapath) -> Self {
        let stale = |at: &AttachmentPoint| observed.attachments.get(at) == Some(&AttachmentState::Stale);
        let replaces = |change: &&MapChange| matches!(change, MapChange::Attach(at) if stale(&at.into()));
        let programs_replaced = changes.iter().filter(replaces).count();
        let moved: BTreeMap<u64, (NextHop, NextHop)> = changes
            .iter()
            .filter_map(|change| match change {
                MapChange::SetNextHop { index, next_hop } => {
                    let before = observed.next_hops.get(index)?;
                    is_another_way(before, next_hop).then_some((next_hop.identity, (*before, *next_hop)))
                }
                _ => None,
            })
            .collect();
        let named = |key: &NextHopKey| match key {
            NextHopKey::Node(path) => {
                moved.get(&key.identity()).map(|(before, now)| (path.clone(), *before, *now))
            }
            _ => None,
        };
        let ways =
            if moved.is_empty() { Vec::new() } else { wanted.next_hops.keys().filter_map(named).collect() };
        Self { ways, programs_replaced }
    }
}

/// Whether packets of one next hop take another way: another MTU alone is the same way.
fn is_another_way(before: &NextHop, now: &NextHop) -> bool {
    let way = |hop: &NextHop| (hop.kind, hop.interface, hop.gateway, hop.tunnel_destination);
    before.identity == now.identity && way(before) != way(now)
}

#[cfg(test)]
mod tests {
    use node_ebpf_common::{Address, Hook, NextHopKind};

    use super::*;
    use crate::model::{AddressFamily, Attachment};

    #[test]
    fn another_interface_gateway_or_encapsulation_is_another_way() {
        let path =
            NodePath { node: "b1".parse().unwrap(), inner: AddressFamily::V4, outer: AddressFamily::V4 };
        let key = NextHopKey::Node(path.clone());
        let before = NextHop {
            identity: key.identity(),
            kind: NextHopKind::Direct as u32,
            interface: 2,
            mtu: 1500,
            ..NextHop::default()
        };
        let mut observed = ObservedDatapath::default();
        observed.next_hops.insert(1, before);
        let mut wanted = WantedDatapath::default();
        wanted.next_hops.insert(key, before);
        for (now, other) in [
            (NextHop { interface: 3, ..before }, true),
            (NextHop { kind: NextHopKind::Ipip as u32, ..before }, true),
            (NextHop { gateway: Address::from_v4([10, 0, 1, 1]), ..before }, true),
            (NextHop { mtu: 1400, ..before }, false),
            // Not the same node.
            (NextHop { interface: 3, identity: 7, ..before }, false),
        ] {
            let notes =
                PassNotes::of(&[MapChange::SetNextHop { index: 1, next_hop: now }], &wanted, &observed);
            let expected = if other { vec![(path.clone(), before, now)] } else { vec![] };
            assert_eq!(notes.ways, expected);
        }
        let first = MapChange::SetNextHop { index: 2, next_hop: before };
        assert_eq!(PassNotes::of(&[first], &wanted, &observed), PassNotes::default(), "it is new");
    }

    #[test]
    fn programs_in_the_place_of_others_are_counted() {
        let at = |link| Attachment { link, interface: format!("if{link}"), hook: Hook::FromPod };
        let mut observed = ObservedDatapath::default();
        observed.attachments.insert((&at(1)).into(), AttachmentState::Stale);
        let changes = [MapChange::Attach(at(1)), MapChange::Attach(at(2))];
        assert_eq!(PassNotes::of(&changes, &WantedDatapath::default(), &observed).programs_replaced, 1);
    }
}
