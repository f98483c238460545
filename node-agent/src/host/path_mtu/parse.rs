//! What a router's message says: ICMP type 3 code 4 (RFC 1191), ICMPv6 type 2 (RFC 4443).

use std::net::IpAddr;

use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice,
    checksum::Sum16BitWords, icmpv4::DestUnreachableHeader,
};

use crate::model::TooBigReport;

/// Reads an ICMP message with its IPv4 header, as a raw socket gives it. None if it is not about an encapsulated
/// packet that is too big, or its checksum is wrong, which nobody has looked at before.
pub(super) fn v4(router: IpAddr, packet: &[u8]) -> Option<TooBigReport> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let message = Icmpv4Slice::from_slice(packet.get(header.slice().len()..)?).ok()?;
    // Over the bytes themselves: with RFC 4884 there is more in the header than etherparse reads.
    if Sum16BitWords::new().add_slice(message.slice()).ones_complement() != 0 {
        return None;
    }
    let Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu }) =
        message.icmp_type()
    else {
        return None;
    };
    let quoted = Ipv4HeaderSlice::from_slice(message.payload()).ok()?;
    is_tunnel(quoted.protocol()).then(|| TooBigReport {
        router,
        source: quoted.source_addr().into(),
        destination: quoted.destination_addr().into(),
        mtu: next_hop_mtu.into(),
    })
}

/// Reads an ICMPv6 message, which a raw socket gives without its IPv6 header and with a right checksum. Our outer
/// headers have no extension headers behind them.
pub(super) fn v6(router: IpAddr, message: &[u8]) -> Option<TooBigReport> {
    let message = Icmpv6Slice::from_slice(message).ok()?;
    let Icmpv6Type::PacketTooBig { mtu } = message.icmp_type() else { return None };
    let quoted = Ipv6HeaderSlice::from_slice(message.payload()).ok()?;
    is_tunnel(quoted.next_header()).then(|| TooBigReport {
        router,
        source: quoted.source_addr().into(),
        destination: quoted.destination_addr().into(),
        mtu,
    })
}

