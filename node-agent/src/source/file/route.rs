use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    StateDefect,
    address::{check_address, check_prefix},
    node::Nodes,
    raw::{RawList, RawRoute},
};
use crate::{
    model::{Prefix, Route},
    yaml::{Findings, Located, Place, Structure},
};

/// The routes of the file.
pub(super) fn check_routes(
    list: Vec<Located<RawRoute>>,
    nodes: &Nodes,
    findings: &mut Findings<StateDefect>,
) -> BTreeMap<Prefix, Route> {
    let mut lines: BTreeMap<Prefix, u64> = BTreeMap::new();
    let mut routes = BTreeMap::new();
    for (index, raw) in list.into_iter().enumerate() {
        let field = format!("routes[{index}]");
        let whole = raw.place;
        let prefix = check_route_prefix(&field, whole, raw.value.prefix, nodes, findings);
        let next_hops = check_next_hops((&field, whole), raw.value.next_hops, prefix, findings);
        let Some((prefix, place)) = prefix else { continue };
        if let Some(&line) = lines.get(&prefix) {
            findings.add(place, format!("{field}.prefix"), StateDefect::DuplicateRoute { prefix, line });
            continue;
        }
        lines.insert(prefix, whole.line);
        routes.insert(prefix, Route { prefix, next_hops, origin: nodes.origin(findings.file(), whole) });
    }
    routes
}

fn check_route_prefix(
    field: &str,
    whole: Place,
    text: Option<Located<String>>,
    nodes: &Nodes,
    findings: &mut Findings<StateDefect>,
) -> Option<(Prefix, Place)> {
    let field = format!("{field}.prefix");
    let Some(text) = text else {
        findings.add(whole, field, Structure::Missing { allowed: "the prefix that is reached" });
        return None;
    };
    let prefix = findings.check(text.place, field.as_str(), check_outside(&text.value))?;
    if let Some((address, node)) = nodes.with_address_in(prefix) {
        let defect = StateDefect::RouteHasNodeAddress { prefix, address, node: node.to_string() };
        findings.add(text.place, field, defect);
    }
    Some((prefix, text.place))
}

/// The prefix, if it can be outside of the cluster.
fn check_outside(text: &str) -> Result<Prefix, StateDefect> {
    match text.parse::<Prefix>() {
        Ok(prefix) if prefix.len() == 0 => Err(StateDefect::DefaultRoute { prefix }),
        _ => check_prefix(text),
    }
}

/// The next hops of one route. Where the prefix is not known, neither is what its next hops may be.
fn check_next_hops(
    (field, whole): (&str, Place),
    list: Option<RawList>,
    prefix: Option<(Prefix, Place)>,
    findings: &mut Findings<StateDefect>,
) -> BTreeSet<IpAddr> {
    let field = format!("{field}.next-hops");
    let place = list.as_ref().map_or(whole, |list| list.place);
    let written = list.map(|list| list.value).unwrap_or_default();
    if !(1..=Route::MAX_NEXT_HOPS).contains(&written.len()) {
        findings.add(place, field.as_str(), StateDefect::NextHopCount { count: written.len() });
    }
    let mut next_hops = BTreeSet::new();
    for (index, text) in written.into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(address) = findings.check(text.place, &field, check_address(&text.value, "10.0.1.5")) else {
            continue;
        };
        let defect = match prefix {
            _ if !next_hops.insert(address) => StateDefect::DuplicateNextHop { address },
            Some((prefix, _)) if prefix.address().is_ipv4() != address.is_ipv4() => {
                StateDefect::NextHopFamily { address, prefix }
            }
            Some((prefix, _)) if prefix.contains(address) => StateDefect::NextHopInPrefix { address, prefix },
            _ => continue,
        };
        findings.add(text.place, field, defect);
    }
    next_hops
}
