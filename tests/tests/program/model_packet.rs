//! Packets as the model sees them: read and written byte by byte, without regard to speed.

use std::net::IpAddr;

use node_ebpf_common::{NextHop, Outcome};

/// What the model knows of a packet.
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub length: usize,
    pub protocol: u8,
    pub hops: u8,
    pub traffic_class: u8,
    pub dont_fragment: bool,
    pub fragment: bool,
    pub largest: u32,
    pub source_port: u16,
    pub destination_port: u16,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads the packet at an offset of the frame.
pub fn read(frame: &[u8], offset: usize, v6: bool, gso_size: u32) -> Result<Ip, Outcome> {
    let packet = &frame[offset.min(frame.len())..];
    if v6 { read_v6(packet, gso_size) } else { read_v4(packet, gso_size) }
}

fn read_v4(packet: &[u8], gso_size: u32) -> Result<Ip, Outcome> {
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[0] & 15 < 5 {
        return Err(Outcome::DropMalformed);
    }
    let length = usize::from(packet[0] & 15) * 4;
    let total = usize::from(word(packet, 2));
    if gso_size == 0 && (total < length || total > packet.len()) {
        return Err(Outcome::DropMalformed);
    }
    let address = |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let flags = word(packet, 6);
    let ip = Ip {
        source: address(12),
        destination: address(16),
        length,
        protocol: packet[9],
        hops: packet[8],
        traffic_class: packet[1],
        dont_fragment: flags & 0x4000 != 0,
        fragment: flags & 0x3fff != 0,
        largest: u32::try_from(total).expect("16 bits"),
        source_port: 0,
        destination_port: 0,
    };
    Ok(with_transport(ip, packet, gso_size))
}

fn read_v6(packet: &[u8], gso_size: u32) -> Result<Ip, Outcome> {
    if packet.len() < 40 || packet[0] >> 4 != 6 {
        return Err(Outcome::DropMalformed);
    }
    let total = usize::from(word(packet, 4)) + 40;
    if gso_size == 0 && total > packet.len() {
        return Err(Outcome::DropMalformed);
    }
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("16 bytes"));
    let (protocol, length, fragment) = extensions(packet);
    let ip = Ip {
        source: address(8),
        destination: address(24),
        length,
        protocol,
        hops: packet[7],
        traffic_class: packet[0] << 4 | packet[1] >> 4,
        dont_fragment: true,
        fragment,
        largest: u32::try_from(total).expect("17 bits"),
        source_port: 0,
        destination_port: 0,
    };
    Ok(with_transport(ip, packet, gso_size))
}

/// Protocol behind at most four extension headers, the length before it, and whether it is a fragment.
fn extensions(packet: &[u8]) -> (u8, usize, bool) {
    let is_extension = |protocol| [0, 43, 44, 51, 60].contains(&protocol);
    let (mut protocol, mut length) = (packet[6], 40);
    for _ in 0..4 {
        if !is_extension(protocol) || packet.len() < length + 4 {
            break;
        }
        let (next, size) = (packet[length], usize::from(packet[length + 1]));
        let fragment = protocol == 44 && word(packet, length + 2) & 0xfff9 != 0;
        length += match protocol {
            44 => 8,
            51 => (size + 2) * 4,
            _ => (size + 1) * 8,
        };
        protocol = next;
        if fragment {
            return (protocol, length, true);
        }
    }
    (if is_extension(protocol) { 59 } else { protocol }, length, false)
}

fn with_transport(mut ip: Ip, packet: &[u8], gso_size: u32) -> Ip {
    let transport = &packet[ip.length.min(packet.len())..];
    if !ip.fragment && [6, 17, 132].contains(&ip.protocol) && transport.len() >= 4 {
        (ip.source_port, ip.destination_port) = (word(transport, 0), word(transport, 2));
    }
    if gso_size > 0 {
        let headers = u32::try_from(ip.length).expect("a length");
        ip.largest = match ip.protocol {
            6 if transport.len() >= 14 => headers + u32::from(transport[12] >> 4) * 4 + gso_size,
            17 => headers + 8 + gso_size,
            _ => u32::MAX,
        };
    }
    ip
}

/// The Internet checksum of a header.
pub fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(word(pair, 0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("two folds leave 16 bits")
}

/// What a header's checksum becomes when a word of it changes by the step that RFC 1624 gives: a checksum
/// that was wrong stays as wrong as it was.
fn adjust(packet: &mut [u8], old: u16, new: u16) {
    let sum = u32::from(!word(packet, 10)) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).expect("two folds leave 16 bits");
    packet[10..12].copy_from_slice(&(!folded).to_be_bytes());
}

/// One hop less.
pub fn less_one_hop(frame: &mut [u8], offset: usize) {
    let packet = &mut frame[offset..];
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return;
    }
    let old = word(packet, 8);
    packet[8] -= 1;
    let new = word(packet, 8);
    adjust(packet, old, new);
}

/// The congestion mark.
pub fn mark_congestion(frame: &mut [u8], offset: usize) {
    let packet = &mut frame[offset..];
    if packet[0] >> 4 == 6 {
        packet[1] |= 0x30;
        return;
    }
    let old = word(packet, 0);
    packet[1] |= 3;
    let new = word(packet, 0);
    adjust(packet, old, new);
}

/// The outer header for a packet of this length. Identification and flow label are left 0.
pub fn outer(ip: &Ip, length: usize, via: &NextHop) -> Vec<u8> {
    let protocol = if ip.source.is_ipv4() { 4 } else { 41 };
    let (source, destination) = (via.tunnel_source, via.tunnel_destination);
    if destination.is_v4() {
        let total = u16::try_from(length + 20).expect("a length").to_be_bytes();
        let flags = if ip.dont_fragment { 0x40 } else { 0 };
        let start = [0x45, ip.traffic_class, total[0], total[1], 0, 0, flags, 0, 64, protocol, 0, 0];
        let mut header = [&start[..], &source.v4_bytes(), &destination.v4_bytes()].concat();
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        return header;
    }
    let payload = u16::try_from(length).expect("a length").to_be_bytes();
    let class = ip.traffic_class;
    let start = [0x60 | class >> 4, class << 4, 0, 0, payload[0], payload[1], protocol, 64];
    [&start[..], &source.octets(), &destination.octets()].concat()
}

/// Clears what is random in an outer header that the programs have added, after its checksum was found
/// right, so that it can be compared.
pub fn without_random_fields(frame: &mut [u8]) {
    let packet = &mut frame[14..];
    if packet[0] >> 4 == 6 {
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
        return;
    }
    assert_eq!(checksum(&packet[..20]), 0, "the outer header's checksum: {packet:02x?}");
    packet[4..6].fill(0);
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}
