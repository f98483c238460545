//! Preflight: what of this machine keeps Podroute from working, or works against it, and the fix for each.
//! `probe` looks (all the I/O), `facts` is what it saw, `rules` judge it (pure).

mod facts;
pub mod probe;
mod rules;

pub use facts::Facts;
use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or not always.
    Warning,
    /// It does not work.
    Error,
}

/// What was found by one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// Name of the check, the same in every release.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What there is.
    pub found: String,
    /// What follows from it; empty where all is well.
    pub meaning: String,
    /// What puts it right: a command, or what to do.
    pub fix: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The findings, check by check.
    pub findings: Vec<Finding>,
    /// How many errors there are.
    pub errors: usize,
    /// How many warnings there are.
    pub warnings: usize,
}

/// Judges the facts.
#[must_use]
pub fn diagnose(facts: &Facts) -> Report {
    let findings = rules::all(facts);
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    Report { errors: count(Severity::Error), warnings: count(Severity::Warning), findings }
}
