//! Decisions on the host, against plain tables: the same code that the BPF programs run, without root, for both
//! address families. The program tests (crate `tests`) check the same on the real object.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use node_ebpf::{
    ETHERNET_LENGTH, Outcome, V4, V6,
    decide::{self, Congestion, Decision, Egress, Inner},
};
use node_ebpf_common::{NextHopKind, Route};
use support::{POD_INTERFACE, TestFamily, common, frame, header, tables};

/// Runs a test for both families.
macro_rules! both_families {
    ($($test:ident)*) => {
        mod v4 { $(#[test] fn $test() { super::$test::<node_ebpf::V4>(); })* }
        mod v6 { $(#[test] fn $test() { super::$test::<node_ebpf::V6>(); })* }
    };
}

both_families! {
    every_kind_of_next_hop_has_its_decision_at_every_hook
    the_last_hop_and_what_does_not_fit_go_to_the_stack
    an_interface_without_an_endpoint_counts_as_strict
    a_pod_may_not_send_tunnels
    this_nodes_own_addresses_do_not_come_from_outside
    a_translated_flow_is_left_to_the_stack_in_both_directions
    what_is_remembered_of_a_translation
}

/// Kind of the remote next hop → what becomes of a packet to it, at each hook.
fn every_kind_of_next_hop_has_its_decision_at_every_hook<F: TestFamily>() {
    for (kind, from_pod, from_uplink) in [
        (NextHopKind::LocalPod, Ok(Outcome::Local), Ok(())),
        (NextHopKind::Direct, Ok(Outcome::Direct), Err(Outcome::StackTransit)),
        (NextHopKind::Ipip, Ok(Outcome::Ipip), Err(Outcome::StackTransit)),
        (NextHopKind::Host, Err(Outcome::StackHost), Err(Outcome::StackHost)),
        (NextHopKind::Unassigned, Err(Outcome::DropUnassigned), Err(Outcome::DropUnassigned)),
        (NextHopKind::Unused, Err(Outcome::DropNoNextHop), Err(Outcome::DropNoNextHop)),
    ] {
        let tables = tables::<F>(kind);
        let sent = header::<F>(F::POD, F::REMOTE);
        let decided = decide::from_pod(&sent, POD_INTERFACE, &tables).map(|decision| match decision {
            Decision::Local(_) => Outcome::Local,
            Decision::Direct(_) => Outcome::Direct,
            Decision::Ipip(_) => Outcome::Ipip,
        });
        assert_eq!(decided, from_pod, "{}", kind.label());
        let come = header::<F>(F::OUTSIDE, F::REMOTE);
        assert_eq!(decide::from_uplink(&come, &tables).map(|_| ()), from_uplink, "{}", kind.label());
        let encapsulated = matches!(decide::to_uplink(&sent, &tables), Ok(Egress::Encapsulate { .. }));
        assert_eq!(encapsulated, kind == NextHopKind::Ipip, "{}", kind.label());
    }
}

fn the_last_hop_and_what_does_not_fit_go_to_the_stack<F: TestFamily>() {
    let tables = tables::<F>(NextHopKind::Ipip);
    for (hops, length, outcome) in [
        (1, 100, Some(Outcome::StackTtl)),
        (0, 100, Some(Outcome::StackTtl)),
        (2, 1_480, None),
        (2, 1_481, Some(Outcome::StackTooBig)),
    ] {
        let payload = vec![0; length - F::HEADER_LENGTH];
        let packet = F::packet(F::POD, F::REMOTE, hops, 17, &payload);
        let header = F::parse(&mut frame(&packet), ETHERNET_LENGTH).ok().unwrap();
        assert_eq!(decide::from_pod(&header, POD_INTERFACE, &tables).err(), outcome, "{hops} {length}");
    }
}

fn an_interface_without_an_endpoint_counts_as_strict<F: TestFamily>() {
    let tables = tables::<F>(NextHopKind::Direct);
    let decide = |source| decide::from_pod(&header::<F>(source, F::REMOTE), 99, &tables).err();
    assert_eq!(decide(F::POD), Some(Outcome::DropSpoofedSource));
    assert_eq!(decide(F::OUTSIDE), Some(Outcome::DropSpoofedSource));
}

fn a_pod_may_not_send_tunnels<F: TestFamily>() {
    let tables = tables::<F>(NextHopKind::Direct);
    for protocol in [4, 41] {
        let packet = F::packet(F::POD, F::REMOTE, 64, protocol, &[0; 60]);
        let header = F::parse(&mut frame(&packet), ETHERNET_LENGTH).ok().unwrap();
        assert_eq!(decide::from_pod(&header, POD_INTERFACE, &tables).err(), Some(Outcome::DropPodTunnel));
    }
}

fn this_nodes_own_addresses_do_not_come_from_outside<F: TestFamily>() {
    let tables = tables::<F>(NextHopKind::Direct);
    let decide = |source| decide::from_uplink(&header::<F>(source, F::POD), &tables).err();
    assert_eq!(decide(F::POD), Some(Outcome::DropSpoofedUplinkSource));
    assert_eq!(decide(F::NODE), Some(Outcome::DropSpoofedUplinkSource));
    assert_eq!(decide(F::REMOTE), None);
    assert_eq!(decide(F::OUTSIDE), None);
}

fn a_translated_flow_is_left_to_the_stack_in_both_directions<F: TestFamily>() {
    let mut tables = tables::<F>(NextHopKind::Direct);
    let (sent, come) = (header::<F>(F::POD, F::REMOTE), header::<F>(F::REMOTE, F::POD));
    let outcomes = |tables: &support::Plain| {
        let from_pod = decide::from_pod(&sent, POD_INTERFACE, tables).err();
        let inside = decide::decapsulate::<F, F, _>(&header(F::PEER, F::NODE), &come, tables);
        let to_stack = matches!(inside, Ok((Inner::Stack, _)));
        (from_pod, decide::from_uplink(&come, tables).err(), to_stack)
    };
    assert_eq!(outcomes(&tables), (None, None, false));
    tables.translated.insert(common::<F>(&sent.flow()));
    let translated = Some(Outcome::StackTranslated);
    assert_eq!(outcomes(&tables), (translated, translated, true));
}

fn what_is_remembered_of_a_translation<F: TestFamily>() {
    let tables = tables::<F>(NextHopKind::Ipip);
    let of = |source, destination| {
        decide::translation(&header::<F>(source, destination), &tables)
            .map(|found| (common::<F>(&found.flow), found.both_ways))
    };
    let flow = |source, destination| common::<F>(&header::<F>(source, destination).flow());
    assert_eq!(of(F::POD, F::REMOTE), Some((flow(F::POD, F::REMOTE), false)));
    assert_eq!(of(F::REMOTE, F::POD), Some((flow(F::POD, F::REMOTE), false)));
    assert_eq!(of(F::PEER, F::POD), Some((flow(F::POD, F::PEER), false)));
    assert_eq!(of(F::POD, F::POD), Some((flow(F::POD, F::POD), true)));
    assert_eq!(of(F::NODE, F::REMOTE), None, "the answer goes to the stack anyway");
    assert_eq!(of(F::OUTSIDE, F::POD), None, "the answer goes to the stack anyway");
    assert_eq!(of(F::REMOTE, F::REMOTE), None, "no end of it is here");
}

/// The inner source must belong to the very node that sent the outer packet, whether this node would
/// encapsulate to it or not, and in whichever families.
fn decapsulation_accepts_only_the_owner<O: TestFamily, I: TestFamily>() {
    for kind in [NextHopKind::Direct, NextHopKind::Ipip] {
        let tables = tables::<O>(kind);
        let decide = |outer: O::Address, inner: I::Address| {
            decide::decapsulate::<O, I, _>(&header(outer, O::NODE), &header(inner, I::POD), &tables)
                .map(|(target, congestion)| (matches!(target, Inner::Local(_)), congestion))
        };
        assert_eq!(decide(O::PEER, I::REMOTE), Ok((true, Congestion::Keep)));
        assert_eq!(decide(O::PEER, I::PEER), Ok((true, Congestion::Keep)));
        assert_eq!(decide(O::PEER, I::POD), Err(Outcome::DropSpoofedInnerSource));
        assert_eq!(decide(O::PEER, I::OUTSIDE), Err(Outcome::DropSpoofedInnerSource));
        assert_eq!(decide(O::OUTSIDE, I::REMOTE), Err(Outcome::DropUnknownTunnelSource));
    }
}

#[test]
fn decapsulation_accepts_only_the_owner_4in4_6in4_4in6_6in6() {
    decapsulation_accepts_only_the_owner::<V4, V4>();
    decapsulation_accepts_only_the_owner::<V4, V6>();
    decapsulation_accepts_only_the_owner::<V6, V4>();
    decapsulation_accepts_only_the_owner::<V6, V6>();
}

/// A tunnel in the other family than the one that the node is known by is not its own.
#[test]
fn a_tunnel_of_the_other_family_is_another_sender() {
    let tables = tables::<V4>(NextHopKind::Ipip);
    let decided =
        decide::decapsulate::<V6, V4, _>(&header(V6::PEER, V6::NODE), &header(V4::REMOTE, V4::POD), &tables);
    assert_eq!(decided.err(), Some(Outcome::DropSpoofedInnerSource));
}

/// Neighbour discovery from link-local addresses is the stack's; nothing forwards them.
#[test]
fn link_local_addresses_stay_on_the_link() {
    let mut tables = tables::<V6>(NextHopKind::Direct);
    let link_local = node_ebpf_common::Address::from_octets([
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0xec, 0xee, 0xee, 0xff, 0xfe, 0xee, 0xee, 0xee,
    ]);
    let decide = |tables: &support::Plain, source, destination| {
        decide::from_pod(&header::<V6>(source, destination), POD_INTERFACE, tables).err()
    };
    assert_eq!(decide(&tables, link_local, link_local), Some(Outcome::StackNotRouted));
    assert_eq!(decide(&tables, V6::POD, link_local), Some(Outcome::StackNotRouted));
    assert_eq!(decide(&tables, link_local, V6::REMOTE), Some(Outcome::DropSpoofedSource));
    tables.routes.insert(link_local, Route { next_hop: 2, flags: 0 });
    assert_eq!(decide(&tables, link_local, V6::REMOTE), Some(Outcome::DropSpoofedSource));
}
