//! What the driver of an uplink receives, before the stack has it.

use std::net::Ipv6Addr;

use node_ebpf_common::{Outcome, Uplink};

use tests::program::{XDP_DROP, XDP_PASS};

use crate::{
    packet::{Frame, parse},
    rig::*,
};

/// A rig whose loopback, where test runs come in, is an uplink.
fn uplink(mut rig: Rig) -> Rig {
    rig.set_uplink(LOOPBACK, Uplink::default());
    rig
}

fn transit() -> Rig {
    uplink(Rig::new())
}

fn decap() -> Rig {
    uplink(Rig::load_with(0, false, true))
}

fn tunnelled(inner: &Frame) -> Frame {
    Frame::ipip(IPIP_NODE, NODE, inner)
}

#[test]
fn what_is_not_for_this_link_layer_address_or_no_ip_is_passed_uncounted_as_such() {
    let frame = Frame::udp(OUTSIDE, LOCAL_POD, 10).bytes();
    let other = Uplink { mac: [2, 0, 0, 0, 0, 1], flags: 0 };
    let mut rig = transit();
    rig.set_uplink(LOOPBACK, other);
    let mut for_other = frame.clone();
    for_other[..6].copy_from_slice(&other.mac);
    let mut arp = for_other.clone();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    for (frame, outcome) in [
        (&frame, Outcome::StackOtherProtocol),
        (&arp, Outcome::StackOtherProtocol),
        (&for_other, Outcome::Pass),
    ] {
        let run = rig.run_xdp(frame);
        assert_eq!((run.outcome, run.verdict, &run.data), (outcome, XDP_PASS, frame));
    }
    let run = Rig::new().run_xdp(&frame);
    assert_eq!((run.outcome, run.verdict), (Outcome::StackOtherProtocol, XDP_PASS), "it is no uplink");
}

#[test]
fn what_tc_or_the_stack_deals_with_is_passed_unchanged() {
    let last_hop = Frame::udp(DIRECT_POD, DIRECT_NODE, 10).with(|ip| ip.time_to_live = 1);
    let cut_short = {
        let mut bytes = Frame::udp(OUTSIDE, LOCAL_POD, 100).bytes();
        bytes.truncate(60);
        bytes
    };
    let with_options = Frame::udp(IPIP_POD, DIRECT_POD, 10).with(|ip| {
        ip.options = etherparse::Ipv4Options::try_from(&[1, 1, 1, 1][..]).expect("options");
    });
    let mut frames: Vec<Vec<u8>> = [
        Frame::udp(OUTSIDE, LOCAL_POD, 10),
        Frame::udp(OUTSIDE, NODE, 10),
        Frame::udp(OUTSIDE, OUTSIDE, 10),
        // It would need an outer header.
        Frame::udp(DIRECT_POD, IPIP_POD, 10),
        last_hop,
        with_options,
        Frame::udp(IPIP_POD, DIRECT_POD, 1_501 - 28),
        // The kernel here knows no such neighbour.
        Frame::udp(IPIP_POD, DIRECT_POD, 10),
        tunnelled(&Frame::udp(IPIP_POD, LOCAL_POD, 10)),
    ]
    .iter()
    .map(Frame::bytes)
    .collect();
    frames.push(cut_short);
    for (number, frame) in frames.iter().enumerate() {
        let run = transit().run_xdp(frame);
        assert_eq!((run.outcome, run.verdict), (Outcome::Pass, XDP_PASS), "frame {number}");
        assert_eq!(run.data, *frame, "frame {number}");
    }
}

#[test]
fn the_outer_header_comes_off_and_the_rest_is_left_to_tc() {
    for (node, pod, destination) in [
        (IPIP_NODE, IPIP_POD, LOCAL_POD),
        (DIRECT_NODE, DIRECT_POD, LOCAL_POD),
        (IPIP_NODE, IPIP_POD, NODE),
        (IPIP_NODE, IPIP_NODE, LOCAL_POD),
    ] {
        let inner = Frame::tcp(pod, destination, 100);
        let outer = Frame::ipip(node, NODE, &inner);
        let run = decap().run_xdp(&outer.bytes());
        assert_eq!((run.outcome, run.verdict), (Outcome::DecapPass, XDP_PASS));
        assert_eq!(run.data, inner.bytes(), "with all its hops, which tc takes one of");
        assert_eq!((run.counter.packets, run.counter.bytes), (1, outer.bytes().len() as u64));
    }
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 10);
    let outer = tunnelled(&inner).with(|ip| {
        ip.options = etherparse::Ipv4Options::try_from(&[1, 1, 1, 1, 1, 1, 1, 1][..]).expect("options");
    });
    let run = decap().run_xdp(&outer.bytes());
    assert_eq!((run.outcome, run.data), (Outcome::DecapPass, inner.bytes()));
}

