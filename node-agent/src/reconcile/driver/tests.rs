//! The datapath's part of a pass, against a datapath in memory.

use node_ebpf_common::{Endpoint, Hook, NextHop, NextHopKind};

mod properties;

use super::*;
use crate::{
    datapath::memory::MemoryDatapath,
    model::{AddressFamily, Attachment, NextHopKey, NodePath, WantedRoute},
};

const ALL: Pass =
    Pass { allow_delete: true, audit: false, healthy: true, changed: true, table_changed: false };

/// Two nodes with a prefix each, and a pod's interface.
fn wanted() -> Wanted {
    let mut wanted = Wanted::default();
    for (node, prefix) in [("b", "10.244.2.0/24"), ("c", "10.244.3.0/24")] {
        let key = NextHopKey::Node(NodePath {
            node: node.parse().unwrap(),
            inner: AddressFamily::V4,
            outer: AddressFamily::V4,
        });
        let (identity, kind) = (key.identity(), NextHopKind::Direct as u32);
        let next_hop = NextHop { identity, kind, mtu: 1_500, ..NextHop::default() };
        wanted.datapath.next_hops.insert(key.clone(), next_hop);
        wanted.datapath.routes.insert(prefix.parse().unwrap(), WantedRoute { next_hop: key, flags: 0 });
    }
    for (link, interface) in [(5, "veth-a"), (6, "veth-b")] {
        wanted.datapath.endpoints.insert(link, Endpoint::default());
        let at = Attachment { link, interface: interface.to_owned(), hook: Hook::FromPod };
        wanted.datapath.attachments.insert(at);
    }
    wanted
}

fn reconciler() -> Reconciler<MemoryDatapath> {
    Reconciler::new(MemoryDatapath::default(), Host::new(), Brake::default(), Stop::default())
}

fn pass(reconciler: &mut Reconciler<MemoryDatapath>, wanted: &Wanted, pass: Pass) {
    let mut outcome = Outcome::default();
    reconciler.read_back(pass, &mut outcome);
    let mut plans = Plans { maps: reconciler.plan_datapath(wanted, pass, &mut outcome), host: Vec::new() };
    reconciler.hold_back(&mut plans, wanted, &HostView::default(), pass, &Default::default);
    reconciler.make(&plans.maps, &mut outcome);
    reconciler.conclude(outcome, Instant::now());
}

#[test]
fn a_second_pass_finds_nothing_to_do_and_reads_nothing_back() {
    let (mut reconciler, wanted) = (reconciler(), wanted());
    pass(&mut reconciler, &wanted, ALL);
    assert_eq!(reconciler.report().work.changes(), 8);
    pass(&mut reconciler, &wanted, ALL);
    assert_eq!(reconciler.report().work.changes(), 0);
    assert_eq!(reconciler.datapath.observations, 1);
}

/// Invariant 1: the changes that were made stand, the next agent makes the others.
#[test]
fn invariant_1_an_agent_that_is_asked_to_stop_makes_no_more_changes_and_the_next_one_goes_on() {
    for number in 1..8 {
        let first = asked_to_stop_after(number, &wanted());
        // Both routes are written together.
        let number = if number == 5 { 6 } else { number };
        assert_eq!((first.datapath.applied.len(), first.report().work.changes()), (number, number));
        let datapath = MemoryDatapath { state: first.datapath.state, ..MemoryDatapath::default() };
        let mut next = Reconciler::new(datapath, Host::new(), Brake::default(), Stop::default());
        pass(&mut next, &wanted(), ALL);
        assert_eq!(next.report().work.changes(), 8 - number);
    }
}

/// However many routes are to be written, an agent ends after those that are written together.
#[test]
fn a_large_fill_is_left_between_groups_of_routes() {
    let mut wanted = wanted();
    let (_, route) = wanted.datapath.routes.first_key_value().unwrap();
    let route = route.clone();
    for number in 0..3_000_u32 {
        let prefix = format!("10.{}.{}.0/24", 100 + number / 256, number % 256).parse().unwrap();
        wanted.datapath.routes.insert(prefix, route.clone());
    }
    // Both next hops and both endpoints come first.
    let agent = asked_to_stop_after(5, &wanted);
    assert_eq!(agent.datapath.state.routes.len(), ROUTES_TOGETHER);
}

fn asked_to_stop_after(changes: usize, wanted: &Wanted) -> Reconciler<MemoryDatapath> {
    let stop = Stop::default();
    let stop_after = Some((changes, stop.clone()));
    let datapath = MemoryDatapath { stop_after, ..MemoryDatapath::default() };
    let mut agent = Reconciler::new(datapath, Host::new(), Brake::default(), stop);
    pass(&mut agent, wanted, ALL);
    agent
}

