use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use humantime_serde::re::humantime;
use node_ebpf_common::SourceCheck;

use super::{
    AttachMethod, Config, DEFAULT_BPFFS, DEFAULT_SOCKET, DEFAULT_STATE_DIR, LogFilterError, LogFormat,
    ProgramLog, UnknownLevel, XdpMode, brake::check_brake, log_filter, metrics::check_metrics,
    raw::RawConfig, sources::check_sources,
};
use crate::{
    model::{InterfaceNameError, NameError, NodeName, PodMtu, check_interface_name},
    yaml::{self, Findings, Located, Place, Structure, choose},
};

/// What can be wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigDefect {
    /// The document's structure.
    #[error(transparent)]
    Structure(#[from] Structure),
    /// The node's name.
    #[error(transparent)]
    NodeName(#[from] NameError),
    /// An uplink's name.
    #[error(transparent)]
    InterfaceName(#[from] InterfaceNameError),
    /// An uplink is named twice.
    #[error("interface {0} is named twice; allowed: each interface once")]
    DuplicateUplink(String),
    /// A source is named twice.
    #[error("source {0} is named twice; allowed: each name once")]
    DuplicateSource(String),
    /// Two sources read the same file.
    #[error(
        "{} is the file of source {source_name}, too; allowed: a file of its own for each source", path.display()
    )]
    DuplicateFile {
        /// The file.
        path: PathBuf,
        /// The source that has it.
        source_name: String,
    },
    /// There are both ways to name sources.
    #[error(
        "there is a single `source`, too; allowed: either `source`, or `sources` with that file among them"
    )]
    TwoWaysToNameSources,
    /// A path that cannot be used.
    #[error("{value:?} cannot be used as a path; allowed: {allowed}")]
    Path {
        /// The path.
        value: String,
        /// What it must look like.
        allowed: &'static str,
    },
    /// The pods' MTU.
    #[error("{value:?} is no MTU; allowed: auto, keep, or a number of bytes from 68 to 65535")]
    PodMtu {
        /// The text.
        value: String,
    },
    /// The audit interval.
    #[error("{value:?} is not a usable interval; allowed: 100ms to 1h, for example 500ms, 10s or 5m")]
    Interval {
        /// The text.
        value: String,
    },
    /// A number or a time that cannot be used.
    #[error("{value:?} cannot be used; allowed: {allowed}")]
    Value {
        /// The text.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The agent's log filter.
    #[error(transparent)]
    LogFilter(#[from] LogFilterError),
    /// The level of the programs' messages.
    #[error(transparent)]
    ProgramLog(#[from] UnknownLevel),
}

pub(super) const ATTACH_METHODS: &[(&str, AttachMethod)] =
    &[("auto", AttachMethod::Auto), ("tcx", AttachMethod::Tcx), ("clsact", AttachMethod::Clsact)];

pub(super) const XDP_MODES: &[(&str, XdpMode)] = &[
    (XdpMode::Off.label(), XdpMode::Off),
    (XdpMode::Transit.label(), XdpMode::Transit),
    (XdpMode::Decap.label(), XdpMode::Decap),
];

pub(super) const SOURCE_CHECKS: &[(&str, SourceCheck)] =
    &[("strict", SourceCheck::Strict), ("loose", SourceCheck::Loose), ("off", SourceCheck::Off)];

pub(super) const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) const SWITCH: &[(&str, bool)] = &[("off", false), ("on", true)];

/// Longest path that a socket address holds (`sun_path`, less its terminating zero), in bytes.
const LONGEST_SOCKET_PATH: usize = 107;

/// Reads a configuration from its text; `path` is where it stands.
pub(super) fn parse(text: &str, path: &Path) -> Result<Config, Findings<ConfigDefect>> {
    let file = path.display().to_string();
    let raw: RawConfig = yaml::parse(text, &file)?;
    let mut findings = Findings::new(&file);
    let config = check(raw, path.parent().unwrap_or(Path::new("")), &mut findings);
    findings.into_result(config)
}

/// The configuration, or none if a required field is missing or bad. Every defect is in `findings`.
fn check(raw: RawConfig, folder: &Path, findings: &mut Findings<ConfigDefect>) -> Option<Config> {
    let node = check_node(raw.node, findings);
    let sources = check_sources(raw.source, raw.sources, folder, findings);
    let uplinks = check_uplinks(raw.uplinks.unwrap_or_default(), findings);
    let bpffs = check_path(raw.bpffs, "bpffs", DEFAULT_BPFFS, folder_rule, findings);
    let socket = check_path(raw.socket, "socket", DEFAULT_SOCKET, socket_rule, findings);
    let attach = check_choice(raw.attach, "attach", ATTACH_METHODS, findings);
    let xdp = check_choice(raw.xdp, "xdp", XDP_MODES, findings);
    let source_check = check_choice(raw.source_check, "source-check", SOURCE_CHECKS, findings);
    let pod_mtu = check_pod_mtu(raw.pod_mtu, findings);
    let masquerade = check_choice(raw.masquerade, "masquerade", SWITCH, findings);
    let audit_interval = check_interval(raw.audit_interval, findings);
    let brake = check_brake(raw.brake, findings);
    let state_dir = check_path(raw.state_dir, "state-dir", DEFAULT_STATE_DIR, folder_rule, findings);
    let metrics = check_metrics(raw.metrics, findings);
    let log = raw.log.map_or_else(
        || Some("info".to_owned()),
        |log| findings.check(log.place, "log", log_filter(&log.value)).map(|_| log.value),
    );
    let log_format = check_choice(raw.log_format, "log-format", LOG_FORMATS, findings);
    let program_log = raw.program_log.map_or(Some(ProgramLog::default()), |level| {
        findings.check(level.place, "program-log", level.value.parse::<ProgramLog>())
    });
    Some(Config {
        node: node?,
        sources: sources?,
        uplinks,
        bpffs: bpffs?,
        socket: socket?,
        attach: attach?,
        xdp: xdp?,
        source_check: source_check?,
        pod_mtu: pod_mtu?,
        masquerade: masquerade?,
        audit_interval: audit_interval?,
        brake: brake?,
        state_dir: state_dir?,
        metrics: metrics?,
        log: log?,
        log_format: log_format?,
        program_log: program_log?,
    })
}

/// Where a field would stand that is missing at the top of the document.
pub(super) const TOP: Place = Place { line: 1, column: 1 };

fn check_node(node: Option<Located<String>>, findings: &mut Findings<ConfigDefect>) -> Option<NodeName> {
    let Some(node) = node else {
        findings.add(TOP, "node", Structure::Missing { allowed: "this node's name in the cluster state" });
        return None;
    };
    findings.check(node.place, "node", node.value.parse::<NodeName>())
}

fn check_uplinks(uplinks: Vec<Located<String>>, findings: &mut Findings<ConfigDefect>) -> Vec<String> {
    let mut names = Vec::with_capacity(uplinks.len());
    for (index, uplink) in uplinks.into_iter().enumerate() {
        let field = format!("uplinks[{index}]");
        if names.contains(&uplink.value) {
            findings.add(uplink.place, field, ConfigDefect::DuplicateUplink(uplink.value));
        } else if findings.check(uplink.place, field, check_interface_name(&uplink.value)).is_some() {
            names.push(uplink.value);
        }
    }
    names
}

/// A path by its rule, which tells what is allowed where the path is not.
fn check_path(
    path: Option<Located<String>>,
    field: &str,
    default: &str,
    rule: impl Fn(&str) -> Option<&'static str>,
    findings: &mut Findings<ConfigDefect>,
) -> Option<PathBuf> {
    let Some(path) = path else { return Some(PathBuf::from(default)) };
    match rule(&path.value) {
        None => Some(PathBuf::from(path.value)),
        Some(allowed) => {
            findings.add(path.place, field, ConfigDefect::Path { value: path.value, allowed });
            None
        }
    }
}

fn folder_rule(path: &str) -> Option<&'static str> {
    (!path.starts_with('/')).then_some("an absolute path of a folder")
}