/// Another family inside: the frame says so afterwards.
#[test]
fn ipv6_comes_out_of_ipv4() {
    let ipv6_in_ipv4 = |source: Ipv6Addr| {
        let mut inner = Vec::new();
        etherparse::PacketBuilder::ipv6(source.octets(), LOCAL_POD_V6.octets(), 64)
            .udp(1, 2)
            .write(&mut inner, &[7; 9])
            .expect("packet");
        let mut outer = Frame::udp(NODE_OVER_V4, NODE, 0).with(|ip| ip.protocol = etherparse::IpNumber::IPV6);
        outer.payload.clone_from(&inner);
        (outer.bytes(), inner)
    };
    let (outer, inner) = ipv6_in_ipv4(POD_OVER_V4);
    let run = decap().run_xdp(&outer);
    assert_eq!((run.outcome, run.verdict), (Outcome::DecapPass, XDP_PASS));
    assert_eq!((&run.data[12..14], &run.data[14..]), (&[0x86, 0xdd][..], &inner[..]));
    let run = decap().run_xdp(&ipv6_in_ipv4(IPIP_POD_V6).0);
    assert_eq!((run.outcome, run.verdict), (Outcome::DropSpoofedInnerSource, XDP_DROP));
}

/// RFC 6040, figure 4.
#[test]
fn the_congestion_mark_survives() {
    for (outer, inner, left) in
        [(0, 0, Some(0)), (3, 1, Some(3)), (3, 2, Some(3)), (3, 0, None), (1, 2, Some(2))]
    {
        let frame =
            tunnelled(&Frame::udp(IPIP_POD, LOCAL_POD, 10).traffic_class(5, inner)).traffic_class(5, outer);
        let run = decap().run_xdp(&frame.bytes());
        match left {
            Some(ecn) => {
                assert_eq!(run.outcome, Outcome::DecapPass);
                let (ip, _) = parse(&run.data);
                assert_eq!((ip.ecn.value(), ip.dscp.value(), ip.time_to_live), (ecn, 5, 64));
            }
            None => assert_eq!((run.outcome, run.verdict), (Outcome::DropCongestionMark, XDP_DROP)),
        }
    }
}

/// What tc would drop, by the same rules and under the same names, in either mode.
#[test]
fn what_must_not_pass_is_dropped_early_under_its_name() {
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 10);
    let from = |node, inner: &Frame| Frame::ipip(node, NODE, inner);
    for (frame, outcome) in [
        (Frame::udp(LOCAL_POD, DIRECT_POD, 10), Outcome::DropSpoofedUplinkSource),
        (Frame::udp(UNASSIGNED, LOCAL_POD, 10), Outcome::DropSpoofedUplinkSource),
        (Frame::udp(NODE, LOCAL_POD, 10), Outcome::DropSpoofedUplinkSource),
        (Frame::udp(DIRECT_POD, UNASSIGNED, 10), Outcome::DropUnassigned),
        (Frame::udp(DIRECT_POD, BROKEN, 10), Outcome::DropNoNextHop),
        (from(OUTSIDE, &inner), Outcome::DropUnknownTunnelSource),
        (from(DIRECT_NODE, &inner), Outcome::DropSpoofedInnerSource),
        (tunnelled(&Frame::ipip(IPIP_POD, LOCAL_POD, &inner)), Outcome::DropNestedTunnel),
        (tunnelled(&Frame::udp(IPIP_POD, OUTSIDE, 10)), Outcome::DropTunnelNotLocal),
        (tunnelled(&Frame::udp(IPIP_POD, UNASSIGNED, 10)), Outcome::DropUnassigned),
        (tunnelled(&inner).fragment(0, true), Outcome::DropTunnelFragment),
    ] {
        for mut rig in [transit(), decap()] {
            let run = rig.run_xdp(&frame.bytes());
            assert_eq!((run.outcome, run.verdict), (outcome, XDP_DROP));
        }
    }
}

/// The verifier removes the code of the mode that is off, and looks at no more than older ones can.
#[test]
fn the_program_is_small_and_smaller_without_decap() {
    let mut sizes = [Rig::new(), Rig::load_with(0, false, true)].map(|mut rig| {
        let info = rig.xdp().info().expect("info");
        let verified = info.verified_instruction_count().unwrap_or_default();
        let translated = info.size_translated().expect("size") / 8;
        println!("xdp: {translated} instructions, of which the verifier looked at {verified}");
        assert!(verified < 100_000, "{verified}");
        translated
    });
    assert!(sizes[0] < sizes[1], "{sizes:?}");
    sizes.sort_unstable();
    assert!(sizes[1] < 4_500, "{sizes:?}");
}
