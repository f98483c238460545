use super::*;

fn remote() -> KernelRoute {
    KernelRoute {
        destination: "10.244.2.0/24".parse().unwrap(),
        kind: RouteKind::Unicast,
        link: Some(2),
        gateway: Some("10.0.1.12".parse().unwrap()),
        onlink: true,
        source: Some("10.244.1.1".parse().unwrap()),
        mtu: Some(1480),
        protocol: KernelRoute::PROTOCOL,
        metric: 0,
        legs: None,
    }
}

fn local_pod() -> KernelRoute {
    KernelRoute {
        destination: "10.244.1.10/32".parse().unwrap(),
        gateway: None,
        onlink: false,
        source: None,
        mtu: None,
        ..remote()
    }
}

fn blackhole() -> KernelRoute {
    KernelRoute {
        destination: "10.244.1.0/24".parse().unwrap(),
        kind: RouteKind::Blackhole,
        link: None,
        ..local_pod()
    }
}

fn of_ipv6() -> KernelRoute {
    KernelRoute {
        destination: "fd00:10:244:2::/64".parse().unwrap(),
        gateway: Some("fe80::12".parse().unwrap()),
        source: Some("fd00:10:244:1::1".parse().unwrap()),
        metric: 512,
        ..remote()
    }
}

fn reported(message: RouteMessage) -> Option<KernelRoute> {
    decode_route(&RouteNetlinkMessage::NewRoute(message))
}

/// A message that decodes to `remote()`, to be bent.
fn message() -> RouteMessage {
    encode_new_route(&remote()).unwrap()
}

#[test]
fn routes_we_make_come_back_the_same() {
    let by_ipv6_gateway = KernelRoute { gateway: Some("fe80::12".parse().unwrap()), ..remote() };
    let default = KernelRoute { destination: "0.0.0.0/0".parse().unwrap(), metric: 7, ..remote() };
    for route in [remote(), local_pod(), blackhole(), of_ipv6(), by_ipv6_gateway, default] {
        assert_eq!(reported(encode_new_route(&route).unwrap()), Some(route));
    }
}

#[test]
fn scope_follows_from_the_gateway() {
    let scope = |route| encode_new_route(&route).unwrap().header.scope;
    assert_eq!(scope(remote()), RouteScope::Universe);
    assert_eq!(scope(local_pod()), RouteScope::Link);
    assert_eq!(scope(blackhole()), RouteScope::Universe);
}

#[test]
fn every_request_carries_our_protocol() {
    let theirs = KernelRoute { protocol: 4, ..remote() };
    let ours = RouteProtocol::Other(77);
    assert_eq!(encode_new_route(&theirs).unwrap().header.protocol, ours);
    assert_eq!(encode_delete_route(&theirs).header.protocol, ours);
}

#[test]
fn deletion_names_all_of_the_route_and_any_scope() {
    let message = encode_delete_route(&remote());
    assert_eq!(message.header.scope, RouteScope::NoWhere);
    assert_eq!(message.header.kind, RouteType::Unicast);
    assert_eq!(message.attributes, encode_new_route(&remote()).unwrap().attributes);
    let odd = KernelRoute { kind: RouteKind::Other, ..blackhole() };
    assert_eq!(encode_delete_route(&odd).header.kind, RouteType::Unspec);
}

#[test]
fn kinds_we_do_not_make_are_read_but_not_added() {
    let mut message = message();
    message.header.kind = RouteType::Unreachable;
    let route = reported(message).unwrap();
    assert_eq!((route.kind, route.link), (RouteKind::Other, None));
    assert_eq!(encode_new_route(&route), None);
}

/// A multipath route to 10.244.2.0/24 with these legs: interface, last byte of the gateway, flags.
fn multipath(legs: &[(u32, u8, RouteNextHopFlags)]) -> RouteMessage {
    let hop = |&(index, last, flags): &(u32, u8, RouteNextHopFlags)| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = index;
        hop.flags = flags;
        hop.attributes = vec![RouteAttribute::Gateway(Ipv4Addr::new(10, 0, 1, last).into())];
        hop
    };
    let mut message = message();
    message.header.flags = RouteFlags::empty();
    message.attributes = vec![
        RouteAttribute::Destination(Ipv4Addr::new(10, 244, 2, 0).into()),
        RouteAttribute::MultiPath(legs.iter().map(hop).collect()),
    ];
    message
}

