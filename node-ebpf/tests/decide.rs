//! Decisions on the host, against plain tables: the same code that the BPF programs run, without root.
//! The program tests (crate `tests`) check the same on the real object.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use node_ebpf::{
    ETHERNET_LENGTH, Family, Fib, Header, Outcome, Packet, PacketMut, V4, checksum,
    decide::{self, Congestion, Decision, Egress, Inner},
    rewrite,
};
use node_ebpf_common::{Address, Endpoint, NextHop, NextHopKind, Route, Settings, SourceCheck};
use proptest::prelude::*;

const NODE: [u8; 4] = [10, 0, 1, 11];
const PEER: [u8; 4] = [10, 0, 2, 11];
const POD: [u8; 4] = [10, 244, 1, 10];
const REMOTE: [u8; 4] = [10, 244, 3, 10];
const POD_INTERFACE: u32 = 7;

/// A packet in memory.
struct Bytes {
    data: Vec<u8>,
    segment: u32,
}

impl Packet for Bytes {
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        let bytes = self.data.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice has the size of T, which is plain bytes; nothing is assumed of alignment.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn len(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap()
    }

    fn segment_size(&self) -> u32 {
        self.segment
    }
}

impl PacketMut for Bytes {
    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()> {
        let bytes = self.data.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: as above.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(value) };
        Some(())
    }
}

/// Routes by exact address: longest-prefix match is the kernel's.
#[derive(Default)]
struct Tables {
    routes: HashMap<[u8; 4], Route>,
    next_hops: HashMap<u32, NextHop>,
    endpoints: HashMap<u32, Endpoint>,
    settings: Settings,
}

impl Fib<V4> for Tables {
    fn route(&self, address: [u8; 4]) -> Option<Route> {
        self.routes.get(&address).copied()
    }

    fn next_hop(&self, index: u32) -> Option<&NextHop> {
        self.next_hops.get(&index)
    }

