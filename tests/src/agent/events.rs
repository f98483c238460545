//! `node-agent events --follow` in the background.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Agent;
use crate::process::Background;

/// Events as they happen; dropping it ends it.
#[derive(Debug)]
pub struct Follow {
    _process: Background,
    output: PathBuf,
}

impl Agent {
    /// Starts `node-agent events --follow --output json`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn follow_events(&self) -> Result<Follow> {
        let output = self.node.folder().join("events.out");
        let mut command = self.command(&["events", "--follow", "--output", "json"]);
        command.arg("--socket").arg(self.node.socket());
        command.stdin(Stdio::null()).stdout(File::create(&output)?);
        Ok(Follow { _process: Background::spawn(&mut command)?, output })
    }
}

impl Follow {
    /// What it has shown so far, without a line that is only half there.
    ///
    /// # Errors
    /// If it cannot be read, or is no JSON.
    pub fn events(&self) -> Result<Vec<Value>> {
        let shown =
            fs::read_to_string(&self.output).with_context(|| format!("reading {}", self.output.display()))?;
        let whole = shown.rfind('\n').map_or("", |end| &shown[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("an event: {line}")))
            .collect()
    }
}
