//! The checksum of the message that an IP packet carries.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::header::IpHeader;

/// How a message's checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It fits.
    Right,
    /// It does not.
    Wrong,
    /// It is only begun with the pseudo-header: a sender of this machine leaves the rest to the interface.
    Begun,
    /// UDP over IPv4 without a checksum.
    None,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Checks the message behind a header; none if it is no TCP, UDP or ICMP, is a fragment, or incomplete.
pub(super) fn checksum(header: &IpHeader, message: &[u8]) -> Option<Checksum> {
    let place = match header.protocol {
        ICMP | ICMPV6 => 2,
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    // Without the padding that short Ethernet frames have.
    let length = usize::try_from(header.total).ok()?.checked_sub(header.length)?;
    let message = message.get(..length)?;
    let field: [u8; 2] = message.get(place..place + 2)?.try_into().ok()?;
    if header.fragment {
        return None;
    }
    if header.protocol == UDP && header.source.is_ipv4() && field == [0, 0] {
        return Some(Checksum::None);
    }
    let pseudo = pseudo_header(header, length)?;
    Some(if pseudo.clone().add_slice(message).ones_complement() == 0 {
        Checksum::Right
    } else if header.protocol != ICMP && !pseudo.ones_complement() == u16::from_ne_bytes(field) {
        Checksum::Begun
    } else {
        Checksum::Wrong
    })
}

/// RFC 9293 section 3.1 and RFC 8200 section 8.1; ICMP has none.
fn pseudo_header(header: &IpHeader, length: usize) -> Option<Sum16BitWords> {
    let sum = Sum16BitWords::new();
    if header.protocol == ICMP {
        return Some(sum);
    }
    let sum = match (header.source, header.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum.add_slice(&source.octets()).add_slice(&destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            sum.add_slice(&source.octets()).add_slice(&destination.octets())
        }
        _ => return None,
    };
    let length = u32::try_from(length).ok()?.to_be_bytes();
    Some(sum.add_slice(&length).add_2bytes([0, header.protocol]))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::family::Family;

    fn tcp(family: Family) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = match family {
            Family::V4 => PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
            Family::V6 => PacketBuilder::ipv6([1; 16], [2; 16], 64),
        };
        builder.tcp(1, 2, 3, 4).write(&mut bytes, b"odd").unwrap();
        bytes
    }

    fn checked(family: Family, bytes: &[u8]) -> Option<Checksum> {
        let header = IpHeader::parse(family, bytes).unwrap();
        checksum(&header, &bytes[header.length..])
    }

    #[test]
    fn right_wrong_and_begun_checksums_are_told_apart() {
        for family in Family::ALL {
            let (mut bytes, field) = (tcp(family), usize::from(family.header()) + 16);
            assert_eq!(checked(family, &bytes), Some(Checksum::Right));
            // Padding counts for nothing.
            assert_eq!(checked(family, &[&bytes[..], &[1, 2]].concat()), Some(Checksum::Right));
            let header = IpHeader::parse(family, &bytes).unwrap();
            let pseudo = pseudo_header(&header, bytes.len() - header.length).unwrap();
            bytes[field..field + 2].copy_from_slice(&(!pseudo.ones_complement()).to_ne_bytes());
            assert_eq!(checked(family, &bytes), Some(Checksum::Begun));
            bytes[field] ^= 1;
            assert_eq!(checked(family, &bytes), Some(Checksum::Wrong));
            assert_eq!(checked(family, &bytes[..bytes.len() - 1]), None);
        }
    }
}
