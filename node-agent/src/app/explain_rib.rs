//! What the sources say of a target and what was decided, for `node-agent explain`.

use std::net::IpAddr;

use super::{App, answer::pending};
use crate::{
    api::{CounterRow, PendingChange, Response, Subject, TraceRow},
    explain::{Decided, PacketFacts, PendingFacts, SourceFact, Stated, concerns},
    model::{NextHopKey, Node, Pod, Prefix},
    rib::{self, LoserRow},
};

/// Most prefixes inside of a target that are listed.
const INSIDE: usize = 20;

impl App {
    /// What to explain for a subject, and the pod that was asked for.
    pub(super) fn targets(&self, subject: &Subject) -> Result<(Vec<Prefix>, Option<Stated>), String> {
        match subject {
            Subject::Address(address) => Ok((vec![Prefix::host(address.to_canonical())], None)),
            Subject::Prefix(prefix) => Ok((vec![*prefix], None)),
            Subject::Pod(name) => {
                let pod = self.table.pods().find(|pod| pod.name == *name).ok_or_else(|| {
                    format!("there is no pod {name} in the cluster state: name an address, or see that the source states it")
                })?;
                Ok((pod.addresses.iter().copied().map(Prefix::host).collect(), Some(stated_pod(pod))))
            }
        }
    }

    pub(super) fn source_facts(&self) -> Vec<SourceFact> {
        let fact = |source: crate::api::SourceStatus| SourceFact {
            name: format!("{} {}", source.source, source.place),
            synced: source.synced,
            error: source.error,
        };
        self.sources().into_iter().map(fact).collect()
    }

    /// Pods with the address; nodes with the address, or a pod prefix around it.
    pub(super) fn stated(&self, target: Prefix) -> Vec<Stated> {
        let has = |addresses: &[IpAddr]| addresses.iter().any(|address| Prefix::host(*address) == target);
        let pods = self.table.pods().filter(|pod| has(&pod.addresses)).map(stated_pod);
        let nodes = self.table.nodes().filter_map(|node| {
            let around = node.pod_prefixes.iter().find(|prefix| prefix.covers(&target));
            let what = match around {
                _ if has(&node.addresses) => format!("node {} has this address", node.name),
                Some(prefix) => format!("node {} has pod prefix {prefix}", node.name),
                None => return None,
            };
            Some(stated_node(node, what))
        });
        let routes = self.table.routes().filter(|route| route.prefix.covers(&target)).map(|route| Stated {
            what: format!("a route to {} is stated", route.prefix),
            node: None,
            origin: route.origin.to_string(),
        });
        pods.chain(nodes).chain(routes).collect()
    }

    pub(super) fn decided(&self, target: Prefix) -> Decided {
        let (selection, resolved) = (&self.selection, &self.resolved);
        let found = rib::lookup_prefix(selection, resolved, target);
        let winner = found.route.as_ref().and_then(|row| selection.routes.get(&row.prefix));
        let rivals = found.route.as_ref().into_iter().flat_map(|row| {
            let losers = selection.losers.get(&row.prefix).into_iter().flatten();
            losers.filter(|loser| winner.is_some_and(|winner| loser.candidate.node != winner.node))
        });
        let rivals = rivals.map(LoserRow::from).collect();
        let mut inside =
            if target.is_host() { Vec::new() } else { rib::rows_inside(selection, resolved, target) };
        let more_inside = inside.len().saturating_sub(INSIDE);
        inside.truncate(INSIDE);
        let around = found.route.as_ref().map(|row| rib::rows_around(selection, resolved, row.prefix));
        Decided {
            node: winner.and_then(|winner| winner.node.clone()),
            rivals,
            around: around.unwrap_or_default(),
            inside,
            more_inside,
            route: found.route,
            passed_over: found.passed_over,
            unused: found.unused,
        }
    }

    pub(super) fn packet_facts(&mut self, target: Prefix) -> Result<PacketFacts, String> {
        let counters: Vec<CounterRow> = match self.counters()? {
            Response::Counters(rows) => rows,
            _ => Vec::new(),
        };
        let inside = |address: Option<IpAddr>| address.is_some_and(|address| target.contains(address));
        let of_target = |row: &&TraceRow| inside(row.source) || inside(row.destination);
        Ok(PacketFacts {
            counters,
            last_trace: self.tracing.remembered().find(of_target).cloned(),
            tracing: self.tracing.clients() > 0,
        })
    }

    pub(super) fn pending_facts(
        &self,
        target: Prefix,
        decided: &Decided,
        key: Option<&NextHopKey>,
    ) -> PendingFacts {
        let words = self.words(target, decided, key);
        let pending = pending(self.reconciler.report());
        let of_target =
            |change: &PendingChange| concerns(&change.change, &words) || concerns(&change.error, &words);
        let (changes, other_changes): (Vec<_>, Vec<_>) = pending.partition(of_target);
        let (problems, other_problems): (Vec<_>, Vec<_>) =
            self.problems().into_iter().partition(|problem| concerns(problem, &words));
        PendingFacts {
            changes,
            other_changes: other_changes.len(),
            problems,
            other_problems: other_problems.len(),
            masquerade: (self.config.masquerade, self.reconciler.masqueraded().is_some()),
        }
    }
}

fn stated_pod(pod: &Pod) -> Stated {
    let Pod { name, node, interface, mac, .. } = pod;
    let mac = if mac.is_some() { "with its MAC" } else { "without a MAC" };
    Stated {
        what: format!("pod {name} on node {node}, interface {interface}, {mac}"),
        node: Some(node.clone()),
        origin: pod.origin.to_string(),
    }
}

fn stated_node(node: &Node, what: String) -> Stated {
    Stated { what, node: Some(node.name.clone()), origin: node.origin.to_string() }
}
