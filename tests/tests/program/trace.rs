//! Tracing: what is written into the ring buffer, and what is left out and counted.

use aya::{
    TestRun as _, TestRunOptions,
    maps::{Array, PerCpuArray, RingBuf},
};
use node_ebpf_common::{
    Address, Ending, Hook, Outcome, TRACE_BUFFER, TraceEvent, TraceFilter, TraceState, Uplink, map_name,
};

use crate::{packet::Frame, rig::*};

/// Programs that trace.
struct Tracing(Rig);

impl Tracing {
    fn with(filter: TraceFilter) -> Self {
        let mut rig = Rig::load(0, true);
        let mut map: Array<_, TraceFilter> =
            rig.ebpf.map_mut(map_name::TRACE_FILTER).expect("map").try_into().expect("array");
        map.set(0, filter, 0).expect("filter");
        Self(rig)
    }

    /// Runs a program on a packet, as often as is said.
    fn run(&mut self, hook: Hook, frame: &Frame, times: u32) {
        let packet = frame.bytes();
        let options = TestRunOptions { data_in: Some(&packet), repeat: times, ..TestRunOptions::default() };
        self.0.program(hook).test_run(options).expect("test run");
    }

    /// Takes what is in the ring buffer.
    fn events(&mut self) -> Vec<TraceEvent> {
        let map = self.0.ebpf.map_mut(map_name::TRACE_EVENTS).expect("map");
        let mut ring = RingBuf::try_from(map).expect("ring buffer");
        std::iter::from_fn(|| ring.next().map(|entry| TraceEvent::from_entry(&entry).expect("an event")))
            .collect()
    }

    /// What was left out, on all CPUs: over the rate, and for want of room.
    fn left_out(&self) -> (u64, u64) {
        let map = self.0.ebpf.map(map_name::TRACE_STATE).expect("map");
        let states = PerCpuArray::<_, TraceState>::try_from(map).expect("array");
        let each = states.get(&0, 0).expect("state");
        each.iter().fold((0, 0), |sum, cpu| (sum.0 + cpu.limited, sum.1 + cpu.lost))
    }
}

fn outcomes(events: &[TraceEvent]) -> Vec<Outcome> {
    let outcome = |number: u32| Outcome::ALL[usize::try_from(number).expect("an index")];
    events.iter().map(|event| outcome(event.outcome)).collect()
}

fn mapped(address: [u8; 4]) -> Address {
    Address::from_v4(address)
}

/// One of each kind: way, outcome, packet.
fn packets() -> [(Hook, Outcome, Frame); 6] {
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 22);
    [
        (Hook::FromPod, Outcome::Direct, Frame::tcp(POD, DIRECT_POD, 10)),
        (Hook::FromPod, Outcome::Ipip, Frame::udp(POD, IPIP_POD, 10)),
        (Hook::FromPod, Outcome::DropSpoofedSource, Frame::udp(OUTSIDE, DIRECT_POD, 10)),
        (Hook::FromUplink, Outcome::DecapLocal, Frame::ipip(IPIP_NODE, NODE, &inner)),
        (Hook::FromUplink, Outcome::DropUnknownTunnelSource, Frame::ipip(OUTSIDE, NODE, &inner)),
        (Hook::ToUplink, Outcome::StackRouted, Frame::udp(NODE, OUTSIDE, 10)),
    ]
}

/// Runs one of each kind and tells which were traced.
fn traced(filter: TraceFilter) -> Vec<Outcome> {
    let mut tracing = Tracing::with(filter);
    for (hook, _, frame) in packets() {
        tracing.run(hook, &frame, 1);
    }
    assert_eq!(tracing.left_out(), (0, 0));
    outcomes(&tracing.events())
}

#[test]
fn without_a_wish_every_packet_is_traced_in_order() {
    let all: Vec<Outcome> = packets().iter().map(|(_, outcome, _)| *outcome).collect();
    assert_eq!(traced(TraceFilter::ALL), all);
}

/// A frame has no skb: what reads it is another helper.
#[test]
fn what_xdp_does_is_traced_as_well() {
    let mut tracing = Tracing::with(TraceFilter::ALL);
    tracing.0.set_uplink(LOOPBACK, Uplink::default());
    let inner = Frame::udp(IPIP_POD, LOCAL_POD, 22);
    let outer = Frame::ipip(OUTSIDE, NODE, &inner);
    for frame in [&inner, &outer] {
        tracing.0.run_xdp(&frame.bytes());
    }
    let events = tracing.events();
    assert_eq!(outcomes(&events), [Outcome::Pass, Outcome::DropUnknownTunnelSource]);
    for (event, frame) in events.iter().zip([&inner, &outer]) {
        assert_eq!((event.hook, event.in_interface), (Hook::Xdp as u32, LOOPBACK));
        assert_eq!((event.source, event.destination), (mapped(IPIP_POD), mapped(LOCAL_POD)));
        assert_eq!(event.bytes[..frame.bytes().len()], frame.bytes());
    }
    assert_eq!(events[1].outer_source, mapped(OUTSIDE));
}

