//! What happens at a limit: it is told by name, the rest goes on, and all is well once there is room again.

mod bpffs;
mod full;
mod overrun;
mod shortage;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    agent::Agent,
    lab::Pod,
    state::{Encapsulation, State, StatePod},
    wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Long enough for the longest back-off, twice, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(20);

fn pending(agent: &Agent) -> Result<Vec<Value>> {
    let status = agent.status()?;
    status["reconcile"]["pending"].as_array().cloned().context("the status lists nothing pending")
}

/// Waits until something is pending that says this, and returns it.
fn waits_with(agent: &Agent, words: &[&str]) -> Result<String> {
    let mut found = String::new();
    wait::until(&format!("a pending change that says {words:?}"), SOON, || {
        let pending = pending(agent)?;
        let text = pending.iter().map(|row| format!("{} {}", row["change"], row["error"]));
        let mut all = text.filter(|text| words.iter().all(|word| text.contains(word)));
        found = all.next().unwrap_or_default();
        Ok(!found.is_empty())
    })?;
    Ok(found)
}

fn nothing_waits(agent: &Agent) -> Result<()> {
    wait::until("nothing to be pending", SOON, || Ok(pending(agent)?.is_empty()))?;
    Ok(())
}

/// The state with one more pod in it.
fn with_pod(state: &State, pod: &Pod) -> State {
    let mut state = state.clone();
    state.pods.push(StatePod::of(pod));
    state
}
