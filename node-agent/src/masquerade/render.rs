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

/// One transaction that puts this table in place of whatever ours is: a packet meets the one or the
/// other, never neither. The table is declared first because deleting what is not there is an error.
pub(super) fn set(table: &MasqueradeTable) -> String {
    let mut text = format!("table {TABLE} {{}}\ndelete table {TABLE}\ntable {TABLE} {{\n");
    for family in &FAMILIES {
        text += &interval_set("local_pods", family, &table.local_pods);
        text += &interval_set("cluster", family, &table.cluster);
    }
    text += "\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n";
    text += NEVER;
    for Family { suffix, header, .. } in &FAMILIES {
        text += &format!(
            "\t\t{header} saddr @local_pods_{suffix} {header} daddr != @cluster_{suffix} masquerade fully-random\n"
        );
    }
    text += "\t}\n}\n";
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