#[test]
fn the_filter_holds_in_the_kernel() {
    use Outcome::*;
    let all = TraceFilter::ALL;
    let of = |address| [mapped(address), Address::NONE];
    for (what, filter, expected) in [
        (
            "drops",
            TraceFilter { outcomes: TraceFilter::outcomes_ending(Ending::Dropped), ..all },
            vec![DropSpoofedSource, DropUnknownTunnelSource],
        ),
        ("one outcome", TraceFilter { outcomes: 1 << Ipip as u32, ..all }, vec![Ipip]),
        ("a hook", TraceFilter { hooks: 1 << Hook::ToUplink as u32, ..all }, vec![StackRouted]),
        ("a source", TraceFilter { addresses: of(POD), ..all }, vec![Direct, Ipip]),
        ("a destination", TraceFilter { addresses: of(DIRECT_POD), ..all }, vec![Direct, DropSpoofedSource]),
        // Put on in the first, taken off in the second.
        ("an outer address", TraceFilter { addresses: of(IPIP_NODE), ..all }, vec![Ipip, DecapLocal]),
        (
            "inner addresses",
            TraceFilter { addresses: of(LOCAL_POD), ..all },
            vec![DecapLocal, DropUnknownTunnelSource],
        ),
        ("another address", TraceFilter { addresses: of(UNASSIGNED), ..all }, vec![]),
        ("either address", TraceFilter { addresses: [mapped(OUTSIDE), mapped(DIRECT_POD)], ..all }, {
            vec![Direct, DropSpoofedSource, DropUnknownTunnelSource, StackRouted]
        }),
        // That of the next hop, which a dropped packet does not leave by.
        (
            "a pod's interface",
            TraceFilter { interface: LOCAL_POD_INTERFACE, ..all },
            vec![DecapLocal, DropUnknownTunnelSource],
        ),
        ("another interface", TraceFilter { interface: 99, ..all }, vec![]),
    ] {
        assert_eq!(traced(filter), expected, "{what}");
    }
}

#[test]
fn an_event_tells_the_way_of_a_packet_that_is_encapsulated() {
    let mut tracing = Tracing::with(TraceFilter::ALL);
    let frame = Frame::udp(POD, IPIP_POD, 10);
    tracing.run(Hook::FromPod, &frame, 1);
    let events = tracing.events();
    let [event] = events[..] else { panic!("{events:?}") };
    assert_eq!((event.hook, event.outcome), (Hook::FromPod as u32, Outcome::Ipip as u32));
    assert_eq!((event.in_interface, event.out_interface, event.next_hop), (1, 3, 6));
    assert_eq!((event.source, event.destination), (mapped(POD), mapped(IPIP_POD)));
    assert_eq!((event.outer_source, event.outer_destination), (mapped(NODE), mapped(IPIP_NODE)));
    assert_eq!((event.protocol, event.source_port, event.destination_port), (17, [15, 160], [0, 53]));
    let length = u32::try_from(frame.bytes().len()).expect("a length");
    assert_eq!((event.frame_length, event.final_length, event.captured), (length, length + 20, length + 20));
    // As it leaves: with the outer header, and one hop less inside.
    let (outer, inside) = crate::packet::parse(&event.bytes[..event.captured as usize]);
    assert_eq!((outer.source, outer.destination), (NODE, IPIP_NODE));
    assert_eq!((inside[8], &inside[20..]), (63, &frame.payload[..]));
    assert!(event.time > 0);
}

#[test]
fn an_event_tells_the_way_of_a_packet_whose_outer_header_is_taken_off() {
    let mut tracing = Tracing::with(TraceFilter::ALL);
    let inner = Frame::tcp(IPIP_POD, LOCAL_POD, 10);
    tracing.run(Hook::FromUplink, &Frame::ipip(IPIP_NODE, NODE, &inner), 1);
    let events = tracing.events();
    let [event] = events[..] else { panic!("{events:?}") };
    assert_eq!((event.source, event.destination), (mapped(IPIP_POD), mapped(LOCAL_POD)));
    assert_eq!((event.outer_source, event.outer_destination), (mapped(IPIP_NODE), mapped(NODE)));
    assert_eq!((event.in_interface, event.out_interface, event.next_hop), (1, LOCAL_POD_INTERFACE, 4));
    assert_eq!((event.protocol, event.destination_port), (6, [0, 80]));
    assert_eq!(event.frame_length, event.final_length + 20);
}

