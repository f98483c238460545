//! What an uplink's driver receives for another node, with the kernel's own neighbour table at hand: in a network
//! namespace of the test's own, which ends with its thread.

use std::{thread, time::Duration};

use node_ebpf_common::{NextHop, Outcome};
use tests::program::{
    XDP_PASS, XDP_REDIRECT,
    uplink::{self, OWN_MAC, ip},
};

use crate::{
    packet::{Frame, parse},
    rig::*,
};

const DIRECT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x12];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Runs the body beside an uplink that has this node's address, with a rig that knows it.
fn beside_an_uplink(body: impl FnOnce(Rig, u32) + Send) {
    uplink::beside_an_uplink(|interface| {
        let mut rig = Rig::new();
        rig.add_uplink(interface);
        body(rig, interface);
    });
}

#[test]
fn a_packet_for_another_node_leaves_with_the_neighbours_address_and_one_hop_less() {
    beside_an_uplink(|mut rig, interface| {
        let frame = Frame::udp(IPIP_POD, DIRECT_POD, 100);
        let passed = |rig: &mut Rig, why: &str| {
            let run = rig.run_xdp(&frame.bytes());
            assert_eq!((run.outcome, run.verdict), (Outcome::Pass, XDP_PASS), "{why}");
            assert_eq!(run.data, frame.bytes(), "{why}");
        };
        rig.set_device(interface);
        passed(&mut rig, "the neighbour is not known");
        ip("neigh add 10.0.1.12 lladdr 02:00:00:00:00:12 dev up0 nud stale");
        let run = rig.run_xdp(&frame.bytes());
        assert_eq!((run.outcome, run.verdict), (Outcome::Transit, XDP_REDIRECT));
        assert_eq!((&run.data[..6], &run.data[6..12]), (&DIRECT_MAC[..], &OWN_MAC[..]));
        let (header, payload) = parse(&run.data);
        assert_eq!((header.time_to_live, header.source, payload), (63, IPIP_POD, frame.payload.clone()));
        rig.remove_device(interface);
        passed(&mut rig, "its driver does not send for XDP");
    });
}

/// The nodes' own and encapsulated packets go as they are, up to the size of the link; a pod's packet for a node
/// that is encapsulated never goes plainly.
#[test]
fn what_goes_to_an_encapsulated_node_itself_goes_plainly_and_in_full_size() {
    beside_an_uplink(|mut rig, interface| {
        rig.set_device(interface);
        ip("neigh add 10.0.1.1 lladdr 02:00:00:00:00:01 dev up0 nud permanent");
        for frame in [
            Frame::udp(DIRECT_NODE, IPIP_NODE, 1_500 - 28),
            Frame::ipip(DIRECT_NODE, IPIP_NODE, &Frame::udp(DIRECT_POD, IPIP_POD, 10)),
        ] {
            let run = rig.run_xdp(&frame.bytes());
            assert_eq!((run.outcome, run.verdict), (Outcome::Transit, XDP_REDIRECT));
            assert_eq!(run.data[..6], GATEWAY_MAC);
        }
        for frame in [Frame::udp(DIRECT_NODE, IPIP_NODE, 1_501 - 28), Frame::udp(DIRECT_POD, IPIP_POD, 10)] {
            let run = rig.run_xdp(&frame.bytes());
            assert_eq!((run.outcome, run.verdict), (Outcome::Pass, XDP_PASS));
        }
    });
}

/// Without a route of the link's own, the kernel would answer with another gateway's address.
#[test]
fn a_gateway_behind_another_one_is_no_neighbour() {
    beside_an_uplink(|mut rig, interface| {
        rig.set_device(interface);
        ip("neigh add 10.0.1.1 lladdr 02:00:00:00:00:01 dev up0 nud permanent");
        ip("route add 10.0.1.12/32 via 10.0.1.1 dev up0");
        let run = rig.run_xdp(&Frame::udp(IPIP_POD, DIRECT_POD, 100).bytes());
        assert_eq!((run.outcome, run.verdict), (Outcome::Pass, XDP_PASS));
    });
}

