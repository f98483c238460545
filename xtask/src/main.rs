//! Podroute's developer commands: `cargo xtask setup | build-ebpf | demo | test | check`.

mod build_ebpf;
mod demo;
mod process;
mod setup;
#[allow(dead_code, unused_imports)]
mod toolchain;
mod workspace;

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
    /// Show pods on three nodes that reach each other
    Demo(demo::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::BuildEbpf(arguments) => build_ebpf::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
    }
}
