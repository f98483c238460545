//! The table as `nft` reads it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{MasqueradeTable, TABLE};

/// What differs between the families.
struct Family {
    /// End of the names of its sets.
    suffix: &'static str,
    /// Its addresses as the type of a set.
    address: &'static str,
    /// Its header in a rule.
    header: &'static str,
    holds: fn(&IpNet) -> bool,
}

const FAMILIES: [Family; 2] = [
    Family {
        suffix: "v4",
        address: "ipv4_addr",
        header: "ip",
        holds: |net| matches!(net.addr(), IpAddr::V4(_)),
    },
    Family {
        suffix: "v6",
        address: "ipv6_addr",
        header: "ip6",
        holds: |net| matches!(net.addr(), IpAddr::V6(_)),
    },
];

/// What is never masqueraded, wherever the cluster's addresses are. `lo`: what the host sends to itself
/// from its address in the pod range. Multicast: who listens must see who speaks. IPv4's link-local range
/// is not here: clouds have their metadata service in it, which answers only to the node's address.
const NEVER: &str = "\
\t\toifname \"lo\" return
\t\tip daddr 224.0.0.0/4 return
\t\tip6 daddr { fe80::/10, ff00::/8 } return
";

/// Names of its sets, without the family's suffix.
const LOCAL_PODS: &str = "local_pods";
const CLUSTER: &str = "cluster";

/// One transaction that fills the table anew, and makes what of it is not there. Chain and sets stay the
/// same objects: a new flow meets the old content or the new. (Where they are replaced by others of their
/// name, some flows meet neither: about one in 10,000 under load, see docs/datapath.md.)
pub(super) fn fill(table: &MasqueradeTable) -> String {
    let mut text = declaration(&MasqueradeTable::default(), "");
    text += &format!("flush chain {TABLE} postrouting\n");
    for name in set_names() {
        text += &format!("flush set {TABLE} {name}\n");
    }
    text + &declaration(table, &rules())
}

/// One transaction that replaces the table with all that is in it, for one that cannot be filled, or in
/// which there is more than is ours. Declared first, because deleting what is not there is an error.
pub(super) fn replace(table: &MasqueradeTable) -> String {
    format!("table {TABLE} {{}}\ndelete table {TABLE}\n{}", declaration(table, &rules()))
}

/// Whether a table that `nft` lists has our sets and our chain, and nothing else.
pub(super) fn has_our_objects_only(listing: &str) -> bool {
    let object = |line: &str| {
        let line = line.strip_prefix('\t').filter(|line| !line.starts_with(['\t', '}']))?;
        Some(line.split(" {").next().unwrap_or(line).to_owned())
    };
    let mut found: Vec<_> = listing.lines().filter_map(object).collect();
    let mut ours: Vec<_> = set_names().map(|name| format!("set {name}")).collect();
    ours.push("chain postrouting".to_owned());
    found.sort();
    ours.sort();
    found == ours
}

fn set_names() -> impl Iterator<Item = String> {
    FAMILIES.iter().flat_map(|family| [LOCAL_PODS, CLUSTER].map(|name| format!("{name}_{}", family.suffix)))
}

fn declaration(table: &MasqueradeTable, rules: &str) -> String {
    let mut text = format!("table {TABLE} {{\n");
    for family in &FAMILIES {
        text += &interval_set(LOCAL_PODS, family, &table.local_pods);
        text += &interval_set(CLUSTER, family, &table.cluster);
    }
    text += "\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n";
    text + rules + "\t}\n}\n"
}

fn rules() -> String {
    let mut text = NEVER.to_owned();
    for Family { suffix, header, .. } in &FAMILIES {
        text += &format!(
            "\t\t{header} saddr @{LOCAL_PODS}_{suffix} {header} daddr != @{CLUSTER}_{suffix} masquerade fully-random\n"
        );
    }
    text
}

/// The transaction that removes the table, which must be there.
pub(super) fn remove() -> String {
    format!("delete table {TABLE}\n")
}

fn interval_set(name: &str, family: &Family, nets: &[IpNet]) -> String {
    let Family { suffix, address, holds, .. } = family;
    let elements: Vec<_> = nets.iter().filter(|net| holds(net)).map(ToString::to_string).collect();
    let mut text = format!("\tset {name}_{suffix} {{\n\t\ttype {address}\n\t\tflags interval\n");
    if !elements.is_empty() {
        text += &format!("\t\telements = {{ {} }}\n", elements.join(", "));
    }
    text += "\t}\n";
    text
}
