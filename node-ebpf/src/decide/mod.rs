//! What to do with a packet: the decision, before anything is written.

mod choose;
mod from_pod;
mod from_uplink;
mod to_uplink;
mod transit;
mod translation;

pub use from_pod::from_pod;
pub use from_uplink::{decapsulate, from_uplink, is_tunnel_to_node};
use node_ebpf_common::{NextHop, NextHopKind};
pub use to_uplink::{Egress, to_uplink};
pub use transit::transit;
pub use translation::{Translation, translation};

use crate::{Family, Header, Outcome, Tables};

/// Where a packet goes that this node's programs forward.
pub enum Decision<'t> {
    /// To a pod on this node.
    Local(&'t NextHop),
    /// To the next hop as it is.
    Direct(&'t NextHop),
    /// To the next hop with an outer header.
    Ipip(&'t NextHop),
}

/// Where a packet goes whose outer header comes off.
pub enum Inner<'t> {
    /// To a pod on this node.
    Local(&'t NextHop),
    /// To the stack, which it is addressed to, which is to answer its sender, or has translated its flow.
    Stack,
}

/// What the outer header's congestion mark does to the packet that was inside (RFC 6040 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// Nothing.
    Keep,
    /// It is marked as well.
    Mark,
}

/// The next hop of this route, if it is in use.
#[inline(always)]
fn resolve<T: Tables>(fib: &T, index: u32) -> Result<(&NextHop, NextHopKind), Outcome> {
    let next_hop = fib.next_hop(index).ok_or(Outcome::DropNoNextHop)?;
    match NextHopKind::from_u32(next_hop.kind) {
        None | Some(NextHopKind::Unused) => Err(Outcome::DropNoNextHop),
        Some(kind) => Ok((next_hop, kind)),
    }
}

/// Checks what forwarding takes for granted: a hop is left, and the packet fits. Where not, the stack
/// sends the ICMP error or fragments (its route to the same place has the same MTU).
#[inline(always)]
fn forwardable<F: Family>(header: &Header<F>, via: &NextHop) -> Result<(), Outcome> {
    if header.hops <= 1 {
        return Err(Outcome::StackTtl);
    }
    if header.largest > via.mtu {
        return Err(Outcome::StackTooBig);
    }
    Ok(())
}
