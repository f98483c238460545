//! The command line: one file for each subcommand. `run` and `cleanup` do the work themselves, all others
//! ask the running agent over its socket.

mod cleanup;
mod confirm;
mod counters;
mod doctor;
mod events;
mod exit;
mod explain;
mod log_level;
mod lookup;
mod output;
mod query;
mod reload;
mod routes;
mod run;
mod shell;
mod status;
mod top;
mod trace;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Routes Kubernetes pods with an eBPF datapath.
#[derive(Debug, Parser)]
#[command(name = "node-agent", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep this node's datapath and kernel routes in step with the cluster
    Run(run::Args),
    /// Remove everything of Podroute from this node
    Cleanup(cleanup::Args),
    /// Show how the agent and its datapath are
    Status(status::Args),
    /// Show every route, those that are not used included
    Routes(routes::Args),
    /// Show what became of packets
    Counters(counters::Args),
    /// Draw what passes and where to, anew each second
    Top(top::Args),
    /// Show what has happened
    Events(events::Args),
    /// Show what happens to packets for an address
    Lookup(lookup::Args),
    /// Look for what keeps Podroute from working on this machine, and tell the fix for each
    Doctor(doctor::Args),
    /// Explain the whole way of an address, pod or prefix, and where planes disagree
    Explain(explain::Args),
    /// Show packets as they pass, and what becomes of each
    Trace(trace::Args),
    /// Withdraw the routes that the brake holds
    Confirm(confirm::Args),
    /// Have the running agent read its configuration again
    Reload(reload::Args),
    /// Set what the running agent logs
    LogLevel(log_level::Args),
    /// Check a configuration and a cluster-state file; needs no agent
    Validate(validate::Args),
    /// Print what completes this command line in a shell
    Completions(shell::Completions),
    /// Write manual pages
    Man(shell::Man),
}

/// Runs what the command line says. Exit code 0: done; 1: failed; 2: the command line is wrong.
pub fn main() -> ExitCode {
    // Ends the process with 2, or with 0 for --help and --version.
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let done = runtime.block_on(dispatch(cli.command));
    // A file that is being read is not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => run::run(args).await,
        Command::Cleanup(args) => cleanup::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Routes(args) => routes::run(args).await,
        Command::Counters(args) => counters::run(args).await,
        Command::Top(args) => top::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::Lookup(args) => lookup::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Trace(args) => trace::run(args).await,
        Command::Confirm(args) => confirm::run(args).await,
        Command::Reload(args) => reload::run(args).await,
        Command::LogLevel(args) => log_level::run(args).await,
        Command::Validate(args) => validate::run(args).await,
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(exit) = error.downcast_ref::<exit::Exit>() {
        return exit.code();
    }
    eprintln!("node-agent: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Bad arguments end with exit code 2 and say what is allowed.
    #[test]
    fn bad_arguments_are_refused() {
        let cases = [
            ("node-agent", "Usage: node-agent <COMMAND>"),
            ("node-agent run", "--config <FILE>"),
            ("node-agent validate", "--config <FILE>"),
            ("node-agent explain 10.244", "allowed: an IP address, a prefix (ADDRESS/LENGTH) or a pod"),
            ("node-agent explain 10.244.1.5/24", "did you mean 10.244.1.0/24?"),
            ("node-agent lookup 10.244", "invalid value '10.244' for '<ADDRESS>': invalid IP address syntax"),
            (
                "node-agent trace --outcome dorp",
                "invalid value 'dorp' for '--outcome <OUTCOME>': allowed: local",
            ),
            ("node-agent trace --snaplen 257", "257 is not in 1..=256"),
            ("node-agent trace --drops --outcome ipip", "cannot be used with"),
            (
                "node-agent events --kind brake",
                "invalid value 'brake' for '--kind <KIND>': allowed: agent-started, ",
            ),
            ("node-agent status --output yaml", "[possible values: table, json]"),
            ("node-agent log-level programs loud", "allowed: off, error, warn, info, debug, trace"),
            ("node-agent log-level agent loud", "\"loud\" is no level; allowed: off, error, warn"),
        ];
        for (line, message) in cases {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn the_socket_may_stand_before_and_after_what_is_asked() {
        for line in [
            "node-agent log-level --socket /a programs debug",
            "node-agent log-level programs debug --socket /a",
            "node-agent lookup 10.244.1.1 --output json --socket /a",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
