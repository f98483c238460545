//! How the next hop is reached, and how large packets may be on the way.

use node_ebpf_common::NextHopKind;

use super::{Facts, LinkFact, Telling, WantedWay};
use crate::{
    api::{DisagreementKind, Step, StepKind},
    model::Prefix,
    rib::address_of,
};

pub(super) fn step(target: Prefix, facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::NextHop);
    let Some(wanted) = &facts.wanted else {
        told.row("next hop", "none: the host's stack decides");
        return told.done();
    };
    told.row("next hop", wanted.name.clone());
    let kind = NextHopKind::from_u32(wanted.next_hop.kind).unwrap_or_default();
    told.row("kind", kind.label());
    if let Some(path) = &wanted.path {
        way(&mut told, wanted, kind, path);
    }
    for (name, member) in &wanted.members {
        let gateway = address_of(member.gateway).map(|gateway| format!(" by {gateway}")).unwrap_or_default();
        told.row("member", format!("{name}{gateway}, interface index {}", member.interface));
    }
    if kind == NextHopKind::Unassigned && target.is_host() {
        told.disagree(
            DisagreementKind::Unreachable,
            format!(
                "{} is in a pod prefix of this node, but no pod has it: its packets are dropped",
                target.address()
            ),
            "if there should be a pod, state it in the source with this node and its interface",
        );
    }
    facts.links.iter().for_each(|link| interface(&mut told, link));
    told.done()
}

fn way(told: &mut Telling, wanted: &WantedWay, kind: NextHopKind, path: &crate::rib::Path) {
    if let Some(gateway) = address_of(wanted.next_hop.gateway)
        && matches!(kind, NextHopKind::Direct | NextHopKind::Ipip)
    {
        let why =
            if path.adjacent { "the node itself: it is adjacent" } else { "not adjacent: by this gateway" };
        told.row("gateway", format!("{gateway} ({why})"));
    }
    if let Some(underlay) = path.underlay {
        told.row("by", format!("the kernel's route {underlay} through {}", path.interface));
    }
    let ends = (address_of(wanted.next_hop.tunnel_source), address_of(wanted.next_hop.tunnel_destination));
    match (kind, ends) {
        (NextHopKind::Ipip, (Some(source), Some(destination))) => {
            let why = if path.adjacent {
                "the mode is `always`, or the families differ"
            } else {
                "the node is not adjacent"
            };
            told.row("encapsulation", format!("ipip, {source} to {destination} ({why})"));
        }
        (NextHopKind::Direct, _) => told.row("encapsulation", "none"),
        _ => {}
    }
}

fn interface(told: &mut Telling, LinkFact { name, state }: &LinkFact) {
    let Some(state) = state else {
        return told.disagree(
            DisagreementKind::LinkMissing,
            format!("interface {name} does not exist any more"),
            "find out who removed it; routes through it are withdrawn when the agent has looked again",
        );
    };
    let (up, carrier) =
        (if state.up { "up" } else { "down" }, if state.carrier { "carrier" } else { "no carrier" });
    told.row("interface", format!("{name}, {up}, {carrier}, MTU {}", state.mtu));
    if !state.up {
        told.disagree(
            DisagreementKind::LinkDown,
            format!("interface {name} is down: nothing leaves through it"),
            format!("ip link set {name} up"),
        );
    } else if !state.carrier {
        told.disagree(
            DisagreementKind::NoCarrier,
            format!("interface {name} has no carrier: nothing leaves through it"),
            "look at the cable, the switch port, or the other end of the veth",
        );
    }
}

/// How large packets may be, and why.
pub(super) fn mtu(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Mtu);
    let Some(wanted) = facts.wanted.as_ref().filter(|wanted| wanted.next_hop.mtu > 0) else {
        return told.done();
    };
    let ipip = wanted.next_hop.kind == NextHopKind::Ipip as u32;
    let from = match (&facts.mtu.learned, &wanted.path) {
        (Some(learned), _) => format!(
            "router {} takes {} with the outer header, holds for {} s more",
            learned.router, learned.bytes, learned.seconds_left
        ),
        (None, Some(path)) if ipip => {
            format!("{} of {} less the outer header", path.link_mtu, path.interface)
        }
        (None, Some(path)) => format!("{} of {}", path.link_mtu, path.interface),
        (None, None) => "the interface".to_owned(),
    };
    told.row("way", format!("{} bytes before any encapsulation ({from})", wanted.next_hop.mtu));
    if let Some((bytes, from)) = &facts.mtu.pods {
        told.row("pods", format!("{bytes} bytes ({from})"));
    }
    told.done()
}
