//! The file of the configuration, and how it differs from what is in force.

use super::super::reload::changes;
use crate::api::ConfigStatus;

/// The file, and whether it is in force.
pub(super) fn state(config: &ConfigStatus) -> String {
    let state = match (&config.error, config.needs_restart.len()) {
        (Some(_), _) => "is not in force as it is now (below)".to_owned(),
        (None, 0) => "is in force".to_owned(),
        (None, number) => format!("is in force, {number} settings need a restart (below)"),
    };
    format!("{} {state}", config.file)
}

/// How the file differs from what is in force.
pub(super) fn differences(config: &ConfigStatus) -> Option<String> {
    let error = config.error.as_ref().map(|error| format!("configuration: {}\n", error.trim_end()));
    let waits = (!config.needs_restart.is_empty())
        .then(|| changes(["NEEDS A RESTART", "IN FORCE", "IN THE FILE"], &config.needs_restart));
    let parts: Vec<String> = error.into_iter().chain(waits).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}
