use std::collections::BTreeMap;

use node_ebpf_common::Address;

use super::{LocalPod, ProblemKind, Resolver, nodes::SMALLEST_MTU_V6};
use crate::model::{AddressFamily, Cluster, EncapsulationMode, NonAdjacent, PodMtu};

/// The MTU of this node's pods, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChosenMtu {
    /// In bytes; none if it is left as it is.
    pub bytes: Option<u32>,
    /// Why it is so, for people.
    pub from: String,
}

/// Bytes of the outer header that packets to some node may get, now or after a change of the state.
fn room_for_header(cluster: Cluster, own_v6: bool) -> u32 {
    match (cluster.encapsulation, cluster.non_adjacent) {
        (EncapsulationMode::Never, NonAdjacent::Refuse) => 0,
        _ if own_v6 => AddressFamily::V6.header_bytes(),
        _ => AddressFamily::V4.header_bytes(),
    }
}

/// The MTU that pods get; `uplinks` are name and MTU of each.
fn choose<'a>(setting: PodMtu, uplinks: impl Iterator<Item = (&'a str, u32)>, room: u32) -> ChosenMtu {
    let chosen = |bytes, from: String| ChosenMtu { bytes, from };
    match setting {
        PodMtu::Keep => chosen(None, "kept as whoever made the interfaces set it".to_owned()),
        PodMtu::Fixed(bytes) => chosen(Some(bytes), "as configured".to_owned()),
        PodMtu::Auto => match uplinks.min_by_key(|(_, mtu)| *mtu) {
            None => chosen(None, "kept, as there is no uplink".to_owned()),
            Some((name, mtu)) if room == 0 => {
                chosen(Some(mtu), format!("{name} has {mtu}, and nothing is encapsulated"))
            }
            Some((name, mtu)) => {
                let from = format!("{name} has {mtu}, less {room} for an outer header");
                chosen(Some(mtu.saturating_sub(room)), from)
            }
        },
    }
}

impl Resolver<'_> {
    /// The MTU of each local pod's veth, by index of its host side.
    pub(super) fn pod_mtus(
        &mut self,
        pods: &[LocalPod],
        uplinks: &BTreeMap<u32, String>,
    ) -> BTreeMap<u32, u32> {
        let own_v6 = self.own_address(AddressFamily::V6).is_some();
        let room = room_for_header(self.selection.cluster, own_v6);
        let links = uplinks.keys().filter_map(|index| self.underlay.link(*index));
        let chosen = choose(self.settings.pod_mtu, links.map(|link| (link.name.as_str(), link.mtu)), room);
        let mtus = chosen.bytes.map(|bytes| self.for_each_pod(pods, bytes)).unwrap_or_default();
        self.out.pod_mtu = chosen;
        mtus
    }

    /// The kernel takes every IPv6 address off an interface with an MTU below what IPv6 needs, so that pods
    /// which have one never get less.
    fn for_each_pod(&mut self, pods: &[LocalPod], bytes: u32) -> BTreeMap<u32, u32> {
        let has_v6 = |pod: &LocalPod| pod.endpoint.address_v6 != Address::NONE;
        if bytes < SMALLEST_MTU_V6
            && let Some(pod) = pods.iter().find(|pod| has_v6(pod))
        {
            let text = format!(
                "an MTU of {bytes} is too small for pods with an IPv6 address (RFC 8200), of which the first is behind {}: they get {SMALLEST_MTU_V6}, and larger packets may be lost on the way; give the uplinks a larger MTU",
                pod.interface
            );
            self.problem(ProblemKind::MtuTooSmall, text);
        }
        let of = |pod: &LocalPod| if has_v6(pod) { bytes.max(SMALLEST_MTU_V6) } else { bytes };
        pods.iter().map(|pod| (pod.link, of(pod))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_left_for_the_largest_header_that_may_come() {
        let cluster = |encapsulation, non_adjacent| Cluster { encapsulation, non_adjacent };
        for (mode, non_adjacent, v4_only, with_v6) in [
            (EncapsulationMode::Never, NonAdjacent::Refuse, 0, 0),
            (EncapsulationMode::Never, NonAdjacent::Ipip, 20, 40),
            (EncapsulationMode::CrossSubnet, NonAdjacent::Refuse, 20, 40),
            (EncapsulationMode::Always, NonAdjacent::Refuse, 20, 40),
        ] {
            assert_eq!(room_for_header(cluster(mode, non_adjacent), false), v4_only);
            assert_eq!(room_for_header(cluster(mode, non_adjacent), true), with_v6);
        }
    }

    #[test]
    fn the_smallest_uplink_decides_unless_it_is_configured() {
        let uplinks = [("eth0", 9000), ("eth1", 1500)];
        let choice = |setting, room| {
            let ChosenMtu { bytes, from } = choose(setting, uplinks.into_iter(), room);
            (bytes, from)
        };
        assert_eq!(
            choice(PodMtu::Auto, 20),
            (Some(1480), "eth1 has 1500, less 20 for an outer header".to_owned())
        );
        assert_eq!(
            choice(PodMtu::Auto, 0),
            (Some(1500), "eth1 has 1500, and nothing is encapsulated".to_owned())
        );
        assert_eq!(choice(PodMtu::Fixed(1400), 20), (Some(1400), "as configured".to_owned()));
        assert_eq!(choice(PodMtu::Keep, 20).0, None);
        let none = choose(PodMtu::Auto, std::iter::empty(), 20);
        assert_eq!((none.bytes, none.from.as_str()), (None, "kept, as there is no uplink"));
    }
}
