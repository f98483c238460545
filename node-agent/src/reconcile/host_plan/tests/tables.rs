//! The kernel's tables in memory: each change does what Linux does, also what a planner may not expect
//! (replacing is blind to who made the route; a route goes with its source address).

use super::*;

pub(super) fn has_address(view: &HostView, address: IpAddr) -> bool {
    view.addresses.iter().any(|other| other.address.addr() == address)
}

/// # Panics
///
/// Where the kernel would refuse the change: a plan must contain nothing of the kind.
pub(super) fn apply(change: &HostChange, view: &mut HostView) {
    match change {
        HostChange::Set(setting) => set(setting, view),
        HostChange::AddAddress(added) => {
            let taken =
                |other: &&InterfaceAddress| (other.link, other.address) == (added.link, added.address);
            assert_eq!(view.addresses.iter().find(taken), None, "EEXIST: {change}");
            view.addresses.push(InterfaceAddress {
                link: added.link,
                address: added.address,
                label: Some(OwnAddress::LABEL.to_owned()),
            });
        }
        HostChange::SetNeighbour(set) => {
            let ours = set.neighbour;
            view.neighbours.retain(|other| (other.link, other.address) != (ours.link, ours.address));
            view.neighbours.push(ours);
        }
        HostChange::DeleteNeighbour(deleted) => {
            let found = view.neighbours.iter().position(|other| *other == deleted.neighbour);
            view.neighbours.remove(found.unwrap_or_else(|| panic!("ENOENT: {change}")));
            let by_it = |route: &KernelRoute| kernel_needs(route) == Some(deleted.neighbour);
            assert!(!view.routes.iter().any(by_it), "a route still leads to it: {change}");
        }
        HostChange::SetMtu(change) => set_mtu(change, view),
        HostChange::AddRoute(added) => {
            assert_usable(&added.route, view);
            let taken = |other: &&KernelRoute| slot(other) == slot(&added.route);
            assert_eq!(view.routes.iter().find(taken), None, "EEXIST: {change}");
            view.routes.push(added.route.as_reported());
        }
        HostChange::ReplaceRoute(replaced) => {
            assert_usable(&replaced.route, view);
            match view.routes.iter_mut().find(|other| slot(other) == slot(&replaced.route)) {
                Some(first) => *first = replaced.route.as_reported(),
                None => view.routes.push(replaced.route.as_reported()),
            }
        }
        HostChange::DeleteRoute(deleted) => {
            let ours = KernelRoute { protocol: KernelRoute::PROTOCOL, ..deleted.route.as_reported() };
            let found = view.routes.iter().position(|other| *other == ours);
            view.routes.remove(found.unwrap_or_else(|| panic!("ESRCH: {change}")));
        }
        HostChange::DeleteAddress(deleted) => {
            let found = view.addresses.iter().position(|other| {
                (other.link, other.address) == (deleted.link, deleted.address) && is_our_address(other)
            });
            view.addresses.remove(found.unwrap_or_else(|| panic!("EADDRNOTAVAIL: {change}")));
            let gone = deleted.address.addr();
            if !has_address(view, gone) {
                view.routes.retain(|route| route.source != Some(gone));
            }
        }
    }
}

fn set_mtu(change: &MtuChange, view: &mut HostView) {
    let link = view.links.iter_mut().find(|link| link.index == change.link);
    let link = link.unwrap_or_else(|| panic!("ENODEV: {change}"));
    for end in &change.ends {
        match end {
            VethEnd::Host => link.mtu = change.mtu,
            VethEnd::Pod => link.peer.as_mut().expect("a veth").mtu = Some(change.mtu),
        }
    }
}

fn set(setting: &Setting, view: &mut HostView) {
    match setting {
        Setting::ForwardingV4 => {
            view.forwarding_v4 = true;
            view.links.iter_mut().for_each(|link| link.forwarding_v4 = true);
        }
        Setting::InterfaceForwardingV4(name) => link_mut(view, name).forwarding_v4 = true,
        Setting::ProxyArp(name) => link_mut(view, name).proxy_arp = true,
        Setting::LooseReversePath(name) => link_mut(view, name).reverse_path = 2,
        Setting::AcceptRa(name) => link_mut(view, name).ra_unless_forwarding = false,
        Setting::ForwardingV6 => {
            assert!(view.forwarding_v6.is_some(), "ENOENT: {setting}");
            view.forwarding_v6 = Some(true);
        }
    }
}

fn link_mut<'a>(view: &'a mut HostView, name: &str) -> &'a mut Link {
    view.links.iter_mut().find(|link| link.name == name).unwrap_or_else(|| panic!("ENOENT: {name}"))
}

fn assert_usable(route: &KernelRoute, view: &HostView) {
    assert!(route.source.is_none_or(|source| has_address(view, source)), "EINVAL: source of {route:?}");
    // The kernel would take it, but packets would wait in vain for the neighbour to answer.
    assert!(kernel_needs(route).is_none_or(|needed| view.neighbours.contains(&needed)), "{route:?}");
}

/// The neighbour that a route leads to, if it is a placeholder.
pub(super) fn kernel_needs(route: &KernelRoute) -> Option<PlaceholderNeighbour> {
    let stand_in = route.gateway == Some(IpAddr::V6(PlaceholderNeighbour::ADDRESS));
    route.link.filter(|_| stand_in).map(PlaceholderNeighbour::on)
}
