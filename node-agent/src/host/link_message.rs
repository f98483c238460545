//! Links, as netlink has them.

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet, AfSpecInet6, AfSpecUnspec, InetDevConf, InfoKind, LinkAttribute, LinkFlags, LinkInfo,
        LinkLayerType, LinkMessage,
    },
};

use crate::model::{Link, VethPeer};

/// Asks for every link.
pub(super) fn dump_links() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(LinkMessage::default())
}

/// The link; nothing if the message describes none.
pub(super) fn decode_link(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        mtu: 0,
        mac: [0; 6],
        loopback: flags.contains(LinkFlags::Loopback),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        forwarding_v4: false,
        proxy_arp: false,
        reverse_path: 0,
        ra_unless_forwarding: false,
        peer: peer(&message.attributes),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            // Tunnels have IP addresses here: no MAC.
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or([0; 6]),
            LinkAttribute::AfSpecUnspec(families) => {
                if let Some(config) = ipv4_config(families) {
                    link.forwarding_v4 = config.forwarding != 0;
                    link.proxy_arp = config.proxy_arp != 0;
                    link.reverse_path = u8::try_from(config.rp_filter).unwrap_or_default();
                }
                link.ra_unless_forwarding = accept_ra(families) == Some(1);
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The other end of a veth; nothing for what is none, or where the kernel does not tell.
fn peer(attributes: &[LinkAttribute]) -> Option<VethPeer> {
    let (mut veth, mut index, mut netns) = (false, None, None);
    for attribute in attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
            LinkAttribute::Link(other) => index = Some(*other),
            LinkAttribute::LinkNetNsId(id) => netns = Some(*id),
            _ => {}
        }
    }
    let told = veth && netns.is_none_or(|id| id >= 0);
    index.filter(|index| told && *index > 0).map(|index| VethPeer { netns, index, mtu: None })
}

fn ipv4_config(families: &[AfSpecUnspec]) -> Option<&InetDevConf> {
    families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet(attributes) => attributes.iter().find_map(|attribute| match attribute {
            AfSpecInet::DevConf(config) => Some(config),
            _ => None,
        }),
        _ => None,
    })
}

/// `accept_ra`, where the interface has IPv6: 0 never, 1 unless the host forwards, 2 always.
fn accept_ra(families: &[AfSpecUnspec]) -> Option<i32> {
    families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => attributes.iter().find_map(|attribute| match attribute {
            AfSpecInet6::DevConf(config) => Some(config.accept_ra),
            _ => None,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::Inet6DevConf;

    use super::*;

    fn message(attributes: Vec<LinkAttribute>) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
        message.attributes = attributes;
        RouteNetlinkMessage::NewLink(message)
    }

    #[test]
    fn ethernet_link_with_its_sysctls() {
        let mut config = InetDevConf::default();
        config.forwarding = 1;
        config.proxy_arp = 1;
        config.rp_filter = 2;
        let mut config_v6 = Inet6DevConf::default();
        config_v6.accept_ra = 1;
        let RouteNetlinkMessage::NewLink(mut message) = message(vec![
            LinkAttribute::IfName("veth-web-0".to_owned()),
            LinkAttribute::Mtu(1480),
            LinkAttribute::Address(vec![0xee; 6]),
            LinkAttribute::AfSpecUnspec(vec![
                AfSpecUnspec::Inet(vec![AfSpecInet::DevConf(config)]),
                AfSpecUnspec::Inet6(vec![AfSpecInet6::DevConf(config_v6)]),
            ]),
        ]) else {
            unreachable!("made above")
        };
        message.header.link_layer_type = LinkLayerType::Ether;
        let decoded = decode_link(&RouteNetlinkMessage::NewLink(message));
        let expected = Link {
            index: 7,
            name: "veth-web-0".to_owned(),
            up: true,
            mtu: 1480,
            mac: [0xee; 6],
            loopback: false,
            ethernet: true,
            forwarding_v4: true,
            proxy_arp: true,
            reverse_path: 2,
            ra_unless_forwarding: true,
            peer: None,
        };
        assert_eq!(decoded, Some(expected));
    }

    #[test]
    fn tunnel_has_no_mac() {
        let decoded = decode_link(&message(vec![
            LinkAttribute::IfName("tunl0".to_owned()),
            LinkAttribute::Address(vec![10, 0, 1, 11]),
        ]));
        let link = decoded.unwrap();
        assert_eq!((link.mac, link.forwarding_v4, link.proxy_arp), ([0; 6], false, false));
        assert!(!link.ethernet);
    }

    #[test]
    fn other_end_of_a_veth_is_known_by_namespace_and_index() {
        let decoded = |kind, netns: Option<i32>| {
            let mut attributes = vec![
                LinkAttribute::IfName("veth-web-0".to_owned()),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
                LinkAttribute::Link(2),
            ];
            attributes.extend(netns.map(LinkAttribute::LinkNetNsId));
            decode_link(&message(attributes)).unwrap().peer
        };
        let peer = |netns| Some(VethPeer { netns, index: 2, mtu: None });
        assert_eq!(decoded(InfoKind::Veth, Some(0)), peer(Some(0)));
        assert_eq!(decoded(InfoKind::Veth, None), peer(None));
        assert_eq!(decoded(InfoKind::Veth, Some(-1)), None, "in a namespace without a number");
        assert_eq!(decoded(InfoKind::Vlan, Some(0)), None, "its lower interface is not its other end");
    }

    #[test]
    fn other_messages_are_no_link() {
        assert_eq!(decode_link(&message(vec![])), None);
        assert_eq!(decode_link(&dump_links()), None);
    }
}
