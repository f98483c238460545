use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Up to which level messages of the BPF programs are logged. The number is the one that the programs
/// compare with (aya-log's levels), 0 for none.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramLog {
    /// None: the packet path pays nothing.
    #[default]
    Off = 0,
    /// Errors.
    Error = 1,
    /// Also warnings.
    Warn = 2,
    /// Also information.
    Info = 3,
    /// Also what helps to find defects.
    Debug = 4,
    /// Also every packet.
    Trace = 5,
}

/// A word that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a level; allowed: off, error, warn, info, debug, trace")]
pub struct UnknownLevel(pub String);

impl ProgramLog {
    /// Every level, by its number.
    pub const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for ProgramLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for ProgramLog {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Self::ALL.into_iter().find(|level| level.label() == text).ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}
