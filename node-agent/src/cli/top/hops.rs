use std::collections::BTreeMap;

use crate::{
    api::{RouteKind, RouteRow},
    cli::output::or_nothing,
};

/// Where routes lead, with all that lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) next_hop: String,
    pub(super) kind: Option<RouteKind>,
    /// Gateway, interface and tunnel, for people.
    pub(super) way: String,
    /// Routes that are used.
    pub(super) used: usize,
    /// Why others are not: the first reason.
    pub(super) reason: Option<String>,
}

/// The next hops of these routes: first those of which a route is not used, then other nodes, then the rest, by name.
pub(super) fn hops(routes: &[RouteRow]) -> Vec<Hop> {
    let mut hops: BTreeMap<&str, Hop> = BTreeMap::new();
    for route in routes {
        let hop = hops.entry(&route.next_hop).or_insert_with(|| Hop {
            next_hop: route.next_hop.clone(),
            kind: None,
            way: String::new(),
            used: 0,
            reason: None,
        });
        if route.state == RouteRow::USED {
            hop.used += 1;
            if hop.kind.is_none() {
                (hop.kind, hop.way) = (route.kind, way(route));
            }
        } else if hop.reason.is_none() {
            hop.reason = Some(route.state.clone());
        }
    }
    let mut hops: Vec<Hop> = hops.into_values().collect();
    // Stable: by name within each.
    hops.sort_by_key(|hop| (hop.reason.is_none(), !is_remote(hop.kind)));
    hops
}

fn is_remote(kind: Option<RouteKind>) -> bool {
    matches!(kind, Some(RouteKind::Direct | RouteKind::Ipip))
}

fn way(route: &RouteRow) -> String {
    let mut way = or_nothing(route.interface.as_ref());
    if let Some(gateway) = route.gateway {
        way += &format!(" via {gateway}");
    }
    if let Some(tunnel) = route.tunnel_destination {
        way += &format!(", tunnel to {tunnel}");
    }
    way
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::top) fn route(prefix: &str, next_hop: &str, kind: RouteKind) -> RouteRow {
        RouteRow {
            prefix: prefix.parse().unwrap(),
            next_hop: next_hop.to_owned(),
            kind: Some(kind),
            gateway: (kind == RouteKind::Ipip).then(|| "10.0.1.1".parse().unwrap()),
            interface: Some("eth0".to_owned()),
            tunnel_destination: (kind == RouteKind::Ipip).then(|| "10.0.2.11".parse().unwrap()),
            mtu: Some(1480),
            origin: "file cluster.yaml:12".to_owned(),
            in_bpf: true,
            in_kernel: true,
            state: RouteRow::USED.to_owned(),
        }
    }

    #[test]
    fn routes_are_put_together_by_next_hop_and_what_is_wrong_comes_first() {
        let refused = RouteRow {
            kind: None,
            state: "no route to 10.9.9.9".to_owned(),
            ..route("10.244.9.0/24", "node c1", RouteKind::Direct)
        };
        let rows = [
            route("10.244.1.10/32", "pod default/web", RouteKind::Local),
            route("10.244.3.0/24", "node b1", RouteKind::Ipip),
            route("10.0.2.11/32", "node b1", RouteKind::Ipip),
            route("10.244.2.0/24", "node a2", RouteKind::Direct),
            refused,
        ];
        let found = hops(&rows);
        let names: Vec<_> = found.iter().map(|hop| (hop.next_hop.as_str(), hop.used)).collect();
        assert_eq!(names, [("node c1", 0), ("node a2", 1), ("node b1", 2), ("pod default/web", 1)]);
        assert_eq!(found[0].reason.as_deref(), Some("no route to 10.9.9.9"));
        assert_eq!(found[2].way, "eth0 via 10.0.1.1, tunnel to 10.0.2.11");
        assert_eq!(found[1].way, "eth0");
    }
}
