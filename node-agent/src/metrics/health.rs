use crate::model::SourceId;

/// What it takes to tell whether the agent is in step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Sources that have not told all they have yet, with the error if they cannot be read.
    pub waiting_for: Vec<(SourceId, Option<String>)>,
    /// Whether a pass has been made with all that the sources have.
    pub settled: bool,
    /// Whether nothing that was told can be used, so that what is in place stays.
    pub hold: bool,
    /// How many changes failed and are tried again.
    pub failed: usize,
    /// The first of them, at most [`Health::NAMED`], each with its error.
    pub first_failed: Vec<String>,
}

impl Health {
    /// How many changes that failed are named.
    pub const NAMED: usize = 3;

    /// Why the agent is not ready, for people; nothing if it is. What is held by the brake, and a source that fails after
    /// it had told everything, leave it ready: what is in place is what it should be.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.waiting_for.iter().map(waiting).collect();
        if reasons.is_empty() && !self.settled {
            reasons.push("no pass has been made yet with what the sources have told".to_owned());
        }
        if self.settled && self.hold {
            reasons.push(
                "this node is not in the cluster state or cannot be used as it stands there: what is in place stays \
                 (`node-agent status` tells)"
                    .to_owned(),
            );
        }
        reasons.extend(self.first_failed.iter().cloned());
        let more = self.failed.saturating_sub(self.first_failed.len());
        if more > 0 {
            reasons
                .push(format!("{more} more changes failed and are tried again (`node-agent status` tells)"));
        }
        reasons
    }
}

fn waiting((source, error): &(SourceId, Option<String>)) -> String {
    match error {
        None => format!("source {source} has not told all it has yet"),
        Some(error) => format!("source {source} cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> Health {
        Health { settled: true, ..Health::default() }
    }

    #[test]
    fn every_reason_is_told() {
        let waiting = |error: Option<&str>| Health {
            waiting_for: vec![(SourceId::FILE, error.map(ToOwned::to_owned))],
            ..Health::default()
        };
        let failing = |failed| Health {
            failed,
            first_failed: (0..failed.min(Health::NAMED))
                .map(|number| format!("cannot set {number}"))
                .collect(),
            ..settled()
        };
        let cases = [
            (settled(), vec![]),
            (waiting(None), vec!["source file has not told all it has yet"]),
            (waiting(Some("no such file")), vec!["source file cannot be read: no such file"]),
            (Health::default(), vec!["no pass has been made yet with what the sources have told"]),
            (
                Health { hold: true, ..settled() },
                vec![
                    "this node is not in the cluster state or cannot be used as it stands there: what is in place stays \
                     (`node-agent status` tells)",
                ],
            ),
            (failing(1), vec!["cannot set 0"]),
            (
                failing(5),
                vec![
                    "cannot set 0",
                    "cannot set 1",
                    "cannot set 2",
                    "2 more changes failed and are tried again (`node-agent status` tells)",
                ],
            ),
        ];
        for (health, reasons) in cases {
            assert_eq!(health.reasons(), reasons);
        }
    }
}
