use std::fmt;

use serde::Serialize;

/// How large the packets of this node's pods may be: the MTU at both ends of their veths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodMtu {
    /// As large as fits through every uplink with the outer header that may be needed.
    #[default]
    Auto,
    /// Whatever made the interfaces decides.
    Keep,
    /// This many bytes.
    Fixed(u32),
}

/// The other end of a veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VethPeer {
    /// The number that this network namespace has for the peer's (`IFLA_LINK_NETNSID`); none if it is the same.
    pub netns: Option<i32>,
    /// Its interface index there.
    pub index: u32,
    /// Its MTU in bytes; none if it is not known.
    pub mtu: Option<u32>,
}

/// An end of a pod's veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VethEnd {
    /// The one on the host.
    Host,
    /// The one inside of the pod.
    Pod,
}

impl fmt::Display for VethEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host's end",
            Self::Pod => "pod's end",
        })
    }
}

/// The MTU of a pod's veth is to be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MtuChange {
    /// Index of its end on the host.
    pub link: u32,
    /// Name of its end on the host.
    pub interface: String,
    /// Its end inside of the pod.
    pub peer: VethPeer,
    /// What it is set to, in bytes.
    pub mtu: u32,
    /// The ends that are to be set, in this order. A later one waits for an earlier one: the kernel drops what
    /// is larger than the MTU of the end where it arrives.
    pub ends: Vec<VethEnd>,
}

impl fmt::Display for MtuChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends: Vec<String> = self.ends.iter().map(ToString::to_string).collect();
        write!(f, "set the MTU of {} to {} (the {})", self.interface, self.mtu, ends.join(", then the "))
    }
}
