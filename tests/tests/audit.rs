//! What somebody else deletes or changes is back within a second, at the usual audit interval, which is much longer: of
//! most things the kernel tells, and the datapath is read back as often as that costs next to nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use node_ebpf_common::LAYOUT_VERSION;
use tests::{
    Failure,
    agent::{Agents, Settings},
    command,
    family::Family,
    lab::{Endpoint as _, Lab, Node, Topology},
    remains,
    state::{Encapsulation, State},
    story, wait,
};

/// A second, and two more for a machine that has other things to do.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Number of the last pass of a1's agent that changed anything.
fn last_changing_pass(agents: &Agents) -> Result<u64> {
    let status = agents.get("a1")?.status()?;
    status["reconcile"]["last-changing-pass"]["number"].as_u64().context("no pass has changed anything")
}

/// Does something, and waits until the agent has changed something and what is shown is as it was: an act that changes
/// nothing shows nothing.
fn is_undone(
    agents: &Agents,
    what: &str,
    shown: impl Fn() -> Result<String>,
    act: impl FnOnce() -> Result<String>,
) -> Result<()> {
    let (before, pass) = (shown()?, last_changing_pass(agents)?);
    act().with_context(|| what.to_owned())?;
    let took = wait::until(&format!("{what} to be undone"), BACK_WITHIN, || {
        Ok(shown()? == before && last_changing_pass(agents)? > pass)
    })?;
    println!("{what}: back after {took:.0?}");
    Ok(())
}

fn started(lab: &Lab, agents: &mut Agents, settings: &Settings) -> Result<()> {
    lab.nodes().iter().try_for_each(remains::plant_foreign)?;
    agents.start(lab, settings, &State::of(lab, Encapsulation::CrossSubnet))
}

fn foreign_is_left(lab: &Lab) -> Result<()> {
    lab.nodes().iter().try_for_each(remains::expect_foreign)
}

#[test]
fn what_is_changed_in_the_kernels_own_tables_is_back_within_a_second() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        started(lab, agents, &Settings::default())?;
        let (node, other) = (lab.node("a1")?, lab.node("b1")?);
        let ip = |arguments: String| move || node.netns().ip(&arguments);
        for prefix in other.pod_prefixes() {
            let family = if prefix.addr().is_ipv6() { "-6 " } else { "" };
            let show = format!("{family}route show {prefix}");
            is_undone(
                agents,
                &format!("deleting the route {prefix}"),
                ip(show.clone()),
                ip(format!("{family}route del {prefix} proto 77")),
            )?;
            let changed = format!("{family}route replace blackhole {prefix} proto 77");
            let changed = if prefix.addr().is_ipv6() {
                format!("{family}route change {prefix} dev eth0 proto 77")
            } else {
                changed
            };
            is_undone(agents, &format!("changing the route {prefix}"), ip(show), ip(changed))?;
        }
        for number in Family::ALL.into_iter().filter_map(|family| node.pod_address_of(family, 1)) {
            let length = if number.is_ipv6() { 128 } else { 32 };
            let show =
                || Ok(node.netns().ip("address show dev lo")?.contains(&number.to_string()).to_string());
            is_undone(
                agents,
                "deleting the host address",
                show,
                ip(format!("address del {number}/{length} dev lo")),
            )?;
        }
        let pod = lab.pod("a1-0")?.interface();
        let sysctls = [
            "net.ipv4.ip_forward".to_owned(),
            format!("net.ipv4.conf.{pod}.proxy_arp"),
            "net.ipv6.conf.all.forwarding".to_owned(),
        ];
        for name in &sysctls {
            let show = || node.netns().sysctl(name);
            is_undone(agents, &format!("turning {name} off"), show, || {
                node.netns().set_sysctl(name, "0").map(|()| String::new())
            })?;
        }
        foreign_is_left(lab)
    })
}

