//! kube-proxy's Services beside the fast path: flows that netfilter translates keep passing it, in both
//! directions, and all others keep passing by it.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::{Agents, Settings},
    family::Family,
    kube_proxy::{self, Mode, Policy, Service},
    lab::{Endpoint, Lab, Topology},
    probe,
    state::{Encapsulation, State},
    story,
};

const EVERYWHERE: u16 = 30_080;
const LOCAL: u16 = 30_081;

#[test]
fn cluster_ips_with_kube_proxys_nftables_rules() -> Result<(), Failure> {
    cluster_ips(Topology::two_subnets(), Mode::Nftables, Family::V4)
}

#[test]
fn cluster_ips_with_kube_proxys_iptables_rules() -> Result<(), Failure> {
    cluster_ips(Topology::two_subnets(), Mode::Iptables, Family::V4)
}

#[test]
fn ipv6_cluster_ips_with_kube_proxys_nftables_rules() -> Result<(), Failure> {
    cluster_ips(Topology::dual_stack(), Mode::Nftables, Family::V6)
}

#[test]
fn ipv6_cluster_ips_with_kube_proxys_iptables_rules() -> Result<(), Failure> {
    cluster_ips(Topology::dual_stack(), Mode::Iptables, Family::V6)
}

#[test]
fn node_ports_with_kube_proxys_nftables_rules() -> Result<(), Failure> {
    node_ports(Mode::Nftables)
}

#[test]
fn node_ports_with_kube_proxys_iptables_rules() -> Result<(), Failure> {
    node_ports(Mode::Iptables)
}

fn address(lab: &Lab, pod: &str, family: Family) -> Result<IpAddr> {
    lab.pod(pod)?.address_of(family).context("a pod without an address of the family")
}

fn cluster_ip(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 96, 0, number]),
        Family::V6 => IpAddr::from([0xfd00, 0x96, 0, 0, 0, 0, 0, u16::from(number)]),
    }
}

fn pods(family: Family) -> IpNet {
    let text = if family == Family::V4 { "10.244.0.0/16" } else { "fd00:244::/32" };
    text.parse().expect("a prefix")
}

/// A Service for each way from pod a1-0: adjacent node, other subnet, same node, itself; one of all.
fn services(lab: &Lab, family: Family) -> Result<Vec<Service>> {
    let backends = ["a2-0", "b1-0", "a1-1", "a1-0"];
    let names = ["adjacent", "apart", "same", "itself"];
    let mut services = Vec::new();
    for ((name, backend), number) in names.into_iter().zip(backends).zip(10..) {
        let endpoint = address(lab, backend, family)?;
        services.push(Service::new(name, cluster_ip(family, number), vec![endpoint]));
    }
    let all = ["a2-0", "a2-1", "b1-0", "b1-1", "a1-1"].map(|pod| address(lab, pod, family));
    let all = all.into_iter().collect::<Result<_>>()?;
    services.push(Service::new("all", cluster_ip(family, 20), all));
    Ok(services)
}

fn with_services(lab: &Lab, agents: &mut Agents, mode: Mode, family: Family) -> Result<Vec<Service>> {
    agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
    let services = services(lab, family)?;
    for node in lab.nodes() {
        kube_proxy::apply(node, mode, pods(family), &services)?;
    }
    Ok(services)
}

fn cluster_ips(topology: Topology, mode: Mode, family: Family) -> Result<(), Failure> {
    story(topology, |lab, agents| {
        let services = with_services(lab, agents, mode, family)?;
        let agent = agents.get("a1")?;
        for (from, service) in services
            .iter()
            .map(|service| ("a1-0", service))
            .chain([("b1-1", &services[0]), ("b1-1", &services[1])])
        {
            let from = lab.pod(from)?;
            // Several, since each starts a flow; the backend sees the pod itself, or on the way to itself
            // the node.
            for bytes in [1, 100, 20_000] {
                let seen = probe::tcp_at(from, service.address(), bytes)?;
                let own = from.addresses().contains(&seen.source);
                ensure!(own != (service.name == "itself"), "{} saw {}", service.name, seen.source);
            }
            for bytes in [1, 1_000, 4_000] {
                probe::udp_at(from, service.address(), bytes)?;
            }
        }
        for node in lab.nodes() {
            probe::tcp_at(node, services[4].address(), 100)?;
            probe::udp_at(node, services[4].address(), 100)?;
        }
        let counted = agent.counters()?;
        for hook in [Hook::FromPod, Hook::FromUplink, Hook::ToPod] {
            let translated = counted.packets(hook, Outcome::StackTranslated);
            ensure!(translated > 0, "{} saw no translated flow:\n{counted}", hook.label());
        }
        plain_flows_take_the_fast_path(lab, agents, family)
    })
}

