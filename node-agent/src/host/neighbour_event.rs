//! What the kernel tells of neighbours, read by hand: there may be thousands a second, hardly any of which matter.

use std::net::IpAddr;

use netlink_packet_route::neighbour::NeighbourState;

use crate::model::LinkNeighbour;

/// Enough to see all attributes of an IPv6 neighbour.
pub(super) const NOTIFICATION_BYTES: usize = 256;

/// A neighbour that is new, has changed, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeighbourEvent {
    /// Which one; none if its address was cut off.
    pub(super) neighbour: Option<LinkNeighbour>,
    /// Whether it is gone. Its state is then the one that it got for that, failed for example.
    pub(super) gone: bool,
    /// Its state.
    pub(super) state: NeighbourState,
    /// The protocol number of who set it, if it has one.
    pub(super) protocol: Option<u8>,
}

/// Reads a notification; nothing if it is about anything else, or too short.
pub(super) fn parse(notification: &[u8]) -> Option<NeighbourEvent> {
    let gone = match u16::from_ne_bytes(array(notification, 4)?) {
        RTM_NEWNEIGH => false,
        RTM_DELNEIGH => true,
        _ => return None,
    };
    let link = u32::from_ne_bytes(array(notification, 20)?);
    let state = NeighbourState::from(u16::from_ne_bytes(array(notification, 24)?));
    let mut event = NeighbourEvent { neighbour: None, gone, state, protocol: None };
    let mut attributes = notification.get(HEADERS..).unwrap_or_default();
    while let [low, high, kind_low, kind_high, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(value) = attributes.get(4..length) else { break };
        match (u16::from_ne_bytes([kind_low, kind_high]), value) {
            (NDA_DST, value) => {
                event.neighbour = address(value).map(|address| LinkNeighbour { link, address })
            }
            (NDA_PROTOCOL, [protocol]) => event.protocol = Some(*protocol),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(event)
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

/// Bytes of `struct nlmsghdr` and `struct ndmsg`.
const HEADERS: usize = 16 + 12;
// linux/rtnetlink.h and linux/neighbour.h
const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the kernel tells of a neighbour, with the attributes in its order: the address, the number of probes, the
    /// times, the protocol.
    pub(crate) fn notification(
        gone: bool,
        state: NeighbourState,
        address: &[u8],
        protocol: Option<u8>,
    ) -> Vec<u8> {
        let mut bytes = vec![0; HEADERS];
        bytes[4..6].copy_from_slice(&if gone { RTM_DELNEIGH } else { RTM_NEWNEIGH }.to_ne_bytes());
        bytes[20..24].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[24..26].copy_from_slice(&u16::from(state).to_ne_bytes());
        let mut attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            bytes.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        };
        attribute(NDA_DST, address);
        attribute(4, &[0; 4]);
        attribute(3, &[0; 16]);
        if let Some(protocol) = protocol {
            attribute(NDA_PROTOCOL, &[protocol]);
        }
        bytes
    }

    #[test]
    fn address_state_and_protocol_are_read_in_both_families() {
        for address in ["10.0.1.1", "fe80::1"] {
            let address: IpAddr = address.parse().unwrap();
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            for (gone, state, protocol) in
                [(false, NeighbourState::Failed, None), (true, NeighbourState::Reachable, Some(77))]
            {
                let bytes = notification(gone, state, &octets, protocol);
                assert!(bytes.len() <= NOTIFICATION_BYTES);
                let neighbour = Some(LinkNeighbour { link: 7, address });
                assert_eq!(parse(&bytes), Some(NeighbourEvent { neighbour, gone, state, protocol }));
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_about_something_else_is_not_made_up() {
        let bytes = notification(false, NeighbourState::Failed, &[10, 0, 1, 1], Some(77));
        for length in 0..bytes.len() {
            let read = parse(&bytes[..length]);
            assert_eq!(read.is_some(), length >= 26, "{length}");
            let known = read.is_some_and(|event| event.neighbour.is_some());
            assert_eq!(known, length >= HEADERS + 8, "{length}");
        }
        let mut other = bytes;
        other[4..6].copy_from_slice(&24_u16.to_ne_bytes());
        assert_eq!(parse(&other), None);
    }
}
