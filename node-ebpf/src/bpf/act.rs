//! Carries out what the library decides, with the kernel's helpers.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use node_ebpf::{
    ETHERNET_LENGTH, Family, Fib, Header, Outcome, V4,
    decide::{self, Decision, Egress, Inner},
    rewrite::{self, PROTOCOL_IPIP},
};
use node_ebpf_common::{Ending, MARK_FORWARDED, NextHop};

use super::{maps::Maps, skb::Skb};

/// How a program ended with a packet.
pub struct Done {
    /// What to count.
    pub outcome: Outcome,
    /// What to return to the kernel.
    pub verdict: i32,
    /// Source address, for the log; zero where it was not read.
    pub source: [u8; 4],
    /// Destination address, likewise.
    pub destination: [u8; 4],
}

/// What was done to a packet, and what to return for it.
type Acted = Result<(Outcome, i32), Outcome>;

/// Parses the packet, lets `act` deal with it and makes a verdict of what came out.
#[inline(always)]
fn with_header(skb: &mut Skb<'_>, act: impl FnOnce(&mut Skb<'_>, &Header<V4>) -> Acted) -> Done {
    skb.pull_headers();
    let (acted, source, destination) = match V4::parse(skb, ETHERNET_LENGTH) {
        Ok(header) => (act(skb, &header), header.source, header.destination),
        Err(outcome) => (Err(outcome), [0; 4], [0; 4]),
    };
    let (outcome, verdict) = match acted {
        Ok(acted) => acted,
        Err(outcome) => (outcome, verdict(outcome)),
    };
    Done { outcome, verdict, source, destination }
}

/// The verdict for a packet that the programs do not forward. What goes on to the stack goes on to other
/// programs at the same interface first (`TC_ACT_UNSPEC` is `TCX_NEXT`): we are not alone.
#[inline(always)]
const fn verdict(outcome: Outcome) -> i32 {
    match outcome.ending() {
        Ending::Dropped => TC_ACT_SHOT,
        Ending::Stack | Ending::Forwarded => TC_ACT_UNSPEC,
    }
}

/// Not an IP packet for this host: the stack's business.
#[inline(always)]
const fn other_protocol() -> Done {
    let outcome = Outcome::StackOtherProtocol;
    Done { outcome, verdict: verdict(outcome), source: [0; 4], destination: [0; 4] }
}

/// Deals with a packet that a pod sent.
#[inline(always)]
pub fn from_pod(skb: &mut Skb<'_>) -> Done {
    if !skb.is_unicast_ipv4() {
        return other_protocol();
    }
    with_header(skb, |skb, header| match decide::from_pod(header, skb.interface(), &Maps)? {
        Decision::Local(pod) => {
            rewrite::to_local_pod(skb, header, pod)?;
            Ok((Outcome::Local, Skb::redirect_peer(pod)))
        }
        Decision::Direct(via) => {
            rewrite::one_hop_less(skb, header)?;
            skb.set_mark(MARK_FORWARDED);
            Ok((Outcome::Direct, Skb::redirect_neighbour(via)))
        }
        Decision::Ipip(via) => {
            rewrite::one_hop_less(skb, header)?;
            encapsulate(skb, header, via)?;
            skb.set_mark(MARK_FORWARDED);
            Ok((Outcome::Ipip, Skb::redirect_neighbour(via)))
        }
    })
}

/// Deals with a packet that came in on an uplink.
#[inline(always)]
pub fn from_uplink(skb: &mut Skb<'_>) -> Done {
    if !skb.is_unicast_ipv4() {
        return other_protocol();
    }
    with_header(skb, |skb, header| {
        if header.protocol == PROTOCOL_IPIP && is_for_this_node(header) {
            return decapsulate(skb, header);
        }
        let pod = decide::from_uplink(header, &Maps)?;
        rewrite::to_local_pod(skb, header, pod)?;
        Ok((Outcome::Local, Skb::redirect_peer(pod)))
    })
}

/// Deals with a packet that the stack sends out on an uplink.
#[inline(always)]
pub fn to_uplink(skb: &mut Skb<'_>) -> Done {
    if !skb.is_ipv4() {
        return other_protocol();
    }
    with_header(skb, |skb, header| match decide::to_uplink(header, &Maps)? {
        Egress::Leave => Ok((Outcome::StackRouted, TC_ACT_UNSPEC)),
        Egress::Encapsulate(via) => {
            encapsulate(skb, header, via)?;
            Ok((Outcome::Ipip, TC_ACT_UNSPEC))
        }
    })
}

/// Whether the packet is addressed to this node.
#[inline(always)]
fn is_for_this_node(header: &Header<V4>) -> bool {
    Maps.settings().is_some_and(|settings| Maps.is_node(settings, header.destination))
}

/// Adds the outer header that leads to the next hop's node.
#[inline(always)]
fn encapsulate(skb: &mut Skb<'_>, header: &Header<V4>, via: &NextHop) -> Result<(), Outcome> {
    let inner_length = skb.frame_length().saturating_sub(ETHERNET_LENGTH as u32);
    let outer = rewrite::outer_v4(header, inner_length, via, Skb::identification());
    skb.encapsulate(outer)
}

/// Takes the outer header off, if the sender may send what is inside, and delivers.
#[inline(always)]
fn decapsulate(skb: &mut Skb<'_>, outer: &Header<V4>) -> Acted {
    if outer.fragment {
        return Err(Outcome::DropTunnelFragment);
    }
    let inner = V4::parse(skb, ETHERNET_LENGTH + outer.length)?;
    let (target, congestion) = decide::decapsulate(outer, &inner, &Maps)?;
    skb.decapsulate(outer.length)?;
    match target {
        Inner::Local(pod) => {
            rewrite::to_local_pod(skb, &inner, pod)?;
            rewrite::congestion(skb, &inner, congestion)?;
            Ok((Outcome::DecapLocal, Skb::redirect_peer(pod)))
        }
        Inner::Stack => {
            rewrite::congestion(skb, &inner, congestion)?;
            Ok((Outcome::DecapStack, TC_ACT_UNSPEC))
        }
    }
}
