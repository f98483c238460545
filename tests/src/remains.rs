//! What of Podroute is on a node, and what of others: to show that cleanup takes the one and leaves the
//! other.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    agent::Agent,
    command,
    family::Family,
    lab::{Endpoint, Node, Pod},
    wait,
};

/// Protocol number of Podroute's kernel routes.
const PROTOCOL: &str = "77";
/// Label of Podroute's address.
const LABEL: &str = "lo:podroute";
/// A network of nobody (TEST-NET-2) for the foreign route.
const FOREIGN_ROUTE: &str = "198.51.100.0/24";

/// Numbers of the programs that the agent says are attached, as `bpftool prog` shows them.
///
/// # Errors
/// If the agent does not answer, or has none attached.
pub fn program_ids(agent: &Agent) -> Result<Vec<u64>> {
    let status = agent.status()?;
    let rows = status["attachments"].as_array().context("the status lists no attachments")?;
    let ids = rows.iter().map(|row| row["program-id"].as_u64()).collect::<Option<Vec<_>>>();
    let ids = ids.context("an attachment has no program-id")?;
    ensure!(!ids.is_empty(), "no program is attached");
    Ok(ids)
}

/// Checks that nothing of Podroute is left on the node: no pin, route, address, nftables table, and none of
/// these programs, which the kernel may free a little later.
///
/// # Errors
/// If something is left.
pub fn expect_nothing_of_ours(node: &Node, pods: &[Pod], programs: &[u64]) -> Result<()> {
    let pins = node.bpffs().join("podroute");
    ensure!(!pins.exists(), "{} is left:\n{}", pins.display(), tree(&pins));
    let routes = own_routes(node)?;
    ensure!(routes.trim().is_empty(), "routes are left:\n{routes}");
    let addresses = node.netns().ip("address show")?;
    ensure!(!addresses.contains(LABEL), "an address is left:\n{addresses}");
    // An IPv6 address has no label: it shows by being of the node's own range.
    let own = Family::ALL.into_iter().filter_map(|family| node.pod_address_of(family, 1));
    for own in own.map(|own| format!("{own}/")) {
        ensure!(!addresses.contains(&own), "{own} is left:\n{addresses}");
    }
    let neighbours = permanent_neighbours(node)?;
    ensure!(neighbours.trim().is_empty(), "permanent neighbours are left:\n{neighbours}");
    let tables = node.netns().output("nft", &["list", "tables"])?;
    ensure!(!tables.lines().any(|line| line == "table inet podroute"), "a table is left:\n{tables}");
    let filters = filters(node, pods)?;
    ensure!(!filters.contains("podroute") && !filters.contains("from_"), "a filter is left:\n{filters}");
    for id in programs {
        let gone = || {
            let shown = command::output(std::process::Command::new("bpftool").args([
                "prog",
                "show",
                "id",
                &id.to_string(),
            ]));
            Ok(shown.is_err())
        };
        wait::until(&format!("program {id} to go"), Duration::from_secs(3), gone)?;
    }
    Ok(())
}

/// Podroute's kernel routes of both families.
///
/// # Errors
/// If they cannot be read.
pub fn own_routes(node: &Node) -> Result<String> {
    let shown = Family::ALL
        .map(|family| node.netns().ip(&format!("{} route show table all proto {PROTOCOL}", family.option())));
    shown.into_iter().collect()
}

/// Neighbours at the uplink that somebody has put there; the lab has put none.
fn permanent_neighbours(node: &Node) -> Result<String> {
    node.netns().ip(&format!("neigh show nud permanent dev {}", Node::UPLINK))
}

/// Everything that Podroute might change on a node, as text.
///
/// # Errors
/// If it cannot be read.
pub fn snapshot(node: &Node, pods: &[Pod]) -> Result<String> {
    let netns = node.netns();
    let sections = [
        netns.ip("-4 route show table all")?,
        netns.ip("-4 rule show")?,
        // The kernel's own IPv6 routes come up by themselves a second after an interface.
        own_routes(node)?,
        permanent_neighbours(node)?,
        // Without the lines of counters and lifetimes.
        netns.ip("-oneline -family inet address show")?,
        filters(node, pods)?,
        tree(&node.bpffs()),
        attached(node)?,
    ];
    Ok(sections.join("----\n"))
}

/// Queueing disciplines and filters of the uplink and the pods' interfaces.
fn filters(node: &Node, pods: &[Pod]) -> Result<String> {
    let local = pods.iter().filter(|pod| pod.node() == node.name()).map(Pod::interface);
    let mut text = String::new();
    for interface in local.chain([Node::UPLINK]) {
        for arguments in [
            &["qdisc", "show", "dev", interface, "clsact"][..],
            &["filter", "show", "dev", interface, "ingress"],
            &["filter", "show", "dev", interface, "egress"],
        ] {
            text += &node.netns().output("tc", arguments)?;
        }
    }
    Ok(text)
}

/// Links that the kernel lists for each pin: number and program.
fn attached(node: &Node) -> Result<String> {
    let folder = node.bpffs().join("podroute/links");
    let mut lines = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        let mut show = std::process::Command::new("bpftool");
        show.args(["--json", "link", "show", "pinned"]).arg(&path);
        let shown: Value = serde_json::from_str(&command::output(&mut show)?)?;
        lines.push(format!("{} {} {}\n", path.display(), shown["id"], shown["prog_id"]));
    }
    lines.sort();
    Ok(lines.concat())
}

/// Paths below a folder.
fn tree(folder: &Path) -> String {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
            paths.push(format!("{}\n", entry.path().display()));
        }
    }
    paths.sort();
    paths.concat()
}

/// Puts things on a node that are not Podroute's: a route, a tc filter at the uplink, a pinned map.
///
/// # Errors
/// If one cannot be put there.
pub fn plant_foreign(node: &Node) -> Result<()> {
    let (netns, uplink) = (node.netns(), Node::UPLINK);
    netns.ip(&format!("route add {FOREIGN_ROUTE} via {} dev {uplink}", node.subnet().gateway()))?;
    netns.output("tc", &["qdisc", "add", "dev", uplink, "clsact"])?;
    // Matches nothing: a classic BPF program that returns 0.
    let filter =
        ["filter", "add", "dev", uplink, "ingress", "protocol", "all", "prio", "7", "bpf", "bytecode"];
    netns.output("tc", &[&filter[..], &["1,6 0 0 0,"]].concat())?;
    let mut map = std::process::Command::new("bpftool");
    map.args(["map", "create"]).arg(foreign_pin(node));
    map.args(["type", "array", "key", "4", "value", "4", "entries", "1", "name", "foreign"]);
    command::output(&mut map)?;
    Ok(())
}

fn foreign_pin(node: &Node) -> std::path::PathBuf {
    node.bpffs().join("foreign")
}

/// Checks that what [`plant_foreign`] put there is still there.
///
/// # Errors
/// If something is gone.
pub fn expect_foreign(node: &Node) -> Result<()> {
    let netns = node.netns();
    let route = netns.ip(&format!("route show {FOREIGN_ROUTE}"))?;
    ensure!(!route.trim().is_empty(), "the foreign route is gone");
    let filter = netns.output("tc", &["filter", "show", "dev", Node::UPLINK, "ingress"])?;
    ensure!(filter.contains("pref 7 bpf"), "the foreign filter is gone: {filter}");
    ensure!(foreign_pin(node).exists(), "the foreign pin is gone");
    Ok(())
}
