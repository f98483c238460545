//! Which of several ways a packet goes, for both address families.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;

use node_ebpf::{
    ETHERNET_LENGTH, Family as _, Header, Outcome, V4, V6,
    decide::{self, Decision, Egress},
};
use node_ebpf_common::{NextHop, NextHopGroup, NextHopKind};
use support::{POD_INTERFACE, Plain, TestFamily, frame, header, tables};

const GROUP: u32 = 3;
/// As many members as buckets.
const EVERY: u32 = 16;
/// Index of the first member; its interface is [`MEMBER_INTERFACE`], the next one's is one more.
const MEMBER: u32 = 100;
const MEMBER_INTERFACE: u32 = 200;

macro_rules! both_families {
    ($($test:ident)*) => {
        mod v4 { $(#[test] fn $test() { super::$test::<node_ebpf::V4>(); })* }
        mod v6 { $(#[test] fn $test() { super::$test::<node_ebpf::V6>(); })* }
    };
}

both_families! {
    flows_spread_evenly_over_the_members_and_each_stays_with_one
    every_hook_chooses_alike
    fragments_of_a_packet_go_one_way
    nodes_choose_differently
    a_member_or_group_that_is_not_there_leaves_the_owner
    what_the_stack_sends_leaves_by_the_member_that_was_chosen
}

/// The tables of the other tests, in which the way to the remote pod is one of `members`.
fn grouped<F: TestFamily>(kind: NextHopKind, members: u32) -> Plain {
    let mut tables = tables::<F>(kind);
    let owner = NextHop { group: GROUP, ..tables.next_hops[&2] };
    tables.next_hops.insert(2, owner);
    for number in 0..members {
        let member = NextHop { interface: MEMBER_INTERFACE + number, group: 0, ..owner };
        tables.next_hops.insert(MEMBER + number, member);
    }
    let buckets = std::array::from_fn(|bucket| MEMBER + u32::try_from(bucket).unwrap() % members);
    tables.groups.insert(GROUP, NextHopGroup { identity: 1, buckets });
    tables
}

/// A UDP packet of the flow with this number.
fn packet<F: TestFamily>(flow: u16) -> Header<F> {
    let ports = [flow.to_be_bytes(), 5_001_u16.to_be_bytes()].concat();
    let payload = [&ports[..], &[0; 60]].concat();
    F::parse(&mut frame(&F::packet(F::POD, F::REMOTE, 64, 17, &payload)), ETHERNET_LENGTH).ok().unwrap()
}

/// The interface through which a packet from the pod leaves.
fn way<F: TestFamily>(header: &Header<F>, tables: &Plain) -> u32 {
    match decide::from_pod(header, POD_INTERFACE, tables) {
        Ok(Decision::Direct(via) | Decision::Ipip(via)) => via.interface,
        _ => panic!("not forwarded"),
    }
}

fn flows_spread_evenly_over_the_members_and_each_stays_with_one<F: TestFamily>() {
    let tables = grouped::<F>(NextHopKind::Direct, 4);
    let mut flows: BTreeMap<u32, u32> = BTreeMap::new();
    for flow in 0..4_000 {
        let header = packet::<F>(flow);
        let chosen = way(&header, &tables);
        assert_eq!(way(&header, &tables), chosen);
        *flows.entry(chosen).or_default() += 1;
    }
    assert_eq!(flows.len(), 4);
    assert!(flows.values().all(|count| (900..=1_100).contains(count)), "{flows:?}");
}

/// XDP and tc send a flow the same way.
fn every_hook_chooses_alike<F: TestFamily>() {
    let direct = grouped::<F>(NextHopKind::Direct, EVERY);
    let ipip = grouped::<F>(NextHopKind::Ipip, EVERY);
    // What passes through a node does not come from its pods: the source's route is taken away.
    let mut transit = grouped::<F>(NextHopKind::Direct, EVERY);
    transit.routes.remove(&F::to_common(F::POD));
    for flow in 0..100 {
        let header = packet::<F>(flow);
        let chosen = way(&header, &direct);
        assert_eq!(way(&header, &ipip), chosen);
        assert_eq!(decide::transit(&header, &transit).map(|via| via.interface), Ok(chosen));
        let Ok(Egress::Encapsulate { via, anew: true }) = decide::to_uplink(&header, &ipip) else {
            panic!("{flow}")
        };
        assert_eq!(via.interface, chosen);
    }
}

fn fragments_of_a_packet_go_one_way<F: TestFamily>() {
    let tables = grouped::<F>(NextHopKind::Direct, EVERY);
    let fragment = |first: u16| {
        // What a later fragment carries where the first has its ports.
        let mut payload = [&first.to_be_bytes()[..], &[0; 62]].concat();
        let mut protocol = 17;
        if F::PROTOCOL == V6::PROTOCOL {
            payload = [&[17, 0, first.to_be_bytes()[0] & 0x1f, 1, 0, 0, 0, 9], &payload[..]].concat();
            protocol = 44;
        }
        let mut packet = F::packet(F::POD, F::REMOTE, 64, protocol, &payload);
        if F::PROTOCOL == V4::PROTOCOL {
            packet[6] = 0x20;
            packet[7] = first.to_be_bytes()[1] & 0x1f;
        }
        F::parse(&mut frame(&packet), ETHERNET_LENGTH).ok().unwrap()
    };
    let ways: Vec<u32> = (0..50).map(|number| way::<F>(&fragment(number * 321), &tables)).collect();
    assert!(ways.iter().all(|way| *way == ways[0]), "{ways:?}");
}

/// Otherwise a node behind another would get only flows that have chosen one way already.
fn nodes_choose_differently<F: TestFamily>() {
    let ways = |node: F::Address| -> Vec<u32> {
        let mut tables = grouped::<F>(NextHopKind::Direct, 2);
        tables.next_hops.get_mut(&2).unwrap().tunnel_source = F::to_common(node);
        (0..200).map(|flow| way(&packet::<F>(flow), &tables)).collect()
    };
    let (one, other) = (ways(F::NODE), ways(F::PEER));
    let alike = one.iter().zip(&other).filter(|(one, other)| one == other).count();
    assert!((60..=140).contains(&alike), "{alike} of 200 flows go the same way");
}

fn a_member_or_group_that_is_not_there_leaves_the_owner<F: TestFamily>() {
    let whole = grouped::<F>(NextHopKind::Ipip, 2);
    let mut unused = grouped::<F>(NextHopKind::Ipip, 2);
    unused.next_hops.insert(MEMBER, NextHop::default());
    let mut absent = grouped::<F>(NextHopKind::Ipip, 2);
    absent.groups.clear();
    let mut ways = BTreeMap::<_, u32>::new();
    for flow in 0..50 {
        let header = packet::<F>(flow);
        assert_eq!(way(&header, &absent), POD_INTERFACE, "the owner's own");
        let (before, now) = (way(&header, &whole), way(&header, &unused));
        assert_eq!(now, if before == MEMBER_INTERFACE { POD_INTERFACE } else { before });
        *ways.entry(now).or_default() += 1;
    }
    assert_eq!(ways.len(), 2, "{ways:?}");
}

/// The stack chooses by itself; what must be encapsulated for one way must not go plainly by another.
fn what_the_stack_sends_leaves_by_the_member_that_was_chosen<F: TestFamily>() {
    let mut tables = grouped::<F>(NextHopKind::Direct, 2);
    tables.next_hops.get_mut(&MEMBER).unwrap().kind = NextHopKind::Ipip as u32;
    let mut seen = [0, 0];
    for flow in 0..50 {
        match decide::to_uplink(&packet::<F>(flow), &tables) {
            Ok(Egress::Encapsulate { via, anew: true }) if via.interface == MEMBER_INTERFACE => seen[0] += 1,
            Ok(Egress::Via(via)) if via.interface == MEMBER_INTERFACE + 1 => seen[1] += 1,
            _ => panic!("flow {flow}"),
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    let alone = support::tables::<F>(NextHopKind::Ipip);
    assert!(matches!(
        decide::to_uplink(&packet::<F>(1), &alone),
        Ok(Egress::Encapsulate { anew: false, .. })
    ));
}

/// A prefix with several nodes behind it may send through a tunnel from each of them.
fn every_members_node_may_send<O: TestFamily>() {
    let mut tables = grouped::<O>(NextHopKind::Ipip, 2);
    let decide = |tables: &Plain, outer| {
        let (outer, inner) = (header::<O>(outer, O::NODE), header::<V4>(V4::REMOTE, V4::POD));
        decide::decapsulate::<O, V4, _>(&outer, &inner, tables).map(|_| ())
    };
    assert_eq!(decide(&tables, O::PEER), Ok(()));
    assert_eq!(decide(&tables, O::OUTSIDE), Err(Outcome::DropUnknownTunnelSource));
    tables.next_hops.get_mut(&(MEMBER + 1)).unwrap().tunnel_destination = O::to_common(O::OUTSIDE);
    assert_eq!(decide(&tables, O::PEER), Ok(()));
    assert_eq!(decide(&tables, O::OUTSIDE), Ok(()));
    tables.next_hops.insert(MEMBER + 1, NextHop::default());
    assert_eq!(decide(&tables, O::OUTSIDE), Err(Outcome::DropUnknownTunnelSource));
}

#[test]
fn every_members_node_may_send_4in4_4in6() {
    every_members_node_may_send::<V4>();
    every_members_node_may_send::<V6>();
}
