//! What the kernel answers at this moment, for `node-agent explain`: its own route to an address, and how an
//! interface is.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType, RouteVia},
};
use nix::errno::Errno;

use super::{
    Host, HostError,
    session::{NetlinkError, Session},
};
use crate::model::{KernelAnswer, LinkState};

impl Host {
    /// The route that the kernel itself takes to an address, as `ip route get` asks; the inner error is its
    /// refusal, such as that there is no route.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be asked.
    pub async fn kernel_answer(&self, address: IpAddr) -> Result<Result<KernelAnswer, String>, HostError> {
        match Session::open()?.get(get_route(address)).await {
            Ok(message) => Ok(decode_answer(&message).ok_or_else(|| "an answer without a route".to_owned())),
            // With words of its own the kernel refuses the question; without, it answers that there is no way.
            Err(NetlinkError::Refused { errno, detail: None }) => Ok(Err(refusal(errno))),
            Err(reason) => Err(HostError::Read { table: "route to an address", reason }),
        }
    }

    /// How an interface is; none if it does not exist.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be asked.
    pub async fn link_state(&self, index: u32) -> Result<Option<LinkState>, HostError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match Session::open()?.get(RouteNetlinkMessage::GetLink(message)).await {
            Ok(message) => Ok(decode_state(&message)),
            Err(NetlinkError::Refused { errno: Errno::ENODEV, .. }) => Ok(None),
            Err(reason) => Err(HostError::Read { table: "link", reason }),
        }
    }
}

/// What a refusal means, with its number as `ip route get` shows it.
fn refusal(errno: Errno) -> String {
    let meaning = match errno {
        Errno::EINVAL => "a blackhole route drops it",
        Errno::EACCES => "a prohibit route refuses it",
        Errno::EHOSTUNREACH => "an unreachable route refuses it",
        Errno::ENETUNREACH => "there is no route to it",
        _ => "the kernel does not say where it goes",
    };
    format!("{meaning} ({errno:?})")
}

fn get_route(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    // IPv6 answers with the table without being asked, and takes no such flag.
    (message.header.address_family, message.header.destination_prefix_length, message.header.flags) =
        match address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32, RouteFlags::LookupTable),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128, RouteFlags::empty()),
        };
    message.attributes = vec![RouteAttribute::Destination(address.into())];
    RouteNetlinkMessage::GetRoute(message)
}

/// The answer; nothing if the message describes no route.
fn decode_answer(message: &RouteNetlinkMessage) -> Option<KernelAnswer> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let mut answer = KernelAnswer {
        local: message.header.kind == RouteType::Local,
        link: None,
        gateway: None,
        source: None,
        table: message.header.table.into(),
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => answer.link = Some(*index),
            RouteAttribute::Gateway(address) => answer.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => answer.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => answer.gateway = Some((*address).into()),
            RouteAttribute::PrefSource(address) => answer.source = ip(address),
            RouteAttribute::Table(table) => answer.table = *table,
            RouteAttribute::Metrics(metrics) => {
                answer.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(answer)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn decode_state(message: &RouteNetlinkMessage) -> Option<LinkState> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    let flags = message.header.flags;
    Some(LinkState {
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mtu: mtu.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_answer_is_read_with_its_table() {
        let RouteNetlinkMessage::GetRoute(mut message) = get_route("10.244.3.10".parse().unwrap()) else {
            panic!("not a question");
        };
        assert_eq!(message.header.destination_prefix_length, 32);
        message.header.kind = RouteType::Unicast;
        message.header.table = 254;
        let gateway: IpAddr = "10.0.1.1".parse().unwrap();
        message.attributes = vec![
            RouteAttribute::Oif(3),
            RouteAttribute::Gateway(gateway.into()),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(1480)]),
        ];
        let expected = KernelAnswer {
            local: false,
            link: Some(3),
            gateway: Some(gateway),
            source: None,
            table: 254,
            mtu: Some(1480),
        };
        assert_eq!(decode_answer(&RouteNetlinkMessage::NewRoute(message.clone())), Some(expected));
        message.attributes = vec![RouteAttribute::Table(1000)];
        let answer = decode_answer(&RouteNetlinkMessage::NewRoute(message)).unwrap();
        assert_eq!((answer.table, answer.link), (1000, None));
    }

    #[test]
    fn refusals_say_what_they_mean() {
        assert_eq!(refusal(Errno::EINVAL), "a blackhole route drops it (EINVAL)");
        assert_eq!(refusal(Errno::ENETUNREACH), "there is no route to it (ENETUNREACH)");
    }
}
