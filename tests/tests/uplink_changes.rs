//! What happens to uplinks in a life: the address moves to a master, the link goes down and up again and again, the
//! gateway is replaced. Nothing but the kernel's own messages makes the agents look.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    craft,
    family::Family,
    lab::{Endpoint, Lab, Node, Topology, View},
    probe::Ping,
    remains,
    state::{Encapsulation, State},
    story, wait, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// The master that the uplink gets.
const MASTER: &str = "bond0";

fn settings() -> Settings {
    Settings { audit_interval: Some("1h"), ..Settings::default() }
}

/// The options of a master: a bond, or where the kernel has none a bridge, which to the agent is the same: an Ethernet
/// interface that takes over address and routes, while what comes in passes its port first.
fn master_type(node: &Node) -> &'static str {
    let bond = "bond mode active-backup miimon 100";
    let taken = node.netns().ip(&format!("link add {MASTER}-try type {bond}"));
    if taken.and_then(|_| node.netns().ip(&format!("link del {MASTER}-try"))).is_ok() {
        bond
    } else {
        "bridge"
    }
}

#[test]
fn an_address_that_moves_to_a_bond_or_bridge_of_its_interface_is_followed() -> Result<(), Failure> {
    moves_to_a_master(&settings(), Node::UPLINK)
}

/// The uplinks of the configuration need not be there yet, nor stay.
#[test]
fn a_bond_or_bridge_that_is_listed_before_it_exists_takes_over() -> Result<(), Failure> {
    let uplinks = Some(vec![Node::UPLINK, MASTER]);
    moves_to_a_master(&Settings { uplinks, ..settings() }, "")
}

/// The programs leave `left` with the address.
fn moves_to_a_master(settings: &Settings, left: &str) -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, settings, &State::of(lab, MODE))?;
        let (a2, agent) = (lab.node("a2")?, agents.get("a2")?);
        everybody_talks(lab, agents, "a2")?;
        let master = master_type(a2);
        println!("the master is a {master}");
        let mac = a2.netns().mac(Node::UPLINK)?.map(|byte| format!("{byte:02x}")).join(":");
        let addresses = a2.addresses().iter().filter_map(|address| a2.subnet().with_length(*address));
        let (mut taken, mut given) = (String::new(), String::new());
        for address in addresses {
            taken += &format!("addr del {address} dev {}\n", Node::UPLINK);
            given += &format!("addr add {address} dev {MASTER}{}\n", if_v6(&address, " nodad"));
        }
        a2.netns().ip_batch(&format!(
            "link add {MASTER} address {mac} type {master}\n{taken}link set {uplink} down\n\
             link set {uplink} master {MASTER}\nlink set {MASTER} up\nlink set {uplink} up\n{given}",
            uplink = Node::UPLINK
        ))?;
        default_routes(a2)?;
        craft::announce(a2.netns(), MASTER, a2.v4().context("the lab has no IPv4")?)?;

        wait::until_ok("everything to be at the master", PATIENCE, || {
            let routes = remains::own_routes(a2)?;
            ensure!(!routes.contains(&format!("dev {} ", Node::UPLINK)), "routes that are left:\n{routes}");
            for prefix in ["a1", "b1"].map(|node| lab.node(node).map(Node::pod_prefixes)) {
                for prefix in prefix? {
                    let route = routes.lines().find(|line| line.starts_with(&prefix.to_string()));
                    let route = route.with_context(|| format!("no route to {prefix}:\n{routes}"))?;
                    ensure!(route.contains(&format!("dev {MASTER} ")), "{route}");
                }
            }
            let at = interfaces(agent)?;
            ensure!(at.iter().any(|at| at == MASTER) && !at.iter().any(|at| at == left), "programs: {at:?}");
            Ok(())
        })?;
        if !left.is_empty() {
            let filters = a2.netns().output("bpftool", &["net", "show", "dev", left])?;
            ensure!(!filters.contains("uplink"), "a program is left:\n{filters}");
        }
        everybody_talks(lab, agents, "a2")?;
        is_settled(agent)
    })
}

