use serde::Deserialize;

use crate::yaml::Located;

/// A list of texts, each with its place, and the place of the list.
pub(super) type RawList = Located<Vec<Located<String>>>;

/// The file as it may be written: field names, lists and nesting, but no meaning yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawState {
    pub(super) encapsulation: Option<Located<String>>,
    pub(super) non_adjacent: Option<Located<String>>,
    pub(super) nodes: Option<Located<Vec<Located<RawNode>>>>,
    pub(super) pods: Option<Vec<Located<RawPod>>>,
    pub(super) routes: Option<Vec<Located<RawRoute>>>,
}

/// A node as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawNode {
    pub(super) name: Option<Located<String>>,
    pub(super) addresses: Option<RawList>,
    pub(super) pod_prefixes: Option<RawList>,
}

/// A pod as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawPod {
    pub(super) name: Option<Located<String>>,
    pub(super) node: Option<Located<String>>,
    pub(super) addresses: Option<RawList>,
    pub(super) interface: Option<Located<String>>,
    pub(super) mac: Option<Located<String>>,
}

/// A route as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawRoute {
    pub(super) prefix: Option<Located<String>>,
    pub(super) next_hops: Option<RawList>,
}
