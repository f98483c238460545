//! What the brake makes of plans.

use node_ebpf_common::{Endpoint, Hook, NextHop, NextHopKind, Route};

use super::*;
use crate::{
    model::{
        Attachment, HostChange, HostView, KernelRoute, Link, OwnAddress, PlaceholderNeighbour, RouteChange,
        RouteKind, Wanted, WantedRoute,
    },
    reconcile::{
        AttachmentPoint, AttachmentState, MapChange, ObservedDatapath, PlanOptions, plan_datapath, plan_host,
    },
    rib::GoneRoute,
};

const UPLINK: u32 = 2;
const POD: u32 = 7;

fn link(index: u32, up: bool) -> Link {
    Link {
        index,
        name: format!("if{index}"),
        up,
        mtu: 1500,
        mac: [0; 6],
        loopback: index == 1,
        ethernet: true,
        forwarding_v4: true,
        proxy_arp: true,
        reverse_path: 0,
        ra_unless_forwarding: false,
        peer: None,
    }
}

fn kernel_route(destination: Prefix, link: u32) -> KernelRoute {
    KernelRoute {
        destination,
        kind: RouteKind::Unicast,
        link: Some(link),
        gateway: Some(PlaceholderNeighbour::ADDRESS.into()),
        onlink: true,
        source: Some("fd00::1".parse().unwrap()),
        mtu: Some(1480),
        protocol: KernelRoute::PROTOCOL,
        metric: 1024,
        legs: None,
    }
}

pub(super) fn gone(prefix: Prefix) -> GoneRoute {
    GoneRoute { prefix, kernel: kernel_route(prefix, UPLINK) }
}

fn next_hop(kind: NextHopKind, interface: u32) -> NextHop {
    NextHop { identity: u64::from(interface), kind: kind as u32, interface, ..NextHop::default() }
}

fn remote() -> Prefix {
    "fd00:244:3::/64".parse().unwrap()
}

fn local() -> Prefix {
    "10.244.1.10/32".parse().unwrap()
}

/// A remote node's prefix by the uplink and a local pod, both in place, with all that belongs to them.
fn in_place_of_two() -> (ObservedDatapath, HostView) {
    let mut observed = ObservedDatapath::default();
    observed.next_hops.insert(1, next_hop(NextHopKind::Ipip, UPLINK));
    observed.next_hops.insert(2, next_hop(NextHopKind::LocalPod, POD));
    observed.routes.insert(remote(), Route { next_hop: 1, flags: 0 });
    observed.routes.insert(local(), Route { next_hop: 2, flags: 0 });
    observed.endpoints.insert(POD, Endpoint::default());
    for (link, hook) in [(POD, Hook::FromPod), (UPLINK, Hook::FromUplink), (UPLINK, Hook::ToUplink)] {
        observed.attachments.insert(AttachmentPoint { link, hook }, AttachmentState::Current);
    }
    let own = crate::model::InterfaceAddress {
        link: 1,
        address: "fd00::1/128".parse().unwrap(),
        label: Some(OwnAddress::LABEL.to_owned()),
    };
    let local = KernelRoute { gateway: None, source: None, metric: 0, ..kernel_route(local(), POD) };
    let view = HostView {
        links: vec![link(1, true), link(UPLINK, true), link(POD, true)],
        addresses: vec![own],
        routes: vec![kernel_route(remote(), UPLINK), local],
        neighbours: vec![PlaceholderNeighbour::on(UPLINK)],
        ..HostView::default()
    };
    (observed, view)
}

fn plans(wanted: &Wanted, observed: &ObservedDatapath, view: &HostView) -> (Vec<MapChange>, Vec<HostChange>) {
    let options = PlanOptions { allow_delete: true, search_from: 1 };
    (plan_datapath(&wanted.datapath, observed, options).changes, plan_host(&wanted.host, view).changes)
}

fn withdrawn(wanted: &Wanted, observed: &ObservedDatapath, view: &HostView) -> BTreeSet<Prefix> {
    let (maps, host) = plans(wanted, observed, view);
    withdrawals((&maps, &host), wanted, Some(observed), view, &BTreeSet::new)
}

/// Invariant 2: a held route keeps all that it needs, in both planes, and what it does not need goes.
#[test]
fn invariant_2_a_held_route_keeps_everything_that_it_needs() {
    let (observed, view) = in_place_of_two();
    let (maps, host) = plans(&Wanted::default(), &observed, &view);
    for (held, left) in [
        (
            remote(),
            [
                "detach from-pod from interface 7",
                "delete endpoint of interface 7",
                "delete route 10.244.1.10/32",
                "free next hop 2",
                "delete route 10.244.1.10/32 dev if7 mtu 1480 onlink",
            ]
            .as_slice(),
        ),
        (
            local(),
            &[
                "detach from-uplink from interface 2",
                "detach to-uplink from interface 2",
                "delete route fd00:244:3::/64",
                "free next hop 1",
                "delete route fd00:244:3::/64",
                "delete neighbour",
                "delete address fd00::1",
            ],
        ),
    ] {
        let kept = Kept::of(BTreeSet::from([held]), Some(&observed), &view);
        let maps = maps.iter().filter(|change| kept.allows_map(change)).map(ToString::to_string);
        let host = host.iter().filter(|change| kept.allows_host(change)).map(ToString::to_string);
        let changes: Vec<String> = maps.chain(host).collect();
        let matches = changes.len() == left.len()
            && changes
                .iter()
                .zip(left)
                .all(|(change, start)| change.starts_with(start.split(" dev").next().unwrap()));
        assert!(matches, "{held}: {changes:#?}");
    }
    let nothing = Kept::of(BTreeSet::new(), Some(&observed), &view);
    assert!(maps.iter().all(|change| nothing.allows_map(change)));
    assert!(host.iter().all(|change| nothing.allows_host(change)));
}

