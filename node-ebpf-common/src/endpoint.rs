use crate::Address;

/// What the agent knows of the pod behind a host-side interface; keyed by that interface's index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's first IPv4 address (IPv4-mapped), or none. Compared first; further addresses of the
    /// pod are found through the routes.
    pub address_v4: Address,
    /// The pod's first IPv6 address, or none.
    pub address_v6: Address,
    /// A [`SourceCheck`].
    pub source_check: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Which source addresses a pod may send from. What is not listed counts as strict.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceCheck {
    /// Only the pod's own addresses.
    #[default]
    Strict = 0,
    /// Any address in the node's own pod prefixes.
    Loose = 1,
    /// Any address.
    Off = 2,
}
