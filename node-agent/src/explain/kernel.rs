//! The kernel's routing table beside what it should hold, and what the kernel itself answers.

use std::collections::BTreeSet;

use node_ebpf_common::NextHopKind;

use super::{Facts, Telling, WantedWay};
use crate::{
    api::{DisagreementKind, Step, StepKind},
    model::{KernelAnswer, KernelRoute, Prefix, RouteChange, RouteKind},
    rib::address_of,
};

/// Number of the main table.
const MAIN: u32 = 254;
/// Number of the table of the host's own addresses.
const LOCAL: u32 = 255;

pub(super) fn step(target: Prefix, facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Kernel);
    let kernel = &facts.kernel;
    for route in &kernel.found {
        let whose = if is_ours(route) { "ours".to_owned() } else { format!("protocol {}", route.protocol) };
        told.row("route", format!("{} ({whose})", text(facts, route)));
    }
    if let Some(wanted) = &kernel.wanted {
        ours(&mut told, facts, wanted);
    }
    match &kernel.answer {
        Some(Ok(answer)) => told.row("answer", answer_text(facts, answer)),
        Some(Err(error)) => told.row("answer", error.clone()),
        None => {}
    }
    if let Some(answer) = &kernel.answer {
        compare(&mut told, target, facts, answer.as_ref());
    }
    if !kernel.forwarding && facts.wanted.is_some() {
        let sysctl =
            if target.address().is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
        told.disagree(
            DisagreementKind::ForwardingOff,
            format!("{sysctl} is 0: the kernel forwards nothing of this family"),
            format!("sysctl -w {sysctl}=1; the agent does so at its next pass"),
        );
    }
    told.done()
}

fn is_ours(route: &KernelRoute) -> bool {
    route.protocol == KernelRoute::PROTOCOL
}

fn text(facts: &Facts, route: &KernelRoute) -> String {
    let interface = route.link.and_then(|index| facts.kernel.names.get(&index).cloned());
    RouteChange { route: route.clone(), interface }.to_string()
}

fn answer_text(facts: &Facts, answer: &KernelAnswer) -> String {
    let mut text = if answer.local { "local".to_owned() } else { "unicast".to_owned() };
    if let Some(gateway) = answer.gateway {
        text += &format!(" via {gateway}");
    }
    if let Some(link) = answer.link {
        text += &format!(" dev {}", name(facts, link));
    }
    if let Some(source) = answer.source {
        text += &format!(" src {source}");
    }
    if let Some(mtu) = answer.mtu {
        text += &format!(" mtu {mtu}");
    }
    if answer.table != MAIN && answer.table != LOCAL {
        text += &format!(" table {}", answer.table);
    }
    text
}

fn name(facts: &Facts, link: u32) -> String {
    facts.kernel.names.get(&link).cloned().unwrap_or_else(|| format!("#{link}"))
}

/// Our route: whether it is there, right, and not behind another one.
fn ours(told: &mut Telling, facts: &Facts, wanted: &KernelRoute) {
    let expected = text(facts, wanted);
    let at = |route: &&KernelRoute| route.destination == wanted.destination;
    let foreign =
        facts.kernel.found.iter().filter(at).find(|route| !is_ours(route) && route.metric <= wanted.metric);
    if let Some(foreign) = foreign {
        told.disagree(
            DisagreementKind::KernelRouteForeign,
            format!(
                "route {} of protocol {} takes precedence over ours ({expected}), and is not touched",
                text(facts, foreign),
                foreign.protocol
            ),
            format!(
                "if Podroute is to route it: ip route del {} proto {}",
                text(facts, foreign),
                foreign.protocol
            ),
        );
    }
    match facts.kernel.found.iter().filter(at).find(|route| is_ours(route)) {
        Some(found) if found == wanted => {}
        Some(found) => told.disagree(
            DisagreementKind::KernelRouteDiffers,
            format!("our route is {}, but should be {expected}", text(facts, found)),
            "the agent's next pass puts it right; if it stays, look at pending changes",
        ),
        // It cannot be beside the other one.
        None if foreign.is_some() => {}
        None => told.disagree(
            DisagreementKind::KernelRouteMissing,
            format!("the kernel lacks our route {expected}: packets that no program sees go elsewhere"),
            "the agent's next pass adds it; if it stays away, look at pending changes",
        ),
    }
}

/// What the kernel answers, beside what the programs do.
fn compare(told: &mut Telling, target: Prefix, facts: &Facts, answer: Result<&KernelAnswer, &String>) {
    let Some(wanted) = &facts.wanted else {
        if let Err(error) = answer {
            told.disagree(
                DisagreementKind::Unreachable,
                format!("Podroute has no route to {}, and the kernel has none either: {error}", target.address()),
                "if it belongs to the cluster, state it in the source; otherwise add a route (`ip route add`)",
            );
        }
        return;
    };
    let kind = NextHopKind::from_u32(wanted.next_hop.kind).unwrap_or_default();
    let expected = facts.kernel.wanted.as_ref();
    let blackhole = expected.is_some_and(|route| route.kind != RouteKind::Unicast);
    let agrees = match (answer, kind) {
        (Ok(answer), NextHopKind::Host) => answer.local,
        (Ok(_), NextHopKind::Unassigned) => false,
        (Err(_), NextHopKind::Unassigned) => true,
        (Err(_), _) => blackhole,
        (Ok(answer), _) => leads_there(facts, answer, wanted),
    };
    // A prefix of one address that is its own has no route: nothing can loop there.
    if agrees || kind == NextHopKind::Unassigned && expected.is_none() {
        return;
    }
    let (does, table) = match answer {
        Ok(answer) => (answer_text(facts, answer), answer.table),
        Err(error) => (error.clone(), MAIN),
    };
    let remedy = if table == MAIN || table == LOCAL {
        "remove the kernel route that wins (`ip route get`, `ip route show table all`), or add what is missing"
    } else {
        "a rule of policy routing sends it to another table (`ip rule`): Podroute follows the main table only"
    };
    told.disagree(
        DisagreementKind::KernelAnswersOtherwise,
        format!("programs send packets to {}, but the kernel says: {does}", wanted.name),
        remedy,
    );
}

/// Whether the kernel uses an interface of the way and, where our route names a gateway, one of the way.
fn leads_there(facts: &Facts, answer: &KernelAnswer, wanted: &WantedWay) -> bool {
    let routes = facts.kernel.wanted.iter().chain(facts.kernel.found.iter().filter(|route| is_ours(route)));
    let mut gateways: BTreeSet<_> = routes.filter_map(|route| route.gateway).collect();
    if !gateways.is_empty() {
        gateways.extend(wanted.members.iter().filter_map(|(_, member)| address_of(member.gateway)));
    }
    !answer.local
        && wanted.hops().any(|hop| answer.link == Some(hop.interface))
        && (facts.kernel.wanted.is_none()
            || gateways.is_empty()
            || answer.gateway.is_some_and(|by| gateways.contains(&by)))
}
