//! The agent's files, and the agent itself.

use std::path::PathBuf;

use super::{Facts, Finding, error, ok, warning};
use crate::doctor::facts::FileFacts;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = files(&facts.files);
    let Some(agent) = &facts.agent else {
        found.push(ok("agent", "does not run, or answers at another socket"));
        return found;
    };
    let state = format!("version {} runs", agent.version);
    found.push(if agent.synced && agent.pending + agent.problems == 0 {
        ok("agent", format!("{state}, synced, no problems"))
    } else {
        let synced = if agent.synced { "synced" } else { "not synced" };
        warning(
            "agent",
            format!("{state}, {synced}, {} problems, {} failed changes", agent.problems, agent.pending),
            "what it cannot do is told by name",
            "node-agent status",
        )
    });
    found
}

fn files(files: &FileFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut file = |check, (path, read): &(PathBuf, Result<(), String>), meaning: &str, fix: &str| match read
    {
        Ok(()) => found.push(ok(check, path.display().to_string())),
        Err(why) => found.push(error(check, why.clone(), meaning, fix)),
    };
    if let Some(config) = &files.config {
        file("config", config, "the agent does not start with it", "correct what is named");
    }
    for state in &files.states {
        let meaning = "the agent takes nothing of it, and keeps what it had";
        file("cluster-state", state, meaning, "correct what is named");
    }
    if let Some(folder) = &files.state_dir {
        let meaning = "what the brake holds is forgotten over a restart";
        file(
            "state-directory",
            folder,
            meaning,
            "make the folder writable for the agent, or set `state-dir`",
        );
    }
    for problem in &files.problems {
        found.push(warning(
            "cluster-state",
            problem.clone(),
            "what it names is not used, or used otherwise",
            "correct the cluster state, or this host",
        ));
    }
    match &files.nft {
        Some(Ok(())) => found.push(ok("nft", "works")),
        Some(Err(why)) => found.push(error(
            "nft",
            why.clone(),
            "masquerade is on, but its table cannot be made",
            "apt-get install nftables, or set `masquerade: off`",
        )),
        None => {}
    }
    found
}
