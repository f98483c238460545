use tracing_subscriber::EnvFilter;

use super::ProgramLog;

/// Why a text is no filter for the agent's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{filter:?} is not a log filter: {reason}; allowed: off, error, warn, info, debug or trace, and TARGET=LEVEL, separated by commas, for example info,node_agent::host=debug"
)]
pub struct LogFilterError {
    /// The text.
    pub filter: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a filter for the agent's log.
///
/// tracing takes a lone word that is no level for a target, so that a misspelt level would silence the
/// log; here a target needs its `=LEVEL`.
///
/// # Errors
/// It is no filter; the error says what is allowed.
pub fn log_filter(text: &str) -> Result<EnvFilter, LogFilterError> {
    let refused = |reason: String| LogFilterError { filter: text.to_owned(), reason };
    if text.trim().is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    let lone = |directive: &&str| !directive.contains(['=', '[', ']', '{', '}']);
    for word in text.split(',').map(str::trim).filter(lone) {
        word.to_ascii_lowercase()
            .parse::<ProgramLog>()
            .map_err(|_| refused(format!("{word:?} is no level")))?;
    }
    EnvFilter::try_new(text).map_err(|error| refused(error.to_string()))
}
