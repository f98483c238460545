//! The cluster-state file: one YAML document with the cluster's settings, nodes, pods and routes, read again
//! whenever it changes. Replace it by renaming a complete file over it, as `kubectl` and ConfigMaps do.
//!
//! `raw` is what may be written, `check` what it means, `diff` what has changed, `reader` what to say
//! about it (all pure); `watch` does the reading.

mod address;
mod check;
mod defect;
mod diff;
mod node;
mod pod;
mod raw;
mod reader;
mod route;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use defect::StateDefect;
pub use diff::{diff, everything};
pub use watch::FileSource;

use crate::{
    model::{Cluster, Node, NodeName, Pod, PodName, Prefix, Route, SourceId},
    yaml::{self, Findings},
};

/// What a cluster-state file says, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterState {
    /// What holds for the whole cluster; none if the file leaves that to others.
    pub cluster: Option<Cluster>,
    /// The nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The pods.
    pub pods: BTreeMap<PodName, Pod>,
    /// The routes to what is outside of the cluster.
    pub routes: BTreeMap<Prefix, Route>,
}

/// Which part of the cluster's state a file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The source that reads it.
    pub source: SourceId,
    /// Whether it is all there is. Otherwise another file may have the nodes that its pods are on, and the settings that
    /// it leaves out.
    pub whole: bool,
}

impl Part {
    /// The file of the only source.
    pub const WHOLE: Self = Self { source: SourceId::FILE, whole: true };
}

/// Everything that is not allowed in a cluster state; one line for each finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub Findings<StateDefect>);

/// Reads a cluster state, or a part of it, from its text. `file_name` is what findings and origins call the file.
///
/// # Errors
/// The first structural defect, or every bad value, each with file, line, column, field, value and what
/// is allowed.
pub fn parse(text: &str, file_name: &str, part: &Part) -> Result<ClusterState, StateError> {
    let raw = yaml::parse(text, file_name).map_err(StateError)?;
    let mut findings = Findings::new(file_name);
    let state = check::check(raw, part, &mut findings);
    findings.into_result(Some(state)).map_err(StateError)
}
