use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{Candidate, ConflictKind, HeldPrefixes, Nodes, Notes, ProblemKind, Role};
use crate::model::{AddressFamily, Node, Pod, PodName, Prefix};

/// Someone who claims a single address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) role: Role,
    pub(super) node: &'a Node,
    pub(super) pod: Option<&'a Pod>,
    /// Whether the longest pod prefix around the address is the node's.
    pub(super) home: bool,
}

impl<'a> Claim<'a> {
    /// Lower wins. Total: of one role a node has an address once, and a pod's name is unique.
    fn rank(&self) -> (Role, bool, Option<&'a PodName>, &'a str) {
        (self.role, !self.home, self.pod.map(|pod| &pod.name), self.node.name.as_str())
    }
}

/// Pods, each name once, whose nodes are used.
pub(super) fn pods_on_used_nodes<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    nodes: &Nodes<'_>,
    notes: &mut Notes<'_>,
) -> Vec<&'a Pod> {
    let mut used: BTreeMap<&PodName, &'a Pod> = BTreeMap::new();
    for pod in pods {
        let Pod { name, node, origin, .. } = pod;
        let Some(node) = nodes.get(node) else {
            let text = format!(
                "pod {name} ({origin}) is on node {node}, which is not in the cluster state or not used"
            );
            notes.problem(ProblemKind::PodOnUnknownNode, text);
            continue;
        };
        let Some(first) = used.get(name) else {
            used.insert(name, pod);
            continue;
        };
        let candidate = || Candidate::new(Role::PodAddress, node, Some(pod), notes.own);
        let claims: Vec<_> =
            pod.addresses.iter().map(|address| (Prefix::host(*address), candidate())).collect();
        notes.outranked((&format!("pod {name}"), &first.origin, origin), claims);
    }
    used.into_values().collect()
}

/// Who has each address that is claimed.
pub(super) fn winners<'a>(
    nodes: &Nodes<'a>,
    pods: &[&'a Pod],
    held: &HeldPrefixes<'a>,
    notes: &mut Notes<'_>,
) -> BTreeMap<IpAddr, Claim<'a>> {
    let mut claims: BTreeMap<IpAddr, Vec<Claim<'a>>> = BTreeMap::new();
    let mut claim = |address: IpAddr, role: Role, node: &'a Node, pod: Option<&'a Pod>| {
        let home = held.get_lpm(&IpNet::from(address)).is_some_and(|(_, holder)| holder.name == node.name);
        claims.entry(address).or_default().push(Claim { role, node, pod, home });
    };
    for node in nodes.values() {
        let addresses: BTreeSet<IpAddr> = node.addresses.iter().copied().collect();
        addresses.into_iter().for_each(|address| claim(address, Role::NodeAddress, node, None));
        for address in host_addresses(node, held) {
            claim(address, Role::HostAddress, node, None);
        }
    }
    for pod in pods {
        let Some(node) = nodes.get(&pod.node) else { continue };
        let addresses: BTreeSet<IpAddr> = pod.addresses.iter().copied().collect();
        addresses.into_iter().for_each(|address| claim(address, Role::PodAddress, node, Some(pod)));
    }
    claims
        .into_iter()
        .filter_map(|(address, claims)| Some((address, decide(address, claims, notes)?)))
        .collect()
}

/// The host address of each family: the first usable address of the first pod prefix that the node holds.
fn host_addresses(node: &Node, held: &HeldPrefixes<'_>) -> impl Iterator<Item = IpAddr> {
    let holds = |prefix: &&Prefix| held.get(&prefix.net()).is_some_and(|holder| holder.name == node.name);
    let first = |family| node.pod_prefixes.iter().filter(holds).find(|prefix| prefix.family() == family);
    AddressFamily::ALL.map(first).into_iter().flatten().map(first_usable)
}

/// The first address that an interface may have: the one behind the network's own address (IPv4) or the
/// subnet-router anycast address (IPv6). Prefixes of one or two addresses have none of these.
fn first_usable(prefix: &Prefix) -> IpAddr {
    let net = prefix.net();
    if net.max_prefix_len() - net.prefix_len() <= 1 {
        return prefix.address();
    }
    match prefix.address() {
        IpAddr::V4(first) => IpAddr::V4((first.to_bits() + 1).into()),
        IpAddr::V6(first) => IpAddr::V6((first.to_bits() + 1).into()),
    }
}

fn decide<'a>(address: IpAddr, mut claims: Vec<Claim<'a>>, notes: &mut Notes<'_>) -> Option<Claim<'a>> {
    claims.sort_by_key(Claim::rank);
    let (winner, losers) = claims.split_first()?;
    for loser in losers {
        let rule = if winner.role != loser.role {
            "nodes come before pods"
        } else if winner.home != loser.home {
            "its node's pod prefix contains it"
        } else {
            "it is the first by name"
        };
        let first = Candidate::new(winner.role, winner.node, winner.pod, notes.own);
        let second = Candidate::new(loser.role, loser.node, loser.pod, notes.own);
        let text = format!("{address} is {first} and {second}: the first of the two has it ({rule})");
        notes.conflict((ConflictKind::DuplicateAddress, &address), (&first, &second), text);
        notes.lose(Prefix::host(address), second, format!("it is {first}, which comes first ({rule})"));
    }
    Some(*winner)
}
