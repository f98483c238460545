use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        HostView, InterfaceAddress, Link, NextHopKey, Object, Pod, Route, RouteKind, RouteLeg, SourceEvent,
        SourceId, SourceUpdate,
    },
    rib::{
        ResolveSettings,
        fixtures::{node, outside, pod, upsert},
        resolve, select,
    },
};

/// Node a1: eth0 in 10.0.1.0/24, a network of somebody else's on eth1, a default route.
fn host() -> HostView {
    let link = |index, name: &str| Link {
        index,
        name: name.into(),
        up: true,
        mtu: 1500,
        mac: [2, 0, 0, 0, 0, 1],
        loopback: name == "lo",
        ethernet: name != "lo",
        forwarding_v4: true,
        proxy_arp: true,
        reverse_path: 0,
        ra_unless_forwarding: true,
        peer: None,
    };
    let held =
        |link, address: &str| InterfaceAddress { link, address: address.parse().unwrap(), label: None };
    let route = |destination: &str, gateway: Option<&str>, link| KernelRoute {
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        link: Some(link),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        onlink: false,
        source: None,
        mtu: None,
        protocol: if gateway.is_some() { 16 } else { 2 },
        metric: 0,
        legs: None,
    };
    let legs = ["10.0.1.1", "10.0.1.2"].map(|gateway| RouteLeg {
        link: 2,
        gateway: Some(gateway.parse().unwrap()),
        live: true,
    });
    HostView {
        links: vec![link(1, "lo"), link(2, "eth0"), link(3, "eth1"), link(7, "veth-web")],
        addresses: vec![held(1, "127.0.0.1/8"), held(2, "10.0.1.11/24"), held(3, "10.9.9.1/24")],
        routes: vec![
            // By two routers, so that b1 has a group.
            KernelRoute { legs: Some(legs.into()), ..route("0.0.0.0/0", Some("10.0.1.1"), 2) },
            route("10.0.1.0/24", None, 2),
            route("10.9.9.0/24", None, 3),
        ],
        forwarding_v4: true,
        forwarding_v6: Some(false),
        ..HostView::default()
    }
}

/// Everything before and after a change of one node.
struct Change {
    before: Node,
    now: Node,
    table: Table,
    known: (Selection, Resolved),
    from_scratch: (Selection, Resolved),
}

fn known(table: &Table) -> (Selection, Resolved) {
    let selection = select(table, &"a1".parse().unwrap());
    let resolved = resolve(&selection, &host(), &ResolveSettings::default());
    (selection, resolved)
}

impl Change {
    fn of(nodes: &[Node], pods: &[Pod], now: Node) -> Self {
        Self::with_routes(nodes, pods, &[], now)
    }

    fn with_routes(nodes: &[Node], pods: &[Pod], routes: &[Route], now: Node) -> Self {
        let mut table = Table::new([SourceId::FILE]);
        let objects = nodes.iter().cloned().map(Object::Node).chain(pods.iter().cloned().map(Object::Pod));
        let objects = objects.chain(routes.iter().cloned().map(Object::Route));
        objects.for_each(|object| {
            table.apply(upsert(object));
        });
        table.apply(SourceUpdate { source: SourceId::FILE, event: SourceEvent::Synced });
        let known_before = known(&table);
        let before = table.node(&SourceId::FILE, &now.name).unwrap().clone();
        table.apply(upsert(Object::Node(now.clone())));
        let from_scratch = known(&table);
        Self { before, now, table, known: known_before, from_scratch }
    }

    fn amendment(&self) -> Option<Amendment> {
        let foreign = host().routes.iter().map(|route| route.destination).collect();
        let known = (&self.known.0, &self.known.1);
        amendment((&self.before, &self.now), &self.table, known, &foreign)
    }

    /// What the amendment makes of what was known before.
    fn amended(&self, amendment: &Amendment) -> (Selection, Resolved) {
        let (mut selection, mut resolved) = self.known.clone();
        amendment.apply(&self.now, &mut selection, &mut resolved);
        (selection, resolved)
    }
}

