//! docs/performance.md: made of a run, so that no figure in it is typed by hand.

use std::fmt::Write;

use super::{Report, SuiteReport, terminal};

/// Folder of the drawings, seen from the document.
const PLOTS: &str = "performance";

/// The document.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "# Performance\n\n\
         Made by `{}` on {}, commit {}, and not edited: `cargo xtask bench --report docs/performance.md` makes it again. Machine: {}, {} \
         CPUs, {} MiB of memory, kernel {}. Absolute times are this machine's; the ratios compare what was measured in \
         turns in the same run, with the 95 % confidence interval of their median. A ratio whose interval is too wide \
         is not told.\n",
        report.command,
        machine.date,
        machine.commit,
        machine.processor,
        machine.cpus,
        machine.memory,
        machine.kernel
    );
    if report.quick {
        text += "\n**A smoke run: its figures say nothing.**\n";
    }
    text += &targets(report);
    for suite in &report.suites {
        text += &section(suite);
    }
    text
}

/// All targets of all suites in one table.
fn targets(report: &Report) -> String {
    let comparisons = report.suites.iter().flat_map(|suite| &suite.comparisons);
    let rows = comparisons.filter(|comparison| comparison.target.is_some());
    let rows = rows.map(terminal::row).collect::<Vec<_>>();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n## Targets\n\n{}", grid(&["what", "ratio", "target", "verdict"].map(str::to_owned), &rows))
}

fn section(suite: &SuiteReport) -> String {
    let mut text = format!("\n## {}\n\n{}.\n", suite.name, suite.about);
    if !suite.notes.is_empty() {
        text += "\n";
    }
    for note in &suite.notes {
        let _ = writeln!(text, "- {note}");
    }
    for table in &suite.tables {
        let _ = write!(text, "\n{}:\n\n{}", table.title, grid(&table.columns, &table.rows));
    }
    let rows = suite.comparisons.iter().map(terminal::row).collect::<Vec<_>>();
    if !rows.is_empty() {
        let columns = ["ratio", "median (95 % interval)", "target", "verdict"].map(str::to_owned);
        let _ = write!(text, "\n{}", grid(&columns, &rows));
    }
    for plot in &suite.plots {
        let _ = write!(text, "\n![{}]({PLOTS}/{}.svg)\n", plot.title, plot.name);
    }
    text
}

fn grid(columns: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells = cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>();
        format!("| {} |\n", cells.join(" | "))
    };
    let ruler = format!("|{}\n", "---|".repeat(columns.len()));
    line(columns) + &ruler + &rows.iter().map(|row| line(row)).collect::<String>()
}
