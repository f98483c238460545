//! The selection and its resolution told to people and machines: what `routes` and `lookup` show.

use std::net::IpAddr;

use node_ebpf_common::NextHopKind;
use serde::Serialize;

use super::{Candidate, Loser, Resolved, Role, Selection, address::address_of};
use crate::model::{NextHopKey, Origin, Prefix};

/// A prefix, what it leads to, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteRow {
    /// The prefix.
    pub prefix: Prefix,
    /// What the prefix is.
    pub role: Role,
    /// What is done with its packets (`local`, `direct`, `ipip`, `host`, `unassigned`); none without a
    /// route.
    pub encapsulation: Option<&'static str>,
    /// The next-hop object: `node b1`, `node b1 (IPv6)`, `pod default/web-0`, `host`, `unassigned`.
    pub next_hop: String,
    /// The neighbour that packets are sent to.
    pub gateway: Option<IpAddr>,
    /// The interface that packets leave through.
    pub interface: Option<String>,
    /// Destination of the outer header, if there is one.
    pub tunnel_destination: Option<IpAddr>,
    /// Largest IP packet in bytes, before any encapsulation.
    pub mtu: Option<u32>,
    /// The kernel's route that leads to the node.
    pub underlay: Option<Prefix>,
    /// Where the prefix is stated.
    pub origin: Origin,
    /// Why it does not lead where it should; none if it does.
    pub refused: Option<String>,
    /// Who else claims it.
    pub losers: Vec<LoserRow>,
}

/// Someone else who claims a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LoserRow {
    /// Who, for people.
    pub candidate: String,
    /// Why it is not used, for people.
    pub reason: String,
    /// Where it is stated.
    pub origin: Origin,
}

/// Which route a packet to an address takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lookup {
    /// The address.
    pub address: IpAddr,
    /// The longest match that has a route; none if the host's stack decides.
    pub route: Option<RouteRow>,
    /// Longer matches that have none, longest first.
    pub passed_over: Vec<RouteRow>,
    /// Claims of matching prefixes that nobody has, longest first.
    pub unused: Vec<(Prefix, LoserRow)>,
}

/// Every selected prefix, refused ones included, in order.
#[must_use]
pub fn rows(selection: &Selection, resolved: &Resolved) -> Vec<RouteRow> {
    selection.routes.iter().map(|(prefix, candidate)| row(selection, resolved, *prefix, candidate)).collect()
}

/// Claims of prefixes that nobody has, in order.
pub fn unused(selection: &Selection) -> impl Iterator<Item = (Prefix, LoserRow)> {
    let nobodys = selection.losers.iter().filter(|(prefix, _)| !selection.routes.contains_key(prefix));
    nobodys.flat_map(|(prefix, losers)| losers.iter().map(|loser| (*prefix, LoserRow::from(loser))))
}

/// The route that a packet to this address takes, by longest match.
#[must_use]
pub fn lookup(selection: &Selection, resolved: &Resolved, address: IpAddr) -> Lookup {
    lookup_prefix(selection, resolved, Prefix::host(address))
}

/// The same for a prefix: the longest match that contains all of it.
#[must_use]
pub fn lookup_prefix(selection: &Selection, resolved: &Resolved, target: Prefix) -> Lookup {
    let address = target.address();
    let mut found = Lookup { address, route: None, passed_over: Vec::new(), unused: Vec::new() };
    for prefix in around(target) {
        let Some(candidate) = selection.routes.get(&prefix) else {
            found.unused.extend(losers(selection, &prefix).into_iter().map(|loser| (prefix, loser)));
            continue;
        };
        let row = row(selection, resolved, prefix, candidate);
        if row.encapsulation.is_some() {
            found.route = Some(row);
            break;
        }
        found.passed_over.push(row);
    }
    found
}

/// The prefix itself and all that contain it, longest first.
fn around(target: Prefix) -> impl Iterator<Item = Prefix> {
    let lengths = (0..=target.len()).rev();
    lengths.filter_map(move |length| ipnet::IpNet::new(target.address(), length).ok()).map(Prefix::containing)
}

/// Selected prefixes that contain this one and are shorter, longest first.
#[must_use]
pub fn rows_around(selection: &Selection, resolved: &Resolved, target: Prefix) -> Vec<RouteRow> {
    let selected = |prefix: Prefix| Some((prefix, selection.routes.get(&prefix)?));
    let rows = around(target).skip(1).filter_map(selected);
    rows.map(|(prefix, candidate)| row(selection, resolved, prefix, candidate)).collect()
}

/// Selected prefixes inside of this one, in order.
#[must_use]
pub fn rows_inside(selection: &Selection, resolved: &Resolved, target: Prefix) -> Vec<RouteRow> {
    let inside = selection.routes.range(target.inside()).filter(|(prefix, _)| **prefix != target);
    inside.map(|(prefix, candidate)| row(selection, resolved, *prefix, candidate)).collect()
}

fn row(selection: &Selection, resolved: &Resolved, prefix: Prefix, candidate: &Candidate) -> RouteRow {
    let datapath = &resolved.wanted.datapath;
    let key = datapath.routes.get(&prefix).map(|route| &route.next_hop);
    let next_hop = key.and_then(|key| datapath.next_hops.get(key));
    let kind = next_hop.and_then(|next_hop| NextHopKind::from_u32(next_hop.kind));
    let path = key.and_then(|key| resolved.paths.get(key));
    let refused = match resolved.refused.get(&prefix) {
        Some(reason) => Some(reason.clone()),
        None if kind.is_some() => None,
        None => Some("this node is not in the cluster state, or is not used".to_owned()),
    };
    RouteRow {
        prefix,
        role: candidate.role,
        encapsulation: kind.map(NextHopKind::label),
        next_hop: match key {
            Some(NextHopKey::Node(path)) => path.to_string(),
            _ => candidate.target.to_string(),
        },
        gateway: next_hop.and_then(|next_hop| address_of(next_hop.gateway)),
        interface: path.map(|path| path.interface.clone()),
        tunnel_destination: next_hop
            .filter(|_| kind == Some(NextHopKind::Ipip))
            .and_then(|next_hop| address_of(next_hop.tunnel_destination)),
        mtu: next_hop.map(|next_hop| next_hop.mtu).filter(|mtu| *mtu > 0),
        underlay: path.and_then(|path| path.underlay),
        origin: candidate.origin.clone(),
        refused,
        losers: unusable(resolved, prefix, candidate)
            .chain(left_out(resolved, key, candidate))
            .chain(losers(selection, &prefix))
            .collect(),
    }
}

