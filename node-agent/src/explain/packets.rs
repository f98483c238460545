//! What was counted on this node, and the last packet that was traced.

use node_ebpf_common::NextHopKind;

use super::{Facts, Telling};
use crate::api::{CounterRow, Step, StepKind, TraceRow};

pub(super) fn step(facts: &Facts) -> Step {
    let mut told = Telling::of(StepKind::Packets);
    let kind = facts.wanted.as_ref().and_then(|wanted| NextHopKind::from_u32(wanted.next_hop.kind));
    let kind = kind.map(NextHopKind::label);
    let tells = |row: &&CounterRow| {
        row.packets > 0 && (row.ending == "dropped" || Some(row.outcome.as_str()) == kind)
    };
    let mut counted = false;
    for row in facts.packets.counters.iter().filter(tells) {
        counted = true;
        told.row(
            format!("{} {}", row.hook, row.outcome),
            format!("{} packets ({})", row.packets, row.meaning),
        );
    }
    let note = if counted {
        "these are of the whole node, not of this way"
    } else {
        "none of this kind, and no drops"
    };
    told.row("counters", note);
    let trace = match &facts.packets.last_trace {
        Some(row) => packet(row),
        None if facts.packets.tracing => "on, but no packet of it was seen".to_owned(),
        None => "nothing remembered: `node-agent trace --ip ADDRESS` shows packets as they pass".to_owned(),
    };
    told.row("last trace", trace);
    told.done()
}

fn packet(row: &TraceRow) -> String {
    let end =
        |address: Option<std::net::IpAddr>| address.map_or("?".to_owned(), |address| address.to_string());
    format!("{} {} {} to {}: {}", row.time, row.hook, end(row.source), end(row.destination), row.outcome)
}