    fn endpoint(&self, interface: u32) -> Option<&Endpoint> {
        self.endpoints.get(&interface)
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn owns(&self, endpoint: &Endpoint, address: [u8; 4]) -> bool {
        endpoint.address_v4.v4_bytes() == address
    }

    fn is_node(&self, settings: &Settings, address: [u8; 4]) -> bool {
        settings.node_v4.v4_bytes() == address
    }

    fn is_tunnel_peer(&self, next_hop: &NextHop, address: [u8; 4]) -> bool {
        next_hop.tunnel_destination.v4_bytes() == address
    }
}

/// This node's pod, and a remote pod behind a next hop of this kind.
fn tables(remote: NextHopKind) -> Tables {
    let settings = Settings { node_v4: Address::from_v4(NODE), ..Settings::default() };
    let mut tables = Tables { settings, ..Tables::default() };
    let mut add = |index, address, kind: NextHopKind, flags| {
        let next_hop = NextHop {
            kind: kind as u32,
            interface: POD_INTERFACE,
            tunnel_source: Address::from_v4(NODE),
            tunnel_destination: Address::from_v4(PEER),
            mtu: 1_480,
            ..NextHop::default()
        };
        tables.next_hops.insert(index, next_hop);
        tables.routes.insert(address, Route { next_hop: index, flags });
    };
    add(1, POD, NextHopKind::LocalPod, 0);
    add(2, REMOTE, remote, 0);
    add(3, PEER, remote, Route::NODE_ADDRESS);
    add(4, NODE, NextHopKind::Host, 0);
    let endpoint = Endpoint {
        address_v4: Address::from_v4(POD),
        source_check: SourceCheck::Strict as u32,
        ..Endpoint::default()
    };
    tables.endpoints.insert(POD_INTERFACE, endpoint);
    tables
}

fn packet(source: [u8; 4], destination: [u8; 4], hops: u8, protocol: u8, length: u16) -> Bytes {
    let mut data = vec![0; ETHERNET_LENGTH];
    let [high, low] = length.to_be_bytes();
    let mut header = [0x45, 0, high, low, 0, 0, 0, 0, hops, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[12..16].copy_from_slice(&source);
    header[16..20].copy_from_slice(&destination);
    let sum = checksum::of_header(&header);
    header[10..12].copy_from_slice(&sum);
    data.extend_from_slice(&header);
    data.resize(ETHERNET_LENGTH + usize::from(length), 0);
    Bytes { data, segment: 0 }
}

fn header(source: [u8; 4], destination: [u8; 4]) -> Header<V4> {
    V4::parse(&packet(source, destination, 64, 17, 100), ETHERNET_LENGTH).ok().unwrap()
}

/// Kind of the remote next hop → what becomes of a packet to it, at each hook.
#[test]
fn every_kind_of_next_hop_has_its_decision_at_every_hook() {
    for (kind, from_pod, from_uplink) in [
        (NextHopKind::LocalPod, Ok(Outcome::Local), Ok(())),
        (NextHopKind::Direct, Ok(Outcome::Direct), Err(Outcome::StackTransit)),
        (NextHopKind::Ipip, Ok(Outcome::Ipip), Err(Outcome::StackTransit)),
        (NextHopKind::Host, Err(Outcome::StackHost), Err(Outcome::StackHost)),
        (NextHopKind::Unassigned, Err(Outcome::DropUnassigned), Err(Outcome::DropUnassigned)),
        (NextHopKind::Unused, Err(Outcome::DropNoNextHop), Err(Outcome::DropNoNextHop)),
    ] {
        let tables = tables(kind);
        let header = header(POD, REMOTE);
        let decided = decide::from_pod(&header, POD_INTERFACE, &tables).map(|decision| match decision {
            Decision::Local(_) => Outcome::Local,
            Decision::Direct(_) => Outcome::Direct,
            Decision::Ipip(_) => Outcome::Ipip,
        });
        assert_eq!(decided, from_pod, "{}", kind.label());
        assert_eq!(decide::from_uplink(&header, &tables).map(|_| ()), from_uplink, "{}", kind.label());
        let encapsulated = matches!(decide::to_uplink(&header, &tables), Ok(Egress::Encapsulate(_)));
        assert_eq!(encapsulated, kind == NextHopKind::Ipip, "{}", kind.label());
    }
}

#[test]
fn the_last_hop_and_what_does_not_fit_go_to_the_stack() {
    let tables = tables(NextHopKind::Ipip);
    for (hops, length, outcome) in [
        (1, 100, Some(Outcome::StackTtl)),
        (0, 100, Some(Outcome::StackTtl)),
        (2, 1_480, None),
        (2, 1_481, Some(Outcome::StackTooBig)),
    ] {
        let header = V4::parse(&packet(POD, REMOTE, hops, 17, length), ETHERNET_LENGTH).ok().unwrap();
        assert_eq!(decide::from_pod(&header, POD_INTERFACE, &tables).err(), outcome, "{hops} {length}");
    }
}

/// The inner source must belong to the very node that sent the outer packet, whether this node would
/// encapsulate to it or not.
#[test]
fn decapsulation_accepts_only_the_owner() {
    for kind in [NextHopKind::Direct, NextHopKind::Ipip] {
        let tables = tables(kind);
        let decide = |outer: [u8; 4], inner: [u8; 4]| {
            decide::decapsulate(&header(outer, NODE), &header(inner, POD), &tables)
                .map(|(target, congestion)| (matches!(target, Inner::Local(_)), congestion))
        };
        assert_eq!(decide(PEER, REMOTE), Ok((true, Congestion::Keep)));
        assert_eq!(decide(PEER, PEER), Ok((true, Congestion::Keep)));
        assert_eq!(decide(PEER, POD), Err(Outcome::DropSpoofedInnerSource));
        assert_eq!(decide([192, 0, 2, 1], REMOTE), Err(Outcome::DropUnknownTunnelSource));
    }
}

#[test]
fn an_interface_without_an_endpoint_counts_as_strict() {
    let tables = tables(NextHopKind::Direct);
    let decide = |source| decide::from_pod(&header(source, REMOTE), 99, &tables).err();
    assert_eq!(decide(POD), Some(Outcome::DropSpoofedSource));
    assert_eq!(decide([192, 0, 2, 1]), Some(Outcome::DropSpoofedSource));
}

#[test]
fn a_super_packets_outer_length_is_0_where_it_does_not_fit() {
    let via = tables(NextHopKind::Ipip).next_hops[&2];
    let inner = header(POD, REMOTE);
    assert_eq!(rewrite::outer_v4(&inner, 65_515, &via, 9)[2..4], [0xff, 0xff]);
    assert_eq!(rewrite::outer_v4(&inner, 65_516, &via, 9)[2..4], [0, 0]);
}

proptest! {
    /// Whatever the bytes: no panic, and a header that is accepted lies within the packet.
    #[test]
    fn parsing_stays_within_the_packet(data in prop::collection::vec(any::<u8>(), 0..120), segment in 0_u32..3_000) {
        let room = data.len().saturating_sub(ETHERNET_LENGTH);
        let packet = Bytes { data, segment };
        if let Ok(header) = V4::parse(&packet, ETHERNET_LENGTH) {
            prop_assert!((20..=60).contains(&header.length));
            prop_assert!(room >= 20);
            prop_assert!(segment > 0 || (header.largest as usize) <= room);
        }
    }

    /// One hop less, and the checksum is right as before.
    #[test]
    fn one_hop_less_keeps_the_checksum_right(source: [u8; 4], destination: [u8; 4], hops in 2_u8.., protocol: u8) {
        let mut packet = packet(source, destination, hops, protocol, 40);
        let header = V4::parse(&packet, ETHERNET_LENGTH).ok().unwrap();
        rewrite::one_hop_less(&mut packet, &header).unwrap();
        let bytes: [u8; 20] = packet.load(ETHERNET_LENGTH).unwrap();
        prop_assert_eq!(bytes[8], hops - 1);
        prop_assert_eq!([bytes[10], bytes[11]], checksum::of_header(&bytes));
    }
}
