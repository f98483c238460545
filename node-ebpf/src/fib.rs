//! The tables a decision reads.

use node_ebpf_common::{Endpoint, NextHop, Route, Settings};

use crate::Family;

/// Forwarding information: in the kernel the BPF maps, in tests plain collections.
pub trait Fib<F: Family> {
    /// The route with the longest prefix that matches.
    fn route(&self, address: F::Address) -> Option<Route>;

    /// The next-hop object at this index.
    fn next_hop(&self, index: u32) -> Option<&NextHop>;

    /// The pod behind this interface.
    fn endpoint(&self, interface: u32) -> Option<&Endpoint>;

    /// The node itself.
    fn settings(&self) -> Option<&Settings>;

    /// Whether this is the endpoint's own first address of the family.
    fn owns(&self, endpoint: &Endpoint, address: F::Address) -> bool;

    /// Whether this is the node's own address.
    fn is_node(&self, settings: &Settings, address: F::Address) -> bool;

    /// Whether this is the address from which the next hop's packets come encapsulated.
    fn is_tunnel_peer(&self, next_hop: &NextHop, address: F::Address) -> bool;
}
