//! What the maps hold and which programs run, beside what should be there.

use node_ebpf_common::{Endpoint, Hook, NextHop, NextHopKind};

use super::{AUDIT_HEALS, Facts, HookFact, Telling, TrieAnswer, WantedWay, mac};
use crate::{
    api::{DisagreementKind, Step, StepKind},
    rib::address_of,
};

pub(super) fn step(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Bpf);
    match &facts.bpf.trie {
        Some(answer) => found(&mut told, answer),
        None => told.row("routes map", "no route"),
    }
    match (&facts.wanted, &facts.bpf.trie) {
        (Some(wanted), None) => missing(&mut told, wanted, "the routes map has no route for it"),
        (Some(wanted), Some(answer)) => compare(&mut told, wanted, answer),
        (None, Some(answer)) => unwanted(&mut told, facts, answer),
        (None, None) => {}
    }
    match &facts.bpf.lookup_table {
        Some(text) => told.disagree(DisagreementKind::LookupTableDiffers, text.clone(), AUDIT_HEALS),
        None if facts.bpf.lookup_table_asked => told.row("lookup table", "answers as the routes map"),
        None => {}
    }
    if let Some((wanted, found)) = &facts.bpf.endpoint {
        endpoint(&mut told, wanted, found.as_ref());
    }
    told.done()
}

fn found(told: &mut Telling, answer: &TrieAnswer) {
    let flags =
        if answer.route.flags == 0 { String::new() } else { format!(", flags {:#x}", answer.route.flags) };
    told.row("routes map", format!("{} to next-hop object {}{flags}", answer.prefix, answer.route.next_hop));
    told.row("next-hop object", object(&answer.next_hop));
}

/// Every field of a next-hop object, as far as its kind uses it.
fn object(hop: &NextHop) -> String {
    let kind = NextHopKind::from_u32(hop.kind);
    let mut text = format!(
        "identity {:016x}, kind {}",
        hop.identity,
        kind.map_or_else(|| format!("{} (unknown)", hop.kind), |kind| kind.label().to_owned())
    );
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!(", {name} {value}");
        }
    };
    field("interface index", (hop.interface != 0).then(|| hop.interface.to_string()));
    field("gateway", address_of(hop.gateway).map(|address| address.to_string()));
    field("tunnel source", address_of(hop.tunnel_source).map(|address| address.to_string()));
    field("tunnel destination", address_of(hop.tunnel_destination).map(|address| address.to_string()));
    field("group", (hop.group != 0).then(|| hop.group.to_string()));
    field("MTU", (hop.mtu != 0).then(|| hop.mtu.to_string()));
    field("MAC destination", (hop.mac_destination != [0; 6]).then(|| mac(hop.mac_destination)));
    field("MAC source", (hop.mac_source != [0; 6]).then(|| mac(hop.mac_source)));
    text
}

fn missing(told: &mut Telling, wanted: &WantedWay, what: &str) {
    told.disagree(
        DisagreementKind::BpfRouteMissing,
        format!("{} should lead to {}, but {what}", wanted.prefix, wanted.name),
        AUDIT_HEALS,
    );
}

fn compare(told: &mut Telling, wanted: &WantedWay, answer: &TrieAnswer) {
    let TrieAnswer { prefix, route, next_hop } = answer;
    if next_hop.kind == NextHopKind::Unused as u32 {
        told.disagree(
            DisagreementKind::NextHopDiffers,
            format!(
                "next-hop object {}, to which {prefix} leads, is free: its packets are dropped",
                route.next_hop
            ),
            AUDIT_HEALS,
        );
    } else if next_hop.identity != wanted.next_hop.identity {
        if prefix.len() < wanted.prefix.len() {
            return missing(
                told,
                wanted,
                &format!("the routes map has only {prefix} around it, which leads elsewhere"),
            );
        }
        told.disagree(
            DisagreementKind::BpfRouteDiffers,
            format!(
                "{} should lead to {}, but the routes map leads to next-hop object {}, which is another one",
                wanted.prefix, wanted.name, route.next_hop
            ),
            AUDIT_HEALS,
        );
    } else {
        fields(told, wanted, answer);
    }
}

/// The right object: whether all of it, and of the route, is right.
fn fields(told: &mut Telling, wanted: &WantedWay, answer: &TrieAnswer) {
    if answer.route.flags != wanted.flags {
        told.disagree(
            DisagreementKind::BpfRouteDiffers,
            format!("the route has flags {:#x}, but should have {:#x}", answer.route.flags, wanted.flags),
            AUDIT_HEALS,
        );
    }
    let differences = differences(&wanted.next_hop, &answer.next_hop);
    if !differences.is_empty() {
        told.disagree(
            DisagreementKind::NextHopDiffers,
            format!(
                "next-hop object {} of {}: {}",
                answer.route.next_hop,
                wanted.name,
                differences.join("; ")
            ),
            AUDIT_HEALS,
        );
    }
}

