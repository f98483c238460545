//! Settings of an agent in a lab, and the files it is started with.

use std::{fmt::Write, fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::lab::{Endpoint, Node};

/// What a story may set; what is left out is the agent's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `log`; stories want to know everything.
    pub log: Option<&'static str>,
    /// `log-format`: `text` or `json`.
    pub log_format: Option<&'static str>,
    /// `attach`: `auto`, `tcx` or `clsact`.
    pub attach: Option<&'static str>,
    /// `source-check`: `strict`, `loose` or `off`.
    pub source_check: Option<&'static str>,
    /// `uplinks`.
    pub uplinks: Option<Vec<&'static str>>,
    /// `masquerade`: `off` or `on`.
    pub masquerade: Option<&'static str>,
    /// `audit-interval`.
    pub audit_interval: Option<&'static str>,
    /// `program-log`.
    pub program_log: Option<&'static str>,
    /// `pod-mtu`: `auto`, `keep` or a number of bytes.
    pub pod_mtu: Option<&'static str>,
    /// `xdp`: `off`, `transit` or `decap`.
    pub xdp: Option<&'static str>,
    /// `brake`, such as `{release-after: 1h}`.
    pub brake: Option<&'static str>,
    /// `metrics`, such as `{listen: "127.0.0.1:9470"}`.
    pub metrics: Option<&'static str>,
    /// `sources`; otherwise the cluster state is the only one.
    pub sources: Option<&'static str>,
    /// Another file beside the cluster state: its name and what is in it.
    pub other_file: Option<(&'static str, String)>,
    /// `state-dir`; otherwise one of the node's own.
    pub state_dir: Option<&'static str>,
}

impl Settings {
    /// The agent's config file for this node.
    fn yaml(&self, node: &Node) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "node: {}", node.name())?;
        match self.sources {
            Some(sources) => writeln!(text, "sources: {sources}")?,
            None => writeln!(text, "source:\n  file: cluster.yaml")?,
        }
        writeln!(text, "bpffs: {}", node.bpffs().display())?;
        writeln!(text, "socket: {}", node.socket().display())?;
        let state_dir = self.state_dir.map_or_else(|| state_dir(node), PathBuf::from);
        writeln!(text, "state-dir: {}", state_dir.display())?;
        if let Some(brake) = self.brake {
            writeln!(text, "brake: {brake}")?;
        }
        if let Some(metrics) = self.metrics {
            writeln!(text, "metrics: {metrics}")?;
        }
        writeln!(text, "log: {}", self.log.unwrap_or("info,node_agent=debug"))?;
        if let Some(uplinks) = &self.uplinks {
            writeln!(text, "uplinks: [{}]", uplinks.join(", "))?;
        }
        if let Some(pod_mtu) = self.pod_mtu {
            // Not quoted: it may be a number.
            writeln!(text, "pod-mtu: {pod_mtu}")?;
        }
        let choices = [
            ("log-format", self.log_format),
            ("attach", self.attach),
            ("source-check", self.source_check),
            ("masquerade", self.masquerade),
            ("xdp", self.xdp),
            ("audit-interval", self.audit_interval),
            ("program-log", self.program_log),
        ];
        for (key, value) in choices {
            if let Some(value) = value {
                // Quoted: YAML 1.1 readers take a bare `off` for false.
                writeln!(text, "{key}: \"{value}\"")?;
            }
        }
        Ok(text)
    }

    /// Writes the config file.
    pub(super) fn write(&self, node: &Node) -> Result<()> {
        let file = config_file(node);
        fs::create_dir_all(folder(node)).with_context(|| format!("creating {}", folder(node).display()))?;
        fs::write(&file, self.yaml(node)?).with_context(|| format!("writing {}", file.display()))?;
        let Some((name, text)) = &self.other_file else { return Ok(()) };
        let file = other_file(node, name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }
}

/// Folder of the config, the cluster state, and what else the settings name.
fn folder(node: &Node) -> PathBuf {
    node.folder().join("etc")
}

/// The node's own state directory.
pub(super) fn state_dir(node: &Node) -> PathBuf {
    node.folder().join("state")
}

pub(super) fn config_file(node: &Node) -> PathBuf {
    folder(node).join("agent.yaml")
}

pub(super) fn other_file(node: &Node, name: &str) -> PathBuf {
    folder(node).join(name)
}

pub(super) fn state_file(node: &Node) -> PathBuf {
    folder(node).join("cluster.yaml")
}
