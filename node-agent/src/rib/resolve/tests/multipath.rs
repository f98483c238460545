//! Nodes behind a multipath route of the kernel.

use super::*;
use crate::model::{LinkNeighbour, RouteLeg, Via};

const ETH1: u32 = 3;
const ROUTE: &str = "10.0.2.0/24";

fn leg(link: u32, gateway: &str) -> RouteLeg {
    RouteLeg { link, gateway: Some(gateway.parse().unwrap()), live: true }
}

fn both() -> [RouteLeg; 2] {
    [leg(ETH0, "10.0.1.1"), leg(ETH1, "10.0.9.1")]
}

/// Node a1 with two uplinks, and b1 behind both.
fn two_uplinks(legs: &[RouteLeg]) -> HostView {
    let mut view = host();
    view.links.push(link(ETH1, "eth1"));
    view.addresses.push(held(ETH1, "10.0.9.11/24"));
    view.routes.push(route("10.0.9.0/24", None, ETH1));
    let legs = Some(legs.into());
    view.routes.push(KernelRoute { legs, ..route(ROUTE, Some("10.0.1.1"), ETH0) });
    view
}

/// The members of b1's group: interface and gateway.
fn members(resolved: &Resolved) -> Vec<(u32, String)> {
    let of_b1 = resolved.wanted.datapath.groups.get(&node_key("b1")).into_iter().flatten();
    let member = |key: &NextHopKey| match key {
        NextHopKey::Via(Via { node: Some(path), gateway, interface }) if path.node.as_str() == "b1" => {
            (*interface, gateway.to_string())
        }
        other => panic!("{other} is no member of b1's"),
    };
    of_b1.map(member).collect()
}

/// Where b1's own object leads.
fn owner(resolved: &Resolved) -> (u32, Address) {
    let next_hop = &resolved.wanted.datapath.next_hops[&node_key("b1")];
    (next_hop.interface, next_hop.gateway)
}

#[test]
fn flows_to_a_node_are_spread_over_all_live_legs() {
    let resolved = resolved_on(&two_uplinks(&both()), &nodes(), &[web()]);
    assert_eq!(resolved.problems, []);
    assert_whole(&resolved);
    assert_eq!(members(&resolved), [(ETH0, "10.0.1.1".into()), (ETH1, "10.0.9.1".into())]);
    assert_eq!(owner(&resolved), (ETH0, mapped("10.0.1.1")));
    assert_eq!(resolved.wanted.datapath.groups.len(), 1, "a2 is behind no multipath route");
    for key in &resolved.wanted.datapath.groups[&node_key("b1")] {
        let member = &resolved.wanted.datapath.next_hops[key];
        assert_eq!(member.kind, NextHopKind::Ipip as u32, "{key}");
        assert_eq!(member.tunnel_destination, mapped("10.0.2.11"), "{key}");
    }
    let kernel = &resolved.wanted.host.routes[&prefix("10.244.3.0/24")];
    assert_eq!((kernel.link, kernel.gateway), (Some(ETH0), Some("10.0.1.1".parse().unwrap())));
    let hooks = &resolved.wanted.datapath.attachments;
    for interface in ["eth0", "eth1"] {
        assert!(hooks.iter().any(|at| at.interface == interface && at.hook == Hook::FromUplink));
    }
}

#[test]
fn legs_that_cannot_be_used_are_left_out_and_come_back() {
    type Change = fn(&mut HostView);
    let cases: [(&str, Change, u32, &str); 4] = [
        ("the first is dead", |view| legs_of(view)[0].live = false, ETH1, "10.0.9.1"),
        ("the second is dead", |view| legs_of(view)[1].live = false, ETH0, "10.0.1.1"),
        ("the first link is down", |view| link_of(view, ETH0).up = false, ETH1, "10.0.9.1"),
        ("the second is no Ethernet", |view| link_of(view, ETH1).ethernet = false, ETH0, "10.0.1.1"),
    ];
    for (name, change, interface, gateway) in cases {
        let mut view = two_uplinks(&both());
        change(&mut view);
        let resolved = resolved_on(&view, &[nodes()[0].clone(), nodes()[2].clone()], &[web()]);
        assert_whole(&resolved);
        assert_eq!(members(&resolved), [], "{name}");
        assert_eq!(owner(&resolved), (interface, mapped(gateway)), "{name}");
        assert_eq!(resolved.wanted.host.routes[&prefix("10.244.3.0/24")].link, Some(interface), "{name}");
    }
}

