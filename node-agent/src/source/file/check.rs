use super::{
    ClusterState, Part, StateDefect, node::check_nodes, pod::check_pods, raw::RawState, route::check_routes,
};
use crate::{
    model::{Cluster, EncapsulationMode, NonAdjacent},
    yaml::{Findings, Located, choose},
};

const ENCAPSULATION: &[(&str, EncapsulationMode)] = &[
    ("never", EncapsulationMode::Never),
    ("always", EncapsulationMode::Always),
    ("cross-subnet", EncapsulationMode::CrossSubnet),
];

const NON_ADJACENT: &[(&str, NonAdjacent)] = &[("refuse", NonAdjacent::Refuse), ("ipip", NonAdjacent::Ipip)];

/// What of the file is good. Every defect is in `findings`; if there is one, the state is not to be used.
pub(super) fn check(raw: RawState, part: &Part, findings: &mut Findings<StateDefect>) -> ClusterState {
    let states_settings = part.whole || raw.encapsulation.is_some();
    let cluster = check_cluster(raw.encapsulation, raw.non_adjacent, findings);
    let cluster = states_settings.then_some(cluster);
    let nodes = check_nodes(raw.nodes, part, findings);
    let pods = check_pods(raw.pods.unwrap_or_default(), &nodes, findings);
    let routes = check_routes(raw.routes.unwrap_or_default(), &nodes, findings);
    ClusterState { cluster, nodes: nodes.into_nodes(), pods, routes }
}

fn check_cluster(
    encapsulation: Option<Located<String>>,
    non_adjacent: Option<Located<String>>,
    findings: &mut Findings<StateDefect>,
) -> Cluster {
    let mut cluster = Cluster::default();
    // Where the mode is not known, whether `non-adjacent` has a meaning is not known either.
    let mut mode_is_known = true;
    if let Some(word) = encapsulation {
        match findings.check(word.place, "encapsulation", choose(&word.value, ENCAPSULATION)) {
            Some(mode) => cluster.encapsulation = mode,
            None => mode_is_known = false,
        }
    }
    let Some(word) = non_adjacent else { return cluster };
    if let Some(choice) = findings.check(word.place, "non-adjacent", choose(&word.value, NON_ADJACENT)) {
        cluster.non_adjacent = choice;
        if mode_is_known && cluster.encapsulation != EncapsulationMode::Never {
            let defect = StateDefect::NonAdjacentUnused { value: word.value };
            findings.add(word.place, "non-adjacent", defect);
        }
    }
    cluster
}
