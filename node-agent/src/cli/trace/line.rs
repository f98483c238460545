use std::{fmt::Display, net::IpAddr};

use crate::api::TraceRow;

/// A packet as one line: in → lookup → outcome → out.
pub(super) fn line(row: &TraceRow) -> String {
    // The time of day to the microsecond; the date is the reader's.
    let time = row.time.get(11..26).unwrap_or(&row.time);
    format!("{time} {}", story(row))
}

/// The line without its time.
pub(super) fn story(row: &TraceRow) -> String {
    let mut words = vec![row.hook.clone()];
    match &row.in_interface {
        Some(interface) => words.push(with_pod(interface, row.in_pod.as_ref())),
        None => words.push("host".to_owned()),
    }
    if let (Some(source), Some(destination)) = (row.source, row.destination) {
        words.push(format!("{} > {}", end(source, row.source_port), end(destination, row.destination_port)));
        words.extend(row.protocol.clone());
    }
    words.push(format!("{} bytes:", row.bytes));
    words.push(lookup(row));
    words.push(format!("-> {}", row.outcome));
    if let Some(interface) = &row.out_interface {
        words.push(format!("out {}", with_pod(interface, row.out_pod.as_ref())));
    }
    if let (Some(source), Some(destination)) = (row.outer_source, row.outer_destination) {
        words.push(format!("outer {source} > {destination}"));
    }
    words.join(" ")
}

/// What the programs find for the destination.
fn lookup(row: &TraceRow) -> String {
    let Some(prefix) = row.prefix else { return "no prefix".to_owned() };
    let mut text = format!("{prefix} -> {}", row.next_hop.as_deref().unwrap_or("?"));
    if let Some(gateway) = row.gateway {
        text.push_str(&format!(" via {gateway}"));
    }
    text
}

fn with_pod(interface: &str, pod: Option<&impl Display>) -> String {
    pod.map_or_else(|| interface.to_owned(), |pod| format!("{interface} ({pod})"))
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::encapsulated;

    #[test]
    fn a_line_tells_the_whole_way() {
        assert_eq!(
            line(&encapsulated()),
            "12:00:01.123456 from-pod veth-a1-0 (default/web-0) 10.244.1.10:40000 > 10.244.3.10:80 tcp 74 bytes: \
             10.244.3.0/24 -> node b1 via 10.0.1.1 -> ipip out eth0 outer 10.0.1.11 > 10.0.2.11"
        );
    }

    #[test]
    fn what_there_is_not_is_not_told() {
        let arp = TraceRow {
            time: "2026-11-23T08:00:00.000000001Z".to_owned(),
            hook: "from-pod".to_owned(),
            in_interface: Some("veth-a1-0".to_owned()),
            bytes: 42,
            outcome: "stack-other-protocol".to_owned(),
            ..TraceRow::default()
        };
        assert_eq!(
            line(&arp),
            "08:00:00.000000 from-pod veth-a1-0 42 bytes: no prefix -> stack-other-protocol"
        );
        let icmp = TraceRow {
            source: "fd00::1".parse().ok(),
            destination: "fd00::2".parse().ok(),
            protocol: Some("icmpv6".to_owned()),
            in_interface: None,
            hook: "to-pod".to_owned(),
            out_interface: Some("veth-a1-0".to_owned()),
            out_pod: Some("default/web-0".to_owned()),
            prefix: "fd00::2/128".parse().ok(),
            next_hop: Some("pod default/web-0".to_owned()),
            outcome: "stack-routed".to_owned(),
            ..arp
        };
        assert_eq!(
            story(&icmp),
            "to-pod host fd00::1 > fd00::2 icmpv6 42 bytes: fd00::2/128 -> pod default/web-0 -> stack-routed \
             out veth-a1-0 (default/web-0)"
        );
        let udp = TraceRow { source_port: Some(53), destination_port: Some(1), ..icmp };
        assert!(story(&udp).contains("[fd00::1]:53 > [fd00::2]:1"));
    }
}
