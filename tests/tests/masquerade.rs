//! What pods send out of the cluster has their node's address where masquerade is on; what stays in the
//! cluster never has, even where it passes netfilter.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    capture::{Capture, Keep},
    command,
    family::Family,
    lab::{Endpoint, Lab, Node, Outside, Pod, Topology},
    netns::Netns,
    probe::{self, Answer, ECHO_PORT, Ping},
    state::{Encapsulation, State},
    story, wait, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
const AUDIT: Duration = Duration::from_millis(500);
/// Somebody else's table, with a name that begins as ours does.
const FOREIGN: &str = "table inet podroute_not { chain c { ip daddr 203.0.113.1 accept; }; }";

fn settings(masquerade: &'static str) -> Settings {
    Settings {
        masquerade: Some(masquerade),
        audit_interval: Some("500ms"),
        // One of the packets must not fit the tunnel.
        pod_mtu: Some("keep"),
        ..Settings::default()
    }
}

fn started(lab: &Lab, agents: &mut Agents, masquerade: &'static str) -> Result<()> {
    agents.start(lab, &settings(masquerade), &State::of(lab, MODE))
}

fn restarted(agent: &mut Agent, masquerade: &'static str) -> Result<()> {
    agent.kill(Signal::SIGTERM)?;
    agent.configure(&settings(masquerade))?;
    agent.restart()
}

fn nft(netns: &Netns, text: &str) -> Result<()> {
    command::output_with_input(netns.command("nft").args(["-f", "-"]), text).map(drop)
}

/// Our table, without what differs between two of the same content; none if there is none.
fn table(node: &Node) -> Option<String> {
    node.netns().output("nft", &["list", "table", "inet", "podroute"]).ok()
}

/// Sources of what arrives at the host outside while the pod sends to it.
fn seen_outside(
    lab: &Lab,
    from: &Pod,
    outside: IpAddr,
    send: impl FnOnce() -> Result<()>,
) -> Result<Vec<IpAddr>> {
    let port = Lab::router_interface(lab.node(from.node())?.subnet());
    let capture = Capture::start(lab.router(), &port, Keep::Whole)?;
    send()?;
    let captured = capture.stop()?;
    let arrived = captured.packets().filter(|packet| packet.inner().destination == outside);
    let sources: Vec<_> = arrived.map(|packet| packet.inner().source).collect();
    ensure!(!sources.is_empty(), "nothing has arrived\n{captured}");
    Ok(sources)
}

/// A pod's ping, TCP connection and datagram are answered, and seen with the node's address.
fn expect_masqueraded(lab: &Lab, outside: &Outside, pod: &Pod) -> Result<()> {
    let node = lab.node(pod.node())?.address();
    for (what, seen) in [("TCP", probe::tcp(pod, outside, 5000)?), ("UDP", probe::udp(pod, outside, 1000)?)] {
        ensure!(seen.source == node, "{what} of {} is seen with {}", pod.name(), seen.source);
    }
    let ping = || Ping::to(outside.address())?.expect_reply(pod).map(drop);
    let sources = seen_outside(lab, pod, outside.address(), ping)?;
    ensure!(sources.iter().all(|source| *source == node), "pings of {} come from {sources:?}", pod.name());
    Ok(())
}

/// A pod's ping and datagram go out with its own address, and so nothing comes back.
fn expect_not_masqueraded(lab: &Lab, outside: &Outside, pod: &Pod) -> Result<()> {
    let send = || -> Result<()> {
        let answer = Ping::to(outside.address())?.timeout(Duration::from_millis(200)).send(pod.netns())?;
        ensure!(answer == Answer::Silence, "{answer:?}");
        pod.netns()
            .run(|| UdpSocket::bind(("0.0.0.0", 0))?.send_to(b"one way", (Outside::ADDRESS, ECHO_PORT)))??;
        thread::sleep(Duration::from_millis(100));
        Ok(())
    };
    let sources = seen_outside(lab, pod, outside.address(), send)?;
    let own = pod.address();
    ensure!(sources.len() == 2 && sources.iter().all(|source| *source == own), "{sources:?}, not {own}");
    Ok(())
}

#[test]
fn the_outside_sees_the_nodes_address_where_it_is_on() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let outside = lab.add_outside()?;
        // The default.
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        for pod in lab.pods() {
            expect_not_masqueraded(lab, &outside, pod)?;
        }
        for node in lab.nodes() {
            let agent = agents.get_mut(node.name())?;
            restarted(agent, "on")?;
            let status = agent.status()?;
            let masquerade = &status["masquerade"];
            ensure!(masquerade["on"] == true && masquerade["in-place"] == true, "{status}");
            ensure!(masquerade["local-pods"] == 1, "{status}");
            let table = table(node).context("there is no table")?;
            ensure!(table.matches("masquerade fully-random").count() == 2, "{table}");
        }
        for pod in lab.pods() {
            expect_masqueraded(lab, &outside, pod)?;
        }
        // The nodes' own traffic is as it was.
        for node in lab.nodes() {
            ensure!(probe::tcp(node, &outside, 100)?.source == node.address(), "{}", node.name());
        }
        Ok(())
    })
}

