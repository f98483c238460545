use proptest::prelude::*;

use super::super::*;

/// What is wrong with this text, one line for each finding.
fn refused(text: &str) -> String {
    parse(text, "cluster.yaml", &Part::WHOLE).expect_err(text).to_string()
}

/// A good state with one node and one pod, and what more there is.
fn with(node: &str, pod: &str) -> String {
    format!(
        "nodes:\n- name: a1\n  addresses: [10.0.1.11]\n  pod-prefixes: [10.244.1.0/24]\n{node}pods:\n- name: d/p0\n  node: a1\n  \
         addresses: [10.244.1.10]\n  interface: v0\n{pod}"
    )
}

/// The second node of a state stands in line 5, the second pod in line 10.
fn check_nodes(cases: &[(&str, &str)]) {
    for (node, message) in cases {
        assert_eq!(refused(&with(&format!("- {node}\n"), "")), format!("cluster.yaml:{message}"), "{node}");
    }
}

fn check_pods(cases: &[(&str, &str)]) {
    for (pod, message) in cases {
        assert_eq!(refused(&with("", &format!("- {pod}\n"))), format!("cluster.yaml:{message}"), "{pod}");
    }
}

#[test]
fn the_frame_of_these_tests_is_good() {
    parse(&with("", ""), "cluster.yaml", &Part::WHOLE).unwrap();
}

/// Invariant 8: bad input gets an error that says file, line, column, field, value and what is allowed.
#[test]
fn a_bad_document_is_refused() {
    let cases = [
        ("", "cluster.yaml: the file is empty; allowed: a YAML document with fields, each as NAME: VALUE"),
        (
            "encapsulation: never\n",
            "cluster.yaml:1:1: nodes: this field is required and missing; allowed: a list of nodes, each with name and addresses",
        ),
        ("nodes: []\n", "cluster.yaml:1:8: nodes: a cluster without nodes; allowed: at least one node"),
        (
            "nodes:\n- name: a1\n  adresses: [10.0.0.1]\n",
            "cluster.yaml:3:3: nodes[0].adresses: unknown field; allowed: name, addresses, pod-prefixes",
        ),
        (
            "nodes:\n- name: a1\n  addresses: 10.0.0.1\n",
            "cluster.yaml:3:14: nodes[0].addresses: \"10.0.0.1\" is of the wrong type; allowed: a list, such as [one, two]",
        ),
        (
            "nodes:\n  a1: {}\n",
            "cluster.yaml:2:3: nodes: \"a1: {}\" is of the wrong type; allowed: a list, such as [one, two]",
        ),
        (
            "nodes: [{name: a1, name: a2}]\n",
            "cluster.yaml:1:20: nodes[0].name: this field stands twice; allowed: once",
        ),
        (
            "pods: [{ip: 10.0.0.1}]\n",
            "cluster.yaml:1:9: pods[0].ip: unknown field; allowed: name, node, addresses, interface, mac",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refused(text), message, "{text}");
    }
}

#[test]
fn bad_settings_are_refused() {
    let nodes = "nodes: [{name: a, addresses: [10.0.0.1]}]\n";
    let cases = [
        (
            "encapsulation: vxlan",
            "cluster.yaml:2:16: encapsulation: \"vxlan\" is not one of the choices; allowed: never, always, cross-subnet",
        ),
        (
            "non-adjacent: drop",
            "cluster.yaml:2:15: non-adjacent: \"drop\" is not one of the choices; allowed: refuse, ipip",
        ),
        (
            "non-adjacent: ipip",
            "cluster.yaml:2:15: non-adjacent: \"ipip\" has no meaning here; allowed: only together with encapsulation: never",
        ),
    ];
    for (line, message) in cases {
        assert_eq!(refused(&format!("{nodes}{line}\n")), message);
    }
}

#[test]
fn a_bad_node_is_refused() {
    check_nodes(&[
        (
            "addresses: [10.0.1.12]",
            "5:3: nodes[1].name: this field is required and missing; allowed: the node's name, as in Kubernetes",
        ),
        (
            "name: a1\n  addresses: [10.0.1.12]",
            "5:9: nodes[1].name: node a1 stands in line 2 already; allowed: each node once",
        ),
        (
            "name: A_2\n  addresses: [10.0.1.12]",
            "5:9: nodes[1].name: \"A_2\" is not a valid name: use lower-case letters, digits, '-' and '.', start and end with a letter or digit, 253 characters at most",
        ),
        (
            "name: a2",
            "5:3: nodes[1].addresses: no address; allowed: at least one, at most one each of IPv4 and IPv6",
        ),
        (
            "name: a2\n  addresses: []",
            "6:14: nodes[1].addresses: no address; allowed: at least one, at most one each of IPv4 and IPv6",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12, 10.0.1.13]",
            "6:26: nodes[1].addresses[1]: 10.0.1.13 is the second IPv4 address, after 10.0.1.12; allowed: at least one, at most one each of IPv4 and IPv6",
        ),
        (
            "name: a2\n  addresses: ['fd00::1', 'fd00::2']",
            "6:26: nodes[1].addresses[1]: fd00::2 is the second IPv6 address, after fd00::1; allowed: at least one, at most one each of IPv4 and IPv6",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12/24]",
            "6:15: nodes[1].addresses[0]: \"10.0.1.12/24\" is not an IP address; allowed: one such as 10.0.1.11, without a length",
        ),
    ]);
}

