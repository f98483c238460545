//! What a run found out, and the ways to show it.

mod json;
mod markdown;
mod plot;
mod terminal;

use serde::{Deserialize, Serialize};

pub use json::{read_json, write_json};
pub use markdown::markdown;
pub use plot::draw;
pub use terminal::terminal;

use super::{machine::Machine, stats::Estimate};

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The command that makes it again.
    pub command: String,
    /// Where it was made.
    pub machine: Machine,
    /// A smoke run, whose figures say nothing.
    pub quick: bool,
    /// The suites that were run.
    pub suites: Vec<SuiteReport>,
}

/// What one suite found out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SuiteReport {
    /// Its name.
    pub name: String,
    /// What it measures.
    pub about: String,
    /// How it measures, and what to keep in mind: a sentence each.
    pub notes: Vec<String>,
    /// Figures.
    pub tables: Vec<Table>,
    /// Ratios, some of them against targets.
    pub comparisons: Vec<Comparison>,
    /// Figures to be drawn.
    pub plots: Vec<Plot>,
}

/// Figures in rows and columns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Table {
    /// What they are, with their unit.
    pub title: String,
    /// Names of the columns; the first one names the rows.
    pub columns: Vec<String>,
    /// The rows: as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A ratio of two things that were measured in the same rounds, or a figure that has a target of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is compared, for people: `pod → pod, 64 B: kernel routing ÷ direct`.
    pub what: String,
    /// The ratio or figure; none if it could not be measured.
    pub ratio: Option<Estimate>,
    /// Unit of the figure; empty for a ratio.
    pub unit: String,
    /// What it should be.
    pub target: Option<Target>,
}

/// What a ratio (or another figure) should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// Whether a target was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Met,
    /// It was not.
    Missed,
    /// The interval is too wide, or there is none: no figure is told.
    Uncertain,
    /// There is no target.
    None,
}

impl Comparison {
    /// A ratio without a target.
    #[must_use]
    pub fn new(what: impl Into<String>, ratio: Option<Estimate>) -> Self {
        Self { what: what.into(), ratio, unit: String::new(), target: None }
    }

    /// As a figure in this unit.
    #[must_use]
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// With this target.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    /// Whether the target was met by the median.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Some(ratio) = self.ratio.filter(Estimate::is_certain) else { return Verdict::Uncertain };
        let met = match self.target {
            None => return Verdict::None,
            Some(Target::AtLeast(least)) => ratio.median >= least,
            Some(Target::AtMost(most)) => ratio.median <= most,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }

    /// The ratio with its interval, or why it is not told.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.ratio {
            None => "not measured".to_owned(),
            Some(ratio) if ratio.rounds < 6 => format!("not told: only {} rounds", ratio.rounds),
            Some(ratio) if !ratio.is_certain() => format!(
                "not told: the interval {:.2}–{:.2} is {:.0} % wide",
                ratio.low,
                ratio.high,
                ratio.spread() * 100.0
            ),
            Some(ratio) => {
                format!(
                    "{} ({:.2}–{:.2})",
                    self.with_unit(format!("{:.2}", ratio.median)),
                    ratio.low,
                    ratio.high
                )
            }
        }
    }

    fn with_unit(&self, number: String) -> String {
        if self.unit.is_empty() { number } else { format!("{number} {}", self.unit) }
    }

    /// The target for people, `≥ 2.3`; empty if there is none.
    #[must_use]
    pub fn shown_target(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::AtLeast(least)) => self.with_unit(format!("≥ {least}")),
            Some(Target::AtMost(most)) => self.with_unit(format!("≤ {most}")),
        }
    }
}

impl Verdict {
    /// In a word; empty without a target.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Uncertain => "uncertain",
            Self::None => "",
        }
    }
}

/// Lines over a common axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// Name of its file, without extension: `lookup-hits`.
    pub name: String,
    /// Headline.
    pub title: String,
    /// The axes.
    pub axes: [Axis; 2],
    /// The lines.
    pub series: Vec<Series>,
}

/// An axis of a plot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// Whether it is logarithmic; then all values are above zero.
    pub logarithmic: bool,
}

/// A line of a plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points, in the order of x.
    pub points: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests;
