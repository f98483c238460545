//! What is selected depends on the facts alone, and all nodes agree.

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::rib::fixtures::origin;

/// Addresses from so small a space that everything conflicts with everything.
fn address() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0_u8..3, 0_u8..6).prop_map(|(v4, third, last)| {
        if v4 {
            IpAddr::from([10, 0, third, last])
        } else {
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, third.into(), last.into()])
        }
    })
}

fn prefix() -> impl Strategy<Value = Prefix> {
    // The same lengths for both families, counted from the end.
    (address(), prop_oneof![Just(9_u8), Just(8), Just(2), Just(1), Just(0)]).prop_map(|(address, bits)| {
        let whole = IpNet::from(address);
        Prefix::containing(IpNet::new(address, whole.max_prefix_len() - bits).unwrap())
    })
}

/// A node, mostly outside of the pods' addresses, sometimes with another node's address.
fn any_node(name: &'static str) -> BoxedStrategy<Node> {
    let outside = (0_u8..12).prop_map(|last| IpAddr::from([192, 168, 0, last]));
    let node_address = prop_oneof![5 => outside, 1 => address()];
    let facts = (prop::collection::vec(node_address, 1..=2), prop::collection::vec(prefix(), 0..3));
    facts
        .prop_map(move |(addresses, pod_prefixes)| Node {
            addresses,
            pod_prefixes: pod_prefixes.into(),
            ..node(name, "10.0.0.1", &[])
        })
        .boxed()
}

const NODES: [&str; 4] = ["a1", "a2", "b1", "b2"];
const ROUTES: usize = 3;
const PODS: [&str; 5] = ["default/p0", "default/p1", "default/p2", "default/p3", "default/p4"];

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    NODES.map(any_node).to_vec()
}

fn pods() -> impl Strategy<Value = Vec<Pod>> {
    let any_pod = |name: &'static str| {
        let facts = (0..NODES.len(), address());
        facts.prop_map(move |(on, address)| pod(name, NODES[on], &address.to_string())).boxed()
    };
    PODS.map(any_pod).to_vec()
}

fn outside_routes() -> impl Strategy<Value = Vec<Route>> {
    let next_hop = (1_u8..4).prop_map(|last| IpAddr::from([192, 168, 0, last]));
    let route = (prefix(), prop::collection::btree_set(next_hop, 1..3))
        .prop_map(|(prefix, next_hops)| Route { prefix, next_hops, origin: origin(&prefix.to_string()) });
    prop::collection::vec(route, ROUTES).prop_map(|routes| {
        let by_prefix = routes.into_iter().map(|route| (route.prefix, route));
        by_prefix.collect::<BTreeMap<Prefix, Route>>().into_values().collect()
    })
}

/// Before the file, after it, and of the same preference as it.
const SOURCES: [SourceId; 4] =
    [SourceId::FILE, SourceId::new("kubernetes", 50), SourceId::new("etcd", 150), SourceId::new("zoo", 100)];

/// What each source states: some of the objects, each of them in its own way.
fn stated() -> impl Strategy<Value = Vec<(SourceId, Object)>> {
    let of = |source: SourceId| {
        let objects = (nodes(), pods(), outside_routes()).prop_map(|(nodes, pods, routes)| {
            let pods = pods.into_iter().map(Object::Pod).chain(routes.into_iter().map(Object::Route));
            nodes.into_iter().map(Object::Node).chain(pods).collect::<Vec<_>>()
        });
        let some_of = |objects: Vec<Object>| {
            let all = objects.len();
            subsequence(objects, 0..=all)
        };
        objects.prop_flat_map(some_of).prop_map(move |objects| {
            let by = |object| (source.clone(), by(&source, object));
            objects.into_iter().map(by).collect::<Vec<_>>()
        })
    };
    SOURCES.map(|source| of(source).boxed()).to_vec().prop_map(|stated| stated.concat())
}

fn by(source: &SourceId, object: Object) -> Object {
    let of = |origin: Origin| Origin { source: source.clone(), ..origin };
    match object {
        Object::Node(node) => Object::Node(Node { origin: of(node.origin.clone()), ..node }),
        Object::Pod(pod) => Object::Pod(Pod { origin: of(pod.origin.clone()), ..pod }),
        Object::Route(route) => Object::Route(Route { origin: of(route.origin.clone()), ..route }),
        Object::Cluster(cluster) => Object::Cluster(cluster),
    }
}

