//! Neighbours of ours, as netlink has them.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::RouteProtocol,
};

use crate::model::{KernelRoute, PlaceholderNeighbour};

/// The mark of what is ours.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(KernelRoute::PROTOCOL);

/// Asks for every IPv6 neighbour.
pub(super) fn dump_neighbours() -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// The neighbour; nothing if it does not carry our mark. One that is ours but not permanent any more has no
/// link-layer address here: it is not as it should be.
pub(super) fn decode_our_neighbour(message: &RouteNetlinkMessage) -> Option<PlaceholderNeighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if !message.attributes.contains(&NeighbourAttribute::Protocol(PROTOCOL)) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(*address),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    let mac = mac.filter(|_| message.header.state == NeighbourState::Permanent).unwrap_or_default();
    Some(PlaceholderNeighbour { link: message.header.ifindex, address, mac })
}

/// A neighbour of ours, to set or to delete.
pub(super) fn encode_neighbour(neighbour: &PlaceholderNeighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.ifindex = neighbour.link;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(IpAddr::V6(neighbour.address).into()),
        NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()),
        NeighbourAttribute::Protocol(PROTOCOL),
    ];
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(message: NeighbourMessage) -> Option<PlaceholderNeighbour> {
        decode_our_neighbour(&RouteNetlinkMessage::NewNeighbour(message))
    }

    #[test]
    fn what_we_set_comes_back_the_same() {
        let ours = PlaceholderNeighbour::on(4);
        assert_eq!(decoded(encode_neighbour(&ours)), Some(ours));
    }

    #[test]
    fn only_what_carries_our_protocol_is_ours() {
        for other in [None, Some(RouteProtocol::Kernel), Some(RouteProtocol::Other(80))] {
            let mut message = encode_neighbour(&PlaceholderNeighbour::on(4));
            message.attributes.pop();
            message.attributes.extend(other.map(NeighbourAttribute::Protocol));
            assert_eq!(decoded(message), None, "{other:?}");
        }
        assert_eq!(decode_our_neighbour(&dump_neighbours()), None);
    }

    #[test]
    fn one_that_is_not_permanent_any_more_is_not_as_it_should_be() {
        let mut message = encode_neighbour(&PlaceholderNeighbour::on(4));
        message.header.state = NeighbourState::Stale;
        let found = decoded(message).unwrap();
        assert_ne!(found, PlaceholderNeighbour::on(4));
        assert_eq!((found.link, found.address), (4, PlaceholderNeighbour::ADDRESS));
    }
}
