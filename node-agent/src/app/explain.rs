//! Reads every plane for `node-agent explain`, and has it explained.

use std::{collections::BTreeSet, net::IpAddr};

use node_ebpf_common::{Hook, NextHop, NextHopKind};

use super::App;
use crate::{
    api::{Explanation, Subject},
    datapath::ProgramAt,
    explain::{
        BpfFacts, Facts, HookFact, KernelFacts, LinkFact, MtuFacts, NeighbourFact, TrieAnswer, WantedWay,
        explain,
    },
    model::{AddressFamily, KernelRoute, NextHopKey, PlaceholderNeighbour, Prefix, WantedDatapath},
    rib,
};

impl App {
    /// The whole way of a subject, as everything is at this moment.
    pub(super) async fn explain(&mut self, subject: Subject) -> Result<Explanation, String> {
        self.look_at_host().await?;
        let (targets, asked) = self.targets(&subject)?;
        let mut explained = Vec::new();
        for target in targets {
            let facts = Facts { asked: asked.clone(), ..self.facts(target).await? };
            explained.push(explain(target, &facts));
        }
        let healthy = explained.iter().all(|one| one.disagreements().next().is_none());
        Ok(Explanation { subject, node: self.config.node.to_string(), healthy, targets: explained })
    }

    async fn facts(&mut self, target: Prefix) -> Result<Facts, String> {
        let decided = self.decided(target);
        let (wanted, key) = match self.wanted_way(&decided) {
            Some((wanted, key)) => (Some(wanted), Some(key)),
            None => (None, None),
        };
        let bpf = self.bpf_facts(target, wanted.as_ref())?;
        let links = self.link_facts(wanted.as_ref()).await?;
        let kernel = self.kernel_facts(target, wanted.as_ref()).await?;
        let neighbours = self.neighbour_facts(target, wanted.as_ref()).await;
        Ok(Facts {
            sources: self.source_facts(),
            settled: self.settled,
            stated: self.stated(target),
            asked: None,
            bpf,
            hooks: self.hook_facts(wanted.as_ref()),
            links,
            kernel,
            neighbours,
            mtu: self.mtu_facts(wanted.as_ref()),
            packets: self.packet_facts(target)?,
            pending: self.pending_facts(target, &decided, key.as_ref()),
            decided,
            wanted,
        })
    }

    fn wanted_way(&self, decided: &crate::explain::Decided) -> Option<(WantedWay, NextHopKey)> {
        let prefix = decided.route.as_ref()?.prefix;
        let wanted = &self.resolved.wanted.datapath;
        let route = wanted.routes.get(&prefix)?;
        let way = WantedWay {
            prefix,
            name: route.next_hop.to_string(),
            next_hop: *wanted.next_hops.get(&route.next_hop)?,
            flags: route.flags,
            path: self.resolved.paths.get(&route.next_hop).cloned(),
            members: members(wanted, &route.next_hop),
        };
        Some((way, route.next_hop.clone()))
    }

    fn bpf_facts(&mut self, target: Prefix, wanted: Option<&WantedWay>) -> Result<BpfFacts, String> {
        let datapath = &mut self.reconciler.datapath;
        let found = datapath.longest_match(target).map_err(|error| error.to_string())?;
        let address = target.address();
        let asked = target.is_host() && address.is_ipv4();
        let lookup_table = asked
            .then(|| datapath.lookup_disagreement(address, found.as_ref().map(|found| found.route)))
            .flatten();
        let local = wanted.filter(|wanted| wanted.next_hop.kind == NextHopKind::LocalPod as u32);
        let endpoint = match local.map(|wanted| wanted.next_hop.interface) {
            Some(link) => {
                let found = datapath.endpoint(link).map_err(|error| error.to_string())?;
                self.resolved.wanted.datapath.endpoints.get(&link).map(|wanted| (*wanted, found))
            }
            None => None,
        };
        let trie = found.map(|found| TrieAnswer {
            prefix: found.prefix,
            route: found.route,
            next_hop: found.next_hop,
        });
        let hold = self.reconciler.brake.hold();
        let held = hold.is_some_and(|hold| hold.prefixes().any(|prefix| prefix.covers(&target)));
        Ok(BpfFacts { trie, held, lookup_table, lookup_table_asked: asked, endpoint })
    }

    /// The programs at the interface of the way, and at the uplinks if it leads to this node itself.
    fn hook_facts(&self, wanted: Option<&WantedWay>) -> Vec<HookFact> {
        let Some(wanted) = wanted else { return Vec::new() };
        let own = [NextHopKind::Host as u32, NextHopKind::Unassigned as u32].contains(&wanted.next_hop.kind);
        let uplink = |hook| matches!(hook, Hook::FromUplink | Hook::Xdp);
        let on_the_way =
            |link: u32, hook| if own { uplink(hook) } else { wanted.hops().any(|hop| hop.interface == link) };
        let attachments = &self.resolved.wanted.datapath.attachments;
        let fact = |at: &crate::model::Attachment| {
            let ProgramAt { expected, running, method } = self.reconciler.datapath.program_at(at);
            HookFact { interface: at.interface.clone(), hook: at.hook, expected, running, method }
        };
        attachments.iter().filter(|at| on_the_way(at.link, at.hook)).map(fact).collect()
    }