/// The same of IPv6: what is inside is told, whatever the family of the header around it.
#[test]
fn an_event_tells_the_way_of_an_ipv6_packet() {
    for (to, outcome) in
        [(DIRECT_POD_V6, Outcome::Direct), (IPIP_POD_V6, Outcome::Ipip), (POD_OVER_V4, Outcome::Ipip)]
    {
        let udp = [0x0f, 0xa0, 0, 53, 0, 8, 0, 0];
        let header = [0x60, 0, 0, 0, 0, 8, 17, 64];
        let packet = [&[0; 12][..], &[0x86, 0xdd], &header, &POD_V6.octets(), &to.octets(), &udp].concat();
        let filter =
            TraceFilter { addresses: [Address::NONE, Address::from_octets(to.octets())], ..TraceFilter::ALL };
        let mut tracing = Tracing::with(filter);
        let options = TestRunOptions { data_in: Some(&packet), ..TestRunOptions::default() };
        tracing.0.program(Hook::FromPod).test_run(options).expect("test run");
        let events = tracing.events();
        assert_eq!(outcomes(&events), [outcome], "{to}");
        let event = events[0];
        assert_eq!(event.source, Address::from_octets(POD_V6.octets()));
        assert_eq!((event.protocol, event.source_port, event.destination_port), (17, [15, 160], [0, 53]));
        assert!(event.next_hop != 0 && event.out_interface == event.next_interface);
        assert_eq!(event.outer_source == Address::NONE, outcome == Outcome::Direct, "{to}");
        assert_eq!(event.outer_source.is_v4(), to == POD_OVER_V4, "{to}");
    }
}

/// What is no IP packet has no addresses, and is an event all the same.
#[test]
fn other_protocols_are_traced_without_addresses() {
    let mut tracing = Tracing::with(TraceFilter::ALL);
    let arp = [&[0; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    let options = TestRunOptions { data_in: Some(&arp), ..TestRunOptions::default() };
    tracing.0.program(Hook::FromPod).test_run(options).expect("test run");
    let events = tracing.events();
    assert_eq!(outcomes(&events), [Outcome::StackOtherProtocol]);
    assert_eq!((events[0].source, events[0].destination), (Address::NONE, Address::NONE));
    assert_eq!(events[0].captured, 42);
}

#[test]
fn no_more_bytes_are_copied_than_wanted() {
    for (snaplen, captured) in [(1, 1), (64, 64), (128, 128), (256, 256)] {
        let mut tracing = Tracing::with(TraceFilter { snaplen, ..TraceFilter::ALL });
        tracing.run(Hook::FromPod, &Frame::udp(POD, DIRECT_POD, 1_000), 1);
        assert_eq!(tracing.events()[0].captured, captured);
    }
}

#[test]
fn one_in_so_many_is_traced() {
    for (sample, expected) in [(0, 100), (1, 100), (7, 14), (100, 1), (101, 0)] {
        let mut tracing = Tracing::with(TraceFilter { sample, ..TraceFilter::ALL });
        tracing.run(Hook::FromPod, &Frame::udp(POD, UNASSIGNED, 10), 100);
        assert_eq!((tracing.events().len(), tracing.left_out()), (expected, (0, 0)), "1 in {sample}");
    }
}

/// A run stays on one CPU, and may cross into another second.
#[test]
fn what_is_over_the_rate_is_counted() {
    let mut tracing = Tracing::with(TraceFilter { rate: 10, ..TraceFilter::ALL });
    tracing.run(Hook::FromPod, &Frame::udp(POD, UNASSIGNED, 10), 1_000);
    let (events, (limited, lost)) = (tracing.events().len(), tracing.left_out());
    assert!(events == 10 || events == 20, "{events}");
    assert_eq!((limited, lost), (1_000 - events as u64, 0));
}

#[test]
fn what_does_not_fit_the_buffer_is_counted() {
    let mut tracing = Tracing::with(TraceFilter { rate: u32::MAX, ..TraceFilter::ALL });
    tracing.run(Hook::FromPod, &Frame::udp(POD, UNASSIGNED, 100), 10_000);
    let (events, (limited, lost)) = (tracing.events().len(), tracing.left_out());
    // The kernel puts 8 bytes before each entry.
    let entry = 8 + TraceEvent::HEAD + 128;
    let room = TRACE_BUFFER as usize / entry;
    assert!((room - 1..=room).contains(&events), "{events} of {room}");
    assert_eq!((limited, lost), (0, 10_000 - events as u64));
}