/// The way to an encapsulated IPv6 prefix goes over a neighbour that we set.
#[test]
fn a_neighbour_of_ours_that_is_deleted_or_changed_is_back_within_a_second() -> Result<(), Failure> {
    story(Topology::v4_nodes(), |lab, agents| {
        started(lab, agents, &Settings::default())?;
        let node = lab.node("a1")?;
        const ADDRESS: &str = "fe80::5044:524f:5554";
        let shown = || node.netns().ip("-6 neighbour show dev eth0 proto 77");
        ensure!(shown()?.contains(ADDRESS), "no neighbour of ours: {:?}", shown()?);
        for (what, act) in [
            ("deleting the neighbour", format!("-6 neighbour del {ADDRESS} dev eth0")),
            (
                "changing the neighbour's address",
                format!("-6 neighbour change {ADDRESS} dev eth0 lladdr 02:00:00:00:00:08 nud permanent"),
            ),
            (
                "letting the neighbour age",
                format!("-6 neighbour change {ADDRESS} dev eth0 lladdr 02:00:00:00:00:08 nud reachable"),
            ),
        ] {
            is_undone(agents, what, shown, || node.netns().ip(&act))?;
        }
        foreign_is_left(lab)
    })
}

/// What bpftool shows of a pinned map.
fn dump(node: &Node, map: &str) -> Result<String> {
    bpftool(&["map", "dump", "pinned", &pin(node, map)])
}

/// The next-hop objects, wherever they are: one that was freed is written to another place.
fn next_hops(node: &Node) -> Result<String> {
    let shown = bpftool(&["--json", "map", "dump", "pinned", &pin(node, "NEXT_HOPS")])?;
    let entries: Vec<serde_json::Value> = serde_json::from_str(&shown)?;
    let values = entries.iter().map(|entry| entry["value"].to_string());
    let mut used: Vec<String> = values
        .filter(|value| {
            value.contains("0x") && !value.replace("\"0x00\"", "").replace(['[', ']', ','], "").is_empty()
        })
        .collect();
    used.sort();
    ensure!(!used.is_empty(), "no next hop is in use");
    Ok(used.join("\n"))
}

fn pin(node: &Node, map: &str) -> String {
    node.bpffs().join(format!("podroute/v{LAYOUT_VERSION}/{map}")).display().to_string()
}

fn bpftool(arguments: &[&str]) -> Result<String> {
    command::output(std::process::Command::new("bpftool").args(arguments))
}

#[test]
fn what_is_changed_in_the_maps_is_back_within_a_second() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, &Settings::default())?;
        let node = lab.node("a1")?;
        let change = |map: &str, arguments: &str| {
            let pin = pin(node, map);
            let mut all = vec!["map"];
            let words: Vec<&str> = arguments.split(' ').collect();
            all.extend([words[0], "pinned", pin.as_str()]);
            all.extend(&words[1..]);
            bpftool(&all)
        };
        // Prefix length in the machine's order, then the address: 10.244.3.0/24.
        let route = "24 0 0 0 10 244 3 0";
        let routes = || dump(node, "ROUTES_V4");
        is_undone(agents, "deleting a route in the map", routes, || {
            change("ROUTES_V4", &format!("delete key {route}"))
        })?;
        is_undone(agents, "changing a route in the map", routes, || {
            change("ROUTES_V4", &format!("update key {route} value 9 0 0 0 0 0 0 0"))
        })?;
        is_undone(agents, "adding a route to the map", routes, || {
            change("ROUTES_V4", "update key 24 0 0 0 10 9 9 0 value 1 0 0 0 0 0 0 0")
        })?;
        let zeros = |bytes: usize| vec!["0"; bytes].join(" ");
        let size = size_of::<node_ebpf_common::NextHop>();
        is_undone(
            agents,
            "freeing a next hop in the map",
            || next_hops(node),
            || change("NEXT_HOPS", &format!("update key 1 0 0 0 value {}", zeros(size))),
        )?;
        let interface = node.netns().interface_index(lab.pod("a1-0")?.interface())?;
        let key = interface.to_ne_bytes().map(|byte| byte.to_string()).join(" ");
        is_undone(
            agents,
            "deleting an endpoint in the map",
            || dump(node, "ENDPOINTS"),
            || change("ENDPOINTS", &format!("delete key {key}")),
        )?;
        let size = size_of::<node_ebpf_common::Settings>();
        is_undone(
            agents,
            "changing the settings in the map",
            || dump(node, "SETTINGS"),
            || change("SETTINGS", &format!("update key 0 0 0 0 value {}", zeros(size))),
        )?;
        foreign_is_left(lab)
    })
}

