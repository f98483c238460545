//! What comes in on an uplink.

use node_ebpf_common::{Hook, Outcome};

use crate::{
    packet::{Frame, parse},
    rig::*,
};

fn run(frame: &Frame) -> Run {
    Rig::new().run(Hook::FromUplink, &frame.bytes())
}

fn tunnelled(inner: &Frame) -> Frame {
    Frame::ipip(IPIP_NODE, NODE, inner)
}

#[test]
fn plain_packet_to_a_local_pod_is_delivered() {
    // From an adjacent node, from a node that should encapsulate (both forms are always accepted), and
    // from outside.
    for source in [DIRECT_POD, IPIP_POD, OUTSIDE] {
        let frame = Frame::udp(source, LOCAL_POD, 100);
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (Outcome::Local, TC_ACT_REDIRECT));
        assert_eq!(run.data[..6], LOCAL_POD_MAC);
        let (ip, payload) = parse(&run.data);
        assert_eq!((ip.time_to_live, ip.source), (63, source));
        assert_eq!(payload, frame.payload);
    }
}

#[test]
fn ipip_from_the_owner_is_unwrapped_and_delivered() {
    // Encapsulated by a node behind the gateway, and by an adjacent one (mode always on its side).
    for (node, pod) in [(IPIP_NODE, IPIP_POD), (DIRECT_NODE, DIRECT_POD), (IPIP_NODE, IPIP_NODE)] {
        let inner = Frame::tcp(pod, LOCAL_POD, 100);
        let run = run(&Frame::ipip(node, NODE, &inner));
        assert_eq!((run.outcome, run.verdict), (Outcome::DecapLocal, TC_ACT_REDIRECT));
        assert_eq!(run.data.len(), inner.bytes().len());
        assert_eq!(run.data[..6], LOCAL_POD_MAC);
        let (ip, payload) = parse(&run.data);
        assert_eq!((ip.source, ip.destination, ip.time_to_live), (pod, LOCAL_POD, 63));
        assert_eq!(payload, inner.payload);
    }
}

#[test]
fn ipip_for_the_host_goes_to_the_stack_unwrapped() {
    for destination in [NODE, HOST] {
        let inner = Frame::udp(IPIP_POD, destination, 10);
        let run = run(&tunnelled(&inner));
        assert_eq!((run.outcome, run.verdict), (Outcome::DecapStack, TC_ACT_UNSPEC));
        assert_eq!(run.data, inner.bytes());
    }
}

/// The last hop ends here: the stack answers the inner packet's sender.
#[test]
fn ipip_with_no_hop_left_inside_goes_to_the_stack_unwrapped() {
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 10).with(|ip| ip.time_to_live = 1);
    let run = run(&tunnelled(&inner));
    assert_eq!((run.outcome, run.verdict), (Outcome::DecapStack, TC_ACT_UNSPEC));
    assert_eq!(run.data, inner.bytes());
}

#[test]
fn an_outer_header_with_options_comes_off_whole() {
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 10);
    let outer = tunnelled(&inner).with(|ip| {
        ip.options = etherparse::Ipv4Options::try_from(&[1, 1, 1, 1, 1, 1, 1, 1][..]).expect("options");
    });
    let run = run(&outer);
    assert_eq!(run.outcome, Outcome::DecapLocal);
    let (ip, payload) = parse(&run.data);
    assert_eq!((ip.source, payload), (IPIP_POD, inner.payload));
}

#[test]
fn ipip_that_must_not_be_accepted_is_dropped_under_its_name() {
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 10);
    let from = |node, inner: &Frame| Frame::ipip(node, NODE, inner);
    for (frame, outcome) in [
        (from(OUTSIDE, &inner), Outcome::DropUnknownTunnelSource),
        (from(DIRECT_NODE, &inner), Outcome::DropSpoofedInnerSource),
        (from(IPIP_NODE, &Frame::udp(OUTSIDE, LOCAL_POD, 10)), Outcome::DropSpoofedInnerSource),
        (from(IPIP_NODE, &Frame::udp(LOCAL_POD, LOCAL_POD, 10)), Outcome::DropSpoofedInnerSource),
        (tunnelled(&Frame::ipip(IPIP_POD, LOCAL_POD, &inner)), Outcome::DropNestedTunnel),
        (tunnelled(&Frame::udp(IPIP_POD, OUTSIDE, 10)), Outcome::DropTunnelNotLocal),
        (tunnelled(&Frame::udp(IPIP_POD, DIRECT_POD, 10)), Outcome::DropTunnelNotLocal),
        (tunnelled(&Frame::udp(IPIP_POD, UNASSIGNED, 10)), Outcome::DropUnassigned),
        (tunnelled(&inner).fragment(0, true), Outcome::DropTunnelFragment),
        (tunnelled(&inner).fragment(90, false), Outcome::DropTunnelFragment),
    ] {
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (outcome, TC_ACT_SHOT));
    }
}

/// RFC 6040, figure 4.
#[test]
fn the_congestion_mark_survives_decapsulation() {
    for (outer, inner, left) in
        [(0, 0, Some(0)), (3, 1, Some(3)), (3, 2, Some(3)), (3, 3, Some(3)), (3, 0, None), (1, 2, Some(2))]
    {
        let frame =
            tunnelled(&Frame::udp(IPIP_POD, LOCAL_POD, 10).traffic_class(5, inner)).traffic_class(5, outer);
        let run = run(&frame);
        match left {
            Some(ecn) => {
                assert_eq!(run.outcome, Outcome::DecapLocal);
                let (ip, _) = parse(&run.data);
                assert_eq!((ip.ecn.value(), ip.dscp.value(), ip.time_to_live), (ecn, 5, 63));
            }
            None => assert_eq!(run.outcome, Outcome::DropCongestionMark),
        }
    }
}

#[test]
fn what_is_not_for_this_nodes_pods_goes_to_the_stack_unchanged() {
    let last_hop = Frame::udp(DIRECT_POD, LOCAL_POD, 10).with(|ip| ip.time_to_live = 1);
    let foreign = Frame::ipip(OUTSIDE, [10, 0, 1, 99], &Frame::udp(OUTSIDE, OUTSIDE, 10));
    for (frame, outcome) in [
        (Frame::udp(OUTSIDE, NODE, 10), Outcome::StackHost),
        (Frame::udp(OUTSIDE, OUTSIDE, 10), Outcome::StackNotRouted),
        (Frame::udp(DIRECT_POD, IPIP_POD, 10), Outcome::StackTransit),
        (last_hop, Outcome::StackTtl),
        (Frame::udp(DIRECT_POD, LOCAL_POD, 1_501 - 28), Outcome::StackTooBig),
        (foreign, Outcome::StackNotRouted),
    ] {
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (outcome, TC_ACT_UNSPEC));
        assert_eq!(run.data, frame.bytes());
    }
}

#[test]
fn an_unassigned_address_is_dropped_not_looped() {
    let run = run(&Frame::udp(DIRECT_POD, UNASSIGNED, 10));
    assert_eq!((run.outcome, run.verdict), (Outcome::DropUnassigned, TC_ACT_SHOT));
}