fn legs_of(view: &mut HostView) -> &mut [RouteLeg] {
    view.routes.iter_mut().find_map(|route| route.legs.as_deref_mut()).unwrap()
}

fn link_of(view: &mut HostView, index: u32) -> &mut Link {
    view.links.iter_mut().find(|link| link.index == index).unwrap()
}

#[test]
fn without_any_live_leg_the_first_that_can_be_used_is_kept() {
    let dead = both().map(|leg| RouteLeg { live: false, ..leg });
    let resolved = resolved_on(&two_uplinks(&dead), &nodes(), &[]);
    assert_eq!(owner(&resolved).0, ETH0);
    let mut view = two_uplinks(&dead);
    link_of(&mut view, ETH0).up = false;
    link_of(&mut view, ETH1).up = false;
    let resolved = resolved_on(&view, &[nodes()[0].clone(), nodes()[2].clone()], &[]);
    assert_one_problem(&resolved, ProblemKind::NoRouteToNode, &[ROUTE, "eth0, which is down"]);
}

/// Whether packets are encapsulated follows from the gateway, and must not change from flow to flow.
#[test]
fn legs_with_and_without_a_gateway_are_not_mixed() {
    let [first, second] = both();
    let on_link = RouteLeg { gateway: None, ..second };
    let resolved = resolved_on(&two_uplinks(&[first, on_link]), &nodes(), &[]);
    assert_eq!((members(&resolved), owner(&resolved).0), (vec![], ETH0));
    let resolved = resolved_on(&two_uplinks(&[on_link, first]), &nodes(), &[]);
    assert_eq!((members(&resolved), owner(&resolved).0), (vec![], ETH1));
}

#[test]
fn a_leg_named_twice_is_one_member() {
    let [first, second] = both();
    let resolved = resolved_on(&two_uplinks(&[first, second, first]), &nodes(), &[]);
    assert_eq!(members(&resolved).len(), 2);
    let resolved = resolved_on(&two_uplinks(&[first, first]), &nodes(), &[]);
    assert_whole(&resolved);
    assert_eq!(members(&resolved), []);
}

/// A packet may take any leg, and the kernel's route has one MTU.
#[test]
fn the_smallest_mtu_of_the_legs_counts() {
    let mut view = two_uplinks(&both());
    link_of(&mut view, ETH1).mtu = 1400;
    let resolved = resolved_on(&view, &nodes(), &[]);
    let datapath = &resolved.wanted.datapath;
    let members = datapath.groups[&node_key("b1")].iter();
    for key in members.chain([&node_key("b1")]) {
        assert_eq!(datapath.next_hops[key].mtu, 1380, "{key}");
    }
    assert_eq!(resolved.wanted.host.routes[&prefix("10.244.3.0/24")].mtu, Some(1380));
}

fn gateway_of(leg: &RouteLeg) -> LinkNeighbour {
    LinkNeighbour { link: leg.link, address: leg.gateway.unwrap() }
}

