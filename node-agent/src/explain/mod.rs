//! The whole way of an address or prefix through this node, told step by step, with every place where two
//! planes do not agree. Pure: the facts are read elsewhere, all at one time.
//!
//! ```text
//! source → candidates → next hop → BPF maps → programs → kernel routes → neighbour → MTU → packets → pending
//! ```

mod bpf;
mod candidates;
mod facts;
mod kernel;
mod neighbour;
mod next_hop;
mod packets;
mod pending;
mod source;
#[cfg(test)]
mod tests;

pub use facts::{
    BpfFacts, Decided, Facts, HookFact, KernelFacts, LinkFact, MtuFacts, NeighbourFact, PacketFacts,
    PendingFacts, SourceFact, Stated, TrieAnswer, WantedWay,
};
use node_ebpf_common::NextHopKind;
pub use pending::concerns;

use crate::{
    api::{Disagreement, DisagreementKind, Explained, Row, Step, StepKind},
    model::Prefix,
};

/// Explains one address or prefix.
#[must_use]
pub fn explain(target: Prefix, facts: &Facts) -> Explained {
    let steps = vec![
        source::step(facts),
        candidates::step(target, facts),
        next_hop::step(target, facts),
        bpf::step(facts),
        bpf::programs(facts),
        kernel::step(target, facts),
        neighbour::step(facts),
        next_hop::mtu(facts),
        packets::step(facts),
        pending::step(facts),
    ];
    // What there is nothing to say of is left out.
    let told = |step: &Step| !step.rows.is_empty() || !step.disagreements.is_empty();
    Explained { target, summary: summary(target, facts), steps: steps.into_iter().filter(told).collect() }
}

/// What becomes of packets, in a line.
fn summary(target: Prefix, facts: &Facts) -> String {
    let Some(wanted) = &facts.wanted else {
        return "no route of Podroute: the host's stack decides".to_owned();
    };
    let links: Vec<_> = facts.links.iter().map(|link| link.name.as_str()).collect();
    let by = if links.is_empty() { String::new() } else { format!(" through {}", links.join(" and ")) };
    match NextHopKind::from_u32(wanted.next_hop.kind) {
        Some(NextHopKind::LocalPod) => format!("delivered to {}{by}", wanted.name),
        Some(NextHopKind::Direct) => format!("sent to {}{by}, without encapsulation", wanted.name),
        Some(NextHopKind::Ipip) => format!("sent to {}{by}, in an IPIP packet", wanted.name),
        Some(NextHopKind::Host) => "taken by this node itself".to_owned(),
        Some(NextHopKind::Unassigned) if target.is_host() => {
            "dropped: no pod of this node has this address".to_owned()
        }
        Some(NextHopKind::Unassigned) => "pods of this node; what no pod has of it is dropped".to_owned(),
        Some(NextHopKind::Unused) | None => format!("sent to {}", wanted.name),
    }
}

/// A step that is being told.
struct Telling(Step);

impl Telling {
    fn of(step: StepKind) -> Self {
        Self(Step { step, rows: Vec::new(), disagreements: Vec::new() })
    }

    fn row(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.rows.push(Row { name: name.into(), value: value.into() });
    }

    fn disagree(&mut self, kind: DisagreementKind, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.disagreements.push(Disagreement { kind, text: text.into(), remedy: remedy.into() });
    }

    fn done(self) -> Step {
        self.0
    }
}

/// A link-layer address as people write it.
fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// What the agent does by itself about what somebody else has changed.
const AUDIT_HEALS: &str = "the agent's next audit puts it right; if it comes back, find out who writes there";