/// Whether a packet is inside of the packet.
fn is_tunnel(protocol: IpNumber) -> bool {
    matches!(protocol, IpNumber::IPV4 | IpNumber::IPV6)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv6Header, Ipv4Header, Ipv6Header, PacketBuilder};
    use proptest::prelude::*;

    use super::*;

    const PTB: Icmpv6Type = Icmpv6Type::PacketTooBig { mtu: 1400 };

    fn needed(next_hop_mtu: u16) -> Icmpv4Type {
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu })
    }

    fn router(family: u8) -> IpAddr {
        if family == 4 { [10, 0, 1, 1].into() } else { "fd00:1::1".parse().unwrap() }
    }

    fn quoted_v4(protocol: IpNumber) -> Vec<u8> {
        let header = Ipv4Header::new(1480, 64, protocol, [10, 0, 1, 11], [10, 0, 2, 11]).unwrap();
        [&header.to_bytes()[..], &[0x45; 8]].concat()
    }

    fn quoted_v6(next_header: IpNumber) -> Vec<u8> {
        let ends =
            ["fd00:1::11", "fd00:2::11"].map(|end| end.parse::<std::net::Ipv6Addr>().unwrap().octets());
        let header = Ipv6Header {
            payload_length: 1460,
            next_header,
            hop_limit: 64,
            source: ends[0],
            destination: ends[1],
            ..Ipv6Header::default()
        };
        [&header.to_bytes()[..], &[0x60; 48]].concat()
    }

    /// The message in an IPv4 packet to a1.
    fn packet_v4(kind: Icmpv4Type, quoted: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 1, 1], [10, 0, 1, 11], 64).icmpv4(kind);
        builder.write(&mut packet, quoted).unwrap();
        packet
    }

    fn message_v6(kind: Icmpv6Type, quoted: &[u8]) -> Vec<u8> {
        let mut message = Icmpv6Header::new(kind).to_bytes().to_vec();
        message.extend_from_slice(quoted);
        message
    }

    #[test]
    fn a_message_about_a_tunnel_is_read() {
        for protocol in [IpNumber::IPV4, IpNumber::IPV6] {
            let report = v4(router(4), &packet_v4(needed(1400), &quoted_v4(protocol))).unwrap();
            assert_eq!((report.router, report.mtu), (router(4), 1400));
            assert_eq!(
                (report.source.to_string(), report.destination.to_string()),
                ("10.0.1.11".to_owned(), "10.0.2.11".to_owned())
            );
            let report = v6(router(6), &message_v6(PTB, &quoted_v6(protocol))).unwrap();
            assert_eq!((report.router, report.mtu), (router(6), 1400));
            assert_eq!(
                (report.source.to_string(), report.destination.to_string()),
                ("fd00:1::11".to_owned(), "fd00:2::11".to_owned())
            );
        }
    }

    #[test]
    fn other_messages_are_not() {
        use DestUnreachableHeader::{Host, Port};
        let ours = quoted_v4(IpNumber::IPV4);
        for kind in [Host, Port].map(Icmpv4Type::DestinationUnreachable) {
            assert_eq!(v4(router(4), &packet_v4(kind.clone(), &ours)), None, "{kind:?}");
        }
        for protocol in [IpNumber::UDP, IpNumber::TCP, IpNumber::ICMP] {
            assert_eq!(v4(router(4), &packet_v4(needed(1400), &quoted_v4(protocol))), None);
            assert_eq!(v6(router(6), &message_v6(PTB, &quoted_v6(protocol))), None);
        }
        // A quoted packet of the other family is none that this node sent.
        assert_eq!(v4(router(4), &packet_v4(needed(1400), &quoted_v6(IpNumber::IPV6))), None);
        assert_eq!(v6(router(6), &message_v6(PTB, &ours)), None);
        let echo = Icmpv6Type::EchoReply(etherparse::IcmpEchoHeader { id: 1, seq: 1 });
        assert_eq!(v6(router(6), &message_v6(echo, &quoted_v6(IpNumber::IPV6))), None);
    }

    #[test]
    fn a_message_with_a_wrong_checksum_or_a_piece_of_one_is_not_read() {
        let whole = packet_v4(needed(1400), &quoted_v4(IpNumber::IPV4));
        assert!(v4(router(4), &whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(v4(router(4), &whole[..length]), None, "{length} bytes");
        }
        for byte in 20..whole.len() {
            let mut changed = whole.clone();
            changed[byte] ^= 0x10;
            assert_eq!(v4(router(4), &changed), None, "byte {byte}");
        }
        let whole = message_v6(PTB, &quoted_v6(IpNumber::IPV6));
        for length in 0..48 {
            assert_eq!(v6(router(6), &whole[..length]), None, "{length} bytes");
        }
        assert!(v6(router(6), &whole[..48]).is_some(), "the outer header is enough");
    }

    /// RFC 4884: the length of what is quoted stands where RFC 1191 has nothing.
    #[test]
    fn a_message_with_extensions_is_read() {
        let mut packet = packet_v4(needed(1400), &quoted_v4(IpNumber::IPV4));
        packet[25] = 7;
        packet[22..24].fill(0);
        let checksum = Sum16BitWords::new().add_slice(&packet[20..]).ones_complement();
        packet[22..24].copy_from_slice(&checksum.to_ne_bytes());
        assert_eq!(v4(router(4), &packet).unwrap().mtu, 1400);
    }

    #[test]
    fn a_header_with_options_is_passed_over() {
        let mut header = Ipv4Header::new(0, 64, IpNumber::ICMP, [10, 0, 1, 1], [10, 0, 1, 11]).unwrap();
        header.options = [1; 8].into();
        let plain = packet_v4(needed(1300), &quoted_v4(IpNumber::IPV4));
        let packet = [&header.to_bytes()[..], &plain[20..]].concat();
        assert_eq!(v4(router(4), &packet).unwrap().mtu, 1300);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (v4(router(4), &bytes), v6(router(6), &bytes));
        }

        /// The bytes get further when they begin as a message does.
        #[test]
        fn no_quoted_bytes_are_too_much(mtu: u16, quoted in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(report) = v4(router(4), &packet_v4(needed(mtu), &quoted)) {
                prop_assert_eq!(report.mtu, u32::from(mtu));
            }
            let _ = v6(router(6), &message_v6(PTB, &quoted));
        }
    }
}
