use std::net::IpAddr;

/// What a router between two nodes tells: an encapsulated packet is too big for its next link. Anybody can
/// forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBigReport {
    /// The router.
    pub router: IpAddr,
    /// Source of the outer header: this node, if it is for us.
    pub source: IpAddr,
    /// Destination of the outer header: the other node.
    pub destination: IpAddr,
    /// Largest packet that passes, in bytes, outer header included; 0 from a router older than RFC 1191.
    pub mtu: u32,
}
