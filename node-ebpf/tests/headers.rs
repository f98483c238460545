//! Headers read and written on the host, for both address families.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use node_ebpf::{ETHERNET_LENGTH, Family, Header, Packet, Ports, V4, V6, checksum, rewrite};
use node_ebpf_common::NextHopKind;
use proptest::prelude::*;
use support::{Bytes, TestFamily, frame, header, tables};

fn parse<F: TestFamily>(packet: &[u8]) -> Option<Header<F>> {
    F::parse(&mut frame(packet), ETHERNET_LENGTH).ok()
}

#[test]
fn a_super_packets_outer_length_is_0_where_it_does_not_fit() {
    let via = tables::<V4>(NextHopKind::Ipip).next_hops[&2];
    let inner = header::<V4>(V4::POD, V4::REMOTE);
    let length = |inner_length| V4::outer(&inner, inner_length, &via, 9)[0].to_be() & 0xffff;
    assert_eq!((length(65_515), length(65_516)), (0xffff, 0));
    let via = tables::<V6>(NextHopKind::Ipip).next_hops[&2];
    let length = |inner_length| V6::outer(&inner, inner_length, &via, 9)[1].to_be() >> 16;
    assert_eq!((length(65_535), length(65_536)), (0xffff, 0));
}

/// The outer header of each family around each, as bytes.
#[test]
fn outer_headers_byte_by_byte() {
    fn bytes<const N: usize>(words: [u32; N]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
    let (inner_v4, inner_v6) = (header::<V4>(V4::POD, V4::REMOTE), header::<V6>(V6::POD, V6::REMOTE));
    let via = tables::<V4>(NextHopKind::Ipip).next_hops[&2];
    let outer = bytes(V4::outer(&inner_v4, 100, &via, 0x1234_5678));
    assert_eq!(outer[..10], [0x45, 0, 0, 120, 0x56, 0x78, 0, 0, 64, 4]);
    assert_eq!(outer[12..], [10, 0, 1, 11, 10, 0, 2, 11]);
    let outer = bytes(V4::outer(&inner_v6, 100, &via, 0x1234_5678));
    assert_eq!(outer[..10], [0x45, 0, 0, 120, 0, 0, 0x40, 0, 64, 41], "IPv6 inside is never fragmented");
    let via = tables::<V6>(NextHopKind::Ipip).next_hops[&2];
    let outer = bytes(V6::outer(&inner_v4, 100, &via, 0x1234_5678));
    assert_eq!(outer[..8], [0x60, 0x04, 0x56, 0x78, 0, 100, 4, 64]);
    assert_eq!(outer[8..24], via.tunnel_source.octets());
    assert_eq!(outer[24..], via.tunnel_destination.octets());
    assert_eq!(bytes(V6::outer(&inner_v6, 100, &via, 0))[6], 41);
}

/// Next header, what follows → protocol, length of all headers, fragment, ports.
#[test]
fn extension_headers_are_passed_over() {
    const UDP: [u8; 4] = [0x0f, 0xa0, 0, 53];
    let ports = Ports { source: 4_000_u16.to_be(), destination: 53_u16.to_be() };
    let none = Ports::default();
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |next: u8, offset: u16| {
        let [high, low] = offset.to_be_bytes();
        [next, 0, high, low, 0, 0, 0, 9]
    };
    let authentication = [17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for (first, rest, protocol, length, is_fragment, expected) in [
        (17, UDP.to_vec(), 17, 40, false, ports),
        (60, [&options(17)[..], &UDP].concat(), 17, 48, false, ports),
        (0, [&options(60)[..], &options(17), &UDP].concat(), 17, 56, false, ports),
        (44, [&fragment(17, 0)[..], &UDP].concat(), 17, 48, false, ports),
        (44, [&fragment(17, 1)[..], &UDP].concat(), 17, 48, true, none),
        (44, [&fragment(60, 8)[..], &UDP].concat(), 60, 48, true, none),
        (51, [&authentication[..], &UDP].concat(), 17, 64, false, ports),
        (43, [&options(6)[..], &UDP].concat(), 6, 48, false, ports),
        (60, vec![], 59, 40, false, none),
        (60, [&[17, 9, 0, 0][..], &UDP].concat(), 17, 120, false, none),
        (60, options(60).repeat(5), 59, 72, false, none),
    ] {
        let packet = V6::packet(V6::POD, V6::REMOTE, 64, first, &rest);
        let header = parse::<V6>(&packet).unwrap();
        assert_eq!(
            (header.protocol, header.length, header.fragment, header.ports),
            (protocol, length, is_fragment, expected),
            "{first} {rest:?}"
        );
    }
}

#[test]
fn ports_and_fragments_of_ipv4() {
    let payload = [0x0f, 0xa0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    let ports = Ports { source: 4_000_u16.to_be(), destination: 53_u16.to_be() };
    let parsed = |protocol, flags: u8| {
        let mut packet = V4::packet(V4::POD, V4::REMOTE, 64, protocol, &payload);
        packet[6] = flags;
        let header = parse::<V4>(&packet).unwrap();
        (header.ports, header.fragment)
    };
    assert_eq!(parsed(17, 0), (ports, false));
    assert_eq!(parsed(132, 0x40), (ports, false));
    assert_eq!(parsed(1, 0), (Ports::default(), false));
    assert_eq!(parsed(17, 0x20), (Ports::default(), true));
}

#[test]
fn a_super_packet_is_measured_by_its_segments() {
    let tcp = {
        let mut header = [0_u8; 20];
        header[12] = 0x80;
        header
    };
    let largest = |protocol, payload: &[u8]| {
        let measure = |packet: Vec<u8>| Bytes { segment: 1_000, ..frame(&packet) };
        let four =
            V4::parse(&mut measure(V4::packet(V4::POD, V4::REMOTE, 64, protocol, payload)), ETHERNET_LENGTH);
        let six =
            V6::parse(&mut measure(V6::packet(V6::POD, V6::REMOTE, 64, protocol, payload)), ETHERNET_LENGTH);
        (four.ok().unwrap().largest, six.ok().unwrap().largest)
    };
    assert_eq!(largest(6, &tcp), (20 + 32 + 1_000, 40 + 32 + 1_000));
    assert_eq!(largest(17, &tcp), (20 + 8 + 1_000, 40 + 8 + 1_000));
    assert_eq!(largest(47, &tcp), (u32::MAX, u32::MAX));
}

fn stays_within<F: TestFamily>(data: Vec<u8>, segment: u32) -> Result<(), TestCaseError> {
    let room = data.len().saturating_sub(ETHERNET_LENGTH);
    if let Ok(header) = F::parse(&mut Bytes { data, segment }, ETHERNET_LENGTH) {
        prop_assert!(header.length >= F::HEADER_LENGTH);
        prop_assert!(room >= F::HEADER_LENGTH);
        prop_assert!(segment > 0 || (header.largest as usize) <= room);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever the bytes: no panic, and a header that is accepted lies within the packet.
    #[test]
    fn parsing_stays_within_the_packet(
        mut data in prop::collection::vec(any::<u8>(), 0..160),
        version in prop::sample::select(vec![0x45_u8, 0x4f, 0x60, 0x00]),
        segment in 0_u32..3_000,
    ) {
        if let Some(first) = data.get_mut(ETHERNET_LENGTH) {
            *first = version;
        }
        stays_within::<V4>(data.clone(), segment)?;
        stays_within::<V6>(data, segment)?;
    }

    /// One hop less, and the checksum is right as before.
    #[test]
    fn one_hop_less_keeps_the_checksum_right(source: u32, destination: u32, hops in 2_u8.., protocol: u8) {
        let mut packet = frame(&V4::packet(source, destination, hops, protocol, &[0; 20]));
        let header = V4::parse(&mut packet, ETHERNET_LENGTH).ok().unwrap();
        rewrite::one_hop_less(&mut packet, &header).unwrap();
        let words: [u32; 5] = packet.load(ETHERNET_LENGTH).unwrap();
        let [new_hops, _, high, low] = words[2].to_ne_bytes();
        prop_assert_eq!(new_hops, hops - 1);
        prop_assert_eq!(u16::from_ne_bytes([high, low]), checksum::of_header(&words));
    }

    /// The same in IPv6, and nothing else changes.
    #[test]
    fn one_hop_less_changes_nothing_else(hops in 2_u8.., protocol: u8) {
        let before = frame(&V6::packet(V6::POD, V6::REMOTE, hops, protocol, &[0; 20]));
        let mut after = frame(&V6::packet(V6::POD, V6::REMOTE, hops, protocol, &[0; 20]));
        let header = V6::parse(&mut after, ETHERNET_LENGTH).ok().unwrap();
        rewrite::one_hop_less(&mut after, &header).unwrap();
        let mut expected = before.data;
        expected[ETHERNET_LENGTH + 7] -= 1;
        prop_assert_eq!(after.data, expected);
    }
}
