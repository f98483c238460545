use crate::Address;

/// What the programs need to know of the node itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The node's IPv4 address (IPv4-mapped): the outer destination that is taken for ours.
    pub node_v4: Address,
    /// The node's IPv6 address.
    pub node_v6: Address,
}
