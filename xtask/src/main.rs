//! Podroute's developer commands: `cargo xtask setup | build-ebpf | demo | test | bench | check`.

mod bench;
mod build_ebpf;
mod check;
mod demo;
mod process;
mod setup;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Podroute's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building, the demo and the tests need
    Setup(setup::Arguments),
    /// Build the BPF programs, and show which toolchain was taken
    BuildEbpf(build_ebpf::Arguments),
    /// Check formatting, lints and the length of files
    Check,
    /// Run every test, those that need root included; sets up what is missing
    Test(test::Arguments),
    /// Measure Podroute side by side with what one would run instead
    #[command(disable_help_flag = true)]
    Bench(bench::Arguments),
    /// Show pods on three nodes that reach each other
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::BuildEbpf(arguments) => build_ebpf::run(&arguments),
        Task::Check => check::run(),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that RUST_BACKTRACE, meant for the programs that tasks run, would add.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
