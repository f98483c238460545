//! Nodes behind a multipath route of the kernel.

use super::*;
use crate::model::{RouteLeg, Via};

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
