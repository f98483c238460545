//! What is selected depends on the facts alone, and all nodes agree.

use proptest::{prelude::*, sample::subsequence};

use super::*;

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

/// Before the file, after it, and of the same preference as it.
const SOURCES: [SourceId; 4] =
    [SourceId::FILE, SourceId::new("kubernetes", 50), SourceId::new("etcd", 150), SourceId::new("zoo", 100)];

/// What each source states: some of the objects, each of them in its own way.
fn stated() -> impl Strategy<Value = Vec<(SourceId, Object)>> {
    let of = |source: SourceId| {
        let objects = (nodes(), pods()).prop_map(|(nodes, pods)| {
            nodes.into_iter().map(Object::Node).chain(pods.into_iter().map(Object::Pod)).collect::<Vec<_>>()
        });
        let all = NODES.len() + PODS.len();
        objects.prop_flat_map(move |objects| subsequence(objects, 0..=all)).prop_map(move |objects| {
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

    /// No conflict is settled in silence, and nothing that is used has lost.
    #[test]
    fn every_loser_to_another_node_is_named_by_a_problem(nodes in nodes(), pods in pods()) {
        let selection = selected(&nodes, &pods, "a1");
        for (prefix, losers) in &selection.losers {
            for loser in losers {
                let winner = selection.routes.get(prefix);
                prop_assert!(winner.is_none_or(|winner| **winner != loser.candidate), "{prefix}: {loser:?}");
                if winner.is_some_and(|winner| winner.node != loser.candidate.node) {
                    let name = format!("node {}", loser.candidate.node);
                    let told = selection.problems.iter().any(|problem| problem.text.contains(&name));
                    prop_assert!(told, "{prefix}: {loser:?}");
                }
            }
        }
    }
}
