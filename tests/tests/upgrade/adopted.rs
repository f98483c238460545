//! What goes from the maps of another layout to this one: the flows that netfilter translates.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use node_ebpf_common::{LAYOUT_VERSION, map_name};
use tests::{
    Failure,
    agent::Settings,
    command,
    lab::{Endpoint as _, Node, Topology},
    state::{Encapsulation, State},
    story, wait,
};

/// With an empty map in its place the connections of Services would be forwarded past netfilter. Programs of both
/// layouts share the map; one that has another shape is left alone.
#[test]
fn invariant_7_flow_maps_of_the_layout_before_are_adopted_and_no_others() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let node = lab.node("a1")?;
        let folder = |version: u32| node.bpffs().join(format!("podroute/v{version}"));
        let (before, own) = (folder(LAYOUT_VERSION - 1), folder(LAYOUT_VERSION));
        fs::create_dir_all(&before).with_context(|| format!("creating {}", before.display()))?;
        let make = |name: &str, shape: &str| make(node, &before.join(name), shape);
        let v4 = make(map_name::TRANSLATED_V4, "type lru_hash key 16 value 8 entries 131072")?;
        let pairs = make(map_name::TRANSLATED_PAIRS, "type array key 4 value 4096 entries 64")?;
        let v6 = make(map_name::TRANSLATED_V6, "type lru_hash key 16 value 8 entries 131072")?;
        let next_hops = make(map_name::NEXT_HOPS, "type array key 4 value 88 entries 16384")?;
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings::default(), &state)?;
        wait::until("the other layout's pins to go", Duration::from_secs(10), || Ok(!before.exists()))?;
        ensure!(id(node, &own.join(map_name::TRANSLATED_V4))? == v4, "TRANSLATED_V4 is another map");
        ensure!(id(node, &own.join(map_name::TRANSLATED_PAIRS))? == pairs, "TRANSLATED_PAIRS is another map");
        ensure!(id(node, &own.join(map_name::TRANSLATED_V6))? != v6, "it has another key");
        ensure!(id(node, &own.join(map_name::NEXT_HOPS))? != next_hops, "only flows last");
        Ok(())
    })
}

/// Makes and pins a map; returns the kernel's number of it.
fn make(node: &Node, pin: &Path, shape: &str) -> Result<u64> {
    let mut create = node.netns().command("bpftool");
    create.args(["map", "create"]).arg(pin).args(shape.split(' ')).args(["name", "before"]);
    command::output(&mut create)?;
    id(node, pin)
}

fn id(node: &Node, pin: &Path) -> Result<u64> {
    let pin = pin.to_str().context("a path in UTF-8")?;
    let shown = node.netns().output("bpftool", &["--json", "map", "show", "pinned", pin])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    shown["id"].as_u64().with_context(|| format!("no number of a map in {shown}"))
}
