use std::net::IpAddr;

use ipnet::IpNet;

use super::{Candidate, ConflictKind, HeldPrefixes, Nodes, Notes, Role};
use crate::model::{Node, Prefix};

/// Which node holds each pod prefix.
pub(super) fn held<'a>(nodes: &Nodes<'a>, notes: &mut Notes<'_>) -> HeldPrefixes<'a> {
    let mut held = HeldPrefixes::new();
    for node in nodes.values() {
        for prefix in node.pod_prefixes.iter() {
            match held.get(&prefix.net()) {
                None => {
                    held.insert(prefix.net(), *node);
                }
                Some(holder) if holder.name == node.name => {}
                Some(holder) => second_holder(*prefix, holder, node, notes),
            }
        }
    }
    for node in nodes.values() {
        for address in &node.addresses {
            release_around(*address, node, &mut held, notes);
        }
    }
    held
}

fn second_holder(prefix: Prefix, holder: &Node, node: &Node, notes: &mut Notes<'_>) {
    let (first, second) = (&holder.name, &node.name);
    let text = format!(
        "{prefix} is a pod prefix of node {first} ({}) and of node {second} ({}): node {first} comes first by name, node {second} does not get it",
        holder.origin, node.origin
    );
    notes.conflict((ConflictKind::DuplicatePodPrefix, &prefix), (holder, node), text);
    let reason = format!("node {first} has the same pod prefix and comes first by name");
    notes.lose(prefix, Candidate::new(Role::PodPrefix, node, None, notes.own), reason);
}

/// Takes every prefix that contains this node's address out of use: its kernel route could cut hosts
/// off from the node, and with it from its API, its kubelet, and its tunnel end.
fn release_around(address: IpAddr, node: &Node, held: &mut HeldPrefixes<'_>, notes: &mut Notes<'_>) {
    let around: Vec<IpNet> = held.cover(&IpNet::from(address)).map(|(net, _)| net).collect();
    for net in around {
        let Some(holder) = held.remove(&net) else { continue };
        let prefix = Prefix::containing(net);
        let text = format!(
            "pod prefix {prefix} of node {} ({}) contains the address {address} of node {} ({}): the prefix is not used, only addresses of single pods in it are",
            holder.name, holder.origin, node.name, node.origin
        );
        notes.conflict((ConflictKind::PodPrefixHasNodeAddress, &prefix), (node, holder), text);
        let reason = format!("it contains the address {address} of node {}", node.name);
        notes.lose(prefix, Candidate::new(Role::PodPrefix, holder, None, notes.own), reason);
    }
}
