use std::collections::{BTreeMap, BTreeSet};

use super::{LocalPod, ProblemKind, Resolver};
use crate::model::NextHopKey;

impl Resolver<'_> {
    /// The uplinks that the configuration names and the host has: name by index.
    pub(super) fn configured_uplinks(&mut self) -> BTreeMap<u32, String> {
        let mut uplinks = BTreeMap::new();
        for name in &self.settings.uplinks {
            match self.underlay.link_by_name(name) {
                None => {
                    let have = self.underlay.link_names();
                    let text = format!("interface {name} does not exist (have: {have}): it is no uplink");
                    self.problem(ProblemKind::UplinkUnusable, text);
                }
                Some(link) if !link.ethernet => {
                    let text = format!("interface {name} is no Ethernet interface: it is no uplink");
                    self.problem(ProblemKind::UplinkUnusable, text);
                }
                Some(link) => {
                    uplinks.insert(link.index, link.name.clone());
                }
            }
        }
        uplinks
    }

    /// The uplinks: as configured, otherwise the links that hold this node's address or lead to other nodes.
    pub(super) fn uplinks(
        &mut self,
        configured: BTreeMap<u32, String>,
        pods: &[LocalPod],
    ) -> BTreeMap<u32, String> {
        let in_use = self.links_to_nodes();
        if !self.settings.uplinks.is_empty() {
            for link in in_use.iter().filter(|link| !configured.contains_key(link)) {
                let interface = self.underlay.link(*link).map_or("", |link| link.name.as_str());
                let text = format!(
                    "other nodes are reached through {interface}, which is not among the configured uplinks ({}): encapsulated packets that come in there are not taken",
                    self.settings.uplinks.join(", ")
                );
                self.problem(ProblemKind::UplinkNotListed, text);
            }
            return configured;
        }
        let pods: BTreeSet<u32> = pods.iter().map(|pod| pod.link).collect();
        let holders = self.own.node.addresses.iter().flat_map(|own| self.underlay.holders(*own));
        let links = holders.chain(&in_use).filter(|index| !pods.contains(index));
        links
            .filter_map(|index| self.underlay.link(*index))
            .filter(|link| link.ethernet)
            .map(|link| (link.index, link.name.clone()))
            .collect()
    }

    /// Links through which remote nodes are reached.
    fn links_to_nodes(&self) -> BTreeSet<u32> {
        let to_node = |key: &NextHopKey| match key {
            NextHopKey::Node(_) => true,
            NextHopKey::Via(via) => via.node.is_some(),
            _ => false,
        };
        let remote = self.next_hops.iter().filter(|(key, _)| to_node(key));
        remote.map(|(_, next_hop)| next_hop.interface).collect()
    }
}
