use node_ebpf_common::{Endpoint, Hook, NextHop, Route};

use super::*;
use crate::{
    api::PendingChange,
    host::Neighbour,
    model::{KernelAnswer, KernelRoute, LinkState, RouteKind},
    rib::{LoserRow, Path, Role, RouteRow, fixtures::origin, to_map},
};

const UPLINK: u32 = 3;
const VETH: u32 = 7;
const MAC: [u8; 6] = [2, 0, 0, 0, 1, 10];

fn row(prefix: &str, next_hop: &str) -> RouteRow {
    RouteRow {
        prefix: prefix.parse().unwrap(),
        role: Role::PodPrefix,
        encapsulation: None,
        next_hop: next_hop.to_owned(),
        gateway: None,
        interface: None,
        tunnel_destination: None,
        mtu: None,
        underlay: None,
        origin: origin("b1"),
        refused: None,
        losers: vec![],
    }
}

fn kernel_route(prefix: &str, link: u32, gateway: Option<&str>) -> KernelRoute {
    KernelRoute {
        destination: prefix.parse().unwrap(),
        kind: RouteKind::Unicast,
        link: Some(link),
        gateway: gateway.map(|text| text.parse().unwrap()),
        onlink: gateway.is_some(),
        source: None,
        mtu: None,
        protocol: KernelRoute::PROTOCOL,
        metric: 0,
        legs: None,
    }
}

fn stated(what: &str, node: &str) -> Stated {
    Stated { what: what.to_owned(), node: node.parse().ok(), origin: "file c.yaml:9".to_owned() }
}

fn hook(hook: Hook, interface: &str) -> HookFact {
    let method = Some("tcx".to_owned());
    HookFact { interface: interface.to_owned(), hook, expected: 50, running: Some(50), method }
}

/// Everything of one way, as it should be.
fn way(prefix: &str, name: &str, next_hop: NextHop, gateway: Option<&str>) -> Facts {
    let address = |text: &str| text.parse().unwrap();
    let route = kernel_route(prefix, next_hop.interface, gateway);
    let answer = KernelAnswer {
        local: false,
        link: Some(next_hop.interface),
        gateway: route.gateway,
        source: None,
        table: 254,
        mtu: None,
    };
    Facts {
        sources: vec![SourceFact { name: "file c.yaml".to_owned(), synced: true, error: None }],
        settled: true,
        decided: Decided { route: Some(row(prefix, name)), node: "b1".parse().ok(), ..Decided::default() },
        wanted: Some(WantedWay {
            prefix: prefix.parse().unwrap(),
            name: name.to_owned(),
            next_hop,
            flags: 0,
            path: Some(Path {
                interface: "eth0".to_owned(),
                underlay: "0.0.0.0/0".parse().ok(),
                adjacent: false,
                link_mtu: 1500,
            }),
            members: vec![],
        }),
        bpf: BpfFacts {
            trie: Some(TrieAnswer {
                prefix: prefix.parse().unwrap(),
                route: Route { next_hop: 5, flags: 0 },
                next_hop,
            }),
            lookup_table_asked: true,
            ..BpfFacts::default()
        },
        links: vec![LinkFact {
            name: "eth0".to_owned(),
            state: Some(LinkState { up: true, carrier: true, mtu: 1500 }),
        }],
        kernel: KernelFacts {
            wanted: Some(route.clone()),
            found: vec![route],
            answer: Some(Ok(answer)),
            forwarding: true,
            names: [(UPLINK, "eth0".to_owned()), (VETH, "veth-web".to_owned())].into(),
        },
        neighbours: vec![NeighbourFact {
            address: address(gateway.unwrap_or("10.244.1.10")),
            interface: "eth0".to_owned(),
            entry: Some(Neighbour {
                address: address(gateway.unwrap_or("10.244.1.10")),
                mac: Some(MAC),
                state: "reachable".to_owned(),
            }),
            programs_use: None,
        }],
        ..Facts::default()
    }
}

