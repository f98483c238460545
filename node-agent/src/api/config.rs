use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::SettingChange;

/// The configuration that is in force, and how the file differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// When it was last read and taken in.
    #[serde(with = "humantime_serde")]
    pub read: SystemTime,
    /// Why the file as it is now is not in force; what was in force before stays.
    pub error: Option<String>,
    /// What the file says otherwise and takes effect with the next start only.
    pub needs_restart: Vec<SettingChange>,
}

/// What a reload of the configuration came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// What has changed.
    pub changed: Vec<SettingChange>,
    /// What takes effect with the next start only.
    pub needs_restart: Vec<SettingChange>,
}
