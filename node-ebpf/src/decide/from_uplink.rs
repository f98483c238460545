//! A packet that came in on an uplink.

use node_ebpf_common::{NextHop, NextHopKind, Route};

use super::{Congestion, Inner, choose::leads_to_node, forwardable, resolve};
use crate::{Family, Fib, Header, Outcome, Tables};

const ECN_MASK: u8 = 3;
const ECN_NOT_CAPABLE: u8 = 0;
const ECN_CONGESTION: u8 = 3;

/// Whether the outer header has to come off: a tunnel packet for this node.
#[inline(always)]
pub fn is_tunnel_to_node<F: Family, T: Tables>(header: &Header<F>, tables: &T) -> bool {
    header.is_tunnel()
        && tables
            .settings()
            .is_some_and(|settings| F::of_node(settings).is(&F::to_common(header.destination)))
}

/// Decides what becomes of a packet that is not encapsulated, or not for this node: the local pod to
/// deliver to.
///
/// # Errors
/// The outcome, where there is no such pod.
#[inline(always)]
pub fn from_uplink<'t, F: Family, T: Fib<F>>(header: &Header<F>, fib: &'t T) -> Result<&'t NextHop, Outcome> {
    if is_own(header.source, fib) {
        return Err(Outcome::DropSpoofedUplinkSource);
    }
    let route = fib.route(header.destination).ok_or(Outcome::StackNotRouted)?;
    let (next_hop, kind) = resolve(fib, route.next_hop)?;
    match kind {
        NextHopKind::LocalPod => {}
        NextHopKind::Host => return Err(Outcome::StackHost),
        NextHopKind::Direct | NextHopKind::Ipip => return Err(Outcome::StackTransit),
        NextHopKind::Unassigned => return Err(Outcome::DropUnassigned),
        NextHopKind::Unused => return Err(Outcome::DropNoNextHop),
    }
    forwardable(header, next_hop)?;
    if fib.is_translated(&header.flow().reversed()) {
        return Err(Outcome::StackTranslated);
    }
    Ok(next_hop)
}

/// Whether the address is this node's own or one of its pods', so that nobody else may send from it.
#[inline(always)]
pub(super) fn is_own<F: Family, T: Fib<F>>(address: F::Address, fib: &T) -> bool {
    let Some(route) = fib.route(address) else { return false };
    matches!(
        resolve(fib, route.next_hop),
        Ok((_, NextHopKind::LocalPod | NextHopKind::Unassigned | NextHopKind::Host))
    )
}

/// Decides what becomes of an encapsulated packet for this node, whose outer header is of family `O` and
/// whose inner one of family `I`: accepted only from the very node that owns the inner source.
///
/// # Errors
/// The outcome, where it is not accepted.
#[inline(always)]
pub fn decapsulate<'t, O: Family, I: Family, T: Fib<O> + Fib<I>>(
    outer: &Header<O>,
    inner: &Header<I>,
    fib: &'t T,
) -> Result<(Inner<'t>, Congestion), Outcome> {
    if !owned_by_sender::<O, I, T>(outer, inner, fib) {
        return Err(if is_known_node(outer, fib) {
            Outcome::DropSpoofedInnerSource
        } else {
            Outcome::DropUnknownTunnelSource
        });
    }
    if inner.is_tunnel() {
        return Err(Outcome::DropNestedTunnel);
    }
    let congestion = congestion(outer.traffic_class, inner.traffic_class)?;
    let route = Fib::<I>::route(fib, inner.destination).ok_or(Outcome::DropTunnelNotLocal)?;
    let (next_hop, kind) = resolve(fib, route.next_hop)?;
    let target = match kind {
        // Without a hop left, or too big for the pod's link, the stack answers the sender; what it has to
        // translate back, it delivers.
        NextHopKind::LocalPod
            if forwardable(inner, next_hop).is_ok()
                && !Fib::<I>::is_translated(fib, &inner.flow().reversed()) =>
        {
            Inner::Local(next_hop)
        }
        NextHopKind::LocalPod | NextHopKind::Host => Inner::Stack,
        NextHopKind::Unassigned => return Err(Outcome::DropUnassigned),
        NextHopKind::Direct | NextHopKind::Ipip | NextHopKind::Unused => {
            return Err(Outcome::DropTunnelNotLocal);
        }
    };
    Ok((target, congestion))
}

/// Whether the inner source is in a prefix that leads to the node that sent the outer packet, or its own address.
#[inline(always)]
fn owned_by_sender<O: Family, I: Family, T: Fib<O> + Fib<I>>(
    outer: &Header<O>,
    inner: &Header<I>,
    fib: &T,
) -> bool {
    let Some(route) = Fib::<I>::route(fib, inner.source) else { return false };
    match resolve(fib, route.next_hop) {
        Ok((owner, NextHopKind::Direct | NextHopKind::Ipip)) => {
            leads_to_node(owner, &O::to_common(outer.source), fib)
        }
        _ => false,
    }
}

/// Whether a remote node has this address: only to tell one drop from another.
#[inline(always)]
fn is_known_node<F: Family, T: Fib<F>>(outer: &Header<F>, fib: &T) -> bool {
    fib.route(outer.source).is_some_and(|route| route.flags & Route::NODE_ADDRESS != 0)
}

/// RFC 6040, figure 4: a congestion mark must not get lost, and a packet that cannot carry it is dropped.
#[inline(always)]
fn congestion(outer: u8, inner: u8) -> Result<Congestion, Outcome> {
    if outer & ECN_MASK != ECN_CONGESTION {
        return Ok(Congestion::Keep);
    }
    match inner & ECN_MASK {
        ECN_NOT_CAPABLE => Err(Outcome::DropCongestionMark),
        ECN_CONGESTION => Ok(Congestion::Keep),
        _ => Ok(Congestion::Mark),
    }
}
