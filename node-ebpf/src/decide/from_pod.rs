//! A packet that a pod on this node sent.

use node_ebpf_common::{Endpoint, NextHopKind, SourceCheck};

use super::{Decision, choose::choose, forwardable, resolve};
use crate::{Family, Fib, Header, Outcome};

/// Decides what becomes of a packet from the pod behind `interface`.
///
/// # Errors
/// The outcome, where the packet is not forwarded: drops, and what the stack must see.
#[inline(always)]
pub fn from_pod<'t, F: Family, T: Fib<F>>(
    header: &Header<F>,
    interface: u32,
    fib: &'t T,
) -> Result<Decision<'t>, Outcome> {
    check_source(header, interface, fib)?;
    if header.is_tunnel() {
        return Err(Outcome::DropPodTunnel);
    }
    let route = fib.route(header.destination).ok_or(Outcome::StackNotRouted)?;
    let (next_hop, kind) = choose(header, fib, resolve(fib, route.next_hop)?);
    let decision = match kind {
        NextHopKind::LocalPod => Decision::Local(next_hop),
        NextHopKind::Direct => Decision::Direct(next_hop),
        NextHopKind::Ipip => Decision::Ipip(next_hop),
        NextHopKind::Host => return Err(Outcome::StackHost),
        NextHopKind::Unassigned => return Err(Outcome::DropUnassigned),
        NextHopKind::Unused => return Err(Outcome::DropNoNextHop),
    };
    forwardable(header, next_hop)?;
    if fib.is_translated(&header.flow()) {
        return Err(Outcome::StackTranslated);
    }
    Ok(decision)
}

/// Whether the pod may send from this address. An interface without an endpoint counts as strict.
#[inline(always)]
fn check_source<F: Family, T: Fib<F>>(header: &Header<F>, interface: u32, fib: &T) -> Result<(), Outcome> {
    if T::ROUTES_ARE_QUICK && is_pods_own(header.source, interface, fib) {
        return Ok(());
    }
    let check = match fib.endpoint(interface) {
        Some(endpoint) if F::of_endpoint(endpoint).is(&F::to_common(header.source)) => return Ok(()),
        Some(Endpoint { source_check, .. }) => *source_check,
        None => SourceCheck::Strict as u32,
    };
    if check == SourceCheck::Off as u32 {
        return Ok(());
    }
    // Neighbour discovery, which is the stack's: nothing forwards a link-local address.
    if F::is_link_local(header.source) && F::is_link_local(header.destination) {
        return Ok(());
    }
    // Not the pod's first address: another of its own, or (loose) any of this node's pod prefixes.
    let route = fib.route(header.source).ok_or(Outcome::DropSpoofedSource)?;
    let (owner, kind) = resolve(fib, route.next_hop).map_err(|_| Outcome::DropSpoofedSource)?;
    let own = kind == NextHopKind::LocalPod && owner.interface == interface;
    let loose =
        check == SourceCheck::Loose as u32 && matches!(kind, NextHopKind::LocalPod | NextHopKind::Unassigned);
    if own || loose { Ok(()) } else { Err(Outcome::DropSpoofedSource) }
}

/// Whether the address leads to the pod behind this interface.
#[inline(always)]
fn is_pods_own<F: Family, T: Fib<F>>(address: F::Address, interface: u32, fib: &T) -> bool {
    let Some(route) = fib.route(address) else { return false };
    matches!(resolve(fib, route.next_hop), Ok((owner, NextHopKind::LocalPod)) if owner.interface == interface)
}
