//! An event in the cluster's terms.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use humantime_serde::re::humantime::format_rfc3339_nanos;
use node_ebpf_common::{Hook, Outcome, TraceEvent};

use crate::{api::TraceRow, model::Prefix, rib::address_of};

/// Names of what events know by number and address.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// When the kernel's clock began.
    pub boot: Option<SystemTime>,
    /// Interfaces by index.
    pub interfaces: BTreeMap<u32, String>,
    /// This node's pods by interface.
    pub pods: BTreeMap<String, String>,
    /// Pods and nodes by address: `pod default/web-0`, `node b1`.
    pub addresses: BTreeMap<IpAddr, String>,
}

/// The route that a destination takes.
#[derive(Debug, Clone)]
pub struct Way {
    /// The longest prefix.
    pub prefix: Prefix,
    /// Where it leads.
    pub next_hop: String,
    /// The neighbour on the way.
    pub gateway: Option<IpAddr>,
}

/// Explains an event, with the route to a destination by `way`.
pub fn explain(event: &TraceEvent, names: &Names, way: impl FnOnce(IpAddr) -> Option<Way>) -> TraceRow {
    let (source, destination) = (address_of(event.source), address_of(event.destination));
    let way = destination.and_then(way);
    let hook = Hook::ALL.into_iter().find(|hook| *hook as u32 == event.hook);
    let outcome = Outcome::ALL.into_iter().find(|outcome| *outcome as u32 == event.outcome);
    let interface = |index: u32| {
        let name = || names.interfaces.get(&index).cloned().unwrap_or_else(|| format!("#{index}"));
        (index != 0).then(name)
    };
    let (in_interface, out_interface) = (interface(event.in_interface), interface(event.out_interface));
    let pod = |interface: &Option<String>| names.pods.get(interface.as_ref()?).cloned();
    let name = |address: Option<IpAddr>| names.addresses.get(&address?).cloned();
    let ports = event.source_port != [0; 2] || event.destination_port != [0; 2];
    let port = |bytes| ports.then_some(u16::from_be_bytes(bytes));
    TraceRow {
        time: format_rfc3339_nanos(time(event, names)).to_string(),
        hook: hook.map_or_else(|| format!("hook {}", event.hook), |hook| hook.label().to_owned()),
        cpu: event.cpu,
        in_pod: pod(&in_interface),
        in_interface,
        source,
        source_port: port(event.source_port),
        source_name: name(source),
        destination,
        destination_port: port(event.destination_port),
        destination_name: name(destination),
        protocol: source.map(|_| protocol(event.protocol)),
        bytes: event.frame_length,
        prefix: way.as_ref().map(|way| way.prefix),
        next_hop: way.as_ref().map(|way| way.next_hop.clone()),
        next_hop_index: (event.next_hop != 0).then_some(event.next_hop),
        gateway: way.and_then(|way| way.gateway),
        outcome: outcome.map_or_else(|| format!("outcome {}", event.outcome), |one| one.label().to_owned()),
        ending: outcome.map_or("", |outcome| outcome.ending().label()).to_owned(),
        outer_source: address_of(event.outer_source),
        outer_destination: address_of(event.outer_destination),
        out_pod: pod(&out_interface),
        out_interface,
        final_bytes: event.final_length,
        packet: hex(captured(event)),
    }
}

fn time(event: &TraceEvent, names: &Names) -> SystemTime {
    names.boot.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_nanos(event.time)
}

