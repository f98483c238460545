//! Which flows netfilter translates (kube-proxy's Services): their packets leave the stack for a pod,
//! although they were given to it for another destination.

use node_ebpf_common::{Flow, NextHopKind};

use super::resolve;
use crate::{Family, Fib, Header, Outcome};

/// The flow to remember, so that its packets are left to the stack in both directions.
pub struct Translation<A> {
    /// With its local end as the programs will look it up.
    pub flow: Flow<A>,
    /// Both ends are pods of this node: either may be the one that sends.
    pub both_ways: bool,
}

/// What to remember of a packet that leaves the stack for a pod and may have been translated there. Nothing where replies go to the stack anyway: to this node or to the outside.
#[inline(always)]
pub fn translation<F: Family, T: Fib<F>>(header: &Header<F>, fib: &T) -> Option<Translation<F::Address>> {
    let flow = header.flow();
    let both = (kind(header.source, fib).ok()?, kind(header.destination, fib).ok()?);
    match both {
        (NextHopKind::LocalPod, NextHopKind::LocalPod) => Some(Translation { flow, both_ways: true }),
        (NextHopKind::LocalPod, NextHopKind::Direct | NextHopKind::Ipip) => {
            Some(Translation { flow, both_ways: false })
        }
        (NextHopKind::Direct | NextHopKind::Ipip, NextHopKind::LocalPod) => {
            Some(Translation { flow: flow.reversed(), both_ways: false })
        }
        _ => None,
    }
}

#[inline(always)]
fn kind<F: Family, T: Fib<F>>(address: F::Address, fib: &T) -> Result<NextHopKind, Outcome> {
    let route = fib.route(address).ok_or(Outcome::StackNotRouted)?;
    resolve(fib, route.next_hop).map(|(_, kind)| kind)
}
