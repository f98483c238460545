//! Whatever there is and whatever is wanted.

use proptest::prelude::*;

use super::*;

/// Few values for each field, so that collisions are common.
fn any_route(protocols: &'static [u8]) -> impl Strategy<Value = KernelRoute> {
    let destinations =
        ["10.1.0.0/24", "10.1.0.0/16", "10.2.0.7/32", "fd00::/64", "fd00:2::/48", "fd00:2::7/128"];
    (
        prop::sample::select(destinations.to_vec()),
        prop::option::of(1_u8..4),
        prop::sample::select(vec![0, 0, 7]),
        prop::sample::select(protocols.to_vec()),
        prop::option::of(Just(1400)),
        prop::option::of(prop::sample::select(vec!["10.244.1.1", "10.244.2.1"])),
    )
        .prop_map(|(destination, gateway, metric, protocol, mtu, source)| {
            let route = match gateway {
                Some(1) if destination.contains(':') && protocol == KernelRoute::PROTOCOL => {
                    via(destination, "fe80::5044:524f:5554")
                }
                Some(last) if destination.contains(':') => via(destination, &format!("fe80::{last}")),
                Some(last) => via(destination, &format!("10.0.0.{last}")),
                None => blackhole(destination),
            };
            let ours = protocol == KernelRoute::PROTOCOL
                && gateway.is_some()
                && route.destination.family() == AddressFamily::V4;
            let source = source.filter(|_| ours).map(address);
            // As the kernel reports it.
            KernelRoute { metric, protocol, mtu, source, ..route }.as_reported()
        })
}

fn any_wanted() -> impl Strategy<Value = WantedHost> {
    let addresses = prop::sample::subsequence(vec!["10.244.1.1", "10.244.2.1"], 0..=2);
    (prop::collection::vec(any_route(&[KernelRoute::PROTOCOL]), 0..8), addresses, any::<bool>()).prop_map(
        |(routes, addresses, pod)| {
            // A route's source is always wanted itself.
            let usable =
                |route: &KernelRoute| route.source.is_none_or(|s| addresses.iter().any(|a| address(a) == s));
            let routes: Vec<_> = routes.into_iter().filter(usable).collect();
            let mut wanted = wanted(&routes, &addresses);
            wanted.neighbours = routes.iter().filter_map(tables::kernel_needs).collect();
            wanted.uplinks = BTreeSet::from(["eth0".to_owned()]);
            wanted.pod_mtus = pod.then_some((POD, 1480)).into_iter().collect();
            wanted.pod_interfaces = pod.then(|| "veth-web-0".to_owned()).into_iter().collect();
            wanted
        },
    )
}

fn any_view() -> impl Strategy<Value = HostView> {
    let labels = prop::sample::select(vec!["lo", OwnAddress::LABEL]);
    let net = prop::sample::select(vec!["10.244.1.1/32", "10.244.2.1/32", "10.244.2.1/24", "10.244.3.1/32"]);
    (
        prop::collection::vec(any_route(&[KernelRoute::PROTOCOL, KernelRoute::PROTOCOL, 4]), 0..12),
        prop::collection::vec((net, labels), 0..4),
        any::<[bool; 6]>(),
    )
        .prop_map(|(routes, addresses, [v4, v6, pod_forwarding, proxy_arp, ra, right_mac])| {
            let mut view = HostView { forwarding_v4: v4, forwarding_v6: Some(v6), ..host() };
            view.links[1].ra_unless_forwarding = ra;
            view.links[2].forwarding_v4 = pod_forwarding;
            view.links[2].proxy_arp = proxy_arp;
            let mtu = if right_mac { 1500 } else { 1400 };
            view.links[2].peer = Some(VethPeer { netns: Some(0), index: 2, mtu: Some(mtu) });
            for (net, label) in addresses {
                let address = on_lo(net, label);
                if !view.addresses.iter().any(|other| other.address == address.address) {
                    view.addresses.push(address);
                }
            }
            for route in routes {
                let usable = route.source.is_none_or(|source| tables::has_address(&view, source));
                if usable && !view.routes.contains(&route) {
                    if let Some(needed) = tables::kernel_needs(&route) {
                        let mac = if right_mac { needed.mac } else { [0; 6] };
                        view.neighbours = vec![PlaceholderNeighbour { mac, ..needed }];
                    }
                    view.routes.push(route);
                }
            }
            view
        })
}

fn foreign_part(view: &HostView) -> (Vec<KernelRoute>, Vec<InterfaceAddress>) {
    (
        view.routes.iter().filter(|route| !is_our_route(route)).cloned().collect(),
        view.addresses.iter().filter(|address| !is_our_address(address)).cloned().collect(),
    )
}

proptest! {
    #[test]
    fn applied_plan_leaves_nothing_to_do(wanted in any_wanted(), mut view in any_view()) {
        let before = foreign_part(&view);
        let first = plan(&wanted, &view);
        for change in &first.changes {
            tables::apply(change, &mut view);
        }
        let second = plan(&wanted, &view);
        prop_assert_eq!(&second.changes, &vec![]);
        prop_assert_eq!(&second.conflicts, &first.conflicts);
        prop_assert_eq!(foreign_part(&view), before);
        for route in wanted.routes.values() {
            let refused = second.conflicts.iter().any(
                |conflict| matches!(conflict, HostConflict::Route { wanted, .. } if wanted.route == *route));
            prop_assert!(refused || view.routes.contains(route));
        }
        prop_assert!(view.neighbours.iter().all(|one| wanted.neighbours.contains(one)));
        prop_assert!(!wanted.has(AddressFamily::V6) || view.forwarding_v6 == Some(true));
        let ours = view.routes.iter().filter(|route| is_our_route(route));
        for route in ours {
            prop_assert_eq!(wanted.routes.get(&route.destination), Some(route));
        }
    }

    #[test]
    fn cleanup_leaves_exactly_the_foreign_part(mut view in any_view()) {
        let before = foreign_part(&view);
        let plan = plan(&WantedHost::default(), &view);
        for change in &plan.changes {
            tables::apply(change, &mut view);
        }
        prop_assert_eq!((view.routes, view.addresses), before);
        prop_assert_eq!(view.neighbours, vec![]);
        prop_assert_eq!(plan.conflicts, vec![]);
    }
}