/// Pods that know each other's addresses pass by netfilter as before, to the same pods and ports.
fn plain_flows_take_the_fast_path(lab: &Lab, agents: &Agents, family: Family) -> Result<()> {
    let (agent, from) = (agents.get("a1")?, lab.pod("a1-0")?);
    let before = agent.counters()?;
    for pod in ["a2-0", "b1-0", "a1-1"] {
        let to = SocketAddr::new(address(lab, pod, family)?, kube_proxy::TARGET_PORT);
        probe::tcp_at(from, to, 1_000)?;
        probe::udp_at(from, to, 1_000)?;
    }
    let counted = agent.counters()?.since(&before)?;
    for hook in [Hook::FromPod, Hook::FromUplink] {
        let translated = counted.packets(hook, Outcome::StackTranslated);
        ensure!(translated == 0, "{} took plain flows for translated:\n{counted}", hook.label());
    }
    for outcome in [Outcome::Local, Outcome::Direct, Outcome::Ipip] {
        ensure!(counted.packets(Hook::FromPod, outcome) > 0, "no {}:\n{counted}", outcome.label());
    }
    Ok(())
}

fn node_ports(mode: Mode) -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let outside = lab.add_outside()?;
        let entry = lab.node("a1")?;
        let family = Family::V4;
        let own = [Some(entry.address()), entry.pod_address_of(family, 1)];
        for backend in ["a1-0", "a2-0", "b1-0"] {
            let endpoints = vec![address(lab, backend, family)?];
            let service =
                Service::new("web", cluster_ip(family, 30), endpoints).at_nodes(EVERYWHERE, Policy::Cluster);
            let local = Service::new("local", cluster_ip(family, 31), vec![address(lab, "a1-0", family)?])
                .at_nodes(LOCAL, Policy::Local);
            kube_proxy::apply(entry, mode, pods(family), &[service, local])?;
            // With the node's source address: from outside, from other nodes and their pods, wherever the
            // backend is.
            let everywhere = SocketAddr::new(entry.address(), EVERYWHERE);
            let clients: [&dyn Endpoint; 5] =
                [&outside, lab.pod("a2-1")?, lab.pod("b1-1")?, lab.node("a2")?, lab.node("b1")?];
            for client in clients {
                let seen = probe::tcp_at(client, everywhere, 20_000)?;
                ensure!(own.contains(&Some(seen.source)), "{} was seen as {seen:?}", client.name());
                probe::udp_at(client, everywhere, 500)?;
            }
            // Without: the backend sees the client, and its answer must find back through netfilter.
            let local = SocketAddr::new(entry.address(), LOCAL);
            for client in clients {
                let seen = probe::tcp_at(client, local, 20_000)?;
                ensure!(!own.contains(&Some(seen.source)), "{} was seen as {seen:?}", client.name());
                probe::udp_at(client, local, 500)?;
            }
            kube_proxy::remove(entry, mode, family)?;
        }
        Ok(())
    })
}

/// Each of many short connections through a Service ends as it should; so do many short exchanges by UDP.
#[test]
fn ten_thousand_short_connections_none_reset_or_hung() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let services = with_services(lab, agents, Mode::Nftables, Family::V4)?;
        let target = services[4].address();
        let threads: Vec<_> = ["a1-0", "b1-0", "a2-0", "a1-0"]
            .into_iter()
            .map(|pod| {
                let netns = lab.pod(pod)?.netns().clone();
                Ok(thread::spawn(move || netns.run(|| short_exchanges(target, 2_500))))
            })
            .collect::<Result<_>>()?;
        let mut done = 0;
        for thread in threads {
            done += thread.join().expect("a client")?.context("a short exchange")?;
        }
        ensure!(done == 10_000, "{done} connections");
        old_ports_are_used_again(lab, agents)
    })
}

/// A plain connection from a port that was used through the Service to the same pod looks like the old flow:
/// netfilter, which remembers it, gives it another port, and must see both directions.
fn old_ports_are_used_again(lab: &Lab, agents: &Agents) -> Result<()> {
    let (agent, from) = (agents.get("a1")?, lab.pod("a1-0")?);
    let before = agent.counters()?;
    for pod in ["a2-0", "b1-0", "a1-1"] {
        let to = SocketAddr::new(address(lab, pod, Family::V4)?, kube_proxy::TARGET_PORT);
        from.netns().run(|| short_exchanges(to, 700))?.with_context(|| format!("plainly to {pod}"))?;
    }
    let counted = agent.counters()?.since(&before)?;
    let met = counted.packets(Hook::FromPod, Outcome::StackTranslated);
    ensure!(met > 0, "no port was used again:\n{counted}");
    let plain = counted.packets(Hook::FromPod, Outcome::Direct);
    ensure!(plain > met, "most flows are plain:\n{counted}");
    Ok(())
}

const TIMEOUT: Duration = Duration::from_secs(3);

/// So many connections of one request and answer, each followed by a datagram.
fn short_exchanges(target: SocketAddr, count: u32) -> io::Result<u32> {
    for _ in 0..count {
        let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"request")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.ends_with(b"request") {
            return Err(io::Error::other("the answer is cut short"));
        }
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.connect(target)?;
        socket.send(b"query")?;
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer)?;
        if !answer[..length].ends_with(b"query") {
            return Err(io::Error::other("another answer"));
        }
    }
    Ok(count)
}
