use crate::Address;

/// Where packets for a set of prefixes go: an entry of the next-hops array.
///
/// A write of an entry is not atomic for a program that reads it, so every field is always filled and
/// means the same for every kind: whatever mix of old and new fields a program sees, it sends the packet
/// to the old or to the new next hop, with the old or the new encapsulation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// Hash of the name of the node or pod it stands for, by which the agent finds it again after a
    /// restart. Programs do not read it.
    pub identity: u64,
    /// A [`NextHopKind`].
    pub kind: u32,
    /// Index of the interface to leave through.
    pub interface: u32,
    /// The on-link neighbour to send to: the node itself, or the gateway on the way to it. May be IPv6
    /// for IPv4 packets.
    pub gateway: Address,
    /// This node's address: source of the outer header, which is IPv4 or IPv6 as the destination is.
    pub tunnel_source: Address,
    /// The remote node's address: destination of the outer header, and the only source from which
    /// encapsulated packets of its prefixes are accepted. Filled for unencapsulated nodes as well.
    pub tunnel_destination: Address,
    /// Largest IP packet, in bytes, that may be sent this way before any encapsulation.
    pub mtu: u32,
    /// Index into the next-hop groups, if the way is chosen for each flow among the members of one; 0 if it is not.
    /// The other fields are then those of a member, so that the object by itself is a valid way, too.
    pub group: u32,
    /// Link-layer destination for a local pod (its own MAC), or zero to leave the header alone.
    pub mac_destination: [u8; 6],
    /// Link-layer source for a local pod (its host-side interface's MAC).
    pub mac_source: [u8; 6],
    /// Zero. Fills the size up to what the alignment asks for.
    pub reserved: u32,
}

/// What a next hop does with a packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopKind {
    /// The entry is free. A route that names it is a defect, and its packets are dropped and counted.
    #[default]
    Unused = 0,
    /// A pod on this node, behind `interface`.
    LocalPod = 1,
    /// A remote node, reached through `gateway` without encapsulation.
    Direct = 2,
    /// A remote node, reached through `gateway` with an outer IP header: 4in4 (RFC 2003), 6in4 (RFC 4213),
    /// 4in6 or 6in6 (RFC 2473).
    Ipip = 3,
    /// This node itself: the stack delivers.
    Host = 4,
    /// An address of this node's pod prefixes that no pod has.
    Unassigned = 5,
}

impl NextHopKind {
    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::LocalPod => "local",
            Self::Direct => "direct",
            Self::Ipip => "ipip",
            Self::Host => "host",
            Self::Unassigned => "unassigned",
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_u32(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::Unused,
            1 => Self::LocalPod,
            2 => Self::Direct,
            3 => Self::Ipip,
            4 => Self::Host,
            5 => Self::Unassigned,
            _ => return None,
        })
    }
}
