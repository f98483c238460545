//! The agent's own configuration: a YAML file, read in two steps. `raw` is what may be written, `valid`
//! is what it means.

mod brake;
mod level;
mod log_filter;
mod metrics;
mod raw;
mod reload;
mod sources;
mod valid;

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use node_ebpf_common::SourceCheck;

pub use level::{ProgramLog, UnknownLevel};
pub use log_filter::{LogFilterError, log_filter};
pub use reload::{Reload, SettingChange, reload};
pub use valid::ConfigDefect;

use crate::{
    model::{BrakeSettings, NodeName, PodMtu, SourceId},
    yaml::{self, Findings, ReadError},
};

/// Where the agent listens for its command line unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/podroute/agent.sock";

/// Where the BPF file system is usually mounted.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf";

/// Where the agent remembers what must outlive it, unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/podroute";

/// The agent's configuration, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node's name in the cluster state.
    pub node: NodeName,
    /// The cluster-state files, at least one.
    pub sources: Vec<StateFile>,
    /// Interfaces that lead to other nodes; empty: found by addresses and routes.
    pub uplinks: Vec<String>,
    /// A mounted BPF file system; pins go to its folder `podroute`.
    pub bpffs: PathBuf,
    /// Unix socket on which the agent answers its command line.
    pub socket: PathBuf,
    /// How programs are attached.
    pub attach: AttachMethod,
    /// What uplinks' drivers do of the work.
    pub xdp: XdpMode,
    /// Which source addresses pods may send from.
    pub source_check: SourceCheck,
    /// How large pods' packets may be.
    pub pod_mtu: PodMtu,
    /// Whether what pods send out of the cluster gets the node's address.
    pub masquerade: bool,
    /// How often everything in place is compared with what should be.
    pub audit_interval: Duration,
    /// When a withdrawal of routes is too large to be believed at once.
    pub brake: BrakeSettings,
    /// Where the agent remembers what must outlive it.
    pub state_dir: PathBuf,
    /// Where metrics and health are served over HTTP; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The agent's own log: a filter that [`log_filter`] accepts.
    pub log: String,
    /// How the agent's own log is written.
    pub log_format: LogFormat,
    /// Up to which level the BPF programs' messages are logged.
    pub program_log: ProgramLog,
}

/// A cluster-state file, and the source that reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// The source's name and preference.
    pub source: SourceId,
    /// The file.
    pub path: PathBuf,
}

/// How the agent's own log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A line of text for each message.
    #[default]
    Text,
    /// A JSON document a line: timestamp, level, target, and the message with its fields.
    Json,
}

/// How programs are attached to interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttachMethod {
    /// tcx where the kernel has it, clsact otherwise.
    #[default]
    Auto,
    /// tcx links (kernel 6.6 or newer).
    Tcx,
    /// Filters of the clsact queueing discipline.
    Clsact,
}

/// What the XDP program at uplinks does; what it does not, tc does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// There is none.
    #[default]
    Off,
    /// Forwards from uplink to uplink, and drops what must not come in.
    Transit,
    /// The same, and takes IPIP headers off.
    Decap,
}

impl XdpMode {
    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Transit => "transit",
            Self::Decap => "decap",
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}; name the configuration with --config FILE")]
    Unreadable(ReadError),
    /// The file says something that is not allowed; one line for each finding.
    #[error("{0}")]
    Invalid(Findings<ConfigDefect>),
}

impl Config {
    /// Reads and checks a configuration file. Relative paths in it start at the folder it is in.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is not allowed: every finding names file, line,
    /// column, field, value and what is allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = yaml::read(path).map_err(ConfigError::Unreadable)?;
        valid::parse(&text, path).map_err(ConfigError::Invalid)
    }
}
