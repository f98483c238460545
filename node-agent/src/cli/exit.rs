//! Endings of a subcommand that has already said what it found.

use std::{fmt, process::ExitCode};

/// An ending with an exit code of its own, and nothing more to say unless there is an error.
#[derive(Debug)]
pub(super) enum Exit {
    /// What was looked at is not as it should be: 1.
    NotHealthy,
    /// It failed, and the agent's log says why: 1.
    Logged,
    /// It could not be told: 2. The error says why.
    Unknown(anyhow::Error),
}

impl Exit {
    /// The exit code; says why, where that has not been said.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::NotHealthy | Self::Logged => ExitCode::from(1),
            Self::Unknown(error) => {
                eprintln!("node-agent: {error:#}");
                ExitCode::from(2)
            }
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHealthy => f.write_str("not healthy"),
            Self::Logged => f.write_str("failed: see the log"),
            Self::Unknown(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Exit {}
