use std::time::{Duration, Instant};

use super::*;
use crate::reconcile::{ObservedDatapath, PlanOptions, plan_datapath as plan};

/// Far above what an unoptimised build on a busy machine needs (about 1 s), far below what anything
/// quadratic in the number of prefixes would take.
const LIMIT: Duration = Duration::from_secs(20);

/// 5,000 nodes with 20 prefixes each, and 250 local pods.
#[test]
fn five_thousand_nodes_and_a_hundred_thousand_prefixes_are_no_burden() {
    let some_node = |number: u32| {
        let address = IpAddr::V4((0x0a80_0000 + number).into());
        let prefixes =
            (0..20).map(|index| ipnet::Ipv4Net::new((0x6440_0000 + (number * 20 + index) * 16).into(), 28));
        let name = format!("a{}", number + 1);
        Node {
            pod_prefixes: prefixes.map(|net| net.unwrap().into()).collect::<Vec<_>>().into(),
            ..node(&name, &address.to_string(), &[])
        }
    };
    let nodes: Vec<Node> = (0..5_000).map(some_node).collect();
    let mut view = host();
    view.addresses[1] = held(ETH0, "10.128.0.0/9");
    view.routes[1] = route("10.128.0.0/9", None, ETH0);
    let mut pods = Vec::new();
    for number in 0..250_u32 {
        let interface = format!("veth{number}");
        view.links.push(link(100 + number, &interface));
        let address = IpAddr::V4((0x0b00_0000 + number).into());
        pods.push(Pod { interface, ..pod(&format!("default/p{number}"), "a1", &address.to_string()) });
    }

    let started = Instant::now();
    let selection = selection(Cluster::default(), &nodes, &pods);
    let selected = started.elapsed();
    let resolved = resolve(&selection, &view, &ResolveSettings::default());
    let resolved_after = started.elapsed();
    let options = PlanOptions { allow_delete: true, search_from: 1 };
    let changes = plan(&resolved.wanted.datapath, &ObservedDatapath::default(), options).changes;
    let planned = started.elapsed();
    println!("selected after {selected:?}, resolved after {resolved_after:?}, planned after {planned:?}");

    assert_eq!(resolved.problems, []);
    assert_eq!(resolved.wanted.datapath.routes.len(), 100_000 + 5_000 + 250 + 1);
    assert_eq!(resolved.wanted.datapath.next_hops.len(), 4_999 + 250 + 2);
    assert!(changes.len() > 105_000);
    assert!(planned < LIMIT, "{planned:?}");
}
