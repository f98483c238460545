//! A story: a lab, agents, and what is told when it fails.

use std::{
    fmt::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Result, anyhow};

use crate::{
    agent::{Agents, binary, log_tail},
    command,
    lab::{Endpoint, Lab, Node, Topology},
};

/// Why a story failed, with the state of its lab, as a test prints it.
pub struct Failure(String);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(chain(&error))
    }
}

/// Builds the topology and tells the story in it. No agent runs at its start.
///
/// # Errors
/// If the agent's binary is missing, the lab cannot be built, or the story fails; then the error shows the
/// state of every node.
pub fn story(
    topology: Topology,
    body: impl FnOnce(&mut Lab, &mut Agents) -> Result<()>,
) -> Result<(), Failure> {
    // Before a lab is built for nothing.
    binary()?;
    let mut lab = Lab::build(topology)?;
    let mut agents = Agents::default();
    let told = catch_unwind(AssertUnwindSafe(|| body(&mut lab, &mut agents)));
    let told = told.unwrap_or_else(|_| Err(anyhow!("the story panicked (see above)")));
    // The agents still run, and so can be asked.
    told.map_err(|error| Failure(format!("{}\n{}", chain(&error), report(&lab, &agents))))
}

fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

fn report(lab: &Lab, agents: &Agents) -> String {
    let mut text = format!("\nlab {} ({}):\n", lab.id(), lab.topology().name);
    if let Ok(drops) = lab.router_drops() {
        let _ = writeln!(text, "the router dropped {drops} packets that were not between nodes");
    }
    for node in lab.nodes() {
        let _ = writeln!(text, "\n===== {} =====", node.name());
        text += &report_node(node, agents);
    }
    text
}

fn report_node(node: &Node, agents: &Agents) -> String {
    let mut text = String::new();
    for shown in
        [&["ip", "route"][..], &["ip", "-6", "route"], &["ip", "neigh"], &["ip", "-brief", "address"]]
    {
        let mut command = node.netns().command(shown[0]);
        command.args(&shown[1..]);
        let _ = writeln!(text, "--- {}\n{}", shown.join(" "), command::transcript(&mut command).trim_end());
    }
    if let Ok(agent) = agents.get(node.name()) {
        let counters = agent.counters().map_or_else(|error| chain(&error), |counters| counters.to_string());
        let _ = writeln!(text, "--- counters\n{}", counters.trim_end());
        let status = agent.cli(&["status"]).unwrap_or_else(|error| chain(&error));
        let _ = writeln!(text, "--- status\n{}", status.trim_end());
        let _ = writeln!(text, "--- end of the agent's log\n{}", log_tail(node, 30).trim_end());
    }
    text
}
