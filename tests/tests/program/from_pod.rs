//! What a pod sends.

use node_ebpf_common::{Hook, MARK_FORWARDED, MARK_TRANSLATABLE, Outcome, SourceCheck};

use crate::{
    packet::{Frame, parse},
    rig::*,
};

fn run(frame: &Frame) -> Run {
    Rig::new().run(Hook::FromPod, &frame.bytes())
}

#[test]
fn to_a_local_pod_is_redirected_with_its_macs_and_one_hop_less() {
    let frame = Frame::udp(POD, LOCAL_POD, 100);
    let run = run(&frame);
    assert_eq!((run.outcome, run.verdict), (Outcome::Local, TC_ACT_REDIRECT));
    assert_eq!(run.data[..6], LOCAL_POD_MAC);
    assert_eq!(run.data[6..12], HOST_SIDE_MAC);
    let (ip, payload) = parse(&run.data);
    assert_eq!((ip.time_to_live, ip.source, ip.destination), (63, POD, LOCAL_POD));
    assert_eq!(payload, frame.payload);
    assert_eq!((run.counter.packets, run.counter.bytes), (1, frame.bytes().len() as u64));
}

#[test]
fn to_an_adjacent_node_is_redirected_as_it_is() {
    let frame = Frame::udp(POD, DIRECT_POD, 100).traffic_class(46, 1);
    let run = run(&frame);
    assert_eq!((run.outcome, run.verdict), (Outcome::Direct, TC_ACT_REDIRECT));
    assert_eq!(run.mark & MARK_FORWARDED, MARK_FORWARDED);
    let (ip, payload) = parse(&run.data);
    assert_eq!((ip.time_to_live, ip.dscp.value(), ip.ecn.value()), (63, 46, 1));
    assert_eq!(payload, frame.payload);
    assert_eq!(run.data.len(), frame.bytes().len());
}

#[test]
fn to_a_node_behind_the_gateway_gets_exactly_one_outer_header() {
    for dont_fragment in [true, false] {
        let frame =
            Frame::tcp(POD, IPIP_POD, 100).traffic_class(10, 2).with(|ip| ip.dont_fragment = dont_fragment);
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (Outcome::Ipip, TC_ACT_REDIRECT));
        assert_eq!(run.mark & MARK_FORWARDED, MARK_FORWARDED);
        assert_eq!(run.data.len(), frame.bytes().len() + 20);
        let (outer, inside) = parse(&run.data);
        assert_eq!((outer.source, outer.destination, outer.protocol.0), (NODE, IPIP_NODE, 4));
        assert_eq!((outer.time_to_live, outer.dscp.value(), outer.ecn.value()), (64, 10, 2));
        assert_eq!(outer.dont_fragment, dont_fragment);
        assert_eq!(usize::from(outer.total_len), inside.len() + 20);
        let (inner, payload) = parse(&[&[0; 14][..], &inside].concat());
        assert_eq!((inner.source, inner.destination, inner.time_to_live), (POD, IPIP_POD, 63));
        assert_eq!(payload, frame.payload);
    }
}

#[test]
fn to_a_node_address_behind_the_gateway_is_encapsulated_too() {
    let run = run(&Frame::udp(POD, IPIP_NODE, 10));
    assert_eq!((run.outcome, run.verdict), (Outcome::Ipip, TC_ACT_REDIRECT));
    assert_eq!(parse(&run.data).0.destination, IPIP_NODE);
}

#[test]
fn what_the_stack_must_see_goes_there_unchanged() {
    let last_hop = |destination| Frame::udp(POD, destination, 10).with(|ip| ip.time_to_live = 1);
    for (frame, outcome) in [
        (Frame::udp(POD, OUTSIDE, 10), Outcome::StackNotRouted),
        (Frame::udp(POD, NODE, 10), Outcome::StackHost),
        (Frame::udp(POD, HOST, 10), Outcome::StackHost),
        (last_hop(LOCAL_POD), Outcome::StackTtl),
        (last_hop(DIRECT_POD), Outcome::StackTtl),
        (last_hop(IPIP_POD), Outcome::StackTtl),
        (Frame::udp(POD, IPIP_POD, 1_481 - 28), Outcome::StackTooBig),
        (Frame::udp(POD, DIRECT_POD, 1_501 - 28), Outcome::StackTooBig),
    ] {
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (outcome, TC_ACT_UNSPEC));
        assert_eq!(run.data, frame.bytes(), "{}", outcome.label());
        let translatable = matches!(outcome, Outcome::StackNotRouted | Outcome::StackHost);
        assert_eq!(run.mark, if translatable { MARK_TRANSLATABLE } else { 0 });
    }
}

#[test]
fn what_just_fits_is_forwarded() {
    assert_eq!(run(&Frame::udp(POD, IPIP_POD, 1_480 - 28)).outcome, Outcome::Ipip);
    assert_eq!(run(&Frame::udp(POD, DIRECT_POD, 1_500 - 28)).outcome, Outcome::Direct);
}

