use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What sort of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The agent has started.
    AgentStarted,
    /// The agent's configuration was read again.
    ConfigReloaded,
    /// The agent's configuration was read again and is bad; what was in force before stays.
    ConfigRefused,
    /// A source has told all it has, for the first time or after it had failed.
    SourceSynced,
    /// A source cannot be read; what it said before stays in force.
    SourceFailed,
    /// So many routes would be withdrawn at once that they are kept for now.
    BrakeHeld,
    /// Routes that were kept are kept no longer.
    BrakeReleased,
    /// Two objects of the cluster, or one and this host, claim the same address or prefix.
    ConflictFound,
    /// A conflict is gone.
    ConflictGone,
    /// Something is wrong that an operator should look at.
    ProblemFound,
    /// A problem is gone.
    ProblemGone,
    /// An interface of this host came, went, or was set up or down.
    LinkChanged,
    /// A remote node is reached another way: by another interface, gateway or encapsulation.
    WayChanged,
    /// A program of this build has taken the place of another build's.
    ProgramReplaced,
    /// A document of the state directory was bad and has been set aside.
    StateSetAside,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::AgentStarted,
        Self::ConfigReloaded,
        Self::ConfigRefused,
        Self::SourceSynced,
        Self::SourceFailed,
        Self::BrakeHeld,
        Self::BrakeReleased,
        Self::ConflictFound,
        Self::ConflictGone,
        Self::ProblemFound,
        Self::ProblemGone,
        Self::LinkChanged,
        Self::WayChanged,
        Self::ProgramReplaced,
        Self::StateSetAside,
    ];

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AgentStarted => "agent-started",
            Self::ConfigReloaded => "config-reloaded",
            Self::ConfigRefused => "config-refused",
            Self::SourceSynced => "source-synced",
            Self::SourceFailed => "source-failed",
            Self::BrakeHeld => "brake-held",
            Self::BrakeReleased => "brake-released",
            Self::ConflictFound => "conflict-found",
            Self::ConflictGone => "conflict-gone",
            Self::ProblemFound => "problem-found",
            Self::ProblemGone => "problem-gone",
            Self::LinkChanged => "link-changed",
            Self::WayChanged => "way-changed",
            Self::ProgramReplaced => "program-replaced",
            Self::StateSetAside => "state-set-aside",
        }
    }

    /// Whether an operator should look at it.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        match self {
            Self::ConfigRefused
            | Self::SourceFailed
            | Self::BrakeHeld
            | Self::ConflictFound
            | Self::ProblemFound
            | Self::StateSetAside => true,
            Self::AgentStarted
            | Self::ConfigReloaded
            | Self::SourceSynced
            | Self::BrakeReleased
            | Self::ConflictGone
            | Self::ProblemGone
            | Self::LinkChanged
            | Self::WayChanged
            | Self::ProgramReplaced => false,
        }
    }
}

/// Why a string names no kind of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allowed: {}", EventKind::ALL.map(EventKind::label).join(", "))]
pub struct UnknownKind;

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(label: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.label() == label).ok_or(UnknownKind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One concept, one word: JSON has the names that the table and the log have.
    #[test]
    fn kinds_have_one_name_each() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
            assert_eq!(kind.label().parse(), Ok(kind));
        }
        assert_eq!(EventKind::ALL.map(EventKind::label).into_iter().collect::<BTreeSet<_>>().len(), 15);
    }
}
