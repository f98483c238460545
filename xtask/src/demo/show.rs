//! What the demo shows besides the matrix.

use std::{net::IpAddr, process::Command};

use anyhow::{Context as _, Result, ensure};
use comfy_table::{CellAlignment, Table, presets};
use node_ebpf_common::{LAYOUT_VERSION, map_name};
use tests::{
    agent::{Agents, binary},
    capture::{Capture, IpHeader, Keep, Packet},
    command,
    lab::{Endpoint as _, Lab, Node},
    probe::{self, Ping, Throughput},
};

use super::{enter, lines};

/// Nodes, their addresses, and their pods.
pub fn topology(lab: &Lab) -> String {
    let join = |all: Vec<String>, by: &str| all.join(by);
    let each = |all: &[IpAddr]| join(all.iter().map(ToString::to_string).collect(), " ");
    lines(lab.nodes().iter().map(|node| {
        let pods = lab.pods().iter().filter(|pod| pod.node() == node.name());
        let pods = pods.map(|pod| format!("{} {}", pod.name(), each(pod.addresses()))).collect();
        let prefixes = node.pod_prefixes().iter().map(ToString::to_string).collect();
        format!(
            "node {} {} (gateway {}), pods of {}: {}",
            node.name(),
            each(node.addresses()),
            node.subnet().gateway(),
            join(prefixes, " "),
            join(pods, ", ")
        )
    }))
}

/// Captures one echo request on its way between the subnets and takes it apart.
pub fn encapsulated_packet(lab: &Lab) -> Result<String> {
    let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
    let capture = Capture::start(lab.node("a1")?.netns(), Node::UPLINK, Keep::Whole)?;
    Ping::to(to.address())?.expect_reply(from)?;
    let captured = capture.stop()?;
    let packet = captured.packets().find(|packet| packet.outgoing && packet.is_encapsulated());
    let packet = packet.context("no encapsulated packet was seen at the uplink")?;
    Ok(take_apart(&packet))
}

fn take_apart(packet: &Packet) -> String {
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let ethernet = format!(
        "Ethernet  {} > {} (the gateway), {} bytes",
        mac(packet.from_mac),
        mac(packet.to_mac),
        packet.length
    );
    let header = |name: &str, header: &IpHeader| {
        format!(
            "{name}  {} > {}, protocol {}, TTL {}, {} bytes{}",
            header.source,
            header.destination,
            header.protocol,
            header.ttl,
            header.total,
            if header.dont_fragment { ", DF" } else { "" }
        )
    };
    lines([ethernet, header("outer IP", packet.outer()), header("inner IP", packet.inner())])
}

/// One TCP connection each way, between nodes on one segment and between subnets.
pub fn transfers(lab: &Lab) -> Result<String> {
    let pairs = [
        ("a1-0", "a2-0", "direct"),
        ("a2-0", "a1-0", "direct"),
        ("a1-0", "b1-0", "ipip"),
        ("b1-0", "a1-0", "ipip"),
    ];
    let mut table = table(["from", "to", "path", "Gbit/s", "retransmitted"]);
    for (from, to, way) in pairs {
        let Throughput { bits_per_second, retransmits, .. } =
            probe::throughput(lab.pod(from)?, lab.pod(to)?, 1)?;
        let rate = format!("{:.2}", bits_per_second / 1e9);
        table.add_row([from, to, way, rate.as_str(), &retransmits.to_string()]);
    }
    Ok(table.to_string())
}

/// Every counter that is not zero.
pub fn counters(agents: &Agents) -> Result<String> {
    let mut table = table(["node", "hook", "outcome", "packets", "bytes"]);
    for (node, agent) in agents.iter() {
        for (hook, outcome, count) in agent.counters()?.counted() {
            let (packets, bytes) = (count.packets.to_string(), count.bytes.to_string());
            table.add_row([node, hook.label(), outcome.label(), packets.as_str(), bytes.as_str()]);
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table.to_string())
}

/// The routes map of a1 in the kernel, and the same as the agent explains it.
pub fn trie(lab: &Lab, agents: &Agents) -> Result<String> {
    let pin = lab.node("a1")?.bpffs().join(format!("podroute/v{LAYOUT_VERSION}")).join(map_name::ROUTES_V4);
    let dump = command::output(Command::new("bpftool").args(["map", "dump", "pinned"]).arg(&pin))?;
    ensure!(dump.contains("10"), "the trie of a1 is empty");
    let routes = agents.get("a1")?.cli(&["routes"])?;
    let shown = dump.lines().take(14).map(str::to_owned);
    Ok(lines(shown.chain(["...".to_owned(), String::new(), routes.trim_end().to_owned()])))
}

/// How to look around in a lab that is kept.
pub fn how_to_enter(lab: &Lab) -> String {
    let agent = binary().map_or_else(|_| "node-agent".to_owned(), |path| path.display().to_string());
    let socket = lab.node("a1").map_or_else(|_| String::new(), |node| node.socket().display().to_string());
    lines([
        "\nThe lab stays up, and its agents go on. To look around:".to_owned(),
        format!("  {} ping 10.244.3.10       # from pod a1-0", enter(lab, "a1-0")),
        format!("  {} ip route                # on node a1", enter(lab, "a1")),
        format!("  {agent} status --socket {socket}"),
        format!("  {agent} counters --socket {socket}"),
        "To remove it: cargo xtask demo --remove".to_owned(),
    ])
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}