/// A super-packet is measured by its segments: 20 + 20 + 1,460 fits 1,500, one byte more does not. (Test
/// runs make super-packets without a GSO type, which cannot be encapsulated: that is for the stories.)
#[test]
fn a_super_packet_is_measured_by_its_segments() {
    for (gso_size, outcome) in [(1_460, Outcome::Direct), (1_461, Outcome::StackTooBig)] {
        let frame = Frame::tcp(POD, DIRECT_POD, 2_920);
        let context = Context { gso_size, ..Context::default() };
        assert_eq!(
            Rig::new().run_with(Hook::FromPod, &frame.bytes(), context).outcome,
            outcome,
            "{gso_size}"
        );
    }
}

#[test]
fn fragments_and_options_are_routed_like_the_rest() {
    let options = |ip: &mut etherparse::Ipv4Header| {
        ip.options = etherparse::Ipv4Options::try_from(&[1, 1, 1, 1, 1, 1, 1, 1][..]).expect("options");
    };
    for frame in [
        Frame::udp(POD, IPIP_POD, 64).fragment(100, true),
        Frame::udp(POD, IPIP_POD, 64).fragment(0, true),
        Frame::udp(POD, IPIP_POD, 64).with(options),
    ] {
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (Outcome::Ipip, TC_ACT_REDIRECT));
        let (_, inside) = parse(&run.data);
        let (inner, payload) = parse(&[&[0; 14][..], &inside].concat());
        assert_eq!((inner.fragment_offset, inner.options), (frame.ip.fragment_offset, frame.ip.options));
        assert_eq!(payload, frame.payload);
    }
}

#[test]
fn what_must_not_leave_a_pod_is_dropped_under_its_name() {
    for (frame, outcome) in [
        (Frame::udp(LOCAL_POD, DIRECT_POD, 10), Outcome::DropSpoofedSource),
        (Frame::udp(OUTSIDE, DIRECT_POD, 10), Outcome::DropSpoofedSource),
        (Frame::udp(NODE, DIRECT_POD, 10), Outcome::DropSpoofedSource),
        (Frame::ipip(POD, IPIP_NODE, &Frame::udp(POD, IPIP_POD, 10)), Outcome::DropPodTunnel),
        (Frame::udp(POD, UNASSIGNED, 10), Outcome::DropUnassigned),
        (Frame::udp(POD, [10, 244, 9, 1], 10), Outcome::DropNoNextHop),
    ] {
        let run = run(&frame);
        assert_eq!((run.outcome, run.verdict), (outcome, TC_ACT_SHOT));
    }
}

#[test]
fn malformed_headers_are_dropped() {
    let good = Frame::udp(POD, DIRECT_POD, 10).bytes();
    let broken = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    for bytes in [broken(14, 0x65), broken(14, 0x44), broken(16, 0xff), broken(17, 19)] {
        let run = Rig::new().run(Hook::FromPod, &bytes);
        assert_eq!((run.outcome, run.verdict), (Outcome::DropMalformed, TC_ACT_SHOT));
    }
}

#[test]
fn source_check_strict_loose_off() {
    let expect = |check, source, outcome| {
        let mut rig = Rig::new();
        rig.set_source_check(check);
        assert_eq!(rig.run(Hook::FromPod, &Frame::udp(source, DIRECT_POD, 10).bytes()).outcome, outcome);
    };
    for check in [SourceCheck::Strict, SourceCheck::Loose, SourceCheck::Off] {
        expect(check, POD, Outcome::Direct);
        expect(check, POD_SECOND, Outcome::Direct);
    }
    expect(SourceCheck::Strict, UNASSIGNED, Outcome::DropSpoofedSource);
    expect(SourceCheck::Loose, UNASSIGNED, Outcome::Direct);
    expect(SourceCheck::Loose, LOCAL_POD, Outcome::Direct);
    expect(SourceCheck::Loose, OUTSIDE, Outcome::DropSpoofedSource);
    expect(SourceCheck::Loose, IPIP_POD, Outcome::DropSpoofedSource);
    expect(SourceCheck::Off, OUTSIDE, Outcome::Direct);
}

#[test]
fn other_protocols_and_broadcast_are_the_stacks_business() {
    let mut arp = vec![0xff; 6];
    arp.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0x08, 0x06]);
    arp.extend_from_slice(&[0; 28]);
    let mut broadcast = Frame::udp(POD, DIRECT_POD, 10).bytes();
    broadcast[..6].fill(0xff);
    let mut for_another = Frame::udp(POD, DIRECT_POD, 10).bytes();
    for_another[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    for bytes in [arp, broadcast, for_another] {
        let run = Rig::new().run(Hook::FromPod, &bytes);
        assert_eq!((run.outcome, run.verdict), (Outcome::StackOtherProtocol, TC_ACT_UNSPEC));
        assert_eq!(run.data, bytes);
    }
}
