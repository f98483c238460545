//! A packet that the host's stack sends out on an uplink: its own, or one that it forwards.

use node_ebpf_common::{NextHop, NextHopKind, Route};

use super::{choose::choose, resolve};
use crate::{Family, Fib, Header, Outcome};

/// What happens to it.
pub enum Egress<'t> {
    /// It gets an outer header and leaves for the tunnel's end.
    Encapsulate {
        /// The next hop.
        via: &'t NextHop,
        /// Whether it leaves by this next hop, whichever way the stack has chosen among several.
        anew: bool,
    },
    /// It leaves by this next hop, whichever way the stack has chosen.
    Via(&'t NextHop),
    /// It leaves as it is.
    Leave,
}

/// Decides what becomes of a packet from the stack. Its hop count is right already.
///
/// # Errors
/// The outcome, where the packet must not leave.
#[inline(always)]
pub fn to_uplink<'t, F: Family, T: Fib<F>>(header: &Header<F>, fib: &'t T) -> Result<Egress<'t>, Outcome> {
    let Some(route) = fib.route(header.destination) else { return Ok(Egress::Leave) };
    let Ok((owner, kind)) = resolve(fib, route.next_hop) else { return Ok(Egress::Leave) };
    // Of several ways the stack has chosen another, perhaps one on which this packet must not be as it is.
    let several = owner.group != 0;
    let (next_hop, kind) = choose(header, fib, (owner, kind));
    match kind {
        NextHopKind::Ipip => {}
        NextHopKind::Direct if several && route.flags & Route::NODE_ADDRESS == 0 => {
            return Ok(Egress::Via(next_hop));
        }
        _ => return Ok(Egress::Leave),
    }
    if route.flags & Route::NODE_ADDRESS != 0 && !from_pod_range(header, fib) {
        return Ok(Egress::Leave);
    }
    if header.largest > next_hop.mtu {
        return Err(Outcome::DropTooBig);
    }
    Ok(Egress::Encapsulate { via: next_hop, anew: several })
}

/// Whether the source is of this node's pods, so that the way between the nodes does not know it. The
/// nodes' own traffic, outer headers included, is never encapsulated.
#[inline(always)]
fn from_pod_range<F: Family, T: Fib<F>>(header: &Header<F>, fib: &T) -> bool {
    let source = F::to_common(header.source);
    if fib.settings().is_none_or(|settings| F::of_node(settings).is(&source)) {
        return false;
    }
    let Some(route) = fib.route(header.source) else { return false };
    matches!(
        resolve(fib, route.next_hop),
        Ok((_, NextHopKind::LocalPod | NextHopKind::Unassigned | NextHopKind::Host))
    )
}
