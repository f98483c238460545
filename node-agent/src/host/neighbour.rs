//! The neighbour table: for `node-agent lookup`, and kept right for what goes past the stack.

use std::{collections::BTreeSet, net::IpAddr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
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

    /// Makes the kernel confirm those of these neighbours that it has not heard of for a while, as if a packet
    /// had just been sent to them. What goes past its stack does not do that: a neighbour that has another
    /// link-layer address, or is gone, would never be noticed. Each is named by interface index and address.
    ///
    /// # Errors
    ///
    /// If the neighbour table cannot be read.
    pub async fn confirm_neighbours(&self, used: &BTreeSet<(u32, IpAddr)>) -> Result<(), HostError> {
        let session = Session::open()?;
        let families: BTreeSet<bool> = used.iter().map(|(_, address)| address.is_ipv4()).collect();
        for v4 in families {
            let dump = session.dump(RouteNetlinkMessage::GetNeighbour(of_family(v4))).await;
            let entries = dump.map_err(|reason| HostError::Read { table: "neighbours", reason })?;
            for message in entries.iter().filter_map(|entry| confirmation(entry, used)) {
                // It may have gone meanwhile; then the next packet finds it.
                let _ = session.change(RouteNetlinkMessage::NewNeighbour(message), 0).await;
            }
        }
        Ok(())
    }
}

fn of_family(v4: bool) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message
}

/// What makes the kernel confirm this entry; nothing if there is no need.
fn confirmation(entry: &RouteNetlinkMessage, used: &BTreeSet<(u32, IpAddr)>) -> Option<NeighbourMessage> {
    let RouteNetlinkMessage::NewNeighbour(entry) = entry else { return None };
    let address = entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    if entry.header.state != NeighbourState::Stale || !used.contains(&(entry.header.ifindex, address)) {
        return None;
    }
    let mut message = of_family(address.is_ipv4());
    message.header.ifindex = entry.header.ifindex;
    message.header.flags = NeighbourFlags::Use;
    message.attributes = vec![NeighbourAttribute::Destination(address.into())];
    Some(message)
}

fn get_neighbour(link: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = of_family(address.is_ipv4());
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
    fn only_stale_neighbours_that_are_used_are_confirmed() {
        let [used, other]: [IpAddr; 2] = ["10.0.1.12", "10.0.1.13"].map(|text| text.parse().unwrap());
        let entry = |link, address: IpAddr, state| {
            let mut message = of_family(true);
            (message.header.ifindex, message.header.state) = (link, state);
            message.attributes = vec![NeighbourAttribute::Destination(address.into())];
            RouteNetlinkMessage::NewNeighbour(message)
        };
        let all = BTreeSet::from([(2, used)]);
        let message = confirmation(&entry(2, used, NeighbourState::Stale), &all).unwrap();
        assert_eq!((message.header.ifindex, message.header.flags), (2, NeighbourFlags::Use));
        assert_eq!(message.attributes, [NeighbourAttribute::Destination(used.into())]);
        for (link, address, state) in [
            (2, used, NeighbourState::Reachable),
            (2, used, NeighbourState::Failed),
            (2, used, NeighbourState::Permanent),
            (3, used, NeighbourState::Stale),
            (2, other, NeighbourState::Stale),
        ] {
            assert_eq!(confirmation(&entry(link, address, state), &all), None);
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