fn nodes() -> Vec<Node> {
    vec![
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("a2", "10.0.1.12", &["10.244.2.0/24", "10.250.0.0/24"]),
        node("b1", "10.0.2.11", &["10.244.3.0/24", "10.251.0.0/16"]),
    ]
}

fn pods() -> Vec<Pod> {
    vec![
        pod("default/web", "a1", "10.244.1.10"),
        pod("default/far", "b1", "10.251.7.7"),
        pod("default/away", "b1", "10.77.0.1"),
    ]
}

/// What the change of a2's prefixes to these comes to: `+` and `-`, or `?` if others have to find out.
fn change_of_a2(prefixes: &[&str]) -> String {
    let change = Change::of(&nodes(), &pods(), node("a2", "10.0.1.12", prefixes));
    let Some(amendment) = change.amendment() else { return "?".to_owned() };
    assert_eq!(change.amended(&amendment), change.from_scratch, "{prefixes:?}");
    let added = amendment.added.iter().map(|new| format!("+{}", new.prefix));
    let removed = amendment.removed.iter().map(|gone| format!("-{}", gone.prefix));
    added.chain(removed).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_concerns_nobody_else_is_found_at_once() {
    const FIRST: &str = "10.244.2.0/24";
    for (prefixes, expected) in [
        (&[FIRST, "10.250.0.0/24", "10.252.0.0/24"][..], "+10.252.0.0/24"),
        (&[FIRST], "-10.250.0.0/24"),
        (&[FIRST, "10.252.0.0/24", "10.253.0.0/32"], "+10.252.0.0/24 +10.253.0.0/32 -10.250.0.0/24"),
        (&[FIRST, "10.250.0.0/24"], ""),
        // Its host's address changes.
        (&["10.252.0.0/24", FIRST], "?"),
        (&[], "?"),
        // Somebody else's, inside of somebody else's, around a pod that is away from home, around a node.
        (&[FIRST, "10.244.3.0/24"], "?"),
        (&[FIRST, "10.251.7.0/24"], "?"),
        (&[FIRST, "10.77.0.0/16"], "?"),
        (&[FIRST, "10.0.2.0/24"], "?"),
        // Around and inside of a network of the host.
        (&[FIRST, "10.8.0.0/15"], "?"),
        (&[FIRST, "10.9.9.0/25"], "+10.9.9.0/25 -10.250.0.0/24"),
        // The first of a family.
        (&[FIRST, "fd00:2::/64"], "?"),
    ] {
        assert_eq!(change_of_a2(prefixes), expected, "{prefixes:?}");
    }
}

#[test]
fn what_is_more_than_a_prefix_is_left_to_others() {
    let change = |now: Node| Change::of(&nodes(), &pods(), now);
    let moved = change(node("a2", "10.0.1.13", &["10.244.2.0/24"]));
    assert_eq!(moved.amendment(), None, "another address");
    let own = change(node("a1", "10.0.1.11", &["10.244.1.0/24", "10.252.0.0/24"]));
    assert_eq!(own.amendment(), None, "this node itself");
    let home = change(node("b1", "10.0.2.11", &["10.244.3.0/24"]));
    assert_eq!(home.amendment(), None, "a pod was at home there");
    let mut held = change(node("a2", "10.0.1.12", &["10.244.2.0/24"]));
    held.known.1.hold = true;
    assert_eq!(held.amendment(), None, "nothing is known");
}

#[test]
fn a_new_route_leads_to_the_nodes_own_next_hop() {
    let change = Change::of(
        &nodes(),
        &[],
        node("b1", "10.0.2.11", &["10.244.3.0/24", "10.252.0.0/24", "10.251.0.0/16"]),
    );
    let amendment = change.amendment().unwrap();
    let [new] = amendment.added.as_slice() else { panic!("{amendment:?}") };
    assert!(matches!(&new.route.next_hop, NextHopKey::Node(path) if path.node.as_str() == "b1"));
    assert_eq!(new.kernel.gateway, Some("10.0.1.1".parse().unwrap()));
    assert_eq!(new.kernel.legs.as_ref().map(|legs| legs.len()), Some(2), "it has a group");
    assert_eq!(change.amended(&amendment), change.from_scratch);
}

#[test]
fn what_a_route_to_the_outside_has_to_do_with_is_left_to_others() {
    let change = |prefix, prefixes: &[&str]| {
        let routes = [outside(prefix, &["10.0.1.7"])];
        Change::with_routes(&nodes(), &[], &routes, node("a2", "10.0.1.12", prefixes)).amendment()
    };
    let (first, kept) = ("10.244.2.0/24", "10.250.0.0/24");
    assert!(change("192.0.2.0/24", &[first, kept, "10.252.0.0/24"]).is_some(), "it is elsewhere");
    for prefix in ["10.252.0.0/24", "10.252.0.0/16", "10.252.0.128/25"] {
        assert_eq!(change(prefix, &[first, kept, "10.252.0.0/24"]), None, "{prefix} is a route");
    }
    // The route is used once the pod prefix around it has gone.
    assert_eq!(change("10.250.0.128/25", &[first]), None);
    assert_eq!(change("10.250.0.0/24", &[first]), None);
}

/// Prefixes from so small a space that they often meet.
fn some_prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    let prefix = (0_u8..3, 0_u8..16, prop_oneof![Just(24_u8), Just(28), Just(30), Just(32)]).prop_map(
        |(third, last, length)| {
            let net = ipnet::Ipv4Net::new([10, 244, third, last * 16].into(), length).unwrap();
            Prefix::from(net)
        },
    );
    prop::collection::vec(prefix, 0..5)
}

