//! How suites are run: chosen by name, with a bar that shows how far they are.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::report::SuiteReport;

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A smoke run: few and short rounds, small sizes; the whole of it takes less than two minutes. What it prints
    /// says that it is one.
    pub quick: bool,
}

/// One group of measurements, which can be run by itself.
pub struct Suite {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// One line that says what it measures.
    pub about: &'static str,
    /// Measures.
    pub run: fn(Options, &Progress) -> Result<SuiteReport>,
}

/// The bar of a running suite. A suite says at first how many steps there are, and then each step.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for the suite of this name; without a terminal it shows nothing.
    #[must_use]
    pub fn new(suite: &str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{prefix:>8} [{bar:30}] {pos}/{len} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(suite.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// There are so many more steps than were said before.
    pub fn add_steps(&self, steps: usize) {
        self.bar.inc_length(u64::try_from(steps).unwrap_or(u64::MAX));
    }

    /// What is being done now.
    pub fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The suites with these names, in the order of `all`; all of them if there are no names.
///
/// # Errors
/// There is no suite of a name.
pub fn choose<'s>(all: &'s [Suite], names: &[String]) -> Result<Vec<&'s Suite>> {
    for name in names {
        if !all.iter().any(|suite| suite.name == name) {
            let known = all.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ");
            bail!("there is no suite {name:?}: there are {known}");
        }
    }
    Ok(all.iter().filter(|suite| names.is_empty() || names.iter().any(|name| suite.name == name)).collect())
}

/// Runs a suite.
///
/// # Errors
/// What failed, with the suite's name.
pub fn run(suite: &Suite, options: Options) -> Result<SuiteReport> {
    let progress = Progress::new(suite.name);
    (suite.run)(options, &progress).with_context(|| format!("the suite {}", suite.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<Suite> {
        let run = |_: Options, _: &Progress| bail!("not run here");
        ["program", "lookup"].map(|name| Suite { name, about: "", run }).into()
    }

    #[test]
    fn suites_are_chosen_by_name() {
        let all = suites();
        let names = |chosen: &[&str]| {
            let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            choose(&all, &chosen).map(|suites| suites.iter().map(|suite| suite.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["program", "lookup"]);
        assert_eq!(names(&["lookup"]).unwrap(), ["lookup"]);
        assert_eq!(names(&["lookup", "program"]).unwrap(), ["program", "lookup"]);
        let error = names(&["veht"]).unwrap_err().to_string();
        assert!(error.contains("veht") && error.contains("program, lookup"), "{error}");
    }
}
