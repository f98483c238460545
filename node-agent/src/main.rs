//! `node-agent`: the daemon that keeps this node's BPF maps and kernel routes in step with the cluster,
//! and the command line that asks it what it does.

mod cli;
mod config;
mod host;
mod model;
mod reconcile;
mod rib;
mod source;

fn main() {
    cli::main();
}
