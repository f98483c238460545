//! The ways from a pod to one on another node: what is measured, and what it is measured against.

use node_ebpf_common::{Hook, Outcome};

use super::frames::TTL;

/// A way from pod to pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Only to the host's side of the pod's veth: what sending costs.
    Generator,
    /// Redirected at both nodes without a look at the packet: nothing that forwards can be faster.
    Floor,
    /// Routed by the kernel, as Flannel's host-gw and Calico without BPF, but without any netfilter.
    Routing,
    /// The same with kube-proxy's rules and conntrack.
    Conntrack,
    /// Flannel's host-gw.
    HostGw,
    /// Flannel's VXLAN.
    Vxlan,
    /// Podroute without encapsulation.
    Direct,
    /// The same once more, in namespaces and with agents of its own: how far two of the same are apart.
    Twin,
    /// Podroute, encapsulating always.
    Ipip,
    /// The same with the header taken off by XDP.
    Xdp,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Generator,
        Self::Floor,
        Self::Direct,
        Self::Twin,
        Self::Ipip,
        Self::Xdp,
        Self::Routing,
        Self::Conntrack,
        Self::HostGw,
        Self::Vxlan,
    ];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator alone",
            Self::Floor => "bare redirect",
            Self::Routing => "kernel routing",
            Self::Conntrack => "kernel routing + conntrack",
            Self::HostGw => "Flannel host-gw",
            Self::Vxlan => "Flannel VXLAN",
            Self::Direct => "Podroute direct",
            Self::Twin => "Podroute direct, its twin",
            Self::Ipip => "Podroute IPIP",
            Self::Xdp => "Podroute IPIP, XDP decap",
        }
    }

    /// What a packet has of its time to live when it arrives: each node that forwards takes one.
    #[must_use]
    pub fn ttl(self) -> u8 {
        match self {
            Self::Generator | Self::Floor => TTL,
            _ => TTL - 2,
        }
    }

    /// How Podroute's programs at the sender's node and at the receiver's count each packet; none where they are not.
    #[must_use]
    pub fn outcomes(self) -> Option<[(Hook, Outcome); 2]> {
        match self {
            Self::Direct | Self::Twin => {
                Some([(Hook::FromPod, Outcome::Direct), (Hook::FromUplink, Outcome::Local)])
            }
            Self::Ipip => Some([(Hook::FromPod, Outcome::Ipip), (Hook::FromUplink, Outcome::DecapLocal)]),
            Self::Xdp => Some([(Hook::FromPod, Outcome::Ipip), (Hook::Xdp, Outcome::DecapPass)]),
            _ => None,
        }
    }
}
