//! The neighbour table: for `node-agent lookup`, and kept right for what goes past the stack.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};
use nix::errno::Errno;
use rtnetlink::packet_core::NLM_F_CREATE;
use serde::Serialize;

use super::{
    Host, HostError,
    session::{NetlinkError, Session},
};
use crate::model::LinkNeighbour;

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
    /// link-layer address, or is gone, would never be noticed.
    ///
    /// # Errors
    ///
    /// If the neighbour table cannot be read.
    pub async fn confirm_neighbours(&self, used: &BTreeSet<LinkNeighbour>) -> Result<(), HostError> {
        let session = Session::open()?;
        for (neighbour, state) in states(&session, used).await? {
            if state == NeighbourState::Stale {
                probe(&session, neighbour).await;
            }
        }
        Ok(())
    }
}

/// As many neighbours are asked for one by one; for more, the whole table is read.
pub(super) const ONE_BY_ONE: usize = 64;

/// The states of those of these neighbours of which the kernel has an entry.
pub(super) async fn states(
    session: &Session,
    of: &BTreeSet<LinkNeighbour>,
) -> Result<BTreeMap<LinkNeighbour, NeighbourState>, HostError> {
    let mut states = BTreeMap::new();
    if of.len() <= ONE_BY_ONE {
        for LinkNeighbour { link, address } in of.iter().copied() {
            match session.get(get_neighbour(link, address)).await {
                Ok(entry) => states.extend(state(&entry)),
                // It has no entry, or its link is gone.
                Err(NetlinkError::Refused { errno: Errno::ENOENT | Errno::ENODEV, .. }) => {}
                Err(reason) => return Err(HostError::Neighbour { link, address, reason }),
            }
        }
        return Ok(states);
    }
    let families: BTreeSet<bool> = of.iter().map(|neighbour| neighbour.address.is_ipv4()).collect();
    for v4 in families {
        let dump = session.dump(RouteNetlinkMessage::GetNeighbour(of_family(v4))).await;
        let entries = dump.map_err(|reason| HostError::Read { table: "neighbours", reason })?;
        states.extend(entries.iter().filter_map(state).filter(|(neighbour, _)| of.contains(neighbour)));
    }
    Ok(states)
}

fn state(entry: &RouteNetlinkMessage) -> Option<(LinkNeighbour, NeighbourState)> {
    let RouteNetlinkMessage::NewNeighbour(entry) = entry else { return None };
    let address = entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    Some((LinkNeighbour { link: entry.header.ifindex, address }, entry.header.state))
}

/// Makes the kernel ask a neighbour whether it is there, as a packet to it would.
pub(super) async fn probe(session: &Session, neighbour: LinkNeighbour) {
    let message = RouteNetlinkMessage::NewNeighbour(probing(neighbour));
    // Its link may have gone meanwhile; then it does not matter any more.
    let _ = session.change(message, NLM_F_CREATE).await;
}

fn probing(LinkNeighbour { link, address }: LinkNeighbour) -> NeighbourMessage {
    let mut message = of_family(address.is_ipv4());
    message.header.ifindex = link;
    message.header.flags = NeighbourFlags::Use;
    message.attributes = vec![NeighbourAttribute::Destination(address.into())];
    message
}

fn of_family(v4: bool) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message
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
    fn an_entry_is_read_and_asked_again_by_link_and_address() {
        for address in ["10.0.1.12", "fe80::1"] {
            let neighbour = LinkNeighbour { link: 2, address: address.parse().unwrap() };
            let mut message = probing(neighbour);
            assert_eq!(message.header.flags, NeighbourFlags::Use);
            message.header.state = NeighbourState::Stale;
            let entry = RouteNetlinkMessage::NewNeighbour(message.clone());
            assert_eq!(state(&entry), Some((neighbour, NeighbourState::Stale)));
            message.attributes.clear();
            assert_eq!(state(&RouteNetlinkMessage::NewNeighbour(message)), None);
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
