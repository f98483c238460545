//! What tracing reads of packets, on the host.

use node_ebpf::{Packet, peek};
use node_ebpf_common::Address;

/// A frame in memory.
struct Frame(Vec<u8>);

impl Packet for Frame {
    fn reach(&mut self, _: usize) {}

    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        let bytes = self.0.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice has the size of T, which is plain bytes; nothing is assumed of alignment.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn segment_size(&self) -> u32 {
        0
    }
}

const FROM: Address = Address::from_v4([10, 244, 1, 10]);
const TO: Address = Address::from_v4([10, 244, 3, 10]);
const FROM_V6: Address = Address::from_words([0xfd_u32.to_le(), 0, 0, 1_u32.to_be()]);
const TO_V6: Address = Address::from_words([0xfd_u32.to_le(), 0, 0, 2_u32.to_be()]);

/// An IPv4 header, with as many words of options, and what follows.
fn v4(protocol: u8, options: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let fragment = fragment.to_be_bytes();
    let mut bytes = vec![0x45 + options, 0, 0, 0, 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0];
    bytes.extend_from_slice(&[10, 244, 1, 10, 10, 244, 3, 10]);
    bytes.extend_from_slice(&vec![0; usize::from(options) * 4]);
    bytes.extend_from_slice(payload);
    bytes
}

fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    bytes.extend_from_slice(&FROM_V6.octets());
    bytes.extend_from_slice(&TO_V6.octets());
    bytes.extend_from_slice(payload);
    bytes
}

/// Ends, protocol, offset of the payload and ports of a packet without a link-layer header.
type Read = ([Address; 2], u8, usize, [u16; 2]);

fn read(packet: Vec<u8>, offset: usize) -> Option<Read> {
    let frame = Frame(packet);
    let (mut source, mut destination) = (Address::NONE, Address::NONE);
    let payload = peek::ends(&frame, offset, &mut source, &mut destination)?;
    let ports = payload.ports(&frame).map(u16::from_be_bytes);
    Some(([source, destination], payload.protocol, payload.offset, ports))
}

#[test]
fn ends_and_ports_of_both_families_are_read() {
    let ports = [0x9c, 0x40, 0, 80];
    for (what, packet, expected) in [
        ("TCP", v4(6, 0, 0x4000, &ports), ([FROM, TO], 6, 20, [40_000, 80])),
        ("UDP behind options", v4(17, 3, 0, &ports), ([FROM, TO], 17, 32, [40_000, 80])),
        ("first fragment", v4(17, 0, 0x2000, &ports), ([FROM, TO], 17, 20, [40_000, 80])),
        ("later fragment", v4(17, 0, 0x2001, &ports), ([FROM, TO], 17, 20, [0, 0])),
        ("ICMP", v4(1, 0, 0, &ports), ([FROM, TO], 1, 20, [0, 0])),
        ("cut short", v4(6, 0, 0, &[1]), ([FROM, TO], 6, 20, [0, 0])),
        ("TCP over IPv6", v6(6, &ports), ([FROM_V6, TO_V6], 6, 40, [40_000, 80])),
    ] {
        assert_eq!(read(packet, 0), Some(expected), "{what}");
    }
    let behind = [vec![0; 14], v4(6, 0, 0, &ports)].concat();
    assert_eq!(read(behind, 14), Some(([FROM, TO], 6, 34, [40_000, 80])));
}

#[test]
fn what_is_no_ip_header_is_not_read() {
    for packet in [vec![], vec![0x45; 19], vec![0x60; 39], vec![0x15; 60], vec![0; 60]] {
        assert_eq!(read(packet, 0), None);
    }
}

#[test]
fn tunnels_are_known_by_their_protocol() {
    for (packet, tunnel) in [
        (v4(4, 0, 0, &[]), true),
        (v4(41, 0, 0, &[]), true),
        (v4(4, 0, 0x2001, &[]), false),
        (v4(6, 0, 0, &[]), false),
        (v6(4, &[]), true),
        (v6(41, &[]), true),
        (v6(58, &[]), false),
    ] {
        let (mut source, mut destination) = (Address::NONE, Address::NONE);
        let payload = peek::ends(&Frame(packet), 0, &mut source, &mut destination);
        assert_eq!(payload.map(|payload| payload.is_tunnel()), Some(tunnel));
    }
}
