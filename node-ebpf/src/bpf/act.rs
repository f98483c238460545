//! Carries out what the library decides, with the kernel's helpers.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    programs::TcContext,
};
use node_ebpf::{
    ETHERNET_LENGTH, Family, Header, Outcome, V4, V6,
    decide::{self, Decision, Egress, Inner},
    rewrite,
};
use node_ebpf_common::{Address, Ending, MARK_FORWARDED, MARK_TRANSLATABLE, NextHop};

use super::{
    maps::{MappedFamily, Maps, remember},
    skb::{KernelFamily, Skb},
};

/// How a program ended with a packet.
pub struct Done {
    /// What to count.
    pub outcome: Outcome,
    /// Source address, for the log; none where it was not read.
    pub source: Address,
    /// Destination address, likewise.
    pub destination: Address,
}

impl Done {
    /// A packet of which nothing is known yet.
    pub const UNREAD: Self =
        Self { outcome: Outcome::StackOtherProtocol, source: Address::NONE, destination: Address::NONE };
}

/// What was done to a packet, and what to return for it.
type Acted = Result<(Outcome, i32), Outcome>;

/// Everything that a family has to have here.
pub trait Acting: MappedFamily + KernelFamily {}
impl<F: MappedFamily + KernelFamily> Acting for F {}