/// RFC 8950: IPv4 by an IPv6 next hop. The other way round there is none.
#[test]
fn the_gateway_may_be_ipv6() {
    beside_an_uplink(|mut rig, interface| {
        rig.set_device(interface);
        ip("neigh add fd00:0:0:1::12 lladdr 02:00:00:00:00:12 dev up0 nud permanent");
        ip("neigh add 10.0.1.12 lladdr 02:00:00:00:00:01 dev up0 nud permanent");
        let v4 = Frame::udp(IPIP_POD, DIRECT_POD, 100).bytes();
        let over_v4 = rig.next_hop(DIRECT_NEXT_HOP);
        rig.set_next_hop(DIRECT_NEXT_HOP, NextHop { gateway: to_map(DIRECT_NODE_V6), ..over_v4 });
        let run = rig.run_xdp(&v4);
        assert_eq!((run.outcome, &run.data[..6]), (Outcome::Transit, &DIRECT_MAC[..]));

        let mut v6 = [&[0; 12][..], &[0x86, 0xdd]].concat();
        etherparse::PacketBuilder::ipv6(IPIP_POD_V6.octets(), DIRECT_POD_V6.octets(), 64)
            .udp(1, 2)
            .write(&mut v6, &[7])
            .expect("packet");
        let run = rig.run_xdp(&v6);
        assert_eq!((run.outcome, &run.data[..6], run.data[21]), (Outcome::Transit, &DIRECT_MAC[..], 63));
        let over_v6 = rig.next_hop(DIRECT_NEXT_HOP_V6);
        rig.set_next_hop(DIRECT_NEXT_HOP_V6, NextHop { gateway: to_map(DIRECT_NODE), ..over_v6 });
        let run = rig.run_xdp(&v6);
        assert_eq!((run.outcome, run.verdict), (Outcome::Pass, XDP_PASS));
    });
}

/// The program remembers the kernel's answers, for a quarter of a second at most (25 jiffies at 100 a second), and
/// mixes up no gateways: the two here have the same place.
#[test]
fn a_neighbours_address_is_remembered_only_for_a_moment() {
    beside_an_uplink(|mut rig, interface| {
        rig.set_device(interface);
        ip("neigh add 10.0.1.12 lladdr 02:00:00:00:00:12 dev up0 nud permanent");
        ip("route add 10.0.2.15/32 dev up0");
        ip("neigh add 10.0.2.15 lladdr 02:00:00:00:00:01 dev up0 nud permanent");
        let frame = Frame::udp(IPIP_POD, DIRECT_POD, 100).bytes();
        let sent_to = |rig: &mut Rig| -> [u8; 6] {
            let run = rig.run_xdp(&frame);
            assert_eq!((run.outcome, run.verdict), (Outcome::Transit, XDP_REDIRECT));
            run.data[..6].try_into().expect("6 bytes")
        };
        let next_hop = rig.next_hop(DIRECT_NEXT_HOP);
        let other = NextHop { gateway: to_map([10, 0, 2, 15]), ..next_hop };
        for _ in 0..3 {
            rig.set_next_hop(DIRECT_NEXT_HOP, next_hop);
            assert_eq!(sent_to(&mut rig), DIRECT_MAC);
            rig.set_next_hop(DIRECT_NEXT_HOP, other);
            assert_eq!(sent_to(&mut rig), GATEWAY_MAC);
        }
        ip("neigh replace 10.0.2.15 lladdr 02:00:00:00:00:12 dev up0 nud permanent");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(sent_to(&mut rig), DIRECT_MAC);
        ip("neigh del 10.0.2.15 dev up0");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(rig.run_xdp(&frame).outcome, Outcome::Pass);
    });
}
