use serde::Deserialize;

use crate::yaml::Located;

/// The file as it may be written: field names, lists and nesting, but no meaning yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawConfig {
    pub(super) node: Option<Located<String>>,
    pub(super) source: Option<Located<RawSource>>,
    pub(super) sources: Option<Located<Vec<Located<RawNamedSource>>>>,
    pub(super) uplinks: Option<Vec<Located<String>>>,
    pub(super) bpffs: Option<Located<String>>,
    pub(super) socket: Option<Located<String>>,
    pub(super) attach: Option<Located<String>>,
    pub(super) xdp: Option<Located<String>>,
    pub(super) source_check: Option<Located<String>>,
    pub(super) pod_mtu: Option<Located<String>>,
    pub(super) masquerade: Option<Located<String>>,
    pub(super) audit_interval: Option<Located<String>>,
    pub(super) brake: Option<Located<RawBrake>>,
    pub(super) state_dir: Option<Located<String>>,
    pub(super) metrics: Option<Located<RawMetrics>>,
    pub(super) log: Option<Located<String>>,
    pub(super) log_format: Option<Located<String>>,
    pub(super) program_log: Option<Located<String>>,
}

/// Where the cluster's state comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSource {
    pub(super) file: Option<Located<String>>,
}

/// One of several places that the cluster's state comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawNamedSource {
    pub(super) name: Option<Located<String>>,
    pub(super) file: Option<Located<String>>,
    pub(super) preference: Option<Located<String>>,
}

/// When a withdrawal of routes is too large to be believed at once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawBrake {
    pub(super) share: Option<Located<String>>,
    pub(super) at_least: Option<Located<String>>,
    pub(super) release_after: Option<Located<String>>,
}

/// Where metrics and health are served.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Located<String>>,
}