/// Fields that are not as they should be, for people.
fn differences(wanted: &NextHop, found: &NextHop) -> Vec<String> {
    let address = |address| address_of(address).map_or("none".to_owned(), |address| address.to_string());
    let kind = |kind| NextHopKind::from_u32(kind).map_or(kind.to_string(), |kind| kind.label().to_owned());
    let texts = |of: &NextHop| {
        [
            ("kind", kind(of.kind)),
            ("interface index", of.interface.to_string()),
            ("gateway", address(of.gateway)),
            ("tunnel source", address(of.tunnel_source)),
            ("tunnel destination", address(of.tunnel_destination)),
            ("MTU", of.mtu.to_string()),
            ("MAC destination", mac(of.mac_destination)),
            ("MAC source", mac(of.mac_source)),
        ]
    };
    let pairs = texts(wanted).into_iter().zip(texts(found));
    pairs
        .filter(|(wanted, found)| wanted != found)
        .map(|((name, wanted), (_, found))| format!("{name} is {found}, but should be {wanted}"))
        .collect()
}

fn unwanted(told: &mut Telling, facts: &Facts, answer: &TrieAnswer) {
    if facts.bpf.held {
        return told.disagree(
            DisagreementKind::BrakeHeld,
            format!(
                "no source states {} any more, but the brake holds it: too many routes would go at once",
                answer.prefix
            ),
            "if the withdrawal is meant: node-agent confirm; if not, put the source right",
        );
    }
    let remedy = if facts.settled {
        "it goes with the next pass; if it stays, look into the agent's log"
    } else {
        "nothing is removed before every source is synced: wait, or look why one is not"
    };
    told.disagree(
        DisagreementKind::BpfRouteUnwanted,
        format!("the routes map has {}, which no source states any more", answer.prefix),
        remedy,
    );
}

fn endpoint(told: &mut Telling, wanted: &Endpoint, found: Option<&Endpoint>) {
    let text = |of: &Endpoint| {
        let addresses = [of.address_v4, of.address_v6].map(address_of).into_iter().flatten();
        let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
        let check = ["strict", "loose", "off"].get(of.source_check as usize).unwrap_or(&"strict");
        format!("{}, source check {check}", addresses.join(" and "))
    };
    match found {
        Some(found) => told.row("endpoint", text(found)),
        None => told.row("endpoint", "none"),
    }
    if found != Some(wanted) {
        let found = found.map_or("missing: what the pod sends is dropped".to_owned(), text);
        told.disagree(
            DisagreementKind::EndpointDiffers,
            format!("the pod's endpoint should be {}, but is {found}", text(wanted)),
            AUDIT_HEALS,
        );
    }
}

/// The programs on the way.
pub(super) fn programs(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Programs);
    for fact in &facts.hooks {
        program(&mut told, fact);
    }
    told.done()
}

fn program(told: &mut Telling, fact: &HookFact) {
    let HookFact { interface, hook, expected, running, method } = fact;
    let name = format!("{} {interface}", hook.label());
    let Some(method) = method else {
        return told.row(name, "not in this driver: tc does its work (`node-agent status` tells why)");
    };
    let without = match hook {
        Hook::FromPod => "the kernel routes what the pod sends, without the source check",
        Hook::FromUplink => "encapsulated packets that come in are not taken",
        Hook::ToUplink => "what the host sends to encapsulated nodes goes out without a header",
        Hook::ToPod => "what the stack delivers to the pod is not seen",
        Hook::Xdp => "tc does the work alone",
    };
    match running {
        Some(running) if running == expected => told.row(name, format!("program {running}, {method}")),
        Some(running) => {
            told.row(name.clone(), format!("program {running}, expected {expected}"));
            told.disagree(
                DisagreementKind::ProgramDiffers,
                format!("{name} runs program {running}, but this agent's is {expected}"),
                "the next pass replaces it; if it stays, look for another agent on this node",
            );
        }
        None => {
            told.row(name.clone(), format!("no program of ours, expected {expected}"));
            told.disagree(
                DisagreementKind::ProgramMissing,
                format!("{name} runs no program of ours: {without}"),
                "the agent's next audit attaches it again; if it goes again, find out who detaches it",
            );
        }
    }
}