/// Parses the packet, lets `act` deal with it and makes a verdict of what came out.
#[inline(always)]
fn with_header<F: Family>(
    skb: &mut Skb<'_>,
    done: &mut Done,
    act: impl FnOnce(&mut Skb<'_>, &Header<F>) -> Acted,
) -> i32 {
    let acted = F::parse(skb, ETHERNET_LENGTH).and_then(|header| {
        done.source = F::to_common(header.source);
        done.destination = F::to_common(header.destination);
        act(skb, &header)
    });
    let (outcome, verdict) = match acted {
        Ok(acted) => acted,
        Err(outcome) => (outcome, verdict(outcome)),
    };
    done.outcome = outcome;
    verdict
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

/// Lets the packet's family deal with it, or leaves it to the stack if it is no IP packet. Each family has a
/// function of its own in the program: both together need more than the 512 bytes of stack there are. (It
/// returns a number because the verifier looks at what is left in the register of a function that does not.)
macro_rules! by_family {
    ($skb:ident, $done:ident, $act:ident) => {{
        #[inline(never)]
        fn with_family<F: Acting>(raw: *mut __sk_buff, done: &mut Done) -> i32 {
            let ctx = TcContext::new(raw);
            with_header::<F>(&mut Skb::new(&ctx), done, $act::<F>)
        }
        if $skb.is::<V4>() {
            with_family::<V4>($skb.raw(), $done)
        } else if $skb.is::<V6>() {
            with_family::<V6>($skb.raw(), $done)
        } else {
            verdict(Outcome::StackOtherProtocol)
        }
    }};
}

/// Deals with a packet that a pod sent; returns the verdict.
#[inline(always)]
pub fn from_pod(skb: &mut Skb<'_>, done: &mut Done) -> i32 {
    if !skb.is_unicast() {
        return verdict(Outcome::StackOtherProtocol);
    }
    by_family!(skb, done, route_from_pod)
}

#[inline(always)]
fn route_from_pod<F: Acting>(skb: &mut Skb<'_>, header: &Header<F>) -> Acted {
    match decide::from_pod(header, skb.interface(), &Maps).map_err(|outcome| left_to_stack(skb, outcome))? {
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
    }
}

/// Marks what the stack gets for a destination that is no pod: if it leaves for a pod, netfilter has
/// translated it. So may it have done with what is of a flow that is known already, as a new connection has
/// its port changed if it would look like an old one.
#[inline(always)]
fn left_to_stack(skb: &mut Skb<'_>, outcome: Outcome) -> Outcome {
    if matches!(outcome, Outcome::StackNotRouted | Outcome::StackHost | Outcome::StackTranslated) {
        skb.set_mark(MARK_TRANSLATABLE);
    }
    outcome
}

/// Deals with a packet that came in on an uplink; returns the verdict.
#[inline(always)]
pub fn from_uplink(skb: &mut Skb<'_>, done: &mut Done) -> i32 {
    if !skb.is_unicast() {
        return verdict(Outcome::StackOtherProtocol);
    }
    by_family!(skb, done, route_from_uplink)
}

#[inline(always)]
fn route_from_uplink<F: Acting>(skb: &mut Skb<'_>, header: &Header<F>) -> Acted {
    if decide::is_tunnel_to_node(header, &Maps) {
        return if header.fragment {
            Err(Outcome::DropTunnelFragment)
        } else if header.protocol == V4::PROTOCOL {
            decapsulate::<F, V4>(skb, header)
        } else {
            decapsulate::<F, V6>(skb, header)
        };
    }
    let pod = decide::from_uplink(header, &Maps).map_err(|outcome| left_to_stack(skb, outcome))?;
    rewrite::to_local_pod(skb, header, pod)?;
    Ok((Outcome::Local, Skb::redirect_peer(pod)))
}

/// Deals with a packet that the stack sends out on an uplink; returns the verdict.
#[inline(always)]
pub fn to_uplink(skb: &mut Skb<'_>, done: &mut Done) -> i32 {
    by_family!(skb, done, route_to_uplink)
}

#[inline(always)]
fn route_to_uplink<F: Acting>(skb: &mut Skb<'_>, header: &Header<F>) -> Acted {
    remember_translation(skb, header);
    match decide::to_uplink(header, &Maps)? {
        Egress::Leave => Ok((Outcome::StackRouted, TC_ACT_UNSPEC)),
        Egress::Encapsulate { via, anew } => {
            encapsulate(skb, header, via)?;
            if !anew && via.tunnel_destination.is_v4() == (F::PROTOCOL == V4::PROTOCOL) {
                // The stack's next hop is the tunnel's, and the link-layer header is right already.
                return Ok((Outcome::Ipip, TC_ACT_UNSPEC));
            }
            skb.set_mark(MARK_FORWARDED);
            Ok((Outcome::Ipip, Skb::redirect_neighbour(via)))
        }
        Egress::Via(via) => {
            skb.set_mark(MARK_FORWARDED);
            Ok((Outcome::StackRouted, Skb::redirect_neighbour(via)))
        }
    }
}

/// Deals with a packet that the stack delivers to a pod; returns the verdict.
#[inline(always)]
pub fn to_pod(skb: &mut Skb<'_>, done: &mut Done) -> i32 {
    if !skb.has_mark(MARK_TRANSLATABLE) {
        done.outcome = Outcome::StackRouted;
        return verdict(Outcome::StackRouted);
    }
    by_family!(skb, done, watch_to_pod)
}

#[inline(always)]
fn watch_to_pod<F: Acting>(skb: &mut Skb<'_>, header: &Header<F>) -> Acted {
    if remember_translation(skb, header) {
        return Err(Outcome::StackTranslated);
    }
    Ok((Outcome::StackRouted, TC_ACT_UNSPEC))
}

/// Remembers the flow if netfilter may have translated it, which its mark tells, and says whether it did.
#[inline(always)]
fn remember_translation<F: Acting>(skb: &mut Skb<'_>, header: &Header<F>) -> bool {
    if !skb.take_mark(MARK_TRANSLATABLE) {
        return false;
    }
    let Some(translation) = decide::translation(header, &Maps) else { return false };
    remember::<F>(&translation);
    true
}

/// Adds the outer header that leads to the next hop's node, of the family of its address.
#[inline(always)]
fn encapsulate<F: Acting>(skb: &mut Skb<'_>, header: &Header<F>, via: &NextHop) -> Result<(), Outcome> {
    if via.tunnel_destination.is_v4() {
        encapsulate_in::<V4, F>(skb, header, via)
    } else {
        encapsulate_in::<V6, F>(skb, header, via)
    }
}

#[inline(always)]
fn encapsulate_in<O: Acting, F: Acting>(
    skb: &mut Skb<'_>,
    header: &Header<F>,
    via: &NextHop,
) -> Result<(), Outcome> {
    let inner_length = skb.frame_length().saturating_sub(ETHERNET_LENGTH as u32);
    let outer = O::outer(header, inner_length, via, O::number(skb));
    skb.encapsulate::<O, F>(outer)
}

/// Takes the outer header off, if the sender may send what is inside, and delivers.
#[inline(always)]
fn decapsulate<O: Acting, I: Acting>(skb: &mut Skb<'_>, outer: &Header<O>) -> Acted {
    let inner = I::parse(skb, ETHERNET_LENGTH + outer.length)?;
    let (target, congestion) = decide::decapsulate::<O, I, Maps>(outer, &inner, &Maps)?;
    skb.decapsulate::<O, I>(outer.length)?;
    if let Inner::Local(pod) = target {
        rewrite::to_local_pod(skb, &inner, pod)?;
        rewrite::congestion::<I, _>(skb, congestion)?;
        return Ok((Outcome::DecapLocal, Skb::redirect_peer(pod)));
    }
    rewrite::congestion::<I, _>(skb, congestion)?;
    skb.set_mark(MARK_TRANSLATABLE);
    Ok((Outcome::DecapStack, TC_ACT_UNSPEC))
}
