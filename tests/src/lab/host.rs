//! The hosts of a lab: nodes, pods, and what they have in common.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use crate::netns::Netns;

/// A place from which and to which packets are sent.
pub trait Endpoint: fmt::Debug + Sync {
    /// Its name in the lab.
    fn name(&self) -> &str;
    /// Its network namespace.
    fn netns(&self) -> &Netns;
    /// The address by which others reach it.
    fn address(&self) -> IpAddr;
    /// Name of the node it is, or runs on.
    fn node(&self) -> &str;
    /// Whether it is a pod (otherwise a node's host network).
    fn is_pod(&self) -> bool;
}

/// A node: a host with an uplink `eth0` in one of the lab's subnets.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) name: String,
    pub(super) netns: Netns,
    pub(super) address: IpAddr,
    pub(super) subnet: super::Subnet,
    pub(super) pod_prefix: IpNet,
    pub(super) folder: PathBuf,
}

impl Node {
    /// Name of the uplink.
    pub const UPLINK: &'static str = "eth0";

    /// The prefix its pods' addresses come from.
    #[must_use]
    pub fn pod_prefix(&self) -> IpNet {
        self.pod_prefix
    }

    /// The subnet its address is in.
    #[must_use]
    pub fn subnet(&self) -> &super::Subnet {
        &self.subnet
    }

    /// Folder for this node's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where this node's own bpffs is mounted.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// The unix socket of this node's agent.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// Log of this node's agent.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// Another address in its pod prefix, counted from the prefix's first.
    #[must_use]
    pub fn pod_address(&self, number: u8) -> IpAddr {
        nth(self.pod_prefix, number)
    }
}

/// The address with this number in a prefix, counted from its first.
pub(super) fn nth(prefix: IpNet, number: u8) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + u32::from(number)).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + u128::from(number)).into()),
    }
}

impl Endpoint for Node {
    fn name(&self) -> &str {
        &self.name
    }
    fn netns(&self) -> &Netns {
        &self.netns
    }
    fn address(&self) -> IpAddr {
        self.address
    }
    fn node(&self) -> &str {
        &self.name
    }
    fn is_pod(&self) -> bool {
        false
    }
}

/// A pod: a namespace behind a veth pair of its node, wired as Calico does.
#[derive(Debug, Clone)]
pub struct Pod {
    pub(super) name: String,
    pub(super) netns: Netns,
    pub(super) address: IpAddr,
    pub(super) node: String,
    pub(super) interface: String,
    pub(super) mac: [u8; 6],
}

impl Pod {
    /// Name of the interface inside the pod.
    pub const INSIDE: &'static str = "eth0";

    /// Name of the interface at the host's side.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// MAC address inside the pod.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Its name in the cluster: `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("default/{}", self.name)
    }
}

impl Endpoint for Pod {
    fn name(&self) -> &str {
        &self.name
    }
    fn netns(&self) -> &Netns {
        &self.netns
    }
    fn address(&self) -> IpAddr {
        self.address
    }
    fn node(&self) -> &str {
        &self.node
    }
    fn is_pod(&self) -> bool {
        true
    }
}
