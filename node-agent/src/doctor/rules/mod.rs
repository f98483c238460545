//! What each fact means.

mod agent;
mod kernel;
mod others;
#[cfg(test)]
mod tests;
mod uplinks;

use super::{Facts, Finding, Severity};

/// Every finding, check by check.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    [kernel::findings(facts), uplinks::findings(facts), others::findings(facts), agent::findings(facts)]
        .concat()
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, severity: Severity::Ok, found: found.into(), meaning: String::new(), fix: None }
}

fn warning(
    check: &'static str,
    found: impl Into<String>,
    meaning: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    let (found, meaning) = (found.into(), meaning.into());
    Finding { check, severity: Severity::Warning, found, meaning, fix: Some(fix.into()) }
}

fn error(
    check: &'static str,
    found: impl Into<String>,
    meaning: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding { severity: Severity::Error, ..warning(check, found, meaning, fix) }
}
