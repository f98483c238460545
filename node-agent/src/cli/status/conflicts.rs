use humantime_serde::re::humantime::format_rfc3339_seconds;

use crate::{
    api::{ConflictRow, Status},
    cli::output::{list, table},
};

/// Who claims the same as someone else; nothing if nobody does.
pub(super) fn conflicts(status: &Status) -> Option<String> {
    let cells = |row: &ConflictRow| {
        [
            row.kind.to_string(),
            row.about.clone(),
            row.winner.to_string(),
            list(&row.losers),
            format_rfc3339_seconds(row.since).to_string(),
        ]
    };
    let rows = status.conflicts.iter().map(cells);
    (!status.conflicts.is_empty()).then(|| table(["CONFLICT", "ABOUT", "GOES TO", "NOT TO", "SINCE"], rows))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        cli::status::tests::status,
        rib::{Claimant, ConflictKind},
    };

    #[test]
    fn a_conflict_is_told_with_winner_and_losers() {
        let mut status = status();
        assert_eq!(conflicts(&status), None);
        let claimant = |name: &str| Claimant { name: name.to_owned(), origin: None };
        status.conflicts.push(ConflictRow {
            kind: ConflictKind::DuplicatePodPrefix,
            about: "10.244.2.0/24".to_owned(),
            winner: claimant("node a2"),
            losers: vec![claimant("node b1"), claimant("node c1")],
            since: SystemTime::UNIX_EPOCH,
            problems: vec![],
        });
        assert_eq!(
            conflicts(&status).unwrap(),
            "CONFLICT              ABOUT          GOES TO  NOT TO            SINCE\n\
             duplicate-pod-prefix  10.244.2.0/24  node a2  node b1, node c1  1970-01-01T00:00:00Z\n"
        );
    }
}