#[test]
fn what_stays_in_the_cluster_is_not_masqueraded() -> Result<(), Failure> {
    story(Topology::two_subnets().with_pod_mtu(1500), |lab, agents| {
        let outside = lab.add_outside()?;
        started(lab, agents, "on")?;
        // First, before the pods know the path MTU and fragment themselves.
        through_the_stack_into_the_tunnel(lab, agents)?;
        for (from, to) in way::pairs(lab).into_iter().filter(|(from, _)| from.is_pod()) {
            expect_own_address(from, to)?;
        }
        without_programs(lab, agents, &outside)
    })
}

fn expect_own_address(from: &dyn Endpoint, to: &dyn Endpoint) -> Result<()> {
    for seen in [probe::tcp(from, to, 5000)?, probe::udp(from, to, 100)?] {
        ensure!(seen.source == from.address(), "{} sees {} as {}", to.name(), from.name(), seen.source);
    }
    Ok(())
}

/// A packet that does not fit the tunnel passes the stack, and with it netfilter, to be fragmented.
fn through_the_stack_into_the_tunnel(lab: &Lab, agents: &Agents) -> Result<()> {
    let (from, to, agent) = (lab.pod("a1-0")?, lab.pod("b1-0")?, agents.get("a1")?);
    let before = agent.counters()?;
    let capture = Capture::start(to.netns(), Pod::INSIDE, Keep::Whole)?;
    Ping::to(to.address())?.size(1500).expect_reply(from)?;
    let (captured, counted) = (capture.stop()?, agent.counters()?.since(&before)?);
    ensure!(counted.packets(Hook::FromPod, Outcome::StackTooBig) == 1, "{counted}");
    let arrived = captured.arrived(to.address());
    let sources: Vec<_> = arrived.map(|packet| packet.inner().source).collect();
    ensure!(sources.len() == 2 && sources.iter().all(|source| *source == from.address()), "{captured}");
    Ok(())
}

/// A Service's address.
#[derive(Debug)]
struct Service<'a>([IpAddr; 1], &'a Pod);

impl Endpoint for Service<'_> {
    fn name(&self) -> &str {
        "service"
    }
    fn netns(&self) -> &Netns {
        self.1.netns()
    }
    fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
    fn node(&self) -> &str {
        self.1.node()
    }
    fn is_pod(&self) -> bool {
        true
    }
}

/// Where no program redirects it, all that pods send passes netfilter.
fn without_programs(lab: &Lab, agents: &mut Agents, outside: &Outside) -> Result<()> {
    let (node, from) = (lab.node("a1")?, lab.pod("a1-0")?);
    agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
    for link in fs::read_dir(node.bpffs().join("podroute/links")).context("no links are pinned")? {
        fs::remove_file(link?.path()).context("detaching a program")?;
    }
    for to in ["a1-1", "a2-0"] {
        expect_own_address(from, lab.pod(to)?)?;
    }
    for to in ["a1", "a2"] {
        expect_own_address(from, lab.node(to)?)?;
    }
    for (number, to) in ["a1-1", "a2-0"].into_iter().enumerate() {
        let service = Service([Ipv4Addr::new(10, 96, 0, 10 + u8::try_from(number)?).into()], lab.pod(to)?);
        let dnat = format!("ip daddr {} dnat to {}", service.address(), service.1.address());
        let chain = format!("chain c{number} {{ type nat hook prerouting priority dstnat; {dnat}; }};");
        nft(node.netns(), &format!("table ip service {{ {chain} }}"))?;
        expect_own_address(from, &service)?;
    }
    // The table is still there, so all of this could have been masqueraded.
    expect_masqueraded(lab, outside, from)
}

/// Number of the last pass of a1's agent that changed anything.
fn last_changing_pass(agents: &Agents) -> Result<u64> {
    let status = agents.get("a1")?.status()?;
    status["reconcile"]["last-changing-pass"]["number"].as_u64().context("no pass has changed anything")
}

#[test]
fn a_flushed_or_changed_table_is_back_within_the_audit_interval() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let outside = lab.add_outside()?;
        started(lab, agents, "on")?;
        let (node, pod) = (lab.node("a1")?, lab.pod("a1-0")?);
        let right = table(node).context("there is no table")?;
        for change in [
            "flush ruleset",
            "flush chain inet podroute postrouting",
            "add element inet podroute cluster_v4 { 192.0.2.0/24 }",
            "delete table inet podroute",
        ] {
            // The kernel tells of the change, so that it may be undone before anybody has seen it: the agent has to have
            // changed something.
            let before = last_changing_pass(agents)?;
            nft(node.netns(), change)?;
            // One interval, and time for two runs of nft on a machine that is busy with other tests.
            let took = wait::until(&format!("`{change}` to be undone"), AUDIT * 4, || {
                Ok(table(node).as_ref() == Some(&right) && last_changing_pass(agents)? > before)
            })?;
            println!("`nft {change}` was undone after {took:?}");
            expect_masqueraded(lab, &outside, pod)?;
        }
        let status = agents.get("a1")?.status()?;
        ensure!(status["reconcile"]["pending"].as_array().is_some_and(Vec::is_empty), "{status}");
        Ok(())
    })
}