#[test]
fn a_bad_pod_prefix_is_refused() {
    check_nodes(&[
        (
            "name: a2\n  addresses: [10.0.1.12]\n  pod-prefixes: [10.244.2.0/33]",
            "7:18: nodes[1].pod-prefixes[0]: \"10.244.2.0/33\" is not a prefix: write it as ADDRESS/LENGTH, for example 10.244.1.0/24",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12]\n  pod-prefixes: [10.244.2.5/24]",
            "7:18: nodes[1].pod-prefixes[0]: 10.244.2.5/24 has bits set behind its length: did you mean 10.244.2.0/24?",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12]\n  pod-prefixes: [10.244.2.0/24, 10.244.3.0/24, 10.244.2.0/24]",
            "7:48: nodes[1].pod-prefixes[2]: 10.244.2.0/24 stands in line 7 already; allowed: each prefix once",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12]\n  pod-prefixes: [10.244.2.64/26, 10.244.2.0/24]",
            "7:34: nodes[1].pod-prefixes[1]: 10.244.2.0/24 overlaps 10.244.2.64/26 of the same node (line 7); allowed: prefixes that do not overlap",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12]\n  pod-prefixes: [0.0.0.0/0]",
            "7:18: nodes[1].pod-prefixes[0]: 0.0.0.0/0 overlaps 0.0.0.0/8, which is unspecified; allowed: a prefix of unicast addresses",
        ),
        (
            "name: a2\n  addresses: [10.0.1.12]\n  pod-prefixes: [fe80:1::/64]",
            "7:18: nodes[1].pod-prefixes[0]: fe80:1::/64 overlaps fe80::/10, which is link-local; allowed: a prefix of unicast addresses",
        ),
    ]);
}

#[test]
fn addresses_that_no_node_can_have_are_refused() {
    let cases = [
        ("0.0.0.0", "unspecified", "0.0.0.0/8"),
        ("127.0.0.1", "loopback", "127.0.0.0/8"),
        ("169.254.1.1", "link-local", "169.254.0.0/16"),
        ("224.0.0.1", "multicast", "224.0.0.0/4"),
        ("255.255.255.255", "broadcast", "255.255.255.255/32"),
        ("::", "unspecified", "::/128"),
        ("::1", "loopback", "::1/128"),
        ("::ffff:10.0.0.1", "IPv4-mapped", "::ffff:0.0.0.0/96"),
        ("fe80::1", "link-local", "fe80::/10"),
        ("ff02::1", "multicast", "ff00::/8"),
    ];
    for (address, kind, range) in cases {
        assert_eq!(
            refused(&with(&format!("- name: a2\n  addresses: ['{address}']\n"), "")),
            format!(
                "cluster.yaml:6:15: nodes[1].addresses[0]: {address} is {kind}; allowed: a unicast address outside of {range}"
            )
        );
    }
}

#[test]
fn a_bad_pod_is_refused() {
    check_pods(&[
        (
            "node: a1\n  addresses: [10.244.1.11]\n  interface: v1",
            "10:3: pods[1].name: this field is required and missing; allowed: the pod's name as NAMESPACE/NAME",
        ),
        (
            "name: web\n  node: a1\n  addresses: [10.244.1.11]\n  interface: v1",
            "10:9: pods[1].name: \"web\" is not a pod's name: write it as NAMESPACE/NAME",
        ),
        (
            "name: d/p0\n  node: a1\n  addresses: [10.244.1.11]\n  interface: v1",
            "10:9: pods[1].name: pod d/p0 stands in line 6 already; allowed: each pod once",
        ),
        (
            "name: d/p1\n  node: b7\n  addresses: [10.244.1.11]\n  interface: v1",
            "11:9: pods[1].node: node b7 does not exist; allowed: a1",
        ),
        (
            "name: d/p1\n  addresses: [10.244.1.11]\n  interface: v1",
            "10:3: pods[1].node: this field is required and missing; allowed: name of the node the pod runs on",
        ),
        (
            "name: d/p1\n  node: a1\n  interface: v1",
            "10:3: pods[1].addresses: no address; allowed: at least one, at most one each of IPv4 and IPv6",
        ),
        (
            "name: d/p1\n  node: a1\n  addresses: [10.244.1]\n  interface: v1",
            "12:15: pods[1].addresses[0]: \"10.244.1\" is not an IP address; allowed: one such as 10.244.1.10, without a length",
        ),
    ]);
}

