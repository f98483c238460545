//! Carries out what the library decides for frames that an uplink's driver has just received.

use aya_ebpf::{
    Global,
    bindings::{xdp_action, xdp_md},
};
use node_ebpf::{ETHERNET_LENGTH, Family, Header, Outcome, V4, V6, decide, rewrite};
use node_ebpf_common::{Ending, Uplink};

use super::{
    act::Done,
    frame::Frame,
    maps::{self, MappedFamily, Maps},
    neighbour::neighbour,
};

/// Whether outer headers come off here: set by the agent when it loads the program, and a constant to the
/// verifier.
#[unsafe(no_mangle)]
static XDP_DECAP: Global<u8> = Global::new(0);

/// What was done to a frame, and what to return for it.
type Acted = Result<(Outcome, u32), Outcome>;

/// Deals with a frame; returns the verdict.
#[inline(always)]
pub fn from_uplink(frame: &Frame, done: &mut Done) -> u32 {
    if !maps::uplink(frame.interface()).is_some_and(|uplink| frame.is_for(uplink)) {
        return xdp_action::XDP_PASS;
    }
    if frame.is::<V4>() {
        with_family::<V4>(frame.raw(), done)
    } else if frame.is::<V6>() {
        with_family::<V6>(frame.raw(), done)
    } else {
        xdp_action::XDP_PASS
    }
}

/// Lets the packet's family deal with it, each in a function of its own (see `act`).
#[inline(never)]
fn with_family<F: MappedFamily>(raw: *mut xdp_md, done: &mut Done) -> u32 {
    let mut frame = Frame::new(raw);
    let acted = F::parse(&mut frame, ETHERNET_LENGTH).and_then(|header| {
        done.source = F::to_common(header.source);
        done.destination = F::to_common(header.destination);
        route(&mut frame, &header)
    });
    let (outcome, verdict) = match acted {
        Ok(acted) => acted,
        // All of the packet can be read only there.
        Err(Outcome::DropMalformed) => (Outcome::Pass, xdp_action::XDP_PASS),
        Err(outcome) if outcome.ending() == Ending::Dropped => (outcome, xdp_action::XDP_DROP),
        Err(outcome) => (outcome, xdp_action::XDP_PASS),
    };
    done.outcome = outcome;
    verdict
}

#[inline(always)]
fn route<F: MappedFamily>(frame: &mut Frame, header: &Header<F>) -> Acted {
    if decide::is_tunnel_to_node(header, &Maps) {
        return if header.fragment {
            Err(Outcome::DropTunnelFragment)
        } else if header.protocol == V4::PROTOCOL {
            decapsulate::<F, V4>(frame, header)
        } else {
            decapsulate::<F, V6>(frame, header)
        };
    }
    let via = decide::transit(header, &Maps)?;
    if frame.is_in_fragments() && !maps::uplink(via.interface).is_some_and(Uplink::sends_fragments) {
        return Err(Outcome::Pass);
    }
    let link_layer = neighbour(frame, via).ok_or(Outcome::Pass)?;
    let verdict = Frame::redirect(via.interface).ok_or(Outcome::Pass)?;
    rewrite::one_hop_less(frame, header)?;
    frame.address(&link_layer)?;
    Ok((Outcome::Transit, verdict))
}

/// Takes the outer header off, if the sender may send what is inside, and passes the packet on: tc and the
/// stack see it as if it had come without, after GRO.
#[inline(always)]
fn decapsulate<O: MappedFamily, I: MappedFamily>(frame: &mut Frame, outer: &Header<O>) -> Acted {
    let inner = I::parse(frame, ETHERNET_LENGTH + outer.length)?;
    let (_, congestion) = decide::decapsulate::<O, I, Maps>(outer, &inner, &Maps)?;
    if XDP_DECAP.load() == 0 {
        return Err(Outcome::Pass);
    }
    frame.decapsulate::<I>(outer.length)?;
    rewrite::congestion::<I, _>(frame, congestion)?;
    Ok((Outcome::DecapPass, xdp_action::XDP_PASS))
}
