//! Checks files before an agent reads them: for people, and for the CI of whoever keeps these files.

use std::{fmt::Display, path::Path, path::PathBuf};

use serde::Serialize;

use super::{exit::Exit, output, query::Output};
use crate::{
    config::{Config, ConfigError},
    model::{NodeName, Origin, SourceUpdate},
    rib::{Problem, ProblemKind, Table, select},
    source::{
        self,
        file::{ClusterState, Part, everything, parse},
    },
    yaml::{self, Findings},
};

/// Arguments of `node-agent validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An agent's configuration; the cluster-state files that it names are checked, too, unless --state names another
    #[arg(long, value_name = "FILE", required_unless_present = "state")]
    config: Option<PathBuf>,
    /// A cluster-state file
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How the findings are shown
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    /// An agent does not use the file.
    Error,
    /// An agent uses the file, but not all that it says.
    Warning,
}

/// One thing that is wrong in a file.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    severity: Severity,
    file: String,
    /// Counts from 1, as the column does; none where the text names the places.
    line: Option<u64>,
    column: Option<u64>,
    /// Path of the field; empty where there is not one alone.
    field: String,
    /// What sort of problem a warning is.
    kind: Option<ProblemKind>,
    message: String,
    /// The finding as one line for people.
    #[serde(skip)]
    text: String,
}

/// What was found, and which files could not be read.
#[derive(Debug, Default)]
struct Report {
    rows: Vec<Row>,
    unreadable: Vec<String>,
}

/// Checks the files. Exit code 0: nothing was found; 1: something was; 2: a file cannot be read.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let report = examine(args.config.as_deref(), args.state.as_deref());
    output::print(&match args.output {
        Output::Table => report.rows.iter().map(|row| format!("{}\n", row.text)).collect(),
        Output::Json => serde_json::to_string_pretty(&report.rows)? + "\n",
    })?;
    if !report.unreadable.is_empty() {
        return Err(Exit::Unknown(anyhow::Error::msg(report.unreadable.join("; "))).into());
    }
    if report.rows.is_empty() { Ok(()) } else { Err(Exit::NotHealthy.into()) }
}

fn examine(config: Option<&Path>, state: Option<&Path>) -> Report {
    let mut report = Report::default();
    let config = config.and_then(|path| match Config::load(path) {
        Ok(config) => Some(config),
        Err(ConfigError::Unreadable(error)) => {
            report.unreadable.push(error.to_string());
            None
        }
        Err(ConfigError::Invalid(findings)) => {
            report.rows.extend(errors(&findings));
            None
        }
    });
    let node = config.as_ref().map(|config| &config.node);
    let files: Vec<(&Path, Part)> = match (state, &config) {
        (Some(state), _) => vec![(state, Part::WHOLE)],
        (None, Some(config)) => source::parts(&config.sources).collect(),
        (None, None) => Vec::new(),
    };
    let (mut states, number) = (Vec::new(), files.len());
    for (path, part) in files {
        let file = path.display().to_string();
        match yaml::read(path).map(|text| parse(&text, &file, &part)) {
            Err(error) => report.unreadable.push(error.to_string()),
            Ok(Err(error)) => report.rows.extend(errors(&error.0)),
            Ok(Ok(state)) => states.push((file, part, state)),
        }
    }
    // Of a part nobody can tell what would be used.
    if states.len() == number {
        report.rows.extend(warnings(&states, node));
    }
    report
}

fn errors<D: Display>(findings: &Findings<D>) -> Vec<Row> {
    let row = |finding: &yaml::Finding<D>| Row {
        severity: Severity::Error,
        file: finding.file.clone(),
        line: finding.place.map(|place| place.line),
        column: finding.place.map(|place| place.column),
        field: finding.field.clone(),
        kind: None,
        message: finding.defect.to_string(),
        text: finding.to_string(),
    };
    findings.iter().map(row).collect()
}

/// What no agent would use of these files. Whether a node's own entry is there is told only of a known node.
fn warnings(states: &[(String, Part, ClusterState)], node: Option<&NodeName>) -> Vec<Row> {
    let mut table = Table::new([]);
    for (_, part, state) in states {
        for event in everything(state) {
            table.apply(SourceUpdate { source: part.source.clone(), event });
        }
    }
    // Selection is the same on every node, but for what it says of the node itself.
    let any = || table.nodes().next().map(|node| &node.name);
    let Some(own) = node.or_else(any) else { return Vec::new() };
    let problems = select(&table, own).problems;
    let told =
        problems.iter().filter(|problem| node.is_some() || problem.kind != ProblemKind::OwnNodeUnusable);
    told.map(|problem| warning(problem, states)).collect()
}

/// A warning at the object that is not used, or at the first file, if it is about no object alone.
fn warning(problem: &Problem, states: &[(String, Part, ClusterState)]) -> Row {
    let origin = problem.conflict.as_ref().and_then(|conflict| conflict.loser.origin.as_ref());
    let places = states.iter().filter_map(|(file, ..)| Some((file, line_of(origin?, file)?)));
    let place = places.min();
    let line = place.map(|(_, line)| line);
    let file = place.map_or_else(|| states.first().map(|(file, ..)| file), |(file, _)| Some(file));
    let file = file.cloned().unwrap_or_default();
    let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
    Row {
        severity: Severity::Warning,
        file,
        line,
        column: None,
        field: String::new(),
        kind: Some(problem.kind),
        message: problem.text.clone(),
        text: format!("{place}: warning: {problem}"),
    }
}

/// The line of the file at which an object stands.
fn line_of(origin: &Origin, file: &str) -> Option<u64> {
    let place = origin.place.strip_prefix(file)?.strip_prefix(':')?;
    place.split(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
