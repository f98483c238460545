//! `cargo xtask bench`: the benchmark harness as a program. It needs root, the agent's release build and the BPF
//! object, which the task builds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use tests::{
    bench::{
        Options,
        machine::Machine,
        report::{self, Report},
        run, suites,
    },
    preflight,
};

/// Measures Podroute side by side with what one would run instead.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// The suites to run; all if none is named
    suites: Vec<String>,
    /// A smoke run of less than two minutes, whose figures say nothing
    #[arg(long)]
    quick: bool,
    /// Write the report as JSON into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the plots as SVG into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Write the report as Markdown into this file, its plots into a folder beside it that is called as the file is,
    /// and the JSON there too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Measure nothing: show and write a report that was written as JSON before
    #[arg(long, value_name = "FILE", conflicts_with_all = ["suites", "quick"])]
    from: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let report = match &arguments.from {
        Some(file) => {
            let report = report::read_json(file)?;
            report.suites.iter().for_each(|suite| println!("{}", report::terminal(suite)));
            report
        }
        None => run_suites(arguments)?,
    };
    if let Some(file) = &arguments.json {
        report::write_json(&report, file)?;
    }
    if let Some(folder) = &arguments.plots {
        draw(&report, folder)?;
    }
    if let Some(file) = &arguments.report {
        let folder = file.with_extension("");
        draw(&report, &folder)?;
        report::write_json(&report, &folder.join("report.json"))?;
        fs::write(file, report::markdown(&report)).with_context(|| format!("writing {}", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

fn run_suites(arguments: &Arguments) -> Result<Report> {
    let all = suites();
    let chosen = run::choose(&all, &arguments.suites)?;
    preflight::check()?;
    let options = Options { quick: arguments.quick };
    let mut command = ["cargo xtask bench"].map(str::to_owned).to_vec();
    command.extend(arguments.suites.iter().cloned());
    command.extend(arguments.quick.then(|| "--quick".to_owned()));
    let mut report = Report {
        command: command.join(" "),
        machine: Machine::here(),
        quick: arguments.quick,
        suites: Vec::new(),
    };
    for suite in chosen {
        let found = run::run(suite, options)?;
        println!("{}", report::terminal(&found));
        report.suites.push(found);
    }
    Ok(report)
}

fn draw(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for plot in report.suites.iter().flat_map(|suite| &suite.plots) {
        report::draw(plot, &folder.join(format!("{}.svg", plot.name)))?;
    }
    Ok(())
}