/// The bytes of the packet that the event holds.
fn captured(event: &TraceEvent) -> &[u8] {
    let length = usize::try_from(event.captured).unwrap_or(usize::MAX);
    event.bytes.get(..length).unwrap_or(&event.bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Name of an IANA protocol number.
fn protocol(number: u32) -> String {
    match number {
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        58 => "icmpv6",
        132 => "sctp",
        other => return format!("protocol {other}"),
    }
    .to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use node_ebpf_common::TRACE_SNAPLEN;

    use super::*;
    use crate::rib::to_map;

    fn mapped(text: &str) -> node_ebpf_common::Address {
        to_map(Some(text.parse().unwrap()))
    }

    fn names() -> Names {
        Names {
            boot: Some(SystemTime::UNIX_EPOCH + Duration::from_hours(12)),
            interfaces: [(2, "eth0".to_owned()), (7, "veth-a1-0".to_owned())].into(),
            pods: [("veth-a1-0".to_owned(), "default/web-0".to_owned())].into(),
            addresses: [("10.244.1.10".parse().unwrap(), "pod default/web-0".to_owned())].into(),
        }
    }

    /// A TCP packet of a pod, encapsulated.
    pub(crate) fn encapsulated() -> TraceRow {
        let mut bytes = [0; TRACE_SNAPLEN];
        bytes[..4].copy_from_slice(&[0xde, 0xad, 0, 0x0f]);
        let event = TraceEvent {
            time: 1_123_456_789,
            hook: Hook::FromPod as u32,
            outcome: Outcome::Ipip as u32,
            in_interface: 7,
            out_interface: 2,
            next_hop: 5,
            next_interface: 2,
            cpu: 1,
            frame_length: 74,
            final_length: 94,
            captured: 4,
            protocol: 6,
            source: mapped("10.244.1.10"),
            destination: mapped("10.244.3.10"),
            outer_source: mapped("10.0.1.11"),
            outer_destination: mapped("10.0.2.11"),
            source_port: 40_000_u16.to_be_bytes(),
            destination_port: 80_u16.to_be_bytes(),
            bytes,
        };
        explain(&event, &names(), |address| {
            assert_eq!(address, IpAddr::from([10, 244, 3, 10]));
            Some(Way {
                prefix: "10.244.3.0/24".parse().unwrap(),
                next_hop: "node b1".to_owned(),
                gateway: Some("10.0.1.1".parse().unwrap()),
            })
        })
    }

    #[test]
    fn numbers_become_names() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            encapsulated(),
            TraceRow {
                time: "1970-01-01T12:00:01.123456789Z".to_owned(),
                hook: "from-pod".to_owned(),
                cpu: 1,
                in_interface: text("veth-a1-0"),
                in_pod: text("default/web-0"),
                source: Some([10, 244, 1, 10].into()),
                source_port: Some(40_000),
                source_name: text("pod default/web-0"),
                destination: Some([10, 244, 3, 10].into()),
                destination_port: Some(80),
                destination_name: None,
                protocol: text("tcp"),
                bytes: 74,
                prefix: Some("10.244.3.0/24".parse().unwrap()),
                next_hop: text("node b1"),
                next_hop_index: Some(5),
                gateway: Some([10, 0, 1, 1].into()),
                outcome: "ipip".to_owned(),
                ending: "forwarded".to_owned(),
                outer_source: Some([10, 0, 1, 11].into()),
                outer_destination: Some([10, 0, 2, 11].into()),
                out_interface: text("eth0"),
                out_pod: None,
                final_bytes: 94,
                packet: "dead000f".to_owned(),
            }
        );
    }

    /// What has no name keeps its number; what there is not is not made up.
    #[test]
    fn what_is_not_known_is_left_out() {
        let event = TraceEvent { hook: 31, outcome: 63, in_interface: 99, ..TraceEvent::EMPTY };
        let row = explain(&event, &names(), |_| panic!("there is no destination"));
        assert_eq!(
            (row.hook.as_str(), row.outcome.as_str(), row.ending.as_str()),
            ("hook 31", "outcome 63", "")
        );
        assert_eq!((row.in_interface.as_deref(), row.out_interface), (Some("#99"), None));
        assert_eq!((row.source, row.protocol, row.source_port, row.packet.as_str()), (None, None, None, ""));
        let udp =
            TraceEvent { source: mapped("fd00::1"), protocol: 58, captured: u32::MAX, ..TraceEvent::EMPTY };
        let row = explain(&udp, &names(), |_| None);
        assert_eq!((row.source, row.protocol.as_deref()), ("fd00::1".parse().ok(), Some("icmpv6")));
        assert_eq!(row.packet.len(), 2 * TRACE_SNAPLEN);
    }
}
