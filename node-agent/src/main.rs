//! `node-agent`: the daemon that keeps this node's BPF maps and kernel routes in step with the cluster,
//! and the command line that asks it what it does.

mod api;
mod app;
mod cli;
mod config;
mod datapath;
mod doctor;
mod events;
mod explain;
mod fault;
mod file_watch;
mod host;
mod masquerade;
mod metrics;
mod model;
mod privileges;
mod reconcile;
mod rib;
mod source;
mod state_dir;
mod stop;
mod trace;
mod yaml;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
