//! The neighbour table, for `node-agent lookup`.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAttribute, NeighbourMessage},
};
use nix::errno::Errno;
use serde::Serialize;

use super::{
    Host, HostError,
    session::{NetlinkError, Session},
};

/// What the kernel knows of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Its link-layer address, if it is resolved.
    pub mac: Option<[u8; 6]>,
    /// State as `ip neighbour` names it, in lower case: `reachable`, `stale`, `failed`, `permanent`, …
    pub state: String,
}

impl Host {
    /// The entry of an address on a link (its interface index); nothing if there is none.
    ///
    /// # Errors
    ///
    /// If the neighbour table cannot be read, or there is no such link.
    pub async fn neighbour(&self, link: u32, address: IpAddr) -> Result<Option<Neighbour>, HostError> {
        match Session::open()?.get(get_neighbour(link, address)).await {
            Ok(message) => Ok(decode_neighbour(address, &message)),
            Err(NetlinkError::Refused { errno: Errno::ENOENT, .. }) => Ok(None),
            Err(reason) => Err(HostError::Neighbour { link, address, reason }),
        }
    }
}

fn get_neighbour(link: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = link;
    message.attributes = vec![NeighbourAttribute::Destination(address.into())];
    RouteNetlinkMessage::GetNeighbour(message)
}

fn decode_neighbour(address: IpAddr, message: &RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    Some(Neighbour { address, mac, state: message.header.state.to_string() })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::neighbour::NeighbourState;

    use super::*;

    fn answer(state: NeighbourState, attributes: Vec<NeighbourAttribute>) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.state = state;
        message.attributes = attributes;
        RouteNetlinkMessage::NewNeighbour(message)
    }

    #[test]
    fn resolved_and_unresolved() {
        let address: IpAddr = "10.0.1.12".parse().unwrap();
        let mac = [2, 0, 0, 0, 1, 12];
        let cases = [
            (NeighbourState::Reachable, Some(mac), "reachable"),
            (NeighbourState::Permanent, Some(mac), "permanent"),
            (NeighbourState::Failed, None, "failed"),
        ];
        for (state, mac, text) in cases {
            let attributes =
                mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())).into_iter().collect();
            let expected = Neighbour { address, mac, state: text.to_owned() };
            assert_eq!(decode_neighbour(address, &answer(state, attributes)), Some(expected));
        }
    }

    #[test]
    fn question_names_link_and_address() {
        let RouteNetlinkMessage::GetNeighbour(message) = get_neighbour(4, "fe80::1".parse().unwrap()) else {
            panic!("not a question");
        };
        assert_eq!((message.header.family, message.header.ifindex), (AddressFamily::Inet6, 4));
        let address = NeighbourAttribute::Destination("fe80::1".parse::<IpAddr>().unwrap().into());
        assert_eq!(message.attributes, [address]);
    }
}
