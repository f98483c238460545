//! A suite's report on the terminal.

use std::fmt::Write;

use comfy_table::{Table, presets};

use super::{Comparison, SuiteReport};

/// The report as text.
#[must_use]
pub fn terminal(suite: &SuiteReport) -> String {
    let mut text = format!("\n==== {}: {}\n", suite.name, suite.about);
    for table in &suite.tables {
        let _ = writeln!(text, "\n{}\n{}", table.title, grid(&table.columns, &table.rows));
    }
    if !suite.comparisons.is_empty() {
        let columns = ["ratio", "median (95 % interval)", "target", ""].map(str::to_owned);
        let rows = suite.comparisons.iter().map(row).collect::<Vec<_>>();
        let _ = writeln!(
            text,
            "\nratios of figures of the same rounds, and figures that have a target\n{}",
            grid(&columns, &rows)
        );
    }
    for note in &suite.notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}

/// What of a comparison is shown: what, ratio, target, verdict.
pub(super) fn row(comparison: &Comparison) -> Vec<String> {
    let verdict = comparison.verdict().label().to_owned();
    vec![comparison.what.clone(), comparison.shown(), comparison.shown_target(), verdict]
}

fn grid(columns: &[String], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns);
    table.add_rows(rows);
    table
}
