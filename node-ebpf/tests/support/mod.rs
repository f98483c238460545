//! Packets in memory and plain tables: what the pure code runs against in tests.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{HashMap, HashSet};

use node_ebpf::{ETHERNET_LENGTH, Family, Fib, Header, Packet, PacketMut, Tables, V4, V6, checksum};
use node_ebpf_common::{
    Address, Endpoint, Flow, NextHop, NextHopGroup, NextHopKind, Route, Settings, SourceCheck,
};

pub const POD_INTERFACE: u32 = 7;

/// A packet in memory.
pub struct Bytes {
    pub data: Vec<u8>,
    pub segment: u32,
}

impl Packet for Bytes {
    fn reach(&mut self, _: usize) {}

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

/// A family with the addresses and packets that tests use.
pub trait TestFamily: Family<Address: Eq + std::hash::Hash + std::fmt::Debug> {
    const NODE: Self::Address;
    const PEER: Self::Address;
    const POD: Self::Address;
    const REMOTE: Self::Address;
    const OUTSIDE: Self::Address;

    /// The network packet with this payload.
    fn packet(
        source: Self::Address,
        destination: Self::Address,
        hops: u8,
        protocol: u8,
        payload: &[u8],
    ) -> Vec<u8>;
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_ne_bytes([a, b, c, d])
}

const fn v6(words: [u32; 4]) -> Address {
    Address::from_words([words[0].to_be(), words[1].to_be(), words[2].to_be(), words[3].to_be()])
}

impl TestFamily for V4 {
    const NODE: u32 = v4(10, 0, 1, 11);
    const PEER: u32 = v4(10, 0, 2, 11);
    const POD: u32 = v4(10, 244, 1, 10);
    const REMOTE: u32 = v4(10, 244, 3, 10);
    const OUTSIDE: u32 = v4(192, 0, 2, 1);

    fn packet(source: u32, destination: u32, hops: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let word = u32::from_ne_bytes;
        let mut header = [word([0x45, 0, high, low]), 0, word([hops, protocol, 0, 0]), source, destination];
        let [high, low] = checksum::of_header(&header).to_ne_bytes();
        header[2] = word([hops, protocol, high, low]);
        [header.map(u32::to_ne_bytes).as_flattened(), payload].concat()
    }
}

impl TestFamily for V6 {
    const NODE: Address = v6([0xfd00_0000, 0, 0, 0x1011]);
    const PEER: Address = v6([0xfd00_0000, 0, 0, 0x2011]);
    const POD: Address = v6([0xfd00_0244, 0x0001_0000, 0, 0x10]);
    const REMOTE: Address = v6([0xfd00_0244, 0x0003_0000, 0, 0x10]);
    const OUTSIDE: Address = v6([0x2001_0db8, 0, 0, 1]);

    fn packet(source: Address, destination: Address, hops: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let first = [0x60, 0, 0, 0, length[0], length[1], protocol, hops];
        [&first[..], &source.octets(), &destination.octets(), payload].concat()
    }
}

/// A frame around a network packet.
pub fn frame(packet: &[u8]) -> Bytes {
    Bytes { data: [&[0; ETHERNET_LENGTH][..], packet].concat(), segment: 0 }
}

/// The header of a UDP packet.
pub fn header<F: TestFamily>(source: F::Address, destination: F::Address) -> Header<F> {
    F::parse(&mut frame(&F::packet(source, destination, 64, 17, &[0; 80])), ETHERNET_LENGTH).ok().unwrap()
}

/// Routes by exact address: longest-prefix match is the kernel's.
#[derive(Default)]
pub struct Plain {
    pub routes: HashMap<Address, Route>,
    pub next_hops: HashMap<u32, NextHop>,
    pub groups: HashMap<u32, NextHopGroup>,
    pub endpoints: HashMap<u32, Endpoint>,
    pub settings: Settings,
    pub translated: HashSet<Flow<Address>>,
}

impl Tables for Plain {
    fn next_hop(&self, index: u32) -> Option<&NextHop> {
        self.next_hops.get(&index)
    }

    fn group(&self, index: u32) -> Option<&NextHopGroup> {
        self.groups.get(&index)
    }

    fn endpoint(&self, interface: u32) -> Option<&Endpoint> {
        self.endpoints.get(&interface)
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }
}

impl<F: Family> Fib<F> for Plain {
    // As in the kernel, so that both orders are tested.
    const ROUTES_ARE_QUICK: bool = F::PROTOCOL == V4::PROTOCOL;

    fn route(&self, address: F::Address) -> Option<Route> {
        self.routes.get(&F::to_common(address)).copied()
    }

    fn is_translated(&self, flow: &Flow<F::Address>) -> bool {
        self.translated.contains(&common::<F>(flow))
    }
}

/// The flow with addresses as the maps hold them.
pub fn common<F: Family>(flow: &Flow<F::Address>) -> Flow<Address> {
    Flow {
        local: F::to_common(flow.local),
        remote: F::to_common(flow.remote),
        local_port: flow.local_port,
        remote_port: flow.remote_port,
        protocol: flow.protocol,
    }
}

/// This node's pod, and a remote pod behind a next hop of this kind, in both families; the tunnel between
/// the nodes is of family `O`.
pub fn tables<O: TestFamily>(remote: NextHopKind) -> Plain {
    let settings = Settings { node_v4: V4::to_common(V4::NODE), node_v6: V6::to_common(V6::NODE) };
    let mut tables = Plain { settings, ..Plain::default() };
    let mut add = |index, addresses: [Address; 2], kind: NextHopKind, flags| {
        let next_hop = NextHop {
            kind: kind as u32,
            interface: POD_INTERFACE,
            tunnel_source: O::to_common(O::NODE),
            tunnel_destination: O::to_common(O::PEER),
            mtu: 1_480,
            ..NextHop::default()
        };
        tables.next_hops.insert(index, next_hop);
        for address in addresses {
            tables.routes.insert(address, Route { next_hop: index, flags });
        }
    };
    let both = |v4, v6| [V4::to_common(v4), V6::to_common(v6)];
    add(1, both(V4::POD, V6::POD), NextHopKind::LocalPod, 0);
    add(2, both(V4::REMOTE, V6::REMOTE), remote, 0);
    add(3, both(V4::PEER, V6::PEER), remote, Route::NODE_ADDRESS);
    add(4, both(V4::NODE, V6::NODE), NextHopKind::Host, 0);
    let endpoint = Endpoint {
        address_v4: V4::to_common(V4::POD),
        address_v6: V6::to_common(V6::POD),
        source_check: SourceCheck::Strict as u32,
        ..Endpoint::default()
    };
    tables.endpoints.insert(POD_INTERFACE, endpoint);
    tables
}