/// To a pod of b1, behind a router.
fn remote() -> Facts {
    let address = |text: &str| to_map(Some(text.parse().unwrap()));
    let next_hop = NextHop {
        identity: 77,
        kind: NextHopKind::Ipip as u32,
        interface: UPLINK,
        gateway: address("10.0.1.1"),
        tunnel_source: address("10.0.1.11"),
        tunnel_destination: address("10.0.2.11"),
        mtu: 1480,
        ..NextHop::default()
    };
    let facts = way("10.244.3.0/24", "node b1", next_hop, Some("10.0.1.1"));
    Facts { hooks: vec![hook(Hook::FromUplink, "eth0"), hook(Hook::ToUplink, "eth0")], ..facts }
}

/// To a pod of this node.
fn local() -> Facts {
    let next_hop = NextHop {
        identity: 78,
        kind: NextHopKind::LocalPod as u32,
        interface: VETH,
        mac_destination: MAC,
        ..NextHop::default()
    };
    let mut facts = way("10.244.1.10/32", "pod default/web", next_hop, None);
    let endpoint = Endpoint { address_v4: to_map("10.244.1.10".parse().ok()), ..Endpoint::default() };
    facts.bpf.endpoint = Some((endpoint, Some(endpoint)));
    facts.hooks = vec![hook(Hook::FromPod, "veth-web"), hook(Hook::ToPod, "veth-web")];
    facts.neighbours[0].programs_use = Some(MAC);
    facts
}

/// To this node itself, or nowhere.
fn own(kind: NextHopKind) -> Facts {
    let next_hop = NextHop { identity: 79, kind: kind as u32, ..NextHop::default() };
    let mut facts = way("10.244.1.0/24", kind.label(), next_hop, None);
    (facts.links, facts.neighbours) = (vec![], vec![]);
    let blackhole =
        KernelRoute { kind: RouteKind::Blackhole, link: None, ..kernel_route("10.244.1.0/24", 0, None) };
    if kind == NextHopKind::Host {
        (facts.kernel.wanted, facts.kernel.found) = (None, vec![]);
        facts.kernel.answer.as_mut().unwrap().as_mut().unwrap().local = true;
    } else {
        (facts.kernel.wanted, facts.kernel.found) = (Some(blackhole.clone()), vec![blackhole]);
        facts.kernel.answer = Some(Err("a blackhole route drops it (EINVAL)".to_owned()));
    }
    facts
}

/// No route of ours.
fn none() -> Facts {
    let answer = Ok(KernelAnswer {
        local: false,
        link: Some(UPLINK),
        gateway: "10.0.1.1".parse().ok(),
        source: None,
        table: 254,
        mtu: None,
    });
    let kernel = KernelFacts { answer: Some(answer), ..KernelFacts::default() };
    Facts { settled: true, kernel, ..Facts::default() }
}

fn kinds(target: &str, facts: &Facts) -> Vec<DisagreementKind> {
    let explained = explain(target.parse().unwrap(), facts);
    for one in explained.disagreements() {
        assert!(!one.text.is_empty() && !one.remedy.is_empty(), "{one:?}");
    }
    explained.disagreements().map(|one| one.kind).collect()
}

#[test]
fn what_is_as_it_should_be_is_healthy() {
    for (target, facts, summary) in [
        ("10.244.3.10/32", remote(), "sent to node b1 through eth0, in an IPIP packet"),
        ("10.244.3.0/24", remote(), "sent to node b1 through eth0, in an IPIP packet"),
        ("10.244.1.10/32", local(), "delivered to pod default/web through eth0"),
        ("10.244.1.1/32", own(NextHopKind::Host), "taken by this node itself"),
        (
            "10.244.1.0/24",
            own(NextHopKind::Unassigned),
            "pods of this node; what no pod has of it is dropped",
        ),
        ("192.0.2.1/32", none(), "no route of Podroute: the host's stack decides"),
    ] {
        assert_eq!(kinds(target, &facts), [], "{target}");
        assert_eq!(explain(target.parse().unwrap(), &facts).summary, summary);
    }
}

/// One fact that is wrong, and what it is called.
type Case = (DisagreementKind, fn(&mut Facts));

fn check(target: &str, healthy: fn() -> Facts, cases: &[Case]) {
    for (kind, spoil) in cases {
        let mut facts = healthy();
        spoil(&mut facts);
        assert_eq!(kinds(target, &facts), [*kind]);
    }
}

