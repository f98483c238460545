use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{
    Part, StateDefect,
    address::{check_addresses, check_prefix},
    raw::{RawList, RawNode},
};
use crate::{
    model::{Node, NodeName, Origin, Prefix},
    yaml::{Findings, Located, Place, Structure},
};

/// The nodes of a file, as its pods need to know them.
pub(super) struct Nodes {
    /// What the file is of the cluster's state.
    part: Part,
    /// By name: the line and the node.
    by_name: BTreeMap<NodeName, (u64, Node)>,
    by_address: HashMap<IpAddr, NodeName>,
}

impl Nodes {
    /// Whether there may be a node of this name: the file has it, or is not all there is.
    pub(super) fn may_have(&self, name: &NodeName) -> bool {
        self.by_name.contains_key(name) || !self.part.whole
    }

    /// The place that origins call an object of the file by: `cluster.yaml:12`.
    pub(super) fn origin(&self, file: &str, place: Place) -> Origin {
        Origin { source: self.part.source.clone(), place: format!("{file}:{}", place.line).into() }
    }

    /// The node with this address.
    pub(super) fn with_address(&self, address: IpAddr) -> Option<&NodeName> {
        self.by_address.get(&address)
    }

    /// A node's address in the prefix, and the node.
    pub(super) fn with_address_in(&self, prefix: Prefix) -> Option<(IpAddr, &NodeName)> {
        let inside = self.by_address.iter().filter(|(address, _)| prefix.contains(**address));
        inside.min().map(|(address, node)| (*address, node))
    }

    /// Names of the nodes, for people: the first few.
    pub(super) fn names(&self) -> String {
        const SHOWN: usize = 8;
        let names: Vec<&str> = self.by_name.keys().take(SHOWN).map(NodeName::as_str).collect();
        let more = self.by_name.len().saturating_sub(SHOWN);
        if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
    }

    /// The nodes themselves.
    pub(super) fn into_nodes(self) -> BTreeMap<NodeName, Node> {
        self.by_name.into_iter().map(|(name, (_, node))| (name, node)).collect()
    }
}

/// The nodes of the file.
pub(super) fn check_nodes(
    list: Option<Located<Vec<Located<RawNode>>>>,
    part: &Part,
    findings: &mut Findings<StateDefect>,
) -> Nodes {
    let mut nodes = Nodes { part: part.clone(), by_name: BTreeMap::new(), by_address: HashMap::new() };
    let Some(list) = list else {
        if !part.whole {
            return nodes;
        }
        let missing = Structure::Missing { allowed: "a list of nodes, each with name and addresses" };
        findings.add(Place { line: 1, column: 1 }, "nodes", missing);
        return nodes;
    };
    if list.value.is_empty() {
        findings.add(list.place, "nodes", StateDefect::NoNodes);
    }
    for (index, node) in list.value.into_iter().enumerate() {
        check_node(&format!("nodes[{index}]"), node, &mut nodes, findings);
    }
    nodes
}

fn check_node(field: &str, raw: Located<RawNode>, nodes: &mut Nodes, findings: &mut Findings<StateDefect>) {
    let whole = raw.place;
    let name_field = format!("{field}.name");
    let name = match raw.value.name {
        Some(name) => findings
            .check(name.place, name_field.as_str(), name.value.parse::<NodeName>())
            .zip(Some(name.place)),
        None => {
            let missing = Structure::Missing { allowed: "the node's name, as in Kubernetes" };
            findings.add(whole, name_field.as_str(), missing);
            None
        }
    };
    let addresses = check_addresses(raw.value.addresses, (field, whole), "10.0.1.11", findings);
    let pod_prefixes = check_prefixes(raw.value.pod_prefixes, field, findings);
    let Some((name, place)) = name else { return };
    if let Some(&(line, _)) = nodes.by_name.get(&name) {
        findings.add(place, name_field, StateDefect::DuplicateNode { name, line });
        return;
    }
    let addresses: Vec<IpAddr> = addresses.into_iter().map(|(address, _)| address).collect();
    for &address in &addresses {
        // The same address at two nodes is a conflict that the route table decides and reports.
        nodes.by_address.entry(address).or_insert_with(|| name.clone());
    }
    let origin = nodes.origin(findings.file(), whole);
    let node = Node { name: name.clone(), addresses, pod_prefixes: pod_prefixes.into(), origin };
    nodes.by_name.insert(name, (whole.line, node));
}

/// The pod prefixes of one node, in the order of the file: none twice, none inside another.
fn check_prefixes(list: Option<RawList>, field: &str, findings: &mut Findings<StateDefect>) -> Vec<Prefix> {
    let mut written = Vec::new();
    for (index, text) in list.map(|list| list.value).unwrap_or_default().into_iter().enumerate() {
        let field = format!("{field}.pod-prefixes[{index}]");
        if let Some(prefix) = findings.check(text.place, field.as_str(), check_prefix(&text.value)) {
            written.push((prefix, text.place, field));
        }
    }
    let prefixes = written.iter().map(|&(prefix, ..)| prefix).collect();
    // In this order a prefix that contains others stands right before them.
    written.sort_by_key(|&(prefix, place, _)| (prefix, place));
    let mut outer: Option<(Prefix, Place, String)> = None;
    for current in written {
        match &outer {
            Some(covering) if covering.0.covers(&current.0) => report_overlap(covering, &current, findings),
            _ => outer = Some(current),
        }
    }
    prefixes
}

/// Two prefixes of one node overlap: told at the one that stands later in the file.
fn report_overlap(
    one: &(Prefix, Place, String),
    two: &(Prefix, Place, String),
    findings: &mut Findings<StateDefect>,
) {
    let (first, second) = if one.1 <= two.1 { (one, two) } else { (two, one) };
    let (prefix, other, line) = (second.0, first.0, first.1.line);
    let defect = if prefix == other {
        StateDefect::DuplicatePrefix { prefix, line }
    } else {
        StateDefect::OverlappingPrefix { prefix, other, line }
    };
    findings.add(second.1, second.2.as_str(), defect);
}
