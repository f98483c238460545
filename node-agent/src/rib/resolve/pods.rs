use std::collections::BTreeMap;

use node_ebpf_common::{Endpoint, NextHop, NextHopKind};

use super::{LocalPod, Path, ProblemKind, Resolver, Target, overlap::around};
use crate::{
    model::{AddressFamily, Link, NextHopKey, Pod, Prefix},
    rib::{Candidate, address::to_map},
};

impl Resolver<'_> {
    /// This node's pods whose interfaces are there.
    pub(super) fn local_pods(&mut self, uplinks: &BTreeMap<u32, String>) -> Vec<LocalPod> {
        let mut owners: BTreeMap<u32, &Pod> = BTreeMap::new();
        let mut pods = Vec::new();
        for pod in self.selection.pods.values() {
            let key = NextHopKey::Pod(pod.name.clone());
            match self.pod_link(pod, uplinks, &owners) {
                Ok(link) => {
                    let (interface, path) = (link.name.clone(), pod_path(link));
                    let endpoint = Endpoint {
                        address_v4: to_map(AddressFamily::V4.first(&pod.addresses)),
                        address_v6: to_map(AddressFamily::V6.first(&pod.addresses)),
                        source_check: self.settings.source_check as u32,
                        reserved: 0,
                    };
                    pods.push(LocalPod { link: link.index, interface, endpoint });
                    owners.insert(link.index, pod);
                    self.next_hops.insert(key.clone(), pod_next_hop(&key, pod, link));
                    self.out.paths.insert(key, path);
                }
                Err(reason) => {
                    let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
                    let text =
                        format!("{reason} ({}): packets to {} are dropped", pod.origin, addresses.join(", "));
                    self.problem(ProblemKind::PodInterfaceUnusable, text);
                    self.unreachable_pods.insert(pod.name.clone(), reason);
                }
            }
        }
        pods
    }

    /// Whether packets to a local pod that cannot be delivered to would leave this node. Inside this node's
    /// own prefix they do not: the rest of it is unassigned anyway. But an address from elsewhere would
    /// follow a shorter prefix to another node, which sends it back here.
    pub(super) fn falls_to_another(&self, prefix: Prefix, candidate: &Candidate) -> bool {
        // Routes are made in order of address and length: every shorter one that is used is there already.
        let routes = &self.out.wanted.datapath.routes;
        let shorter = || around(prefix).rev().skip(1).find_map(|shorter| routes.get(&shorter));
        matches!(candidate.target, Target::Pod(_))
            && self.can_use(prefix.address())
            && shorter().is_none_or(|around| around.next_hop != NextHopKey::Unassigned)
    }

    fn pod_link(
        &self,
        pod: &Pod,
        uplinks: &BTreeMap<u32, String>,
        owners: &BTreeMap<u32, &Pod>,
    ) -> Result<&Link, String> {
        let Pod { name, interface, .. } = pod;
        let Some(link) = self.underlay.link_by_name(interface) else {
            return Err(format!("interface {interface} of pod {name} does not exist"));
        };
        if let Some(owner) = owners.get(&link.index) {
            return Err(format!("interface {interface} of pod {name} is pod {}'s already", owner.name));
        }
        if link.loopback || self.holds_own_address(link.index) || uplinks.contains_key(&link.index) {
            return Err(format!("interface {interface} of pod {name} is the host's loopback or uplink"));
        }
        if !link.ethernet {
            return Err(format!("interface {interface} of pod {name} is no Ethernet interface"));
        }
        if link.up { Ok(link) } else { Err(format!("interface {interface} of pod {name} is down")) }
    }
}

fn pod_path(link: &Link) -> Path {
    Path { interface: link.name.clone(), underlay: None, adjacent: true, link_mtu: link.mtu }
}

fn pod_next_hop(key: &NextHopKey, pod: &Pod, link: &Link) -> NextHop {
    NextHop {
        identity: key.identity(),
        kind: NextHopKind::LocalPod as u32,
        interface: link.index,
        mtu: link.mtu,
        mac_destination: pod.mac.unwrap_or_default(),
        mac_source: link.mac,
        ..NextHop::default()
    }
}