#[test]
fn each_disagreement_of_what_is_stated_has_its_name() {
    use DisagreementKind as Kind;
    check(
        "10.244.3.10/32",
        remote,
        &[
            (Kind::SourceFailed, |facts| facts.sources[0].error = Some("line 3: no".to_owned())),
            (Kind::SourceNotSynced, |facts| facts.sources[0].synced = false),
            (Kind::SourceNotSynced, |facts| facts.settled = false),
            (Kind::SourceConflict, |facts| {
                let candidate = "a pod prefix of node c1 (file c.yaml:12)".to_owned();
                facts.decided.rivals =
                    vec![LoserRow { candidate, reason: "b1 comes first".to_owned(), origin: origin("c1") }];
            }),
            (Kind::NotSelected, |facts| facts.asked = Some(stated("pod default/far on node c1", "c1"))),
            (Kind::NoNextHop, |facts| {
                let refused = Some("interface veth-x does not exist".to_owned());
                facts.decided.passed_over =
                    vec![RouteRow { refused, ..row("10.244.3.10/32", "pod default/x") }];
            }),
            (Kind::NoNextHop, |facts| {
                facts.decided.route.as_mut().unwrap().refused = Some("no route to node b1".to_owned());
            }),
            (Kind::ChangePending, |facts| {
                let change = "set route 10.244.3.0/24".to_owned();
                let error = "no space left".to_owned();
                facts.pending.changes =
                    vec![PendingChange { change, error, attempts: 3, next_retry_seconds: 1 }];
            }),
            (Kind::Problem, |facts| facts.pending.problems = vec!["node b1 is not adjacent".to_owned()]),
            (Kind::MasqueradeMissing, |facts| facts.pending.masquerade = (true, false)),
        ],
    );
    check("10.244.1.99/32", || own(NextHopKind::Unassigned), &[(Kind::Unreachable, |_| {})]);
    check(
        "192.0.2.1/32",
        none,
        &[(Kind::Unreachable, |facts| {
            facts.kernel.answer = Some(Err("there is no route to it (ENETUNREACH)".to_owned()));
        })],
    );
}

#[test]
fn each_disagreement_of_maps_and_programs_has_its_name() {
    use DisagreementKind as Kind;
    check(
        "10.244.3.10/32",
        remote,
        &[
            (Kind::BpfRouteMissing, |facts| facts.bpf.trie = None),
            (Kind::BpfRouteMissing, |facts| {
                let trie = facts.bpf.trie.as_mut().unwrap();
                (trie.prefix, trie.next_hop.identity) = ("10.244.0.0/16".parse().unwrap(), 1);
            }),
            (Kind::BpfRouteDiffers, |facts| facts.bpf.trie.as_mut().unwrap().next_hop.identity = 1),
            (Kind::BpfRouteDiffers, |facts| facts.bpf.trie.as_mut().unwrap().route.flags = 1),
            (Kind::NextHopDiffers, |facts| facts.bpf.trie.as_mut().unwrap().next_hop.kind = 0),
            (Kind::NextHopDiffers, |facts| facts.bpf.trie.as_mut().unwrap().next_hop.mtu = 9000),
            (Kind::LookupTableDiffers, |facts| {
                facts.bpf.lookup_table = Some("programs find another".to_owned())
            }),
            (Kind::ProgramMissing, |facts| facts.hooks[0].running = None),
            (Kind::ProgramDiffers, |facts| facts.hooks[1].running = Some(49)),
        ],
    );
    check(
        "192.0.2.1/32",
        none,
        &[
            (Kind::BpfRouteUnwanted, |facts| facts.bpf.trie = remote().bpf.trie),
            (Kind::BrakeHeld, |facts| (facts.bpf.trie, facts.bpf.held) = (remote().bpf.trie, true)),
        ],
    );
    check(
        "10.244.1.10/32",
        local,
        &[
            (Kind::EndpointDiffers, |facts| facts.bpf.endpoint.as_mut().unwrap().1 = None),
            (Kind::EndpointDiffers, |facts| {
                facts.bpf.endpoint.as_mut().unwrap().1.as_mut().unwrap().source_check = 2;
            }),
        ],
    );
}

