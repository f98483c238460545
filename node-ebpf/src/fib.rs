//! The tables a decision reads.

use node_ebpf_common::{Endpoint, Flow, NextHop, NextHopGroup, Route, Settings};

use crate::Family;

/// What is known of next hops, of pods and of the node: in the kernel the BPF maps, in tests plain
/// collections.
pub trait Tables {
    /// The next-hop object at this index.
    fn next_hop(&self, index: u32) -> Option<&NextHop>;

    /// The next-hop group at this index.
    fn group(&self, index: u32) -> Option<&NextHopGroup>;

    /// The pod behind this interface.
    fn endpoint(&self, interface: u32) -> Option<&Endpoint>;

    /// The node itself.
    fn settings(&self) -> Option<&Settings>;
}

/// Forwarding information of one address family.
pub trait Fib<F: Family>: Tables {
    /// Whether a route is found in less time than an endpoint, so that it is asked for first.
    const ROUTES_ARE_QUICK: bool;

    /// The route with the longest prefix that matches.
    fn route(&self, address: F::Address) -> Option<Route>;

    /// Whether netfilter translates this flow, so that the stack has to see all of it.
    fn is_translated(&self, flow: &Flow<F::Address>) -> bool;
}
