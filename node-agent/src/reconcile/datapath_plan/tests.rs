use node_ebpf_common::{Address, MAX_NEXT_HOP_GROUPS, NextHopKind};

use super::*;
use crate::model::{AddressFamily, NodePath, WantedRoute};

pub(in crate::reconcile) mod properties;

const ALL: PlanOptions = PlanOptions { allow_delete: true, search_from: 1 };

fn node_key(name: &str) -> NextHopKey {
    NextHopKey::Node(NodePath {
        node: name.parse().unwrap(),
        inner: AddressFamily::V4,
        outer: AddressFamily::V4,
    })
}

fn pod_key(name: &str) -> NextHopKey {
    NextHopKey::Pod(name.parse().unwrap())
}

fn next_hop(key: &NextHopKey, kind: NextHopKind, mtu: u32) -> NextHop {
    NextHop { identity: key.identity(), kind: kind as u32, interface: 2, mtu, ..NextHop::default() }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn attachment(link: u32, hook: Hook) -> Attachment {
    Attachment { link, interface: format!("if{link}"), hook }
}

/// Remote node b1 with two prefixes, a local pod at interface 7, uplink 2.
fn wanted() -> WantedDatapath {
    let (b1, web) = (node_key("b1"), pod_key("default/web"));
    let route = |key: &NextHopKey| WantedRoute { next_hop: key.clone(), flags: 0 };
    WantedDatapath {
        next_hops: BTreeMap::from([
            (b1.clone(), next_hop(&b1, NextHopKind::Direct, 1500)),
            (web.clone(), next_hop(&web, NextHopKind::LocalPod, 1500)),
        ]),
        groups: BTreeMap::new(),
        routes: BTreeMap::from([
            (prefix("10.244.3.0/24"), route(&b1)),
            (prefix("10.0.2.11/32"), WantedRoute { flags: Route::NODE_ADDRESS, ..route(&b1) }),
            (prefix("10.244.1.10/32"), route(&web)),
        ]),
        endpoints: BTreeMap::from([(7, Endpoint::default())]),
        settings: Settings { node_v4: Address::from_v4([10, 0, 1, 11]), node_v6: Address::NONE },
        attachments: BTreeSet::from([attachment(7, Hook::FromPod), attachment(2, Hook::FromUplink)]),
    }
}

/// Does what the kernel would do.
fn apply(observed: &mut ObservedDatapath, change: &MapChange) {
    match change.clone() {
        MapChange::SetSettings(settings) => observed.settings = settings,
        MapChange::SetNextHop { index, next_hop } => {
            assert!((1..MAX_NEXT_HOPS).contains(&index), "{change}");
            observed.next_hops.insert(index, next_hop);
        }
        MapChange::SetGroup { index, group } => {
            assert!((1..MAX_NEXT_HOP_GROUPS).contains(&index), "{change}");
            observed.groups.insert(index, group);
        }
        MapChange::FreeGroup { index } => assert!(observed.groups.remove(&index).is_some(), "{change}"),
        MapChange::SetEndpoint { link, endpoint } => {
            observed.endpoints.insert(link, endpoint);
        }
        MapChange::SetRoute { prefix, route } => {
            observed.routes.insert(prefix, route);
        }
        MapChange::Attach(attachment) => {
            observed.attachments.insert((&attachment).into(), AttachmentState::Current);
        }
        MapChange::Detach(at) => assert!(observed.attachments.remove(&at).is_some(), "{change}"),
        MapChange::DeleteEndpoint { link } => assert!(observed.endpoints.remove(&link).is_some(), "{change}"),
        MapChange::DeleteRoute { prefix } => assert!(observed.routes.remove(&prefix).is_some(), "{change}"),
        MapChange::FreeNextHop { index } => assert!(observed.next_hops.remove(&index).is_some(), "{change}"),
        MapChange::RemoveLayout { version } => assert!(observed.other_layouts.remove(&version), "{change}"),
    }
}

fn apply_all(observed: &mut ObservedDatapath, changes: &[MapChange]) {
    changes.iter().for_each(|change| apply(observed, change));
}

/// The datapath that holds exactly this.
fn holding(wanted: &WantedDatapath) -> ObservedDatapath {
    let mut observed = ObservedDatapath::default();
    let plan = plan(wanted, &observed, ALL);
    apply_all(&mut observed, &plan.changes);
    observed
}

fn texts(plan: &DatapathPlan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_datapath_is_filled_in_order() {
    let plan = plan(&wanted(), &ObservedDatapath::default(), ALL);
    assert_eq!(
        texts(&plan),
        [
            "write settings",
            "write next hop 1",
            "write next hop 2",
            "write endpoint of interface 7",
            "write route 10.0.2.11/32 to next hop 1",
            "write route 10.244.1.10/32 to next hop 2",
            "write route 10.244.3.0/24 to next hop 1",
            "attach from-uplink to if2 (2)",
            "attach from-pod to if7 (7)",
        ]
    );
    assert_eq!(plan.assignments, BTreeMap::from([(node_key("b1"), 1), (pod_key("default/web"), 2)]));
    assert_eq!((plan.search_from, plan.exhausted), (3, None));
}

#[test]
fn everything_is_taken_away_in_order() {
    let mut observed = holding(&wanted());
    let changes =
        plan(&WantedDatapath { settings: observed.settings, ..WantedDatapath::default() }, &observed, ALL);
    assert_eq!(
        texts(&changes),
        [
            "detach from-uplink from interface 2",
            "detach from-pod from interface 7",
            "delete endpoint of interface 7",
            "delete route 10.244.3.0/24",
            "delete route 10.0.2.11/32",
            "delete route 10.244.1.10/32",
            "free next hop 1",
            "free next hop 2",
        ]
    );
    assert!(changes.changes.iter().all(MapChange::is_deletion));
    apply_all(&mut observed, &changes.changes);
    assert_eq!(observed, ObservedDatapath { settings: observed.settings, ..ObservedDatapath::default() });
}

/// Prefix-independent convergence: a node's address or encapsulation is written once, however many
/// prefixes lead to it.
#[test]
fn prefix_independent_convergence_is_one_next_hop_write_and_no_route_write() {
    for prefixes in [1_u32, 1_000] {
        let b1 = node_key("b1");
        let mut wanted = wanted();
        for number in 0..prefixes {
            let net = ipnet::Ipv4Net::new((0x0b00_0000 + number * 256).into(), 24).unwrap();
            wanted.routes.insert(net.into(), WantedRoute { next_hop: b1.clone(), flags: 0 });
        }
        let observed = holding(&wanted);
        let encapsulated = NextHop {
            tunnel_destination: Address::from_v4([10, 0, 2, 99]),
            ..next_hop(&b1, NextHopKind::Ipip, 1480)
        };
        wanted.next_hops.insert(b1, encapsulated);
        let changes = plan(&wanted, &observed, ALL).changes;
        assert_eq!(changes, [MapChange::SetNextHop { index: 1, next_hop: encapsulated }]);
    }
}

/// Invariant 2: before every source has synced nothing is deleted.
#[test]
fn invariant_2_nothing_is_deleted_unless_allowed() {
    let observed = holding(&wanted());
    let mut fewer = WantedDatapath { settings: observed.settings, ..WantedDatapath::default() };
    let careful = PlanOptions { allow_delete: false, ..ALL };
    assert_eq!(plan(&fewer, &observed, careful).changes, []);
    let c1 = node_key("c1");
    fewer.next_hops.insert(c1.clone(), next_hop(&c1, NextHopKind::Direct, 1500));
    fewer.routes.insert(prefix("10.244.3.0/24"), WantedRoute { next_hop: c1, flags: 0 });
    assert_eq!(
        texts(&plan(&fewer, &observed, careful)),
        ["write next hop 3", "write route 10.244.3.0/24 to next hop 3"]
    );
}

#[test]
fn a_next_hop_keeps_its_index_when_others_come_before_it() {
    let mut wanted = wanted();
    let observed = holding(&wanted);
    let a2 = node_key("a2");
    wanted.next_hops.insert(a2.clone(), next_hop(&a2, NextHopKind::Direct, 1500));
    let plan = plan(&wanted, &observed, ALL);
    assert_eq!(texts(&plan), ["write next hop 3"]);
    assert_eq!(plan.assignments[&node_key("b1")], 1);
}

#[test]
fn a_freed_index_is_used_again_only_after_all_others() {
    let mut observed = ObservedDatapath::default();
    let mut search_from = 1;
    let mut indices = Vec::new();
    for round in 0..MAX_NEXT_HOPS {
        let key = pod_key(&format!("default/p{round}"));
        let next_hops = BTreeMap::from([(key.clone(), next_hop(&key, NextHopKind::LocalPod, 1500))]);
        let wanted = WantedDatapath { next_hops, ..WantedDatapath::default() };
        let plan = plan(&wanted, &observed, PlanOptions { allow_delete: true, search_from });
        apply_all(&mut observed, &plan.changes);
        search_from = plan.search_from;
        indices.push(plan.assignments[&key]);
    }
    let expected: Vec<u32> = (1..MAX_NEXT_HOPS).chain([1]).collect();
    assert_eq!(indices, expected);
}

#[test]
fn of_two_objects_of_one_identity_the_lower_stays() {
    let wanted = wanted();
    let mut observed = holding(&wanted);
    observed.next_hops.insert(9, observed.next_hops[&1]);
    let moved = Route { next_hop: 9, flags: 0 };
    observed.routes.insert(prefix("10.244.3.0/24"), moved);
    let changes = plan(&wanted, &observed, ALL);
    assert_eq!(texts(&changes), ["write route 10.244.3.0/24 to next hop 1", "free next hop 9"]);
}

#[test]
fn an_index_that_is_named_by_a_route_is_not_free() {
    let mut observed = ObservedDatapath::default();
    observed.routes.insert(prefix("10.9.0.0/16"), Route { next_hop: 1, flags: 0 });
    let plan = plan(&wanted(), &observed, PlanOptions { allow_delete: false, search_from: 0 });
    assert_eq!(plan.assignments.values().copied().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn an_object_at_index_0_is_not_kept() {
    let wanted = wanted();
    let mut observed = holding(&wanted);
    let b1 = observed.next_hops.remove(&1).unwrap();
    observed.next_hops.insert(0, b1);
    observed.routes.retain(|_, route| route.next_hop != 1);
    let plan = plan(&wanted, &observed, ALL);
    assert_eq!(plan.assignments[&node_key("b1")], 1);
    assert!(plan.changes.contains(&MapChange::FreeNextHop { index: 0 }));
}

#[test]
fn next_hops_that_do_not_fit_are_named_with_the_limit_and_make_room_for_themselves() {
    let pods = |generation: &str, count: u32| WantedDatapath {
        next_hops: (0..count)
            .map(|number| pod_key(&format!("{generation}/p{number:05}")))
            .map(|key| (key.clone(), next_hop(&key, NextHopKind::LocalPod, 1500)))
            .collect(),
        ..WantedDatapath::default()
    };
    let mut observed = holding(&pods("old", 10_000));
    let web = prefix("10.244.1.10/32");
    observed.routes.insert(web, Route { next_hop: 5, flags: 0 });
    let mut wanted = pods("new", 10_000);
    wanted.routes.insert(web, WantedRoute { next_hop: pod_key("new/p09999"), flags: 0 });

    let first = plan(&wanted, &observed, ALL);
    let exhausted = first.exhausted.clone().unwrap();
    assert_eq!(exhausted.limit, 16_383);
    assert_eq!(exhausted.left_out.len(), 10_000 - 6_383);
    assert!(exhausted.to_string().contains("3617 next hops do not fit: the map holds 16383"), "{exhausted}");
    assert!(exhausted.to_string().contains("pod new/p06383"), "{exhausted}");
    apply_all(&mut observed, &first.changes);
    assert_eq!(observed.routes[&web].next_hop, 5, "its next hop has no place yet");
    assert!(observed.next_hops.contains_key(&5), "a route still names it");

    let second = plan(&wanted, &observed, PlanOptions { search_from: first.search_from, ..ALL });
    assert_eq!(second.exhausted, None);
    apply_all(&mut observed, &second.changes);
    assert_eq!(observed.next_hops.len(), 10_000);
    assert_eq!(plan(&wanted, &observed, ALL).changes, []);

    let too_many = plan(&pods("new", MAX_NEXT_HOPS), &ObservedDatapath::default(), ALL);
    assert_eq!(too_many.exhausted.unwrap().left_out.len(), 1);
}

#[test]
fn attachments_are_known_by_index_and_hook_and_stale_ones_are_put_right() {
    let mut wanted = wanted();
    let mut observed = holding(&wanted);
    wanted.attachments = BTreeSet::from([
        Attachment { interface: "renamed".into(), ..attachment(7, Hook::FromPod) },
        attachment(2, Hook::FromUplink),
    ]);
    assert_eq!(plan(&wanted, &observed, ALL).changes, []);
    let uplink = AttachmentPoint { link: 2, hook: Hook::FromUplink };
    observed.attachments.insert(uplink, AttachmentState::Stale);
    assert_eq!(texts(&plan(&wanted, &observed, ALL)), ["attach from-uplink to if2 (2)"]);
}

/// Invariant 7: another layout's maps go when no program of ours can use them any more, and not before.
#[test]
fn invariant_7_another_layouts_maps_go_last() {
    let mut observed = ObservedDatapath { other_layouts: BTreeSet::from([1]), ..holding(&wanted()) };
    observed.attachments.values_mut().for_each(|state| *state = AttachmentState::Stale);
    observed.attachments.insert(AttachmentPoint { link: 9, hook: Hook::FromPod }, AttachmentState::Stale);
    let careful = PlanOptions { allow_delete: false, ..ALL };
    assert_eq!(
        texts(&plan(&wanted(), &observed, careful)),
        ["attach from-uplink to if2 (2)", "attach from-pod to if7 (7)"]
    );
    assert_eq!(
        texts(&plan(&wanted(), &observed, ALL)),
        [
            "attach from-uplink to if2 (2)",
            "attach from-pod to if7 (7)",
            "detach from-pod from interface 9",
            "remove the maps of layout 1",
        ]
    );
}

#[test]
fn long_routes_are_written_first_and_deleted_last() {
    let web = pod_key("default/web");
    let mut both = wanted();
    for text in ["10.244.0.0/16", "10.244.9.9/32", "10.244.9.0/24"] {
        both.routes.insert(prefix(text), WantedRoute { next_hop: web.clone(), flags: 0 });
    }
    let observed = holding(&wanted());
    let added = texts(&plan(&both, &observed, ALL));
    let order = ["10.244.9.9/32", "10.244.9.0/24", "10.244.0.0/16"];
    assert_eq!(added, order.map(|text| format!("write route {text} to next hop 2")));
    let deleted = texts(&plan(&wanted(), &holding(&both), ALL));
    assert_eq!(
        deleted,
        ["10.244.0.0/16", "10.244.9.0/24", "10.244.9.9/32"].map(|t| format!("delete route {t}"))
    );
}
