//! Addresses of interfaces, as netlink has them.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
};

use crate::model::{AddressChange, InterfaceAddress, OwnAddress};

/// Asks for every address of both families.
pub(super) fn dump_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// The address; nothing if the message describes none.
pub(super) fn decode_address(message: &RouteNetlinkMessage) -> Option<InterfaceAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut address, mut label) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Label(text) => label = Some(text.clone()),
            AddressAttribute::RoutePriority(OwnAddress::METRIC_V6)
                if message.header.family == AddressFamily::Inet6 =>
            {
                label = Some(OwnAddress::LABEL.to_owned());
            }
            _ => {}
        }
    }
    // On a point-to-point link `address` is the peer's.
    let address = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(InterfaceAddress { link: message.header.index, address, label })
}

/// An address of ours, to add or to delete: the kernel deletes only what has this label.
pub(super) fn encode_address(change: &AddressChange) -> AddressMessage {
    let ip = change.address.addr();
    let (family, mark) = match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, AddressAttribute::Label(OwnAddress::LABEL.to_owned())),
        IpAddr::V6(_) => (AddressFamily::Inet6, AddressAttribute::RoutePriority(OwnAddress::METRIC_V6)),
    };
    let mut message = AddressMessage::default();
    message.header.family = family;
    message.header.prefix_len = change.address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = change.link;
    if family == AddressFamily::Inet6 {
        // An address that is being checked for duplicates is no source for a route yet.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip), mark];
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(address: &str) -> AddressChange {
        AddressChange { link: 1, interface: Some("lo".to_owned()), address: address.parse().unwrap() }
    }

    #[test]
    fn our_address_is_recognised_when_it_comes_back() {
        for address in ["10.244.1.1/32", "fd00:10:244:1::1/128"] {
            let message = RouteNetlinkMessage::NewAddress(encode_address(&change(address)));
            let expected = InterfaceAddress {
                link: 1,
                address: address.parse().unwrap(),
                label: Some(OwnAddress::LABEL.to_owned()),
            };
            assert_eq!(decode_address(&message), Some(expected));
        }
    }

    #[test]
    fn other_marks_are_not_ours() {
        let foreign = |address: &str, mark: AddressAttribute| {
            let mut message = encode_address(&change(address));
            message.attributes.retain(|attribute| matches!(attribute, AddressAttribute::Local(_)));
            message.attributes.push(mark);
            decode_address(&RouteNetlinkMessage::NewAddress(message)).unwrap().label
        };
        let ours = AddressAttribute::RoutePriority(OwnAddress::METRIC_V6);
        assert_eq!(foreign("10.244.1.1/32", ours), None);
        assert_eq!(foreign("fd00:10:244:1::1/128", AddressAttribute::RoutePriority(256)), None);
    }

    #[test]
    fn deletion_names_our_label() {
        let message = encode_address(&change("10.244.1.1/32"));
        assert!(message.attributes.contains(&AddressAttribute::Label("lo:podroute".to_owned())));
    }

    #[test]
    fn peer_is_not_taken_for_the_own_address() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Address("10.9.9.2".parse().unwrap()),
            AddressAttribute::Local("10.9.9.1".parse().unwrap()),
        ];
        let decoded = decode_address(&RouteNetlinkMessage::NewAddress(message)).unwrap();
        assert_eq!(decoded.address, "10.9.9.1/32".parse().unwrap());
        assert_eq!(decoded.label, None);
    }

    #[test]
    fn malformed_messages_are_no_address() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 33;
        message.attributes = vec![AddressAttribute::Local("10.9.9.1".parse().unwrap())];
        assert_eq!(decode_address(&RouteNetlinkMessage::NewAddress(message)), None);
        assert_eq!(decode_address(&dump_addresses()), None);
    }
}