#[test]
fn both_planes_hold_the_same_prefixes() {
    let (mut observed, view) = in_place_of_two();
    let both = BTreeSet::from([remote(), local()]);
    assert_eq!(withdrawn(&Wanted::default(), &observed, &view), both);
    assert_eq!(in_place(Some(&observed), &view), 2);
    // After an upgrade to another layout the maps are empty at first, and the kernel's table has all.
    observed.routes.clear();
    assert_eq!(withdrawn(&Wanted::default(), &observed, &view), both);
    assert_eq!(in_place(Some(&observed), &view), 2);
    assert_eq!(in_place(None, &view), 2);
}

#[test]
fn a_changed_next_hop_is_no_withdrawal() {
    let (observed, view) = in_place_of_two();
    let key = crate::model::NextHopKey::Host;
    let mut wanted = Wanted::default();
    wanted.datapath.next_hops.insert(key.clone(), next_hop(NextHopKind::Host, 0));
    wanted.datapath.routes.insert(remote(), WantedRoute { next_hop: key, flags: 0 });
    // It has no kernel route any more, but it has a route.
    assert_eq!(withdrawn(&wanted, &observed, &view), BTreeSet::from([local()]));
}

/// A pod that is gone took its interface with it, and an uplink that is down leads nowhere: there is nothing to hold.
#[test]
fn routes_that_lead_nowhere_are_not_counted() {
    let (observed, mut view) = in_place_of_two();
    view.links.retain(|link| link.index != POD);
    view.routes.retain(|route| route.link != Some(POD));
    assert_eq!(withdrawn(&Wanted::default(), &observed, &view), BTreeSet::from([remote()]));
    assert_eq!(in_place(Some(&observed), &view), 1);
    view.links = vec![link(UPLINK, false), link(POD, true)];
    assert_eq!(withdrawn(&Wanted::default(), &observed, &view), BTreeSet::from([local()]));
}

#[test]
fn a_route_of_the_kernel_that_stands_twice_is_no_withdrawal() {
    let (observed, mut view) = in_place_of_two();
    let mut wanted = Wanted::default();
    let route = kernel_route(remote(), UPLINK);
    wanted.host.routes.insert(remote(), route.clone());
    view.routes.push(KernelRoute { metric: 7, ..route.clone() });
    let delete =
        HostChange::DeleteRoute(RouteChange { route: KernelRoute { metric: 7, ..route }, interface: None });
    assert_eq!(
        withdrawals((&[], &[delete]), &wanted, Some(&observed), &view, &BTreeSet::new),
        BTreeSet::new()
    );
}

/// A pod with an address of another node's prefix that moves to that node loses its own route, and must lose it.
#[test]
fn an_address_that_its_nodes_prefix_leads_to_is_no_withdrawal() {
    let (observed, view) = in_place_of_two();
    let (maps, host) = plans(&Wanted::default(), &observed, &view);
    let asked = std::cell::Cell::new(false);
    let at_home = || {
        asked.set(true);
        BTreeSet::from([local()])
    };
    let wanted = Wanted::default();
    withdrawals((&[], &[]), &wanted, Some(&observed), &view, &at_home);
    assert!(!asked.get(), "it is asked for only where it matters");
    let withdrawn = withdrawals((&maps, &host), &wanted, Some(&observed), &view, &at_home);
    assert_eq!(withdrawn, BTreeSet::from([remote()]));
}

/// Invariant 2: an upgrade to another layout that meets a mass withdrawal leaves the programs in place that know the way.
#[test]
fn invariant_2_programs_of_the_layout_before_stay_while_only_their_maps_have_held_routes() {
    let (mut observed, view) = in_place_of_two();
    observed.routes.clear();
    observed.next_hops.clear();
    observed.endpoints.clear();
    observed.other_layouts.insert(1);
    observed.attachments.values_mut().for_each(|state| *state = AttachmentState::Stale);
    let at = |link, hook| Attachment { link, interface: format!("if{link}"), hook };
    let mut wanted = Wanted::default();
    wanted.datapath.attachments.extend([at(UPLINK, Hook::ToUplink), at(9, Hook::FromPod)]);
    let (maps, _) = plans(&wanted, &observed, &view);
    let allowed = |held: BTreeSet<Prefix>, observed: &ObservedDatapath| {
        let kept = Kept::of(held, Some(observed), &view);
        let maps = maps.iter().filter(|change| kept.allows_map(change)).map(ToString::to_string);
        maps.collect::<Vec<_>>()
    };
    let held = BTreeSet::from([remote()]);
    // A new pod gets its program, and nothing else is touched.
    assert_eq!(allowed(held.clone(), &observed), ["attach from-pod to if9 (9)"]);
    assert!(allowed(BTreeSet::new(), &observed).contains(&"remove the maps of layout 1".to_owned()));
    // Our own maps have it, too: the programs may be replaced.
    observed.routes.insert(remote(), Route { next_hop: 1, flags: 0 });
    assert!(allowed(held, &observed).contains(&"attach to-uplink to if2 (2)".to_owned()));
}