fn any_node(name: &'static str, address: &'static str) -> impl Strategy<Value = Node> {
    // Sometimes in the way of prefixes.
    let address = prop_oneof![4 => Just(address), 1 => Just("10.244.1.16")];
    (address, some_prefixes()).prop_map(move |(address, pod_prefixes)| Node {
        pod_prefixes: pod_prefixes.into(),
        ..node(name, address, &[])
    })
}

fn any_routes() -> impl Strategy<Value = Vec<Route>> {
    let next_hops = prop::sample::subsequence(vec!["10.0.1.7", "10.0.1.8", "10.0.2.11"], 1..=3);
    (some_prefixes(), next_hops).prop_map(|(prefixes, next_hops)| {
        prefixes.iter().map(|prefix| outside(&prefix.to_string(), &next_hops)).collect()
    })
}

fn any_pods() -> impl Strategy<Value = Vec<Pod>> {
    let place =
        (0_usize..3, 0_u8..3, 0_u8..16).prop_map(|(on, third, last)| (on, [10, 244, third, last * 16]));
    prop::collection::vec(place, 0..4).prop_map(|pods| {
        let named = |(number, (on, address)): (usize, (usize, [u8; 4]))| {
            pod(&format!("default/p{number}"), ["a1", "a2", "b1"][on], &IpAddr::from(address).to_string())
        };
        pods.into_iter().enumerate().map(named).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever the shortcut finds is what looking at everything finds.
    #[test]
    fn an_amendment_is_what_everything_comes_to(
        a1 in any_node("a1", "10.0.1.11"),
        a2 in any_node("a2", "10.0.1.12"),
        b1 in any_node("b1", "10.0.2.11"),
        (pods, routes) in (any_pods(), any_routes()),
        (keep, more) in (any::<[bool; 5]>(), some_prefixes()),
    ) {
        let kept = a2.pod_prefixes.iter().zip(keep).filter(|(_, keep)| *keep).map(|(prefix, _)| *prefix);
        let now = Node { pod_prefixes: kept.chain(more).collect::<Vec<_>>().into(), ..a2.clone() };
        let change = Change::with_routes(&[a1, a2, b1], &pods, &routes, now);
        if let Some(amendment) = change.amendment() {
            prop_assert_eq!(change.amended(&amendment), change.from_scratch);
        }
    }
}