    async fn link_facts(&self, wanted: Option<&WantedWay>) -> Result<Vec<LinkFact>, String> {
        let hops = wanted.into_iter().flat_map(WantedWay::hops);
        let indexes: BTreeSet<u32> = hops.map(|hop| hop.interface).filter(|index| *index != 0).collect();
        let mut facts = Vec::new();
        for index in indexes {
            let state = self.host.link_state(index).await.map_err(|error| error.to_string())?;
            facts.push(LinkFact { name: self.interface_name(index), state });
        }
        Ok(facts)
    }

    async fn kernel_facts(&self, target: Prefix, wanted: Option<&WantedWay>) -> Result<KernelFacts, String> {
        let ours = wanted.and_then(|wanted| self.resolved.wanted.host.routes.get(&wanted.prefix));
        let around = |route: &&KernelRoute| route.destination.covers(&target);
        let longest = self.view.routes.iter().filter(around).map(|route| route.destination.len()).max();
        let kept = |route: &&KernelRoute| {
            ours.is_some_and(|ours| ours.destination == route.destination)
                || around(route) && Some(route.destination.len()) == longest
        };
        let answer = match target.is_host() {
            true => Some(self.host.kernel_answer(target.address()).await.map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(KernelFacts {
            wanted: ours.map(KernelRoute::as_reported),
            found: self.view.routes.iter().filter(kept).cloned().collect(),
            answer,
            forwarding: match target.family() {
                AddressFamily::V4 => self.view.forwarding_v4,
                AddressFamily::V6 => self.view.forwarding_v6 == Some(true),
            },
            names: self.view.links.iter().map(|link| (link.index, link.name.clone())).collect(),
        })
    }

    /// The neighbours of the way. A pod of this node is asked for by its address.
    async fn neighbour_facts(&self, target: Prefix, wanted: Option<&WantedWay>) -> Vec<NeighbourFact> {
        let mut facts = Vec::new();
        for hop in wanted.into_iter().flat_map(WantedWay::hops) {
            let (address, programs_use) = match NextHopKind::from_u32(hop.kind) {
                Some(NextHopKind::Direct | NextHopKind::Ipip) => {
                    (rib::address_of(hop.gateway).unwrap_or(target.address()), None)
                }
                Some(NextHopKind::LocalPod) => {
                    (target.address(), Some(hop.mac_destination).filter(|mac| *mac != [0; 6]))
                }
                _ => continue,
            };
            // The interface may have gone: another step says so.
            let entry = self.host.neighbour(hop.interface, address).await.unwrap_or_default();
            let interface = self.interface_name(hop.interface);
            facts.push(NeighbourFact { address, interface, entry, programs_use });
        }
        facts
    }

    fn mtu_facts(&self, wanted: Option<&WantedWay>) -> MtuFacts {
        let ipip = wanted.filter(|wanted| wanted.next_hop.kind == NextHopKind::Ipip as u32);
        let learned = ipip
            .and_then(|wanted| rib::address_of(wanted.next_hop.tunnel_destination))
            .and_then(|node| self.path_mtu_row(node));
        let pods = &self.resolved.pod_mtu;
        MtuFacts { learned, pods: pods.bytes.map(|bytes| (bytes, pods.from.clone())) }
    }

    /// Words by which problems and changes name what is on the way.
    pub(super) fn words(
        &self,
        target: Prefix,
        decided: &crate::explain::Decided,
        key: Option<&NextHopKey>,
    ) -> Vec<String> {
        let mut words = BTreeSet::from([target.to_string(), target.address().to_string()]);
        let rows = decided.route.iter().chain(&decided.passed_over);
        words.extend(rows.map(|row| row.prefix.to_string()));
        words
            .extend(decided.node.as_ref().filter(|node| **node != self.config.node).map(ToString::to_string));
        if let Some(path) = key.and_then(|key| self.resolved.paths.get(key)) {
            words.insert(path.interface.clone());
        }
        let next_hop = key.and_then(|key| self.resolved.wanted.datapath.next_hops.get(key));
        let gateway = next_hop.and_then(|hop| rib::address_of(hop.gateway));
        words.extend(
            gateway
                .filter(|gateway| *gateway != IpAddr::V6(PlaceholderNeighbour::ADDRESS))
                .map(|gateway| gateway.to_string()),
        );
        words.into_iter().collect()
    }
}

/// The members of a next hop's group, with their objects.
fn members(wanted: &WantedDatapath, owner: &NextHopKey) -> Vec<(String, NextHop)> {
    let keys = wanted.groups.get(owner).into_iter().flatten();
    keys.filter_map(|key| Some((key.to_string(), *wanted.next_hops.get(key)?))).collect()
}
