//! Who reaches whom: pings, and the path that the sender's counters show.

use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::{Cell, Color, Table, presets};
use tests::{
    agent::Agents,
    family::Family,
    lab::{Endpoint, Lab},
    state::Encapsulation,
    way::{self, Way},
};

use super::title;

/// What a ping from one endpoint to another showed.
struct Pair {
    from: usize,
    to: usize,
    demanded: Option<Way>,
    /// Path and round-trip time, or what went wrong.
    observed: Result<(Way, Duration), String>,
}

impl Pair {
    fn is_as_demanded(&self) -> bool {
        matches!(&self.observed, Ok((way, _)) if Some(*way) == self.demanded)
    }
}

/// Every pair in which at least one is a pod.
pub struct Matrix {
    family: Family,
    names: Vec<String>,
    pairs: Vec<Pair>,
}

/// Pings every pair by their addresses of this family.
///
/// # Errors
/// What is demanded cannot be told; a pair that does not connect is no error here, but shows.
pub fn measure(lab: &Lab, agents: &Agents, mode: Encapsulation, family: Family) -> Result<Matrix> {
    let endpoints = lab.endpoints();
    let place = |one: &dyn Endpoint| endpoints.iter().position(|other| other.name() == one.name());
    let mut pairs = Vec::new();
    for (from, to) in way::pairs_in(lab, family) {
        let to: &dyn Endpoint = &to;
        let (Some(row), Some(column)) = (place(from), place(to)) else { continue };
        pairs.push(Pair {
            from: row,
            to: column,
            demanded: way::demanded(lab, mode, from, to)?,
            observed: way::observed(agents, from, to).map_err(|error| format!("{error:#}")),
        });
    }
    Ok(Matrix { family, names: endpoints.into_iter().map(title).collect(), pairs })
}

impl Matrix {
    /// Senders below each other, receivers beside each other; green is as the topology demands.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let header = std::iter::once("from \\ to".to_owned()).chain(self.names.iter().cloned());
        table.set_header(header);
        for (row, name) in self.names.iter().enumerate() {
            let cells = (0..self.names.len()).map(|column| self.cell(row, column));
            table.add_row(std::iter::once(Cell::new(name)).chain(cells));
        }
        format!("{table}\n(path, and round-trip time in ms; hosts reach each other without Podroute)")
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let Some(pair) = self.pairs.iter().find(|pair| (pair.from, pair.to) == (row, column)) else {
            return Cell::new("-");
        };
        let text = match &pair.observed {
            Ok((way, rtt)) => format!("{way} {:.2}", rtt.as_secs_f64() * 1e3),
            Err(_) => "FAILED".to_owned(),
        };
        Cell::new(text).fg(if pair.is_as_demanded() { Color::Green } else { Color::Red })
    }

    /// Whether every pair connects by the path that the topology demands.
    ///
    /// # Errors
    /// Names each that does not.
    pub fn verdict(&self) -> Result<()> {
        let wrong: Vec<String> = self
            .pairs
            .iter()
            .filter(|pair| !pair.is_as_demanded())
            .map(|pair| {
                let (from, to) = (&self.names[pair.from], &self.names[pair.to]);
                match &pair.observed {
                    Ok((way, _)) => format!("{from} to {to}: {way} instead of {:?}", pair.demanded),
                    Err(error) => format!("{from} to {to}: {error}"),
                }
            })
            .collect();
        if wrong.is_empty() {
            println!(
                "{:?}: all {} pairs connect, each by the path that the topology demands",
                self.family,
                self.pairs.len()
            );
            return Ok(());
        }
        bail!(
            "{:?}: {} of {} pairs are not as they should be:\n{}",
            self.family,
            wrong.len(),
            self.pairs.len(),
            wrong.join("\n")
        )
    }
}
