use std::{net::IpAddr, time::Duration};

use humantime_serde::re::humantime::format_duration;

use super::{
    output::{NOTHING, or_nothing, pairs, table},
    query::Query,
};
use crate::api::{Lookup, PathMtuRow, Request, Response};

/// Arguments of `node-agent lookup`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address
    address: IpAddr,
    #[command(flatten)]
    query: Query,
}

/// Shows what happens to packets for an address.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Lookup(lookup) = response { Some(lookup) } else { None };
    args.query.show(&Request::Lookup { address: args.address }, take, |lookup| show(lookup)).await
}

fn show(lookup: &Lookup) -> String {
    let tunnel = match (lookup.tunnel_source, lookup.tunnel_destination) {
        (None, None) => NOTHING.to_owned(),
        (source, destination) => format!("{} to {}", or_nothing(source), or_nothing(destination)),
    };
    let neighbour = lookup.neighbour.as_ref().map(|neighbour| {
        let mac = neighbour.mac.as_deref().unwrap_or("not resolved");
        format!("{}, {mac}, {}", neighbour.address, neighbour.state)
    });
    let prefix = match lookup.prefix {
        Some(prefix) => prefix.to_string(),
        None => "none: left to the host's stack".to_owned(),
    };
    let mut text = pairs([
        ("Address", lookup.address.to_string()),
        ("Prefix", prefix),
        ("Next hop", or_nothing(lookup.next_hop.as_ref())),
        ("Kind", or_nothing(lookup.kind)),
        ("Encapsulation", lookup.encapsulation.to_string()),
        ("Gateway", or_nothing(lookup.gateway)),
        ("Interface", or_nothing(lookup.interface.as_ref())),
        ("Tunnel", tunnel),
        ("MTU", mtu(lookup)),
        ("Neighbour", or_nothing(neighbour)),
        ("From", or_nothing(lookup.origin.as_ref())),
        ("Kernel route", or_nothing(lookup.kernel_route.as_ref())),
    ]);
    if !lookup.candidates.is_empty() {
        let rows = lookup.candidates.iter().map(|candidate| {
            [
                candidate.prefix.to_string(),
                candidate.next_hop.clone(),
                candidate.state.clone(),
                candidate.origin.clone(),
            ]
        });
        text.push('\n');
        text.push_str(&table(["CANDIDATE", "NEXT HOP", "STATE", "FROM"], rows));
    }
    if let Some(problem) = &lookup.problem {
        text.push_str(&format!("\nPROBLEMS\n- {problem}\n"));
    }
    text
}

/// With where it comes from, if not from the uplink.
fn mtu(lookup: &Lookup) -> String {
    let mtu = or_nothing(lookup.mtu);
    let Some(PathMtuRow { bytes, router, seconds_left, .. }) = &lookup.path_mtu else { return mtu };
    let left = format_duration(Duration::from_secs(*seconds_left));
    format!("{mtu} (router {router} takes {bytes} with the outer header, holds for {left})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Candidate, Encapsulation, Neighbour, RouteKind};

    #[test]
    fn a_route_is_shown_with_its_way_and_its_candidates() {
        let candidate = |prefix: &str, next_hop: &str, state: &str| Candidate {
            prefix: prefix.parse().unwrap(),
            next_hop: next_hop.to_owned(),
            origin: "file c:8".to_owned(),
            state: state.to_owned(),
        };
        let lookup = Lookup {
            address: "10.244.2.5".parse().unwrap(),
            prefix: Some("10.244.2.0/24".parse().unwrap()),
            next_hop: Some("node b1".to_owned()),
            kind: Some(RouteKind::Ipip),
            encapsulation: Encapsulation::Ipip,
            gateway: Some("10.0.1.1".parse().unwrap()),
            interface: Some("eth0".to_owned()),
            tunnel_source: Some("10.0.1.11".parse().unwrap()),
            tunnel_destination: Some("10.0.2.11".parse().unwrap()),
            mtu: Some(1380),
            path_mtu: Some(PathMtuRow {
                node_address: "10.0.2.11".parse().unwrap(),
                bytes: 1400,
                router: "10.0.1.1".parse().unwrap(),
                seconds_left: 552,
            }),
            neighbour: Some(Neighbour {
                address: "10.0.1.1".parse().unwrap(),
                mac: None,
                state: "incomplete".to_owned(),
            }),
            origin: Some("file c:8".to_owned()),
            kernel_route: Some("10.244.2.0/24 via 10.0.1.1 dev eth0 onlink".to_owned()),
            candidates: vec![
                candidate("10.244.2.0/24", "node b1", "used"),
                candidate("10.244.0.0/16", "node c1", "a longer prefix contains the address"),
            ],
            problem: Some("programs find no route".to_owned()),
        };
        assert_eq!(
            show(&lookup),
            "Address        10.244.2.5\n\
             Prefix         10.244.2.0/24\n\
             Next hop       node b1\n\
             Kind           ipip\n\
             Encapsulation  ipip\n\
             Gateway        10.0.1.1\n\
             Interface      eth0\n\
             Tunnel         10.0.1.11 to 10.0.2.11\n\
             MTU            1380 (router 10.0.1.1 takes 1400 with the outer header, holds for 9m 12s)\n\
             Neighbour      10.0.1.1, not resolved, incomplete\n\
             From           file c:8\n\
             Kernel route   10.244.2.0/24 via 10.0.1.1 dev eth0 onlink\n\
             \n\
             CANDIDATE      NEXT HOP  STATE                                 FROM\n\
             10.244.2.0/24  node b1   used                                  file c:8\n\
             10.244.0.0/16  node c1   a longer prefix contains the address  file c:8\n\
             \n\
             PROBLEMS\n\
             - programs find no route\n"
        );
    }

    #[test]
    fn no_route_is_shown_as_such() {
        let lookup = Lookup {
            address: "1.1.1.1".parse().unwrap(),
            prefix: None,
            next_hop: None,
            kind: None,
            encapsulation: Encapsulation::None,
            gateway: None,
            interface: None,
            tunnel_source: None,
            tunnel_destination: None,
            mtu: None,
            path_mtu: None,
            neighbour: None,
            origin: None,
            kernel_route: Some("default via 10.0.1.1 dev eth0".to_owned()),
            candidates: vec![],
            problem: None,
        };
        let text = show(&lookup);
        assert!(text.contains("Prefix         none: left to the host's stack\n"), "{text}");
        assert!(text.contains("Tunnel         -\n") && !text.contains("CANDIDATE"), "{text}");
    }
}