/// Interfaces at which the agent says that it has programs.
fn interfaces(agent: &Agent) -> Result<Vec<String>> {
    let status = agent.status()?;
    let rows = status["attachments"].as_array().context("the status lists no attachments")?;
    Ok(rows.iter().filter_map(|row| row["interface"].as_str()).map(str::to_owned).collect())
}

/// One uplink is without its address, and so without routes; the other loses its carrier, as when somebody pulls the
/// cable.
#[test]
fn an_uplink_that_goes_down_and_up_ten_times_leaves_everything_as_it_was() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, &settings(), &State::of(lab, MODE))?;
        let (a1, agent) = (lab.node("a1")?, agents.get("a1")?);
        everybody_talks(lab, agents, "a1")?;
        let before = everything(lab, a1, agent)?;
        for round in 1..=10 {
            if round % 2 == 0 {
                lab.switch().ip("link set a1 down")?;
                wait::until("the carrier to be gone", PATIENCE, || {
                    Ok(a1.netns().ip(&format!("link show {}", Node::UPLINK))?.contains("NO-CARRIER"))
                })?;
                lab.switch().ip("link set a1 up")?;
            } else {
                a1.netns().ip(&format!("link set {} down", Node::UPLINK))?;
                // The kernel flushes what led through it, and the agent's maps must not lead there either.
                wait::until_ok("no way to be left", PATIENCE, || {
                    let to_others = remains::own_routes(a1)?;
                    ensure!(!to_others.contains(Node::UPLINK), "{to_others}");
                    let told = agent.json(&["lookup", &lab.pod("b1-0")?.address().to_string()])?;
                    ensure!(told["interface"] != Node::UPLINK, "{told}");
                    Ok(())
                })?;
                bring_up(a1)?;
            }
            wait::until_ok(&format!("round {round} to end as it began"), PATIENCE, || {
                let now = everything(lab, a1, agent)?;
                ensure!(now == before, "before:\n{before}\nnow:\n{now}");
                Ok(())
            })?;
            everybody_talks(lab, agents, "a1")?;
        }
        is_settled(agent)
    })
}

/// What the agent has on the node and in the kernel, and the files that it has open.
fn everything(lab: &Lab, node: &Node, agent: &Agent) -> Result<String> {
    let status = agent.status()?;
    let files = fs::read_dir(format!("/proc/{}/fd", status["pid"]))?.count();
    let mut rows = agent.json(&["routes"])?;
    for row in rows.as_array_mut().context("the routes are no list")? {
        row.as_object_mut().context("a route is no object")?.remove("number");
    }
    Ok(format!(
        "{}routes: {rows:#}\nmaps: {:#}\nproblems: {}\nopen files: {files}\n",
        remains::snapshot(node, lab.pods())?,
        status["maps"],
        status["problems"]
    ))
}

/// As the host's network manager does it: the kernel forgets IPv6 addresses and all default routes.
fn bring_up(node: &Node) -> Result<()> {
    let mut lines = format!("link set {} up\n", Node::UPLINK);
    for address in node.addresses().iter().filter_map(|address| node.subnet().with_length(*address)) {
        lines += &format!("addr replace {address} dev {}{}\n", Node::UPLINK, if_v6(&address, " nodad"));
    }
    node.netns().ip_batch(&lines)?;
    default_routes(node)
}

fn default_routes(node: &Node) -> Result<()> {
    let line = |network: &tests::lab::Network| format!("route replace default via {}\n", network.gateway);
    node.netns().ip_batch(&node.subnet().networks.iter().map(line).collect::<String>())
}