#[test]
fn multipath_routes_have_their_first_next_hop_and_all_legs() {
    let (onlink, none) = (RouteNextHopFlags::Onlink, RouteNextHopFlags::empty());
    let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let legs = [(5, 21, onlink), (6, 22, dead), (7, 23, RouteNextHopFlags::Linkdown), (8, 24, none)];
    let route = reported(multipath(&legs)).unwrap();
    assert_eq!(
        (route.link, route.gateway, route.onlink),
        (Some(5), Some("10.0.1.21".parse().unwrap()), true)
    );
    let leg = |link, gateway: &str, live| RouteLeg { link, gateway: Some(gateway.parse().unwrap()), live };
    let expected = [
        leg(5, "10.0.1.21", true),
        leg(6, "10.0.1.22", false),
        leg(7, "10.0.1.23", false),
        leg(8, "10.0.1.24", true),
    ];
    assert_eq!(route.legs.as_deref(), Some(expected.as_slice()));
}

#[test]
fn a_multipath_route_of_one_leg_is_a_plain_one() {
    let route = reported(multipath(&[(5, 21, RouteNextHopFlags::empty())])).unwrap();
    assert_eq!((route.link, route.legs), (Some(5), None));
}

#[test]
fn default_route_has_no_destination_attribute() {
    for (family, destination) in [(AddressFamily::Inet, "0.0.0.0/0"), (AddressFamily::Inet6, "::/0")] {
        let mut message = main_table(family);
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(2)];
        assert_eq!(reported(message).unwrap().destination, destination.parse().unwrap());
    }
}

#[test]
fn loopback_of_an_ipv6_blackhole_is_left_out() {
    let mut message = encode_new_route(&KernelRoute { kind: RouteKind::Blackhole, ..of_ipv6() }).unwrap();
    message.attributes.push(RouteAttribute::Oif(1));
    assert_eq!(reported(message).unwrap().link, None);
}

#[test]
fn route_by_an_unspelled_next_hop_object_is_not_on_link() {
    let mut message = message();
    message.attributes =
        vec![RouteAttribute::Destination(Ipv4Addr::new(10, 0, 9, 0).into()), RouteAttribute::NhId(1)];
    let route = reported(message).unwrap();
    assert_eq!((route.kind, route.link), (RouteKind::Other, None));
}

#[test]
fn path_mtu_is_found_among_other_metrics() {
    let mut message = message();
    message.attributes = vec![RouteAttribute::Metrics(vec![
        RouteMetric::Lock(4),
        RouteMetric::Advmss(1400),
        RouteMetric::Mtu(1440),
    ])];
    assert_eq!(reported(message).unwrap().mtu, Some(1440));
}

#[test]
fn what_is_no_plain_route_of_the_main_table_is_left_out() {
    type Bend = fn(&mut RouteMessage);
    let bend: [(&str, Bend); 6] = [
        ("another table", |message| message.header.table = 255),
        ("another table, by number", |message| {
            message.header.table = 252;
            message.attributes.push(RouteAttribute::Table(1000));
        }),
        ("type of service", |message| message.header.tos = 0x10),
        ("source prefix", |message| message.header.source_prefix_length = 64),
        ("cached exception", |message| message.header.flags |= RouteFlags::Cloned),
        ("another family", |message| message.header.address_family = AddressFamily::Mpls),
    ];
    for (name, bend) in bend {
        let mut message = message();
        bend(&mut message);
        assert_eq!(reported(message), None, "{name}");
    }
    assert_eq!(decode_route(&dump_routes(AddressFamily::Inet)), None);
}

#[test]
fn impossible_length_is_left_out() {
    let mut message = message();
    message.header.destination_prefix_length = 33;
    assert_eq!(reported(message), None);
}
