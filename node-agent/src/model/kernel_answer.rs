use std::net::IpAddr;

/// What the kernel answers when asked for the route to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelAnswer {
    /// Whether the address is the host's own.
    pub local: bool,
    /// Interface index.
    pub link: Option<u32>,
    /// The gateway; none if the address is on the link.
    pub gateway: Option<IpAddr>,
    /// The source that the host would send from.
    pub source: Option<IpAddr>,
    /// Number of the table that it comes from.
    pub table: u32,
    /// MTU of the route in bytes, if it has one of its own.
    pub mtu: Option<u32>,
}

/// State of an interface.
#[derive(Debug, Clone, Copy)]
pub struct LinkState {
    /// Administratively up.
    pub up: bool,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
}
