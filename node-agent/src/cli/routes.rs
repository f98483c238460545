use super::{
    output::{or_nothing, table},
    query::Query,
};
use crate::api::{Request, Response, RouteRow};

/// Arguments of `node-agent routes`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    query: Query,
}

/// Shows every route, those that are not used included.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Routes(rows) = response { Some(rows) } else { None };
    args.query.show(&Request::Routes, take, |rows| show(rows)).await
}

fn show(rows: &[RouteRow]) -> String {
    if rows.is_empty() {
        return "no routes: `node-agent status` tells why\n".to_owned();
    }
    let headers = [
        "PREFIX",
        "NEXT HOP",
        "KIND",
        "GATEWAY",
        "INTERFACE",
        "TUNNEL TO",
        ">MTU",
        "BPF",
        "KERNEL",
        "STATE",
        "FROM",
    ];
    table(headers, rows.iter().map(row))
}

fn row(route: &RouteRow) -> [String; 11] {
    let yes = |there| if there { "yes" } else { "no" }.to_owned();
    [
        route.prefix.to_string(),
        route.next_hop.clone(),
        or_nothing(route.kind),
        or_nothing(route.gateway),
        or_nothing(route.interface.as_ref()),
        or_nothing(route.tunnel_destination),
        or_nothing(route.mtu),
        yes(route.in_bpf),
        yes(route.in_kernel),
        route.state.clone(),
        route.origin.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RouteKind;

    #[test]
    fn routes_are_shown_in_columns() {
        let used = RouteRow {
            prefix: "10.244.2.0/24".parse().unwrap(),
            next_hop: "node b1".to_owned(),
            kind: Some(RouteKind::Ipip),
            gateway: Some("10.0.1.1".parse().unwrap()),
            interface: Some("eth0".to_owned()),
            tunnel_destination: Some("10.0.2.11".parse().unwrap()),
            mtu: Some(1480),
            origin: "file cluster.yaml:8".to_owned(),
            in_bpf: true,
            in_kernel: true,
            state: "used".to_owned(),
        };
        let unused = RouteRow {
            next_hop: "node c1".to_owned(),
            kind: None,
            gateway: None,
            interface: None,
            tunnel_destination: None,
            mtu: None,
            in_bpf: false,
            in_kernel: false,
            state: "node b1 has it".to_owned(),
            ..used.clone()
        };
        assert_eq!(
            show(&[used, unused]),
            "PREFIX         NEXT HOP  KIND  GATEWAY   INTERFACE  TUNNEL TO   MTU  BPF  KERNEL  STATE           FROM\n\
             10.244.2.0/24  node b1   ipip  10.0.1.1  eth0       10.0.2.11  1480  yes  yes     used            file cluster.yaml:8\n\
             10.244.2.0/24  node c1   -     -         -          -             -  no   no      node b1 has it  file cluster.yaml:8\n"
        );
        assert_eq!(show(&[]), "no routes: `node-agent status` tells why\n");
    }
}
