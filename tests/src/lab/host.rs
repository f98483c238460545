//! The hosts of a lab: nodes, pods, and what they have in common.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use crate::{family::Family, netns::Netns};

/// A place from which and to which packets are sent.
pub trait Endpoint: fmt::Debug + Sync {
    /// Its name in the lab.
    fn name(&self) -> &str;
    /// Its network namespace.
    fn netns(&self) -> &Netns;
    /// The addresses by which others reach it, at most one of a family; never empty.
    fn addresses(&self) -> &[IpAddr];
    /// The first of them.
    fn address(&self) -> IpAddr {
        self.addresses()[0]
    }
    /// Its address of this family.
    fn address_of(&self, family: Family) -> Option<IpAddr> {
        self.addresses().iter().copied().find(|address| Family::of(*address) == family)
    }
    /// Its IPv4 address.
    fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses().iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
    /// Its IPv6 address.
    fn v6(&self) -> Option<Ipv6Addr> {
        self.addresses().iter().find_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        })
    }
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
    pub(super) addresses: Vec<IpAddr>,
    pub(super) subnet: super::Subnet,
    pub(super) pod_prefixes: Vec<IpNet>,
    pub(super) folder: PathBuf,
}

impl Node {
    /// Name of the uplink.
    pub const UPLINK: &'static str = "eth0";

    /// The first of the prefixes that its pods' addresses come from.
    #[must_use]
    pub fn pod_prefix(&self) -> IpNet {
        self.pod_prefixes[0]
    }

    /// The prefixes that its pods' addresses come from, at most one of a family; never empty.
    #[must_use]
    pub fn pod_prefixes(&self) -> &[IpNet] {
        &self.pod_prefixes
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

    /// Another address in its first pod prefix; see [`Self::pod_address_of`].
    #[must_use]
    pub fn pod_address(&self, number: u8) -> IpAddr {
        nth(self.pod_prefix(), number)
    }

    /// The address in its pod prefix of this family that ends in this number, as people read it: 11 is
    /// `10.244.1.11` and `fd00:244:1::11`.
    #[must_use]
    pub fn pod_address_of(&self, family: Family, number: u8) -> Option<IpAddr> {
        let of_family = |prefix: &&IpNet| Family::of(prefix.addr()) == family;
        self.pod_prefixes.iter().find(of_family).map(|prefix| nth(*prefix, number))
    }
}

/// The address of a prefix that ends in this number, as people read it: in IPv6 its digits are taken for
/// hexadecimal ones.
pub(super) fn nth(prefix: IpNet, number: u8) -> IpAddr {
    let digits = [number / 100, number / 10 % 10, number % 10];
    match prefix.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + u32::from(number)).into()),
        IpAddr::V6(first) => {
            let number = digits.iter().fold(0, |sum, digit| sum * 16 + u128::from(*digit));
            IpAddr::V6((u128::from(first) + number).into())
        }
    }
}

impl Endpoint for Node {
    fn name(&self) -> &str {
        &self.name
    }
    fn netns(&self) -> &Netns {
        &self.netns
    }
    fn addresses(&self) -> &[IpAddr] {
        &self.addresses
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
    pub(super) addresses: Vec<IpAddr>,
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
    fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
    fn node(&self) -> &str {
        &self.node
    }
    fn is_pod(&self) -> bool {
        true
    }
}

/// An endpoint of which only one address is seen, so that a probe to it is one of that address family.
#[derive(Debug)]
pub struct View<'a> {
    endpoint: &'a dyn Endpoint,
    address: [IpAddr; 1],
}

impl<'a> View<'a> {
    /// The endpoint by its address of this family; none if it has none.
    #[must_use]
    pub fn new(endpoint: &'a dyn Endpoint, family: Family) -> Option<Self> {
        endpoint.address_of(family).map(|address| Self { endpoint, address: [address] })
    }
}

impl Endpoint for View<'_> {
    fn name(&self) -> &str {
        self.endpoint.name()
    }
    fn netns(&self) -> &Netns {
        self.endpoint.netns()
    }
    fn addresses(&self) -> &[IpAddr] {
        &self.address
    }
    fn node(&self) -> &str {
        self.endpoint.node()
    }
    fn is_pod(&self) -> bool {
        self.endpoint.is_pod()
    }
}