fn socket_rule(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') || path.ends_with('/') {
        Some("an absolute path of a socket")
    } else if path.len() > LONGEST_SOCKET_PATH {
        Some("107 bytes at most, as unix sockets have it")
    } else {
        None
    }
}

/// One of the choices; the first is the default.
fn check_choice<T: Copy>(
    word: Option<Located<String>>,
    field: &str,
    choices: &[(&str, T)],
    findings: &mut Findings<ConfigDefect>,
) -> Option<T> {
    match word {
        None => choices.first().map(|choice| choice.1),
        Some(word) => findings.check(word.place, field, choose(&word.value, choices)),
    }
}

fn check_pod_mtu(mtu: Option<Located<String>>, findings: &mut Findings<ConfigDefect>) -> Option<PodMtu> {
    // What the kernel lets a veth have.
    const ALLOWED: std::ops::RangeInclusive<u32> = 68..=65_535;
    let Some(mtu) = mtu else { return Some(PodMtu::default()) };
    let meant = match mtu.value.as_str() {
        "auto" => Some(PodMtu::Auto),
        "keep" => Some(PodMtu::Keep),
        number => number.parse().ok().filter(|bytes| ALLOWED.contains(bytes)).map(PodMtu::Fixed),
    };
    if meant.is_none() {
        findings.add(mtu.place, "pod-mtu", ConfigDefect::PodMtu { value: mtu.value });
    }
    meant
}

fn check_interval(
    interval: Option<Located<String>>,
    findings: &mut Findings<ConfigDefect>,
) -> Option<Duration> {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(3600);
    let Some(interval) = interval else { return Some(Duration::from_secs(10)) };
    match humantime::parse_duration(&interval.value) {
        Ok(duration) if (SHORTEST..=LONGEST).contains(&duration) => Some(duration),
        _ => {
            let defect = ConfigDefect::Interval { value: interval.value };
            findings.add(interval.place, "audit-interval", defect);
            None
        }
    }
}