/// Invariant 4: what failed stays in the difference, and the rest does not wait for it.
#[test]
fn invariant_4_a_failed_change_is_retried_and_holds_up_only_what_relies_on_it() {
    let (mut reconciler, wanted) = (reconciler(), wanted());
    reconciler.datapath.refuse = vec!["next hop 1".to_owned(), "endpoint of interface 5".to_owned()];
    pass(&mut reconciler, &wanted, ALL);
    let state = &reconciler.datapath.state;
    assert_eq!(state.routes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.244.3.0/24"]);
    assert_eq!(state.attachments.keys().map(|at| at.link).collect::<Vec<_>>(), [6]);
    assert_eq!(reconciler.report().pending.iter().count(), 2);
    assert!(reconciler.report().pending.next().is_some());

    reconciler.datapath.refuse.clear();
    reconciler.try_all_again();
    pass(&mut reconciler, &wanted, ALL);
    assert_eq!(reconciler.datapath.state.routes.len(), 2);
    assert_eq!(reconciler.datapath.state.attachments.len(), 2);
    assert!(reconciler.report().pending.is_empty());
    assert_eq!(reconciler.report().pending.next(), None);
}

/// Invariant 4: what someone else removed is back after the audit, not before.
#[test]
fn invariant_4_an_audit_brings_back_what_someone_else_removed() {
    let (mut reconciler, wanted) = (reconciler(), wanted());
    pass(&mut reconciler, &wanted, ALL);
    reconciler.datapath.state.routes.clear();
    pass(&mut reconciler, &wanted, ALL);
    assert!(reconciler.datapath.state.routes.is_empty());
    pass(&mut reconciler, &wanted, Pass { audit: true, ..ALL });
    assert_eq!(reconciler.datapath.state.routes.len(), 2);
}

/// Invariant 2: nothing is deleted before every source has said Synced.
#[test]
fn invariant_2_nothing_is_deleted_before_the_sources_have_synced() {
    let (mut reconciler, mut wanted) = (reconciler(), wanted());
    pass(&mut reconciler, &wanted, ALL);
    wanted.datapath.routes.clear();
    wanted.datapath.attachments.clear();
    pass(&mut reconciler, &wanted, Pass { allow_delete: false, audit: true, ..ALL });
    assert_eq!(reconciler.datapath.state.routes.len(), 2);
    assert_eq!(reconciler.datapath.state.attachments.len(), 2);
    pass(&mut reconciler, &wanted, ALL);
    assert!(reconciler.datapath.state.routes.is_empty());
    assert!(reconciler.datapath.state.attachments.is_empty());
}

/// What is replaced goes only when its replacement is there.
#[test]
fn nothing_is_taken_away_while_a_route_cannot_be_written() {
    let (mut reconciler, mut wanted) = (reconciler(), wanted());
    pass(&mut reconciler, &wanted, ALL);
    let moved = wanted.datapath.routes.remove(&"10.244.2.0/24".parse().unwrap()).unwrap();
    wanted.datapath.routes.insert("10.244.2.0/23".parse().unwrap(), moved);
    reconciler.datapath.refuse = vec!["write route".to_owned()];
    pass(&mut reconciler, &wanted, ALL);
    assert!(reconciler.datapath.state.routes.contains_key(&"10.244.2.0/24".parse().unwrap()));
}

#[test]
fn an_endpoint_stays_while_its_program_cannot_be_detached() {
    let (mut reconciler, mut wanted) = (reconciler(), wanted());
    pass(&mut reconciler, &wanted, ALL);
    wanted.datapath.endpoints.clear();
    wanted.datapath.attachments.clear();
    reconciler.datapath.refuse = vec!["detach from-pod from interface 5".to_owned()];
    pass(&mut reconciler, &wanted, ALL);
    assert_eq!(reconciler.datapath.state.endpoints.keys().copied().collect::<Vec<_>>(), [5]);
}

/// A program that could not be replaced may still read the maps of its own layout.
#[test]
fn another_layouts_maps_stay_while_a_program_cannot_be_attached() {
    let (mut reconciler, wanted) = (reconciler(), wanted());
    reconciler.datapath.state.other_layouts.insert(1);
    // The first is refused itself, the second waits for what it relies on.
    for refused in ["attach from-pod to veth-a", "endpoint of interface 6"] {
        reconciler.datapath.refuse = vec![refused.to_owned()];
        pass(&mut reconciler, &wanted, ALL);
        assert!(reconciler.datapath.state.other_layouts.contains(&1), "{refused}");
        reconciler.datapath.state.attachments.clear();
        reconciler.datapath.state.endpoints.clear();
    }
    reconciler.datapath.refuse.clear();
    reconciler.try_all_again();
    pass(&mut reconciler, &wanted, ALL);
    assert!(reconciler.datapath.state.other_layouts.is_empty());
}

/// Invariant 4: what failed is tried again at its own pace, and what is new does not wait for it.
#[test]
fn invariant_4_a_change_that_is_not_due_stays_pending_and_what_relies_on_it_waits() {
    let (mut reconciler, mut wanted) = (reconciler(), wanted());
    reconciler.datapath.refuse = vec!["next hop 1".to_owned()];
    pass(&mut reconciler, &wanted, ALL);
    // It would succeed now, but it is not due; another route has come meanwhile.
    reconciler.datapath.refuse.clear();
    let other = wanted.datapath.routes[&"10.244.3.0/24".parse().unwrap()].clone();
    wanted.datapath.routes.insert("10.244.9.0/24".parse().unwrap(), other);
    let attempts = |reconciler: &Reconciler<MemoryDatapath>| {
        reconciler.report().pending.iter().map(|(_, pending)| pending.attempts).collect::<Vec<_>>()
    };
    assert_eq!(attempts(&reconciler), [1]);
    pass(&mut reconciler, &wanted, ALL);
    let prefixes = |reconciler: &Reconciler<MemoryDatapath>| {
        reconciler.datapath.state.routes.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(prefixes(&reconciler), ["10.244.3.0/24", "10.244.9.0/24"]);
    assert_eq!(attempts(&reconciler), [1], "it was not tried");
    reconciler.try_all_again();
    pass(&mut reconciler, &wanted, ALL);
    assert_eq!(prefixes(&reconciler).len(), 3);
    assert!(reconciler.report().pending.is_empty());
}

/// Invariant 4: what failed before and now waits for something else that failed keeps its place.
#[test]
fn invariant_4_a_change_that_is_due_but_waits_stays_pending() {
    let (mut reconciler, mut wanted) = (reconciler(), wanted());
    pass(&mut reconciler, &wanted, ALL);
    let route = wanted.datapath.routes[&"10.244.2.0/24".parse().unwrap()].clone();
    wanted.datapath.routes.insert("10.244.9.0/24".parse().unwrap(), route.clone());
    reconciler.datapath.refuse = vec!["route 10.244.9.0/24".to_owned()];
    pass(&mut reconciler, &wanted, ALL);
    reconciler.try_all_again();
    wanted.datapath.next_hops.get_mut(&route.next_hop).unwrap().mtu = 1_400;
    reconciler.datapath.refuse = vec!["next hop 1".to_owned()];
    pass(&mut reconciler, &wanted, ALL);
    let pending = |object: &str| {
        let mut all = reconciler.report().pending.iter();
        all.find(|(found, _)| found.contains(object)).map(|(_, pending)| pending.attempts)
    };
    assert_eq!((pending("next-hop object"), pending("10.244.9.0/24")), (Some(1), Some(1)));
    assert!(reconciler.report().pending.next() > Some(Instant::now()), "no pass without a pause");
}

/// What somebody has changed is found between two passes, too, and nothing is read as a change that is none.
#[test]
fn an_audit_between_two_passes_tells_whether_there_is_something_to_do() {
    let (mut reconciler, wanted) = (reconciler(), wanted());
    assert!(!reconciler.audit(), "nothing is known yet: the first pass reads everything");
    pass(&mut reconciler, &wanted, ALL);
    assert!(!reconciler.audit());
    reconciler.datapath.state.routes.clear();
    assert!(reconciler.audit());
    pass(&mut reconciler, &wanted, ALL);
    assert_eq!(reconciler.datapath.state.routes.len(), 2);
    assert!(!reconciler.audit());
}

/// A full map: what is to go makes room for what is to come, which would otherwise wait for each other for ever.
#[test]
fn routes_go_although_others_find_no_room() {
    let (mut reconciler, mut wanted) = (reconciler(), wanted());
    reconciler.datapath.room = Some(2);
    pass(&mut reconciler, &wanted, ALL);
    let gone = wanted.datapath.routes.remove(&"10.244.2.0/24".parse().unwrap()).unwrap();
    let [first, second] = ["10.244.8.0/24", "10.244.9.0/24"].map(|prefix| prefix.parse().unwrap());
    wanted.datapath.routes.extend([(first, gone.clone()), (second, gone)]);
    for _ in 0..3 {
        pass(&mut reconciler, &wanted, ALL);
        let [(object, pending), ..] = reconciler.report().pending.iter().collect::<Vec<_>>()[..] else {
            panic!("one finds no room");
        };
        assert!(object.contains("10.244.") && pending.error.contains("the map is full"), "{pending:?}");
        reconciler.try_all_again();
    }
    let routes = &reconciler.datapath.state.routes;
    assert_eq!(routes.len(), 2);
    assert!(!routes.contains_key(&"10.244.2.0/24".parse().unwrap()), "{routes:?}");
    wanted.datapath.routes.remove(&"10.244.3.0/24".parse().unwrap());
    pass(&mut reconciler, &wanted, ALL);
    reconciler.try_all_again();
    pass(&mut reconciler, &wanted, ALL);
    let routes = &reconciler.datapath.state.routes;
    assert!(routes.contains_key(&first) && routes.contains_key(&second), "{routes:?}");
    assert!(reconciler.report().pending.is_empty());
}
