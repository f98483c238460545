//! The cluster-state file: built from a lab, changed by a story, written as YAML.

use std::{fmt, fs, net::IpAddr, path::Path};

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;

use crate::lab::{Endpoint, Lab, Node, Pod};

/// When packets to another node's pods are encapsulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// Never; what becomes of a node that is not adjacent is said beside it.
    Never(NonAdjacent),
    /// To every other node.
    Always,
    /// Only to nodes that are not adjacent.
    CrossSubnet,
}

/// What becomes of a node that is not adjacent while the mode is `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonAdjacent {
    /// No route to its pods.
    Refuse,
    /// Encapsulation all the same.
    Ipip,
}

/// A node in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateNode {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The prefixes its pods' addresses come from.
    pub pod_prefixes: Vec<IpNet>,
}

/// A pod in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePod {
    /// Its name: `namespace/name`.
    pub name: String,
    /// Name of its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Interface at the host's side.
    pub interface: String,
    /// MAC address inside the pod.
    pub mac: [u8; 6],
}

/// Content of a cluster-state file; `Display` is its YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// When to encapsulate.
    pub encapsulation: Encapsulation,
    /// Nodes.
    pub nodes: Vec<StateNode>,
    /// Pods.
    pub pods: Vec<StatePod>,
}

impl State {
    /// All nodes and pods of the lab, as they are.
    #[must_use]
    pub fn of(lab: &Lab, encapsulation: Encapsulation) -> Self {
        let node = |node: &Node| StateNode {
            name: node.name().to_owned(),
            addresses: node.addresses().to_vec(),
            pod_prefixes: node.pod_prefixes().to_vec(),
        };
        Self {
            encapsulation,
            nodes: lab.nodes().iter().map(node).collect(),
            pods: lab.pods().iter().map(StatePod::of).collect(),
        }
    }

    /// The same with another encapsulation.
    #[must_use]
    pub fn with_encapsulation(&self, encapsulation: Encapsulation) -> Self {
        Self { encapsulation, ..self.clone() }
    }

    /// The same without a node and its pods.
    #[must_use]
    pub fn without_node(&self, name: &str) -> Self {
        let mut state = self.clone();
        state.nodes.retain(|node| node.name != name);
        state.pods.retain(|pod| pod.node != name);
        state
    }

    /// The node with this name, to be changed.
    ///
    /// # Errors
    /// If there is none.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut StateNode> {
        let node = self.nodes.iter_mut().find(|node| node.name == name);
        node.ok_or_else(|| anyhow!("the state has no node {name}"))
    }

    /// Writes it beside the file and renames it over it, so that a reader never sees a half of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        write_atomically(file, &self.to_string())
    }
}

impl StatePod {
    /// The lab's pod as the file lists it.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            name: pod.full_name(),
            node: pod.node().to_owned(),
            addresses: pod.addresses().to_vec(),
            interface: pod.interface().to_owned(),
            mac: pod.mac(),
        }
    }
}

/// Writes text beside the file and renames it over it.
///
/// # Errors
/// If it cannot be written.
pub fn write_atomically(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("replacing {}", file.display()))
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.encapsulation {
            Encapsulation::Always => f.write_str("encapsulation: always\n")?,
            Encapsulation::CrossSubnet => f.write_str("encapsulation: cross-subnet\n")?,
            Encapsulation::Never(NonAdjacent::Refuse) => {
                f.write_str("encapsulation: never\nnon-adjacent: refuse\n")?;
            }
            Encapsulation::Never(NonAdjacent::Ipip) => {
                f.write_str("encapsulation: never\nnon-adjacent: ipip\n")?;
            }
        }
        f.write_str("nodes:\n")?;
        for node in &self.nodes {
            writeln!(f, "  - name: {}", node.name)?;
            writeln!(f, "    addresses: [{}]", list(&node.addresses))?;
            writeln!(f, "    pod-prefixes: [{}]", list(&node.pod_prefixes))?;
        }
        f.write_str(if self.pods.is_empty() { "pods: []\n" } else { "pods:\n" })?;
        self.pods.iter().try_for_each(|pod| write_pod(f, pod))
    }
}

/// Quoted where YAML's flow lists need it: an IPv6 address may end in a colon.
fn list<T: ToString>(values: &[T]) -> String {
    let quoted = |value: &T| {
        let text = value.to_string();
        if text.contains(':') { format!("\"{text}\"") } else { text }
    };
    values.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

fn write_pod(f: &mut fmt::Formatter<'_>, pod: &StatePod) -> fmt::Result {
    let mac = pod.mac.map(|byte| format!("{byte:02x}")).join(":");
    writeln!(f, "  - name: {}", pod.name)?;
    writeln!(f, "    node: {}", pod.node)?;
    writeln!(f, "    addresses: [{}]", list(&pod.addresses))?;
    writeln!(f, "    interface: {}", pod.interface)?;
    // Quoted: YAML 1.1 readers take digits with colons for a number to the base of 60.
    writeln!(f, "    mac: \"{mac}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_yaml_as_people_write_it() {
        let state = State {
            encapsulation: Encapsulation::Never(NonAdjacent::Ipip),
            nodes: vec![StateNode {
                name: "a1".into(),
                addresses: vec!["10.0.1.11".parse().unwrap(), "fd00:0:0:1::11".parse().unwrap()],
                pod_prefixes: vec!["10.244.1.0/24".parse().unwrap(), "10.244.9.0/25".parse().unwrap()],
            }],
            pods: vec![StatePod {
                name: "default/a1-0".into(),
                node: "a1".into(),
                addresses: vec!["10.244.1.10".parse().unwrap()],
                interface: "veth-a1-0".into(),
                mac: [2, 0, 0, 0, 1, 10],
            }],
        };
        assert_eq!(
            state.to_string(),
            "encapsulation: never\nnon-adjacent: ipip\nnodes:\n  - name: a1\n    addresses: [10.0.1.11, \"fd00:0:0:1::11\"]\n    \
             pod-prefixes: [10.244.1.0/24, 10.244.9.0/25]\npods:\n  - name: default/a1-0\n    node: a1\n    \
             addresses: [10.244.1.10]\n    interface: veth-a1-0\n    mac: \"02:00:00:00:01:0a\"\n"
        );
        assert!(state.without_node("a1").to_string().ends_with("nodes:\npods: []\n"));
    }
}