#[test]
fn a_program_that_is_detached_is_back_within_a_second() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, &Settings { xdp: Some("transit"), ..Settings::default() })?;
        let node = lab.node("a1")?;
        let pod = node.netns().interface_index(lab.pod("a1-0")?.interface())?;
        let uplink = node.netns().interface_index(Node::UPLINK)?;
        for name in [format!("from-pod-{pod}"), format!("from-uplink-{uplink}"), format!("xdp-{uplink}")] {
            let pin = node.bpffs().join("podroute/links").join(name);
            let pin = pin.display().to_string();
            // A link that is detached is of no interface.
            let attached = || {
                let shown = bpftool(&["link", "show", "pinned", &pin]).unwrap_or_default();
                Ok((shown.contains("prog") && !shown.contains("ifindex 0") && !shown.contains("detached"))
                    .to_string())
            };
            is_undone(agents, &format!("detaching {pin}"), attached, || {
                bpftool(&["link", "detach", "pinned", &pin])
            })?;
            is_undone(agents, &format!("removing {pin}"), attached, || {
                Ok(std::fs::remove_file(&pin).map(|()| String::new())?)
            })?;
        }
        foreign_is_left(lab)
    })
}

#[test]
fn a_filter_that_is_deleted_and_a_table_that_is_flushed_are_back_within_a_second() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(
            lab,
            agents,
            &Settings { attach: Some("clsact"), masquerade: Some("on"), ..Settings::default() },
        )?;
        let node = lab.node("a1")?;
        let tc = |arguments: &str| node.netns().output("tc", &arguments.split(' ').collect::<Vec<_>>());
        // Without the numbers of programs.
        let filters = || Ok(tc("filter show dev eth0 ingress")?.contains("from_uplink").to_string());
        is_undone(agents, "deleting a filter", filters, || tc("filter del dev eth0 ingress prio 77"))?;
        is_undone(
            agents,
            "deleting the clsact qdisc of a pod",
            || {
                Ok(tc(&format!("filter show dev {} ingress", lab.pod("a1-0")?.interface()))?
                    .contains("from_pod")
                    .to_string())
            },
            || tc(&format!("qdisc del dev {} clsact", lab.pod("a1-0")?.interface())),
        )?;
        let nft = |arguments: &[&str]| node.netns().output("nft", arguments);
        let table = || nft(&["list", "table", "inet", "podroute"]).or_else(|_| Ok("none".to_owned()));
        is_undone(agents, "deleting the nftables table", table, || {
            nft(&["delete", "table", "inet", "podroute"])
        })?;
        is_undone(agents, "emptying the nftables table", table, || {
            nft(&["flush", "table", "inet", "podroute"])
        })
    })
}

/// With several uplinks, what comes in may have a source that is reached by another one.
#[test]
fn with_two_uplinks_a_strict_reverse_path_check_becomes_a_loose_one_there_and_nowhere_else()
-> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let check = |interface: &str| format!("net.ipv4.conf.{interface}.rp_filter");
        for node in lab.nodes() {
            lab.add_uplink(node.name(), "eth1")?;
            for interface in ["all", "eth0", "eth1"] {
                node.netns().set_sysctl(&check(interface), "1")?;
            }
        }
        let two = Settings { uplinks: Some(vec!["eth0", "eth1"]), ..Settings::default() };
        agents.start(lab, &two, &State::of(lab, Encapsulation::CrossSubnet))?;
        let shown = |node: &Node| -> Result<Vec<String>> {
            let pod = lab.pods().iter().find(|pod| pod.node() == node.name()).context("no pod")?.interface();
            ["all", "eth0", "eth1", pod]
                .map(|interface| node.netns().sysctl(&check(interface)))
                .into_iter()
                .collect()
        };
        let node = lab.node("a1")?;
        let pod_before = shown(node)?[3].clone();
        ensure!(shown(node)?[..3] == ["1", "2", "2"], "{:?}", shown(node)?);
        is_undone(
            agents,
            "a strict check",
            || node.netns().sysctl(&check("eth1")),
            || node.netns().set_sysctl(&check("eth1"), "1").map(|()| String::new()),
        )?;
        ensure!(
            shown(node)?[3] == pod_before && pod_before != "2",
            "the pod's interface: {:?}",
            shown(node)?
        );
        Ok(())
    })
}