#[test]
fn a_pod_that_takes_what_another_has_is_refused() {
    check_pods(&[
        (
            "name: d/p1\n  node: a1\n  addresses: [10.244.1.10]\n  interface: v1",
            "12:15: pods[1].addresses[0]: 10.244.1.10 is the address of pod d/p0 on the same node (line 6); allowed: an address of its own",
        ),
        (
            "name: d/p1\n  node: a1\n  addresses: [10.0.1.11]\n  interface: v1",
            "12:15: pods[1].addresses[0]: 10.0.1.11 is the address of node a1; allowed: an address of the pod's own (pods in the host network are not listed)",
        ),
        (
            "name: d/p1\n  node: a1\n  addresses: [10.244.1.11]",
            "10:3: pods[1].interface: this field is required and missing; allowed: name of the host-side interface of the pod's veth",
        ),
        (
            "name: d/p1\n  node: a1\n  addresses: [10.244.1.11]\n  interface: veth-much-too-long",
            "13:14: pods[1].interface: \"veth-much-too-long\" is not an interface's name; allowed: 1 to 15 bytes without '/', ':' and blanks, not \".\" or \"..\"",
        ),
        (
            "name: d/p1\n  node: a1\n  addresses: [10.244.1.11]\n  interface: v0",
            "13:14: pods[1].interface: interface v0 leads to pod d/p0 (line 6); allowed: an interface of its own",
        ),
        (
            "name: d/p1\n  node: a1\n  addresses: [10.244.1.11]\n  interface: v1\n  mac: 02-00-00-00-01-0a",
            "14:8: pods[1].mac: \"02-00-00-00-01-0a\" is not a unicast MAC address; allowed: six bytes such as 02:00:00:00:01:0a",
        ),
    ]);
}

#[test]
fn a_bad_mac_is_refused() {
    for mac in [
        "",
        "02:00:00:00:01",
        "02:00:00:00:01:0a:0b",
        "01:00:00:00:00:01",
        "00:00:00:00:00:00",
        "+2:00:00:00:00:01",
    ] {
        let pod =
            format!("name: d/p1\n  node: a1\n  addresses: [10.244.1.11]\n  interface: v1\n  mac: '{mac}'");
        assert!(refused(&with("", &format!("- {pod}\n"))).contains("is not a unicast MAC address"), "{mac}");
    }
}

#[test]
fn all_bad_values_are_told_at_once_in_the_order_of_the_file() {
    let text = "encapsulation: sometimes\nnon-adjacent: ipip\npods:\n- {name: d/p, node: b1, addresses: [x], interface: ''}\nnodes:\n- name: a1\n";
    let text = refused(text);
    let places: Vec<_> =
        text.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "cluster.yaml:1:16 encapsulation",
        "cluster.yaml:4:21 pods[0].node",
        "cluster.yaml:4:37 pods[0].addresses[0]",
        "cluster.yaml:4:52 pods[0].interface",
        "cluster.yaml:6:3 nodes[0].addresses",
    ];
    assert_eq!(places, expected);
}

#[test]
fn long_lists_of_nodes_are_cut() {
    use std::fmt::Write as _;
    let mut text = "nodes:\n".to_owned();
    for i in 0..20 {
        writeln!(text, "- {{name: n{i:02}, addresses: [10.0.0.{}]}}", i + 1).unwrap();
    }
    text.push_str("pods: [{name: d/p, node: x, addresses: [10.1.0.1], interface: v}]\n");
    assert!(refused(&text).ends_with("allowed: n00, n01, n02, n03, n04, n05, n06, n07 and 12 more"));
}

proptest! {
    /// Whatever is in the file, the answer is a state or an error.
    #[test]
    fn nothing_panics(text in "[a-z0-9:/.{}\\[\\],&*!|>'\"#%@\\- \t\n]{0,200}") {
        let _ = parse(&text, "cluster.yaml", &Part::WHOLE);
    }

    /// The same for files that are nearly right.
    #[test]
    fn nothing_panics_when_a_part_is_replaced(at in 0_usize..160, len in 0_usize..20, with in "[\\PC\n]{0,8}") {
        let mut text: Vec<char> = super::bad::with("", "").chars().collect();
        let at = at.min(text.len());
        let end = (at + len).min(text.len());
        text.splice(at..end, with.chars());
        let _ = parse(&text.into_iter().collect::<String>(), "cluster.yaml", &Part::WHOLE);
    }
}
