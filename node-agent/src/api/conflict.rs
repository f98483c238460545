use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::rib::{Claimant, ConflictKind};

/// Objects of the cluster, or of it and this host, that claim the same address or prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConflictRow {
    /// What sort of conflict it is.
    pub kind: ConflictKind,
    /// The address or prefix.
    pub about: String,
    /// Who has it, on every node.
    pub winner: Claimant,
    /// Who does not.
    pub losers: Vec<Claimant>,
    /// Since when this agent has known of it.
    #[serde(with = "humantime_serde")]
    pub since: SystemTime,
    /// What is wrong and what follows from it, as [`super::Status::problems`] has it.
    pub problems: Vec<String>,
}
