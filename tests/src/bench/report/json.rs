//! A report as JSON: for other tools, and to draw and write it again without measuring.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::Report;

/// Writes the report.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(report: &Report, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

/// Reads a report that [`write_json`] wrote.
///
/// # Errors
/// The file cannot be read, or is no report.
pub fn read_json(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of `cargo xtask bench`", path.display()))
}