#[test]
fn each_disagreement_of_the_kernel_has_its_name() {
    use DisagreementKind as Kind;
    check(
        "10.244.3.10/32",
        remote,
        &[
            (Kind::LinkMissing, |facts| facts.links[0].state = None),
            (Kind::LinkDown, |facts| facts.links[0].state.as_mut().unwrap().up = false),
            (Kind::NoCarrier, |facts| facts.links[0].state.as_mut().unwrap().carrier = false),
            (Kind::ForwardingOff, |facts| facts.kernel.forwarding = false),
            (Kind::KernelRouteMissing, |facts| facts.kernel.found.clear()),
            (Kind::KernelRouteDiffers, |facts| facts.kernel.found[0].mtu = Some(9000)),
            (Kind::KernelRouteForeign, |facts| facts.kernel.found[0].protocol = 4),
            (Kind::KernelAnswersOtherwise, |facts| facts.kernel.answer = Some(Err("no".to_owned()))),
            (Kind::KernelAnswersOtherwise, |facts| {
                facts.kernel.answer.as_mut().unwrap().as_mut().unwrap().link = Some(VETH);
            }),
            (Kind::KernelAnswersOtherwise, |facts| {
                facts.kernel.answer.as_mut().unwrap().as_mut().unwrap().gateway = "10.0.1.9".parse().ok();
            }),
            (Kind::NeighbourFailed, |facts| {
                let entry = facts.neighbours[0].entry.as_mut().unwrap();
                (entry.mac, entry.state) = (None, "failed".to_owned());
            }),
            (Kind::NeighbourUnresolved, |facts| {
                let entry = facts.neighbours[0].entry.as_mut().unwrap();
                (entry.mac, entry.state) = (None, "incomplete".to_owned());
            }),
        ],
    );
    check(
        "10.244.1.10/32",
        local,
        &[(Kind::NeighbourMacDiffers, |facts| {
            facts.neighbours[0].programs_use = Some([2, 0, 0, 0, 0, 99]);
        })],
    );
    check(
        "10.244.1.1/32",
        || own(NextHopKind::Host),
        &[(Kind::KernelAnswersOtherwise, |facts| {
            facts.kernel.answer.as_mut().unwrap().as_mut().unwrap().local = false;
        })],
    );
}

/// Two ways to one node: each is looked at, and the kernel may take either.
#[test]
fn every_member_of_a_group_counts() {
    let mut facts = remote();
    let wanted = facts.wanted.as_mut().unwrap();
    let second = NextHop { interface: VETH, gateway: to_map("10.0.9.1".parse().ok()), ..wanted.next_hop };
    wanted.members = vec![("one".to_owned(), wanted.next_hop), ("two".to_owned(), second)];
    let answer = facts.kernel.answer.as_mut().unwrap().as_mut().unwrap();
    (answer.link, answer.gateway) = (Some(VETH), "10.0.9.1".parse().ok());
    let failed = Neighbour { address: "10.0.9.1".parse().unwrap(), mac: None, state: "failed".to_owned() };
    assert_eq!(kinds("10.244.3.10/32", &facts), []);
    let second =
        NeighbourFact { address: failed.address, entry: Some(failed), ..facts.neighbours[0].clone() };
    facts.neighbours.push(second);
    facts.links.push(LinkFact { name: "eth1".to_owned(), state: None });
    assert_eq!(
        kinds("10.244.3.10/32", &facts),
        [DisagreementKind::LinkMissing, DisagreementKind::NeighbourFailed]
    );
    let summary = explain("10.244.3.10/32".parse().unwrap(), &facts).summary;
    assert_eq!(summary, "sent to node b1 through eth0 and eth1, in an IPIP packet");
}

#[test]
fn texts_are_matched_by_whole_words() {
    let words = ["10.244.3.0/24".to_owned(), "b1".to_owned()];
    for (text, expected) in [
        ("set route 10.244.3.0/24: no", true),
        ("node b1 (file c.yaml:9) is gone", true),
        ("pod prefix 10.244.3.0/24.", true),
        ("set route 110.244.3.0/24", false),
        ("node b10 is gone", false),
        ("", false),
    ] {
        assert_eq!(concerns(text, &words), expected, "{text}");
    }
}
