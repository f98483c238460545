//! Whatever there is and whatever is wanted, and wherever the agent stops.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::model::Via;

const PREFIXES: [&str; 8] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.1/32",
    "10.2.0.0/16",
    "fd00::/16",
    "fd00:1::/64",
    "fd00:1::1/128",
];

fn keys() -> Vec<NextHopKey> {
    let path = |node: &str| NodePath {
        node: node.parse().unwrap(),
        inner: AddressFamily::V4,
        outer: AddressFamily::V4,
    };
    vec![
        via_key(path("a2"), 2),
        via_key(path("a2"), 3),
        via_key(path("b1"), 2),
        via_key(path("b1"), 3),
        via_key(path("b1"), 4),
        NextHopKey::Host,
        NextHopKey::Unassigned,
        node_key("a2"),
        node_key("b1"),
        NextHopKey::Node(NodePath {
            node: "b1".parse().unwrap(),
            inner: AddressFamily::V6,
            outer: AddressFamily::V4,
        }),
        pod_key("default/p0"),
        pod_key("default/p1"),
    ]
}

fn some_next_hops() -> impl Strategy<Value = BTreeMap<NextHopKey, NextHop>> {
    let kinds = [NextHopKind::Direct, NextHopKind::Ipip];
    let one = |key: NextHopKey| {
        prop::option::of((prop::sample::select(kinds.to_vec()), 1400_u32..1403))
            .prop_map(move |facts| facts.map(|(kind, mtu)| (key.clone(), next_hop(&key, kind, mtu))))
            .boxed()
    };
    let all: Vec<_> = keys().into_iter().map(one).collect();
    all.prop_map(|hops| hops.into_iter().flatten().collect())
}

/// Members of the groups of `b1` and `a2`, where at least two are there with the owner: what resolution promises.
fn groups(next_hops: &BTreeMap<NextHopKey, NextHop>) -> BTreeMap<NextHopKey, Vec<NextHopKey>> {
    let members = |of: &str| {
        let path = NodePath { node: of.parse().unwrap(), inner: AddressFamily::V4, outer: AddressFamily::V4 };
        let all = (2..5).map(move |interface| via_key(path.clone(), interface));
        all.filter(|key| next_hops.contains_key(key)).collect::<Vec<_>>()
    };
    let all = ["a2", "b1"].map(|node| (node_key(node), members(node)));
    all.into_iter().filter(|(owner, members)| next_hops.contains_key(owner) && members.len() > 1).collect()
}

fn via_key(node: NodePath, interface: u32) -> NextHopKey {
    NextHopKey::Via(Via { node: Some(node), gateway: "10.0.1.1".parse().unwrap(), interface })
}

/// A wanted state that keeps what `resolve` promises: routes name next hops that are there, and a pod's
/// interface has an endpoint.
pub(in crate::reconcile) fn some_wanted() -> impl Strategy<Value = WantedDatapath> {
    let routes = prop::collection::vec(prop::option::of((any::<Index>(), 0_u32..2)), PREFIXES.len());
    let links = prop::collection::btree_map(1_u32..5, (0_u32..3, any::<bool>()), 0..4);
    (some_next_hops(), routes, links, 0_u8..3).prop_map(|(next_hops, routes, links, node)| {
        let names: Vec<&NextHopKey> = next_hops.keys().collect();
        let routes = PREFIXES.iter().zip(routes).filter_map(|(text, route)| {
            let (index, flags) = route.filter(|_| !names.is_empty())?;
            Some((prefix(text), WantedRoute { next_hop: (*index.get(&names)).clone(), flags }))
        });
        let pods = links.iter().filter(|(_, (_, is_pod))| *is_pod);
        let endpoint = |source_check| Endpoint { source_check, ..Endpoint::default() };
        WantedDatapath {
            routes: routes.collect(),
            endpoints: pods.map(|(link, (check, _))| (*link, endpoint(*check))).collect(),
            settings: Settings { node_v4: Address::from_v4([10, 0, 0, node]), node_v6: Address::NONE },
            attachments: links
                .iter()
                .map(|(link, (_, pod))| {
                    attachment(*link, if *pod { Hook::FromPod } else { Hook::FromUplink })
                })
                .collect(),
            groups: groups(&next_hops),
            next_hops,
        }
    })
}

/// A datapath after some history of plans, the last of which was cut short: with leftovers.
fn some_observed() -> impl Strategy<Value = ObservedDatapath> {
    let history = prop::collection::vec((some_wanted(), any::<Index>(), any::<bool>()), 0..4);
    history.prop_map(|history| {
        let mut observed = ObservedDatapath::default();
        let mut search_from = 1;
        for (wanted, cut, allow_delete) in history {
            let plan = plan(&wanted, &observed, PlanOptions { allow_delete, search_from });
            apply_all(&mut observed, &plan.changes[..cut.index(plan.changes.len() + 1)]);
            search_from = plan.search_from;
        }
        observed
    })
}

/// The identity of what a prefix leads to; none if the prefix is absent.
pub(in crate::reconcile) fn leads_to(observed: &ObservedDatapath, prefix: &Prefix) -> Option<u64> {
    let route = observed.routes.get(prefix)?;
    let owner = observed.next_hops.get(&route.next_hop).expect("a route names an object that is there");
    if owner.group != 0 {
        let group = observed.groups.get(&owner.group).expect("a next hop names a group that is there");
        assert_eq!(group.identity, owner.identity, "a next hop names its own group");
        for member in group.buckets {
            assert!(observed.next_hops.contains_key(&member), "a group names members that are there");
        }
    }
    Some(owner.identity)
}

