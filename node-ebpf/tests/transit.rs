//! What an uplink's driver may forward, on the host, for both address families.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use node_ebpf::{ETHERNET_LENGTH, Family, Outcome, V4, V6, decide};
use node_ebpf_common::{Address, NextHopKind};
use support::{Plain, TestFamily, frame, header, tables};

/// Where a packet of this size goes that came from outside.
fn decided<F: TestFamily>(tables: &Plain, to: F::Address, hops: u8, length: usize) -> Result<u32, Outcome> {
    let packet = F::packet(F::OUTSIDE, to, hops, 17, &vec![0; length - F::HEADER_LENGTH]);
    let header = F::parse(&mut frame(&packet), ETHERNET_LENGTH).ok().unwrap();
    decide::transit(&header, tables).map(|next_hop| next_hop.interface)
}

/// Kind of the next hop → what becomes of a packet to a pod behind it, and to a node with that next hop.
fn only_what_goes_as_it_is_is_forwarded<F: TestFamily>() {
    let forwarded = Ok(support::POD_INTERFACE);
    for (kind, to_pod, to_node) in [
        (NextHopKind::Direct, forwarded, forwarded),
        (NextHopKind::Ipip, Err(Outcome::Pass), forwarded),
        (NextHopKind::LocalPod, Err(Outcome::Pass), Err(Outcome::Pass)),
        (NextHopKind::Host, Err(Outcome::Pass), Err(Outcome::Pass)),
        (NextHopKind::Unassigned, Err(Outcome::DropUnassigned), Err(Outcome::DropUnassigned)),
        (NextHopKind::Unused, Err(Outcome::DropNoNextHop), Err(Outcome::DropNoNextHop)),
    ] {
        let tables = tables::<F>(kind);
        assert_eq!(decided::<F>(&tables, F::REMOTE, 64, 100), to_pod, "{}", kind.label());
        assert_eq!(decided::<F>(&tables, F::PEER, 64, 100), to_node, "{}", kind.label());
        assert_eq!(decided::<F>(&tables, F::OUTSIDE, 64, 100), Err(Outcome::Pass));
        for own in [F::POD, F::NODE] {
            let spoofed = decide::transit(&header::<F>(own, F::REMOTE), &tables).map(|_| ());
            assert_eq!(spoofed, Err(Outcome::DropSpoofedUplinkSource));
        }
    }
}

fn the_last_hop_and_what_does_not_fit_are_left_to_tc<F: TestFamily>() {
    let direct = tables::<F>(NextHopKind::Direct);
    let ipip = tables::<F>(NextHopKind::Ipip);
    let room = 1_480 + F::HEADER_LENGTH;
    for (tables, to, hops, length, forwarded) in [
        (&direct, F::REMOTE, 2, 1_480, true),
        (&direct, F::REMOTE, 1, 100, false),
        (&direct, F::REMOTE, 0, 100, false),
        (&direct, F::REMOTE, 64, 1_481, false),
        // To the node itself nothing is put in front, so that there is room for as much more.
        (&ipip, F::PEER, 64, room, true),
        (&ipip, F::PEER, 64, room + 1, false),
    ] {
        let decided = decided::<F>(tables, to, hops, length);
        assert_eq!(decided.is_ok(), forwarded, "{hops} hops, {length} bytes: {decided:?}");
        assert!(forwarded || decided == Err(Outcome::Pass));
    }
}

#[test]
fn v4() {
    only_what_goes_as_it_is_is_forwarded::<V4>();
    the_last_hop_and_what_does_not_fit_are_left_to_tc::<V4>();
}

#[test]
fn v6() {
    // The next hops' gateways are none, which counts as IPv6.
    only_what_goes_as_it_is_is_forwarded::<V6>();
    the_last_hop_and_what_does_not_fit_are_left_to_tc::<V6>();
}

/// IPv4 has a way by an IPv6 gateway (RFC 8950); IPv6 has none by an IPv4 one.
#[test]
fn an_ipv6_packet_does_not_go_to_an_ipv4_gateway() {
    for (gateway, v6_goes) in [(Address::from_v4([10, 0, 1, 1]), false), (V6::to_common(V6::PEER), true)] {
        let mut tables = tables::<V6>(NextHopKind::Direct);
        tables.next_hops.values_mut().for_each(|next_hop| next_hop.gateway = gateway);
        assert!(decided::<V4>(&tables, V4::REMOTE, 64, 100).is_ok());
        assert_eq!(decided::<V6>(&tables, V6::REMOTE, 64, 100).is_ok(), v6_goes);
    }
}

/// Options and extension headers are for routers to look at, and link-local sources for none to forward.
#[test]
fn what_a_router_has_to_look_at_is_left_to_the_stack() {
    let tables = tables::<V6>(NextHopKind::Direct);
    let of = |packet: &[u8]| {
        let header = V6::parse(&mut frame(packet), ETHERNET_LENGTH).ok().unwrap();
        decide::transit(&header, &tables).map(|_| ())
    };
    let hop_by_hop = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &[0; 40]].concat();
    assert_eq!(of(&V6::packet(V6::OUTSIDE, V6::REMOTE, 64, 0, &hop_by_hop)), Err(Outcome::Pass));
    let link_local = Address::from_words([0xfe80_0000_u32.to_be(), 0, 0, 1]);
    assert_eq!(of(&V6::packet(link_local, V6::REMOTE, 64, 17, &[0; 40])), Err(Outcome::Pass));
    assert_eq!(of(&V6::packet(V6::OUTSIDE, V6::REMOTE, 64, 17, &[0; 40])), Ok(()));
}
