//! The lookup table that programs read first: it is read, and whoever else writes to it has no lasting effect.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::MapData;
use nix::sys::signal::Signal;
use node_ebpf_common::{Cell, Cells, LAYOUT_VERSION, LOOKUP_ROOTS, MappedCells, map_name};
use tests::{
    Failure,
    agent::{Agents, Settings},
    lab::{Endpoint, Lab, Topology},
    probe::{Answer, Ping, Series},
    state::{Encapsulation, State},
    story, wait, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// The memory of a node's table, as anybody on the node can write it who may.
fn cells(lab: &Lab, node: &str) -> Result<MappedCells> {
    let pin = lab.node(node)?.bpffs().join(format!("podroute/v{LAYOUT_VERSION}/{}", map_name::LOOKUP_V4));
    let map = MapData::from_pin(&pin).with_context(|| format!("opening {}", pin.display()))?;
    Ok(MappedCells::map(map.fd())?)
}

/// Where the cell is that a lookup of this address ends with.
fn place(cells: &MappedCells, address: std::net::IpAddr) -> Result<(u32, u8)> {
    let std::net::IpAddr::V4(v4) = address else { bail!("{address} is not IPv4") };
    let [first, second, third, fourth] = v4.octets();
    let mut at = (u32::from(first), second);
    for byte in [third, fourth] {
        match cells.load(at.0, at.1).child() {
            Some(chunk) => at = (chunk, byte),
            None => break,
        }
    }
    Ok(at)
}

fn roots() -> impl Iterator<Item = (u32, u8)> {
    (0..LOOKUP_ROOTS).flat_map(|chunk| (0..=u8::MAX).map(move |place| (chunk, place)))
}

fn answers(lab: &Lab, from: &str, to: &str) -> Result<Answer> {
    Ping::to(lab.pod(to)?.address())?.timeout(Duration::from_millis(300)).send(lab.pod(from)?.netns())
}

/// Sends what is for b1's pods to where no pod is.
fn mislead(lab: &Lab) -> Result<(u32, u8, Cell)> {
    let mut cells = cells(lab, "a1")?;
    let (chunk, at) = place(&cells, lab.pod("b1-0")?.address())?;
    let unassigned = place(&cells, lab.node("a1")?.pod_address(200))?;
    let (right, wrong) = (cells.load(chunk, at), cells.load(unassigned.0, unassigned.1));
    ensure!(right.child().is_none() && right != wrong && right != Cell::ASK_TRIE, "{right:?}, {wrong:?}");
    cells.store(chunk, at, wrong);
    Ok((chunk, at, right))
}

fn started(lab: &Lab, agents: &mut Agents, audit_interval: &'static str) -> Result<()> {
    let settings = Settings { audit_interval: Some(audit_interval), ..Settings::default() };
    agents.start(lab, &settings, &State::of(lab, MODE))
}

#[test]
fn programs_read_the_table_and_an_agent_that_starts_puts_it_right() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, "1h")?;
        let table = agents.get("a1")?.status()?["lookup-table"].clone();
        // One chunk for the /16 of all pods, one for the /16 of all nodes, and one for each /24 with single addresses.
        ensure!(table["chunks"].as_u64() > Some(257) && table["left-to-trie"] == 0, "{table}");
        mislead(lab)?;
        ensure!(answers(lab, "a1-0", "b1-0")? == Answer::Silence, "the table is not read");
        let address = lab.pod("b1-0")?.address().to_string();
        let told = agents.get("a1")?.cli(&["lookup", &address])?;
        ensure!(told.contains("PROBLEMS\n- programs find next hop"), "{told}");
        agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
        ensure!(answers(lab, "a1-0", "b1-0")? == Answer::Silence, "somebody else has healed the table");
        agents.get_mut("a1")?.restart()?;
        for (from, to) in way::pairs(lab) {
            way::expect(lab, agents, MODE, (from, to))?;
        }
        let told = agents.get("a1")?.cli(&["lookup", &address])?;
        ensure!(!told.contains("PROBLEMS"), "{told}");
        Ok(())
    })
}

#[test]
fn a_table_changed_by_hand_is_put_right_by_the_audit() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents, "500ms")?;
        let mut cells = cells(lab, "a1")?;
        let before: Vec<Cell> = roots().map(|(chunk, at)| cells.load(chunk, at)).collect();
        let series = Series::start(lab.pod("a1-0")?, lab.pod("b1-0")?.address())?;
        // Without the table the trie is asked.
        roots().for_each(|(chunk, at)| cells.store(chunk, at, Cell::ASK_TRIE));
        wait::until("the table to be filled again", Duration::from_secs(3), || {
            Ok(roots().zip(&before).all(|((chunk, at), cell)| {
                let now = cells.load(chunk, at);
                // It is another chunk.
                now == *cell || now.child().is_some() && cell.child().is_some()
            }))
        })?;
        series.stop()?.expect_no_loss()?;
        let (chunk, at, right) = mislead(lab)?;
        wait::until("the wrong cell to be put right", Duration::from_secs(3), || {
            Ok(cells.load(chunk, at) == right)
        })?;
        Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        let log = lab.node("a1")?.log();
        let log = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
        ensure!(
            log.contains("map LOOKUP_V4: 1 cells were not what the routes"),
            "the audit does not tell:\n{log}"
        );
        Ok(())
    })
}
