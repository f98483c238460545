//! Several sources that state the same objects: the preferred one is believed, and what the others say is shown as not
//! used, with its source and the reason.

use super::*;
use crate::{
    model::{Object, SourceEvent, SourceId, SourceUpdate},
    rib::{
        Lookup, ResolveSettings, Table,
        fixtures::{node, pod, stated_by},
        lookup, resolve,
    },
};

const FILE: &SourceId = &SourceId::FILE;
const ETCD: SourceId = SourceId::new("etcd", 150);
const KUBERNETES: SourceId = SourceId::new("kubernetes", 50);

/// Node a1's selection of what the file, and this source, state.
fn with_second(source: &SourceId, second: Vec<Object>) -> Selection {
    let mut table = Table::new([]);
    let file = three_nodes().map(Object::Node).into_iter().chain([Object::Pod(web(FILE, "10.244.1.10"))]);
    let stated = file.map(|object| (FILE, object));
    for (source, object) in second.into_iter().map(|object| (source, object)).chain(stated) {
        table.apply(SourceUpdate { source: source.clone(), event: SourceEvent::Upsert(Box::new(object)) });
    }
    select(&table, &"a1".parse().unwrap())
}

fn web(source: &SourceId, address: &str) -> Pod {
    let pod = pod("default/web", "a1", address);
    Pod { origin: Origin { source: source.clone(), ..pod.origin }, ..pod }
}

fn b1(source: &SourceId) -> Object {
    Object::Node(stated_by(source, node("b1", "10.0.2.99", &["10.244.3.0/24", "10.244.8.0/24"])))
}

fn looked_up(selection: &Selection, address: &str) -> Lookup {
    let resolved = resolve(selection, &crate::model::HostView::default(), &ResolveSettings::default());
    lookup(selection, &resolved, address.parse().unwrap())
}

/// The losers at a prefix: where each is stated, and why it is not used.
fn losers(selection: &Selection, prefix: &str) -> Vec<(String, String)> {
    let losers = selection.losers.get(&prefix.parse().unwrap()).into_iter().flatten();
    losers.map(|loser| (loser.candidate.origin.to_string(), loser.reason.clone())).collect()
}

#[test]
fn the_preferred_sources_object_is_used_and_the_others_is_a_loser_with_its_reason() {
    let cases = [
        (ETCD, "10.0.2.11", "etcd cluster.yaml:b1", "source etcd comes after source file"),
        (KUBERNETES, "10.0.2.99", "file cluster.yaml:b1", "source file comes after source kubernetes"),
    ];
    for (second, address, origin, reason) in cases {
        let selection = with_second(&second, vec![b1(&second)]);
        assert_eq!(selection.nodes[&"b1".parse().unwrap()].addresses, [address.parse::<IpAddr>().unwrap()]);
        let told = vec![(origin.to_owned(), reason.to_owned())];
        assert_eq!(losers(&selection, "10.244.3.0/24"), told);
        let other = if address == "10.0.2.11" { "10.0.2.99/32" } else { "10.0.2.11/32" };
        assert_eq!(losers(&selection, other), told);
        assert_one_problem(&selection, ProblemKind::DuplicateObject, &["node b1", origin, reason]);
    }
}

#[test]
fn a_loser_shows_in_lookups_whether_or_not_another_has_its_prefix() {
    let selection = with_second(&ETCD, vec![b1(&ETCD)]);
    let reason = "source etcd comes after source file";
    let taken = looked_up(&selection, "10.244.3.9");
    let row = taken.passed_over.first().unwrap();
    assert_eq!((row.losers[0].reason.as_str(), row.losers[0].origin.source.clone()), (reason, ETCD));
    let nobodys = looked_up(&selection, "10.244.8.9");
    let [(prefix, loser)] = nobodys.unused.as_slice() else { panic!("{nobodys:?}") };
    assert_eq!((prefix.to_string().as_str(), loser.reason.as_str()), ("10.244.8.0/24", reason));
    let unused: Vec<String> = crate::rib::unused(&selection).map(|(prefix, _)| prefix.to_string()).collect();
    assert_eq!(unused, ["10.0.2.99/32", "10.244.8.0/24"]);
}

#[test]
fn a_pod_of_two_sources_is_used_once() {
    let selection = with_second(&ETCD, vec![Object::Pod(web(&ETCD, "10.244.1.77"))]);
    assert_eq!(selection.pods.values().flat_map(|pod| &pod.addresses).count(), 1);
    assert_eq!(
        losers(&selection, "10.244.1.77/32"),
        [("etcd cluster.yaml:default/web".to_owned(), "source etcd comes after source file".to_owned())]
    );
    assert_one_problem(&selection, ProblemKind::DuplicateObject, &["pod default/web", "etcd"]);
}

#[test]
fn what_a_source_leaves_is_taken_from_the_next() {
    let mut table = Table::new([]);
    let event = |source: &SourceId, event| SourceUpdate { source: source.clone(), event };
    for source in [KUBERNETES, ETCD] {
        table.apply(event(&source, SourceEvent::Upsert(Box::new(b1(&source)))));
    }
    let of_b1 = |table: &Table| {
        let selection = select(table, &"a1".parse().unwrap());
        selection.routes[&"10.244.8.0/24".parse().unwrap()].origin.source.clone()
    };
    assert_eq!(of_b1(&table), KUBERNETES);
    table.apply(event(&KUBERNETES, SourceEvent::Withdraw(b1(&KUBERNETES).key())));
    assert_eq!(of_b1(&table), ETCD);
}