/// Whichever of three gateways do not answer: the others are used, or all of them where none answers. Whom to ask stays
/// the same, or one that is left out would never be heard of again.
#[test]
fn legs_whose_neighbours_do_not_answer_are_left_out_but_not_the_last_ones() {
    let legs = [leg(ETH0, "10.0.1.1"), leg(ETH0, "10.0.1.2"), leg(ETH1, "10.0.9.1")];
    let all: BTreeSet<LinkNeighbour> = legs.iter().map(gateway_of).collect();
    for silent in 0..8_u8 {
        let mut view = two_uplinks(&legs);
        let failed = |number: usize| silent & 1 << number != 0;
        view.failed_neighbours =
            (0..3).filter(|number| failed(*number)).map(|n| gateway_of(&legs[n])).collect();
        let resolved = resolved_on(&view, &nodes(), &[web()]);
        assert_whole(&resolved);
        assert_eq!(resolved.deciding, all, "{silent:b}");
        let none_answers = silent == 7;
        let used: Vec<&RouteLeg> = legs
            .iter()
            .enumerate()
            .filter(|(n, _)| none_answers || !failed(*n))
            .map(|(_, leg)| leg)
            .collect();
        let expected: BTreeSet<(u32, String)> =
            used.iter().map(|leg| (leg.link, leg.gateway.unwrap().to_string())).collect();
        let found: BTreeSet<(u32, String)> = members(&resolved).into_iter().collect();
        assert_eq!(found, if used.len() > 1 { expected } else { BTreeSet::new() }, "{silent:b}");
        assert_eq!(owner(&resolved), (used[0].link, to_map(used[0].gateway)), "{silent:b}");
        let kernel = &resolved.wanted.host.routes[&prefix("10.244.3.0/24")];
        assert_eq!(kernel.legs.as_ref().map_or(1, |legs| legs.len()), used.len(), "{silent:b}");
        let left_out = 3 - used.len();
        assert_eq!(resolved.left_out.get(&node_key("b1")).map_or(0, Vec::len), left_out, "{silent:b}");
        let of_kind = |problem: &&Problem| problem.kind == ProblemKind::NeighbourSilent;
        assert_eq!(resolved.problems.iter().filter(of_kind).count(), left_out, "{silent:b}");
    }
}

#[test]
fn a_single_way_depends_on_nobodys_answer() {
    let mut view = host();
    let gateway = LinkNeighbour { link: ETH0, address: "10.0.1.1".parse().unwrap() };
    view.failed_neighbours.insert(gateway);
    let resolved = resolved_on(&view, &nodes(), &[web()]);
    assert_eq!((owner(&resolved), resolved.problems), ((ETH0, mapped("10.0.1.1")), vec![]));
    assert_eq!(resolved.deciding, BTreeSet::new());
}

/// Each leg that is not used is told with its reason.
#[test]
fn what_is_left_out_is_told_with_the_reason() {
    type Change = fn(&mut HostView);
    let on_link: Change = |view| legs_of(view)[1].gateway = None;
    let silent: Change = |view| {
        let neighbour = gateway_of(&legs_of(view)[1]);
        view.failed_neighbours.insert(neighbour);
    };
    let cases: [(Change, &str, &str); 5] = [
        (|view| legs_of(view)[1].live = false, "leg via 10.0.9.1 dev eth1", "dead or without carrier"),
        (|view| link_of(view, ETH1).up = false, "leg via 10.0.9.1 dev eth1", "eth1, which is down"),
        (|view| view.links.retain(|link| link.index != ETH1), "leg via 10.0.9.1 dev #3", "does not exist"),
        (silent, "leg via 10.0.9.1 dev eth1", "neighbour 10.0.9.1 on eth1 does not answer"),
        (on_link, "leg dev eth1", "the first leg of the kernel's route 10.0.2.0/24 has a gateway"),
    ];
    for (change, what, reason) in cases {
        let mut view = two_uplinks(&both());
        change(&mut view);
        let selection = selection(Cluster::default(), &nodes(), &[web()]);
        let resolved = resolve(&selection, &view, &ResolveSettings::default());
        let row = lookup(&selection, &resolved, "10.244.3.9".parse().unwrap()).route.unwrap();
        let [loser] = row.losers.as_slice() else { panic!("{what}: {:?}", row.losers) };
        assert_eq!((loser.candidate.as_str(), row.refused), (what, None));
        assert!(loser.reason.contains(reason), "{what}: {}", loser.reason);
    }
}
