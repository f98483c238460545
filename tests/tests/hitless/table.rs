//! One line for each thing that happened, the same everywhere, so that they make a table.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use anyhow::{Context, Result};

use crate::traffic::Report;

/// Prints the line, and adds it to the file that `PODROUTE_LOSS_TABLE` names, if it does.
pub fn row(event: &str, report: &Report) -> Result<()> {
    let (sent, lost) = report.sent_and_lost();
    let megabytes: usize = report.tcp.iter().map(|one| one.bytes / 1_000_000).sum();
    let again: u32 = report.tcp.iter().map(|one| one.retransmitted).sum();
    let (gap, stall) = (report.longest_gap().as_millis(), report.longest_stall().as_millis());
    let line = format!("| {event} | {sent} | {lost} | {gap} ms | {megabytes} MB | {again} | {stall} ms |");
    println!("{line}");
    let Some(path) = std::env::var_os("PODROUTE_LOSS_TABLE") else { return Ok(()) };
    let path = Path::new(&path);
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).with_context(|| format!("writing {}", path.display()))
}