/// A history whose end is this: every object is stated, some first stated and withdrawn.
fn history(objects: Vec<(SourceId, Object)>) -> impl Strategy<Value = Vec<SourceUpdate>> {
    let update = |source: &SourceId, event| SourceUpdate { source: source.clone(), event };
    let noise = subsequence(objects.clone(), 0..=objects.len()).prop_shuffle();
    (noise, Just(objects).prop_shuffle()).prop_map(move |(noise, objects)| {
        let earlier = noise.into_iter().flat_map(|(source, object)| {
            let key = object.key();
            let stated = SourceEvent::Upsert(Box::new(object));
            [update(&source, stated), update(&source, SourceEvent::Withdraw(key))]
        });
        let stated = |(source, object)| update(&source, SourceEvent::Upsert(Box::new(object)));
        earlier.chain(objects.into_iter().map(stated)).collect()
    })
}

fn after(history: Vec<SourceUpdate>, own: &str) -> Selection {
    let mut table = Table::new([]);
    for update in history {
        table.apply(update);
    }
    select(&table, &own.parse().unwrap())
}

proptest! {
    #[test]
    fn selection_does_not_depend_on_the_order_of_events(
        (one, other) in stated().prop_flat_map(|stated| (history(stated.clone()), history(stated))),
        own in prop::sample::select(NODES.to_vec()),
    ) {
        prop_assert_eq!(after(one, own), after(other, own));
    }

    /// Whatever the others state of a node, the preferred source among those that state it decides.
    #[test]
    fn of_a_node_the_preferred_source_is_believed(
        stated in stated(),
        own in prop::sample::select(NODES.to_vec()),
    ) {
        let nodes: Vec<_> =
            stated.into_iter().filter(|(_, object)| matches!(object, Object::Node(_))).collect();
        let mut first: BTreeMap<_, (SourceId, Object)> = BTreeMap::new();
        for (source, object) in &nodes {
            if first.get(&object.key()).is_none_or(|(preferred, _)| source < preferred) {
                first.insert(object.key(), (source.clone(), object.clone()));
            }
        }
        let upsert = |(source, object)| SourceUpdate { source, event: SourceEvent::Upsert(Box::new(object)) };
        let all = after(nodes.into_iter().map(upsert).collect(), own);
        let preferred = after(first.into_values().map(upsert).collect(), own);
        prop_assert_eq!((all.own, all.nodes, all.routes), (preferred.own, preferred.nodes, preferred.routes));
    }

    /// Otherwise packets loop, or are dropped by the node that they are sent to.
    #[test]
    fn all_nodes_agree_where_an_address_leads(nodes in nodes(), pods in pods()) {
        let views: Vec<Selection> = NODES.iter().map(|own| selected(&nodes, &pods, own)).collect();
        for third in 0..4 {
            for last in 0..8 {
                let address = IpAddr::from([10, 0, third, last]);
                let answers = views.iter().filter(|view| view.own.is_some()).map(|view| leads_to(view, address));
                let answers: Vec<_> = answers.collect();
                prop_assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{address}: {answers:?}");
            }
        }
    }

    /// Whatever routes are stated, packets to everything of the cluster go where they went without them.
    #[test]
    fn routes_to_what_is_outside_take_nothing_from_the_cluster(
        nodes in nodes(),
        pods in pods(),
        routes in outside_routes(),
    ) {
        let own = "a1".parse().unwrap();
        let with = select_from(Cluster::default(), nodes.iter(), (pods.iter(), routes.iter()), &own);
        let without = selected(&nodes, &pods, "a1");
        let of_nodes = nodes.iter().flat_map(|node| &node.addresses);
        for address in of_nodes.chain(pods.iter().flat_map(|pod| &pod.addresses)) {
            if let Some(node) = leads_to(&without, *address) {
                prop_assert_eq!(leads_to(&with, *address), Some(node), "{}", address);
            }
        }
        let used = |selection: &Selection, outside: bool| {
            let routes = selection.routes.iter();
            let used = routes.filter(|(_, candidate)| (candidate.role == Role::Route) == outside);
            used.map(|(prefix, candidate)| (*prefix, Arc::clone(candidate))).collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(used(&with, false), without.routes);
        let losers = with.losers.values().flatten();
        let lost = losers.filter(|loser| loser.candidate.role == Role::Route).count();
        prop_assert_eq!(used(&with, true).len() + lost, routes.len(), "each is used, or a loser");
    }

    /// No conflict is settled in silence, and nothing that is used has lost.
    #[test]
    fn every_loser_to_another_node_is_named_by_a_problem(nodes in nodes(), pods in pods()) {
        let selection = selected(&nodes, &pods, "a1");
        for (prefix, losers) in &selection.losers {
            for loser in losers {
                let winner = selection.routes.get(prefix);
                prop_assert!(winner.is_none_or(|winner| **winner != loser.candidate), "{prefix}: {loser:?}");
                if winner.is_some_and(|winner| winner.node != loser.candidate.node) {
                    let name = format!("node {}", loser.candidate.node.as_ref().unwrap());
                    let told = selection.problems.iter().any(|problem| problem.text.contains(&name));
                    prop_assert!(told, "{prefix}: {loser:?}");
                }
            }
        }
    }
}
