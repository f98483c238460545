use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
};

use super::{Candidate, ConflictKind, Nodes, Notes, ProblemKind, Role};
use crate::model::{Node, NodeName, Prefix};

/// How many nodes a message lists.
const LISTED: usize = 10;

/// The nodes that are used: each name once, and no address twice.
pub(super) fn used<'a>(nodes: impl Iterator<Item = &'a Node>, notes: &mut Notes<'_>) -> Nodes<'a> {
    let stated = by_name(nodes, notes);
    let mut used = Nodes::new();
    let mut owners: BTreeMap<IpAddr, &Node> = BTreeMap::new();
    for (name, node) in &stated {
        match node.addresses.iter().find_map(|address| Some((*address, *owners.get(address)?))) {
            Some((address, owner)) => leave_out(node, address, owner, notes),
            None => {
                owners.extend(node.addresses.iter().map(|address| (*address, *node)));
                used.insert(name, node);
            }
        }
    }
    if !stated.contains_key(notes.own) {
        notes.problem(ProblemKind::OwnNodeUnusable, own_is_unknown(&stated, notes));
    } else if !used.contains_key(notes.own) {
        let text = format!(
            "this node '{}' is not used, as another node has its address: what is in place on it stays as it is",
            notes.own
        );
        notes.problem(ProblemKind::OwnNodeUnusable, text);
    }
    used
}

/// Each name once: the preferred source that states it wins.
fn by_name<'a>(nodes: impl Iterator<Item = &'a Node>, notes: &mut Notes<'_>) -> Nodes<'a> {
    let mut stated = Nodes::new();
    for node in nodes {
        match stated.entry(&node.name) {
            Entry::Vacant(free) => {
                free.insert(node);
            }
            Entry::Occupied(first) => {
                let name = format!("node {}", node.name);
                let claims = claims(node, notes.own);
                notes.outranked((&name, &first.get().origin, &node.origin), claims);
            }
        }
    }
    stated
}

fn leave_out(node: &Node, address: IpAddr, owner: &Node, notes: &mut Notes<'_>) {
    let text = format!(
        "{address} is the address of node {} ({}) and of node {} ({}): node {} is not used, nor are its pods",
        owner.name, owner.origin, node.name, node.origin, node.name
    );
    notes.conflict((ConflictKind::DuplicateNodeAddress, &address), (owner, node), text);
    let reason =
        format!("node {} is not used: node {} has the address {address}, too", node.name, owner.name);
    for (prefix, candidate) in claims(node, notes.own) {
        notes.lose(prefix, candidate, reason.clone());
    }
}

/// What a node that is not used would have.
fn claims(node: &Node, own: &NodeName) -> impl Iterator<Item = (Prefix, Candidate)> {
    let addresses = node.addresses.iter().map(|address| (Prefix::host(*address), Role::NodeAddress));
    let prefixes = node.pod_prefixes.iter().map(|prefix| (*prefix, Role::PodPrefix));
    addresses.chain(prefixes).map(|(prefix, role)| (prefix, Candidate::new(role, node, None, own)))
}

fn own_is_unknown(stated: &Nodes<'_>, notes: &Notes<'_>) -> String {
    let listed: Vec<&str> = stated.keys().take(LISTED).map(|name| name.as_str()).collect();
    let known = match (listed.as_slice(), stated.len().saturating_sub(LISTED)) {
        ([], _) => "there are no nodes".to_owned(),
        (listed, 0) => format!("known are {}", listed.join(", ")),
        (listed, more) => format!("known are {} and {more} more", listed.join(", ")),
    };
    format!(
        "this node '{}' is not in the cluster state: {known}; what is in place on it stays as it is",
        notes.own
    )
}