/// Every request has an identifier of its own, so each is a flow that netfilter decides on anew.
#[test]
fn no_new_flow_slips_through_while_the_table_is_replaced() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let outside = lab.add_outside()?;
        started(lab, agents, "on")?;
        let (pod, state) = (lab.pod("a1-0")?, State::of(lab, MODE));
        let stop = AtomicBool::new(false);
        let ping = Ping::to(outside.address())?.timeout(Duration::from_millis(500));
        thread::scope(|scope| {
            let pings = scope.spawn(|| -> Result<usize> {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    ping.expect_reply(pod).with_context(|| format!("after {sent} pings"))?;
                    sent += 1;
                }
                Ok(sent)
            });
            let changed = replace_the_table(lab, agents, &state);
            stop.store(true, Ordering::Relaxed);
            let sent = pings.join().map_err(|_| anyhow::anyhow!("the pings panicked"))??;
            changed?;
            println!("{sent} pings, each a flow of its own");
            ensure!(sent > 1000, "only {sent} pings");
            Ok(())
        })
    })
}

/// By a restart after a crash, and by two changes of the cluster.
fn replace_the_table(lab: &Lab, agents: &mut Agents, state: &State) -> Result<()> {
    let node = lab.node("a1")?;
    for _ in 0..3 {
        let agent = agents.get_mut("a1")?;
        agent.kill(Signal::SIGKILL)?;
        agent.restart()?;
        for state in [&state.without_node("b1"), state] {
            let before = table(node);
            agent.apply(state)?;
            wait::until("the table to follow the cluster", Duration::from_secs(10), || {
                Ok(table(node) != before)
            })?;
        }
    }
    Ok(())
}

#[test]
fn turning_it_off_and_cleaning_up_take_our_table_and_no_other() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let outside = lab.add_outside()?;
        started(lab, agents, "on")?;
        let (node, pod) = (lab.node("a1")?, lab.pod("a1-0")?);
        nft(node.netns(), FOREIGN)?;
        let foreign = || node.netns().output("nft", &["-a", "list", "table", "inet", "podroute_not"]);
        let before = foreign()?;
        restarted(agents.get_mut("a1")?, "off")?;
        ensure!(table(node).is_none(), "the table is left: {:?}", table(node));
        expect_not_masqueraded(lab, &outside, pod)?;
        let agent = agents.get_mut("a1")?;
        restarted(agent, "on")?;
        expect_masqueraded(lab, &outside, pod)?;
        agent.kill(Signal::SIGTERM)?;
        // Nobody needs the agent for what is in place.
        expect_masqueraded(lab, &outside, pod)?;
        let line = "remove the nftables table inet podroute";
        let listed = agent.cleanup(true)?;
        ensure!(listed.contains(&format!("would {line}")) && table(node).is_some(), "{listed}");
        let removed = agent.cleanup(false)?;
        ensure!(removed.contains(line) && table(node).is_none(), "{removed}");
        let again = agent.cleanup(false)?;
        ensure!(!again.contains("nftables"), "{again}");
        ensure!(foreign()? == before, "the foreign table has changed: {}", foreign()?);
        Ok(())
    })
}

/// The same in IPv6: only what leaves the cluster gets the node's address.
#[test]
fn ipv6_is_masqueraded_too() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        let _outside = lab.add_outside()?;
        let settings = Settings { masquerade: Some("on"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, MODE))?;
        let outside_v6 = SocketAddr::new(Outside::ADDRESS_V6.into(), ECHO_PORT);
        for pod in lab.pods() {
            let node = lab.node(pod.node())?.address_of(Family::V6);
            for seen in [probe::tcp_at(pod, outside_v6, 5000)?, probe::udp_at(pod, outside_v6, 1000)?] {
                ensure!(Some(seen.source) == node, "{} is seen with {}", pod.name(), seen.source);
            }
            let ping = || Ping::to(outside_v6.ip())?.expect_reply(pod).map(drop);
            let sources = seen_outside(lab, pod, outside_v6.ip(), ping)?;
            ensure!(sources.iter().all(|source| Some(*source) == node), "{sources:?}");
        }
        let from = lab.pod("a1-0")?;
        for to in lab.endpoints() {
            let address = to.address_of(Family::V6).context("no IPv6 address")?;
            let seen = probe::tcp_at(from, SocketAddr::new(address, ECHO_PORT), 100)?;
            ensure!(Some(seen.source) == from.address_of(Family::V6), "{} saw {seen:?}", to.name());
        }
        Ok(())
    })
}