/// Asserts that there are exactly the wanted groups, each named by its owner and with its members in equal shares.
fn assert_groups(observed: &ObservedDatapath, wanted: &WantedDatapath) {
    assert_eq!(observed.groups.len(), wanted.groups.len());
    for owner in observed.next_hops.values() {
        let members = wanted.groups.iter().find(|(key, _)| key.identity() == owner.identity);
        let Some((_, members)) = members else {
            assert_eq!(owner.group, 0);
            continue;
        };
        let group = observed.groups[&owner.group];
        assert_eq!(group.identity, owner.identity);
        let shares = members.iter().map(|member| {
            let named = |index: &&u32| observed.next_hops[*index].identity == member.identity();
            group.buckets.iter().filter(named).count()
        });
        let shares: Vec<usize> = shares.collect();
        assert_eq!(shares.iter().sum::<usize>(), group.buckets.len());
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
    }
}

/// Asserts that the datapath holds exactly what is wanted.
pub(in crate::reconcile) fn assert_holds(observed: &ObservedDatapath, wanted: &WantedDatapath) {
    assert_eq!(observed.settings, wanted.settings);
    assert_eq!(observed.endpoints, wanted.endpoints);
    let attached: BTreeMap<_, _> =
        wanted.attachments.iter().map(|at| (at.into(), AttachmentState::Current)).collect();
    assert_eq!(observed.attachments, attached);
    assert_groups(observed, wanted);
    let without_group = |hop: &NextHop| NextHop { group: 0, ..*hop };
    let mut have: Vec<NextHop> = observed.next_hops.values().map(without_group).collect();
    let mut want: Vec<NextHop> = wanted.next_hops.values().copied().collect();
    have.sort_by_key(|hop| hop.identity);
    want.sort_by_key(|hop| hop.identity);
    assert_eq!(have, want);
    let have: BTreeMap<Prefix, (u64, u32)> = observed
        .routes
        .iter()
        .map(|(prefix, route)| (*prefix, (observed.next_hops[&route.next_hop].identity, route.flags)))
        .collect();
    let want: BTreeMap<Prefix, (u64, u32)> = wanted
        .routes
        .iter()
        .map(|(prefix, route)| (*prefix, (route.next_hop.identity(), route.flags)))
        .collect();
    assert_eq!(have, want);
}

proptest! {
    #[test]
    fn one_pass_converges_and_the_next_finds_nothing_to_do(
        mut observed in some_observed(), wanted in some_wanted(), search_from in any::<u32>(),
    ) {
        let options = PlanOptions { allow_delete: true, search_from };
        let first = plan(&wanted, &observed, options);
        apply_all(&mut observed, &first.changes);
        assert_holds(&observed, &wanted);
        prop_assert_eq!(plan(&wanted, &observed, options).changes, []);
    }

    /// Invariant 1: the agent may stop at any instruction. At each point in between every route names an
    /// object, what is wanted before and after is never absent, and leads to the old or the new place.
    #[test]
    fn invariant_1_every_step_in_between_forwards(
        mut observed in some_observed(), wanted in some_wanted(), allow_delete in any::<bool>(),
    ) {
        let before = observed.clone();
        let lasting: Vec<Prefix> =
            before.routes.keys().copied().filter(|prefix| wanted.routes.contains_key(prefix)).collect();
        for change in plan(&wanted, &observed, PlanOptions { allow_delete, search_from: 1 }).changes {
            apply(&mut observed, &change);
            for prefix in observed.routes.keys() {
                leads_to(&observed, prefix);
            }
            for prefix in &lasting {
                let now = leads_to(&observed, prefix);
                let new = wanted.routes[prefix].next_hop.identity();
                prop_assert!(now == leads_to(&before, prefix) || now == Some(new), "{change}: {prefix}");
            }
            for at in observed.attachments.keys().filter(|at| at.hook == Hook::FromPod) {
                prop_assert!(observed.endpoints.contains_key(&at.link), "{change}: {at:?}");
            }
        }
    }

    /// Invariant 1: what another run finds after a crash at any point is brought to the same end.
    #[test]
    fn invariant_1_a_crash_at_any_point_is_made_good(
        mut observed in some_observed(), wanted in some_wanted(), cut in any::<Index>(), search_from in 0_u32..40,
    ) {
        let first = plan(&wanted, &observed, ALL);
        apply_all(&mut observed, &first.changes[..cut.index(first.changes.len() + 1)]);
        let second = plan(&wanted, &observed, PlanOptions { allow_delete: true, search_from });
        apply_all(&mut observed, &second.changes);
        assert_holds(&observed, &wanted);
    }

    /// Invariant 2, whatever is there and wanted.
    #[test]
    fn invariant_2_without_leave_to_delete_nothing_goes(observed in some_observed(), wanted in some_wanted()) {
        let careful = PlanOptions { allow_delete: false, search_from: 1 };
        let plan = plan(&wanted, &observed, careful);
        let mut after = observed.clone();
        for change in &plan.changes {
            prop_assert!(!change.is_deletion(), "{change}");
            apply(&mut after, change);
        }
        prop_assert!(observed.routes.keys().all(|prefix| after.routes.contains_key(prefix)));
        prop_assert!(wanted.routes.iter().all(|(p, r)| leads_to(&after, p) == Some(r.next_hop.identity())));
    }
}
