//! What the stack sends out on an uplink.

use node_ebpf_common::{Hook, MARK_FORWARDED, Outcome};

use crate::{
    packet::{Frame, parse},
    rig::*,
};

fn run(frame: &Frame) -> Run {
    Rig::new().run(Hook::ToUplink, &frame.bytes())
}

#[test]
fn to_a_tunnelled_prefix_gets_its_outer_header_and_keeps_its_hops() {
    // The host's own packet, and one that the stack forwarded for a pod.
    for source in [HOST, NODE, POD] {
        let frame = Frame::udp(source, IPIP_POD, 10);
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (Outcome::Ipip, TC_ACT_UNSPEC));
        let (outer, inside) = parse(&run.data);
        assert_eq!((outer.source, outer.destination, outer.protocol.0), (NODE, IPIP_NODE, 4));
        assert_eq!(inside, frame.packet());
    }
}

#[test]
fn a_pods_packet_to_a_node_address_is_encapsulated_the_nodes_own_is_not() {
    for (source, outcome) in [
        (POD, Outcome::Ipip),
        (HOST, Outcome::Ipip),
        (NODE, Outcome::StackRouted),
        (OUTSIDE, Outcome::StackRouted),
    ] {
        let run = run(&Frame::udp(source, IPIP_NODE, 10));
        assert_eq!((run.outcome, run.verdict), (outcome, TC_ACT_UNSPEC), "{source:?}");
    }
}

#[test]
fn everything_else_leaves_as_it_is() {
    let outer = Frame::ipip(NODE, IPIP_NODE, &Frame::udp(POD, IPIP_POD, 10));
    for frame in [outer, Frame::udp(HOST, DIRECT_POD, 10), Frame::udp(NODE, OUTSIDE, 10)] {
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (Outcome::StackRouted, TC_ACT_UNSPEC));
        assert_eq!(run.data, frame.bytes());
    }
}

#[test]
fn what_does_not_fit_with_its_outer_header_is_dropped_under_its_name() {
    let run = run(&Frame::udp(HOST, IPIP_POD, 1_481 - 28));
    assert_eq!((run.outcome, run.verdict), (Outcome::DropTooBig, TC_ACT_SHOT));
}

/// from-pod has counted it: here it only loses its mark, and only our bit of it.
#[test]
fn what_from_pod_routed_goes_on_without_the_mark() {
    let context = Context { mark: MARK_FORWARDED | 0x4000, ..Context::default() };
    let frame = Frame::udp(POD, IPIP_POD, 10).bytes();
    let (verdict, mark, data) = Rig::new().run_raw(Hook::ToUplink, &frame, context);
    assert_eq!((verdict, mark, data), (TC_ACT_UNSPEC, 0x4000, frame));
}
