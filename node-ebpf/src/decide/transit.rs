//! A packet that came in on an uplink and may leave on one again, before the stack has seen it (XDP).

use node_ebpf_common::{NextHop, NextHopKind, Route};

use super::{choose::choose, from_uplink::is_own, resolve};
use crate::{Family, Fib, Header, Outcome, V4, V6, packet::bytes};

/// Decides what becomes of a packet that is no tunnel packet for this node: the next hop on its way to another
/// node, to which it goes as it is.
///
/// Only the plain case is decided here: what needs an outer header, an answer, fragmentation, netfilter or a
/// look at options is left to tc and the stack.
///
/// # Errors
/// [`Outcome::Pass`] for those, and the drops that tc would make all the same.
#[inline(always)]
pub fn transit<'t, F: Family, T: Fib<F>>(header: &Header<F>, fib: &'t T) -> Result<&'t NextHop, Outcome> {
    if is_own(header.source, fib) {
        return Err(Outcome::DropSpoofedUplinkSource);
    }
    let route = fib.route(header.destination).ok_or(Outcome::Pass)?;
    let (next_hop, kind) = choose(header, fib, resolve(fib, route.next_hop)?);
    let mtu = match kind {
        NextHopKind::Direct => next_hop.mtu,
        // The nodes' own packets, and those that are encapsulated already, go plainly.
        NextHopKind::Ipip if route.flags & Route::NODE_ADDRESS != 0 => {
            next_hop.mtu.saturating_add(overhead(next_hop))
        }
        NextHopKind::LocalPod | NextHopKind::Host | NextHopKind::Ipip => return Err(Outcome::Pass),
        NextHopKind::Unassigned => return Err(Outcome::DropUnassigned),
        NextHopKind::Unused => return Err(Outcome::DropNoNextHop),
    };
    // An IPv6 packet cannot go to an IPv4 gateway; the other way round it can (RFC 8950).
    let has_gateway = F::PROTOCOL == V4::PROTOCOL || !next_hop.gateway.is_v4();
    let plain = header.length == F::HEADER_LENGTH && !F::is_link_local(header.source);
    if has_gateway && plain && header.hops > 1 && header.largest <= mtu {
        Ok(next_hop)
    } else {
        Err(Outcome::Pass)
    }
}

/// What an outer header to this next hop's node takes, in bytes.
#[inline(always)]
const fn overhead(via: &NextHop) -> u32 {
    if via.tunnel_destination.is_v4() { bytes(V4::HEADER_LENGTH) } else { bytes(V6::HEADER_LENGTH) }
}