fn if_v6(address: &str, text: &'static str) -> &'static str {
    if address.contains(':') { text } else { "" }
}

#[test]
fn a_gateway_that_is_replaced_is_followed_in_both_families() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        let (second_port, second) = lab.add_gateway("a1")?;
        agents.start(lab, &settings(), &State::of(lab, MODE))?;
        let (a1, agent) = (lab.node("a1")?, agents.get("a1")?);
        let first_port = Lab::router_interface(a1.subnet());
        let first: Vec<IpAddr> = a1.subnet().networks.iter().map(|network| network.gateway).collect();
        everybody_talks(lab, agents, "a1")?;
        for by_second in [true, false, true] {
            let gateways = if by_second { &second } else { &first };
            let line = |gateway: &IpAddr| format!("route replace default via {gateway}\n");
            a1.netns().ip_batch(&gateways.iter().map(line).collect::<String>())?;
            for gateway in gateways {
                expect_behind(lab, agent, *gateway)?;
            }
            everybody_talks(lab, agents, "a1")?;
            let (first, second) = (first_port.as_str(), second_port.as_str());
            let ports = if by_second { [second, first] } else { [first, second] };
            arrives_at(lab, ports)?;
        }
        is_settled(agent)
    })
}

/// Waits until a1's way to b1's pods, in the maps and in the kernel, is by this gateway, in the gateway's family.
fn expect_behind(lab: &Lab, agent: &Agent, gateway: IpAddr) -> Result<()> {
    let (a1, family, gateway) = (lab.node("a1")?, Family::of(gateway), gateway.to_string());
    let there = lab.pod("b1-0")?.address_of(family).context("no address of a family")?.to_string();
    let mut prefixes = lab.node("b1")?.pod_prefixes().iter();
    let prefix = prefixes.find(|net| Family::of(net.addr()) == family).context("no prefix of a family")?;
    wait::until_ok(&format!("{there} to be behind {gateway}"), PATIENCE, || {
        let told = agent.json(&["lookup", &there])?;
        ensure!(told["gateway"] == gateway.as_str(), "{told}");
        let route = a1.netns().ip(&format!("{} route show {prefix} proto 77", family.option()))?;
        ensure!(route.contains(&format!(" via {gateway} ")), "{route}");
        Ok(())
    })?;
    Ok(())
}

/// What a pod of a1 sends to one of b1 comes in at the first of these ports of the router. Some packets of others, to
/// all, come in at both.
fn arrives_at(lab: &Lab, ports: [&str; 2]) -> Result<()> {
    const EACH: u64 = 100;
    let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
    let arrived = || -> Result<Vec<u64>> {
        ports.into_iter().map(|port| lab.router().packets_received(port)).collect()
    };
    let before = arrived()?;
    for address in to.addresses() {
        (0..EACH).try_for_each(|_| Ping::to(*address)?.timeout(PATIENCE).expect_reply(from).map(drop))?;
    }
    let packets: Vec<u64> = arrived()?.iter().zip(before).map(|(after, before)| after - before).collect();
    ensure!(packets[0] >= 2 * EACH && packets[1] < EACH, "at {ports:?}: {packets:?} packets");
    Ok(())
}

/// Pods of this node and of the others reach each other in both families, on the way that the mode demands.
fn everybody_talks(lab: &Lab, agents: &Agents, node: &str) -> Result<()> {
    let here = lab.pod(&format!("{node}-0"))?;
    for other in lab.nodes().iter().filter(|other| other.name() != node) {
        let there = lab.pod(&format!("{}-0", other.name()))?;
        for family in Family::ALL {
            for (from, to) in [(here, there), (there, here)] {
                let to = View::new(to, family).context("a pod has no address of a family")?;
                // Neighbours may have to be found anew.
                wait::until_ok("an answer", PATIENCE, || Ping::to(to.address())?.expect_reply(from))?;
                way::expect(lab, agents, MODE, (from, &to))?;
            }
        }
    }
    Ok(())
}

/// Nothing is wrong, nothing is left to do.
fn is_settled(agent: &Agent) -> Result<()> {
    wait::until_ok("the agent to have nothing left to do", PATIENCE, || {
        let status = agent.status()?;
        let pending = status["reconcile"]["pending"].as_array().map(Vec::len);
        let problems: &Value = &status["problems"];
        ensure!(
            pending == Some(0) && problems.as_array().is_some_and(Vec::is_empty),
            "{problems} {pending:?}"
        );
        Ok(())
    })?;
    Ok(())
}