/// Next hops of a route that are not used, beside those that are.
fn unusable<'r>(
    resolved: &'r Resolved,
    prefix: Prefix,
    candidate: &'r Candidate,
) -> impl Iterator<Item = LoserRow> + use<'r> {
    let next_hops = resolved.unusable.get(&prefix).into_iter().flatten();
    next_hops.map(|(next_hop, reason)| LoserRow {
        candidate: format!("next hop {next_hop}"),
        reason: reason.clone(),
        origin: candidate.origin.clone(),
    })
}

/// Ways to the next hop that are not used, beside those that are.
fn left_out<'r>(
    resolved: &'r Resolved,
    key: Option<&NextHopKey>,
    candidate: &'r Candidate,
) -> impl Iterator<Item = LoserRow> + use<'r> {
    let left_out = key.and_then(|key| resolved.left_out.get(key)).into_iter().flatten();
    left_out.map(|left_out| LoserRow {
        candidate: left_out.what.clone(),
        reason: left_out.reason.clone(),
        origin: candidate.origin.clone(),
    })
}

fn losers(selection: &Selection, prefix: &Prefix) -> Vec<LoserRow> {
    selection.losers.get(prefix).into_iter().flatten().map(LoserRow::from).collect()
}

impl From<&Loser> for LoserRow {
    fn from(Loser { candidate, reason }: &Loser) -> Self {
        Self { candidate: candidate.to_string(), reason: reason.clone(), origin: candidate.origin.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{HostView, Object, SourceId},
        rib::{
            ResolveSettings, Table,
            fixtures::{node, pod, upsert},
            resolve, select,
        },
    };

    /// Node a1 with two prefixes that a2 claims as well, a pod whose interface is missing, and no route.
    fn explained(own: &str) -> (Selection, Resolved) {
        let mut table = Table::new([SourceId::FILE]);
        table.apply(upsert(Object::Node(node("a1", "10.0.1.11", &["10.244.1.0/24"]))));
        table.apply(upsert(Object::Node(node("a2", "10.0.1.12", &["10.244.1.0/24", "10.244.2.0/24"]))));
        table.apply(upsert(Object::Node(node("b1", "10.0.2.11", &["10.0.1.0/24"]))));
        table.apply(upsert(Object::Pod(pod("default/web", "a1", "10.244.1.10"))));
        let selection = select(&table, &own.parse().unwrap());
        let resolved = resolve(&selection, &HostView::default(), &ResolveSettings::default());
        (selection, resolved)
    }

    fn lookup_on_a1(address: &str) -> Lookup {
        let (selection, resolved) = explained("a1");
        lookup(&selection, &resolved, address.parse().unwrap())
    }

    #[test]
    fn lookup_finds_the_longest_match_and_tells_who_else_claims_it() {
        let found = lookup_on_a1("10.244.1.99").route.unwrap();
        assert_eq!(found.prefix.to_string(), "10.244.1.0/24");
        assert_eq!((found.encapsulation, found.next_hop.as_str()), (Some("unassigned"), "unassigned"));
        assert_eq!(found.losers.len(), 1);
        assert!(found.losers[0].candidate.contains("pod prefix of node a2 (file cluster.yaml:a2)"));
    }

    #[test]
    fn lookup_tells_which_longer_matches_are_refused() {
        let found = lookup_on_a1("10.244.1.10");
        assert_eq!(found.route.unwrap().prefix.to_string(), "10.244.1.0/24");
        let [passed_over] = found.passed_over.as_slice() else { panic!("{:?}", found.passed_over) };
        assert_eq!(passed_over.next_hop, "pod default/web");
        assert_eq!(passed_over.encapsulation, None);
        assert!(passed_over.refused.as_ref().unwrap().contains("veth-web of pod default/web does not exist"));
    }

    #[test]
    fn lookup_without_a_route_tells_what_is_not_used_there() {
        let found = lookup_on_a1("10.0.1.99");
        assert_eq!((found.route, found.passed_over), (None, vec![]));
        assert!(found.unused[0].1.reason.contains("contains the address 10.0.1.11 of node a1"));
        assert_eq!(lookup_on_a1("192.0.2.1").unused, []);
    }

    #[test]
    fn rows_have_every_selected_prefix_refused_or_not() {
        let (selection, resolved) = explained("a1");
        let rows = rows(&selection, &resolved);
        assert_eq!(rows.len(), selection.routes.len());
        for row in rows {
            assert_eq!(row.refused.is_none(), resolved.wanted.datapath.routes.contains_key(&row.prefix));
            assert_eq!(row.refused.is_none(), row.encapsulation.is_some());
        }
    }

    #[test]
    fn rows_of_an_unusable_node_say_so() {
        let (selection, resolved) = explained("c1");
        let rows = rows(&selection, &resolved);
        assert!(!rows.is_empty());
        assert!(rows.iter().all(|row| row.refused.as_ref().unwrap().contains("this node is not in")));
    }
}
