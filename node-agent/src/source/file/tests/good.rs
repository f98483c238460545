use super::super::*;
use crate::model::{EncapsulationMode, NonAdjacent, Origin, SourceId};

const FULL: &str = "\
encapsulation: never
non-adjacent: ipip
nodes:
  - name: a1
    addresses: [10.0.1.11, 'fd00::11']
    pod-prefixes: [10.244.1.0/24, 10.244.9.0/26, fd00:1::/64]
  - name: b1
    addresses:
      - 10.0.2.11
    pod-prefixes: [10.244.1.64/26, 10.244.2.0/24, 10.244.9.0/26]
  - {name: c1, addresses: [10.0.2.11]}
pods:
  - name: default/web-0
    node: a1
    addresses: [10.244.1.10]
    interface: veth-web-0
    mac: 02:00:00:00:01:0a
  - name: default/web-1
    node: b1
    addresses: [10.244.1.10, 'fd00:1::10']
    interface: veth-web-0
";

fn at(line: u64) -> Origin {
    Origin { source: SourceId::FILE, place: format!("cluster.yaml:{line}").into() }
}

/// Prefixes and addresses that two nodes share are accepted: the route table decides between them.
#[test]
fn every_field_is_read() {
    let state = parse(FULL, "cluster.yaml", &Part::WHOLE).unwrap();
    let cluster = Cluster { encapsulation: EncapsulationMode::Never, non_adjacent: NonAdjacent::Ipip };
    assert_eq!(state.cluster, Some(cluster));
    let node = |name: &str| state.nodes[&name.parse().unwrap()].clone();
    assert_eq!(state.nodes.len(), 3);
    assert_eq!(
        node("a1"),
        Node {
            name: "a1".parse().unwrap(),
            addresses: vec!["10.0.1.11".parse().unwrap(), "fd00::11".parse().unwrap()],
            pod_prefixes: ["10.244.1.0/24", "10.244.9.0/26", "fd00:1::/64"]
                .map(|p| p.parse().unwrap())
                .to_vec()
                .into(),
            origin: at(4),
        }
    );
    assert_eq!((node("b1").origin, node("b1").pod_prefixes.len()), (at(7), 3));
    assert_eq!((node("c1").origin, node("c1").pod_prefixes.len()), (at(11), 0));
    let pod = |name: &str| state.pods[&name.parse().unwrap()].clone();
    assert_eq!(state.pods.len(), 2);
    assert_eq!(
        pod("default/web-0"),
        Pod {
            name: "default/web-0".parse().unwrap(),
            node: "a1".parse().unwrap(),
            addresses: vec!["10.244.1.10".parse().unwrap()],
            interface: "veth-web-0".to_owned(),
            mac: Some([2, 0, 0, 0, 1, 10]),
            origin: at(13),
        }
    );
    assert_eq!((pod("default/web-1").origin, pod("default/web-1").mac), (at(18), None));
}

#[test]
fn settings_and_pods_have_defaults() {
    for more in ["", "pods:\n", "pods: []\n", "encapsulation:\n"] {
        let state = parse(&format!("nodes: [{{name: a, addresses: [10.0.0.1]}}]\n{more}"), "c", &Part::WHOLE)
            .unwrap();
        assert_eq!(state.cluster, Some(Cluster::default()));
        assert_eq!((state.nodes.len(), state.pods.len()), (1, 0));
    }
}

/// Names that YAML could take for numbers or truths are still names.
#[test]
fn names_keep_the_text_they_were_written_with() {
    for name in ["007", "1e3", "true", "0x1f", "1.10"] {
        let state =
            parse(&format!("nodes: [{{name: {name}, addresses: [10.0.0.1]}}]"), "c", &Part::WHOLE).unwrap();
        assert_eq!(state.nodes.keys().next().unwrap().as_str(), name);
    }
}

/// More than serde-saphyr takes by default (250,000 YAML nodes).
#[test]
fn a_large_cluster_is_read() {
    use std::fmt::Write as _;
    let mut text = "nodes: [{name: a, addresses: [10.0.0.1]}]\npods:\n".to_owned();
    for i in 0..26_000 {
        let (high, low) = (i / 250, i % 250 + 1);
        writeln!(text, "- {{name: d/p{i}, node: a, addresses: [10.244.{high}.{low}], interface: v{i}}}")
            .unwrap();
    }
    assert_eq!(parse(&text, "c", &Part::WHOLE).unwrap().pods.len(), 26_000);
}

#[test]
fn routes_are_read() {
    let text = "nodes:\n- {name: a1, addresses: [10.0.1.11]}\nroutes:\n- {prefix: 192.0.2.0/24, next-hops: [10.0.1.6, \
                10.0.1.5]}\n- prefix: '2001:db8:1::/48'\n  next-hops: ['fd00::5']\n";
    let state = parse(text, "cluster.yaml", &Part::WHOLE).unwrap();
    let route = |prefix: &str| state.routes[&prefix.parse().unwrap()].clone();
    let next_hops = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(
        route("192.0.2.0/24"),
        Route {
            prefix: "192.0.2.0/24".parse().unwrap(),
            next_hops: next_hops(&["10.0.1.5", "10.0.1.6"]),
            origin: at(4),
        }
    );
    assert_eq!(route("2001:db8:1::/48").next_hops, next_hops(&["fd00::5"]));
}

/// Beside others, a file may leave out what they have; by itself it may not.
#[test]
fn a_part_may_leave_out_what_others_have() {
    let part = Part { source: SourceId::new("more", 50), whole: false };
    let pods = "pods: [{name: d/web, node: a1, addresses: [10.244.1.10], interface: veth-web}]\n";
    let state = parse(pods, "more.yaml", &part).unwrap();
    assert_eq!((state.cluster, state.nodes.len()), (None, 0));
    let pod = state.pods.values().next().unwrap();
    assert_eq!(pod.origin.to_string(), "more more.yaml:1");
    let with_mode = parse(&format!("encapsulation: always\n{pods}"), "more.yaml", &part).unwrap();
    assert_eq!(with_mode.cluster.unwrap().encapsulation, EncapsulationMode::Always);
    let alone = parse(pods, "more.yaml", &Part::WHOLE).unwrap_err().to_string();
    assert!(alone.contains("nodes: this field is required") && alone.contains("pods[0].node: "), "{alone}");
    // None at all is a mistake in any file.
    assert!(parse("nodes: []\n", "more.yaml", &part).is_err());
}
