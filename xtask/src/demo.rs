//! `cargo xtask demo`: three nodes in two subnets, two pods each, a real agent on every node, and what
//! can be seen of it.

mod matrix;
mod show;

use std::{env, time::Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tests::{
    agent::{Agents, Settings},
    family::Family,
    lab::{Lab, LabDir, Topology},
    state::{Encapsulation, State},
};

use crate::{
    process::{self, Privilege},
    setup, workspace,
};

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Keep the demo's nodes, pods and agents after it has ended, to look around
    #[arg(long)]
    pub keep: bool,
    /// Only remove what an earlier `--keep` left
    #[arg(long, conflicts_with = "keep")]
    remove: bool,
    /// Set up and built already (this is what the demo gives itself when it calls sudo)
    #[arg(long, hide = true)]
    prepared: bool,
}

/// Name of the demo's lab: a new demo takes the place of one that was kept.
const LAB: &str = "demo";
const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// Sets up what is missing, builds, and runs the demo.
///
/// # Errors
/// It cannot run here, a pair does not connect, or a path is another than the topology demands.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let start = Instant::now();
    if !arguments.prepared && !arguments.remove {
        prepare()?;
        println!("set up and built in {} s", start.elapsed().as_secs());
    }
    match Privilege::detect() {
        Privilege::Root => {}
        Privilege::Sudo => return as_root(arguments),
        Privilege::None => bail!(
            "the demo needs root (its nodes are network namespaces with BPF programs of their own), and there is no \
             sudo here: run this as root"
        ),
    }
    if arguments.remove {
        return remove();
    }
    let shown = show_all(arguments.keep);
    println!("\ndemo took {} s in all", start.elapsed().as_secs());
    shown
}

/// Installs what is missing and builds the agent.
fn prepare() -> anyhow::Result<()> {
    setup::ensure()?;
    let limits = setup::limits();
    ensure!(limits.is_empty(), "the demo cannot run on this machine:\n  {}", limits.join("\n  "));
    let mut build = process::cargo();
    build.current_dir(workspace::root());
    build.args(["build", "--locked", "--release", "--package", "node-agent"]);
    process::run(&mut build)
}

/// The part that needs root, by sudo.
fn as_root(arguments: &Arguments) -> anyhow::Result<()> {
    let this = env::current_exe().context("cannot tell what program this is")?;
    let mut command = Privilege::Sudo.command(&this.to_string_lossy());
    command.args(["demo", "--prepared"]);
    for (given, flag) in [(arguments.keep, "--keep"), (arguments.remove, "--remove")] {
        if given {
            command.arg(flag);
        }
    }
    process::run(&mut command)
}

/// Removes a lab that was kept, its agents included.
fn remove() -> anyhow::Result<()> {
    // Taking a name removes what a kept lab left under it, and giving it back the rest.
    drop(LabDir::named(LAB)?);
    println!("nothing of the demo is left");
    Ok(())
}

/// Builds the lab and shows one thing after another.
fn show_all(keep: bool) -> anyhow::Result<()> {
    let progress = Progress::new(8);
    progress.step("three nodes in two subnets, two pods each, a router that knows no pod prefix");
    let mut lab = Lab::build_named(LAB, Topology::dual_stack())?;
    progress.say(&show::topology(&lab));

    progress.step("an agent on every node, encapsulation cross-subnet");
    let mut agents = Agents::default();
    agents.start(&lab, &Settings::default(), &State::of(&lab, MODE))?;

    let mut matrices = Vec::new();
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        progress
            .step(&format!("who reaches whom in {name}, by which path (as the sender's counters show it)"));
        let matrix = matrix::measure(&lab, &agents, MODE, family)?;
        progress.say(&matrix.table());
        matrices.push(matrix);
    }

    progress.step("one packet from a1-0 to b1-0, taken at the uplink of a1");
    progress.say(&show::encapsulated_packet(&lab)?);

    progress.step("iperf3, one TCP connection each way, 1 second each");
    progress.say(&show::transfers(&lab)?);

    progress.step("what the agents counted");
    progress.say(&show::counters(&agents)?);

    progress.step("the trie of a1, as bpftool dumps it");
    progress.say(&show::trie(&lab, &agents)?);
    progress.done();

    let drops = lab.router_drops()?;
    if keep {
        println!("{}", show::how_to_enter(&lab));
        lab.keep()?;
        agents.leave_running();
    }
    ensure!(drops == 0, "the router dropped {drops} packets: something went out unencapsulated");
    matrices.iter().try_for_each(matrix::Matrix::verdict)
}

/// What is being done, on a terminal with a bar.
struct Progress(ProgressBar);

impl Progress {
    fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn step(&self, what: &str) {
        self.0.inc(1);
        self.0.set_message(what.to_owned());
        self.say(&format!("\n== {what}"));
    }

    /// Prints above the bar; plainly where there is no terminal.
    fn say(&self, text: &str) {
        self.0.suspend(|| println!("{text}"));
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}

/// Lines for people, below each other.
fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// How an endpoint is called in the demo.
fn title(endpoint: &dyn tests::lab::Endpoint) -> String {
    if endpoint.is_pod() { format!("pod {}", endpoint.name()) } else { format!("host {}", endpoint.name()) }
}

/// The command that runs something in the network namespace of a host of the lab.
fn enter(lab: &Lab, host: &str) -> String {
    let netns = lab.endpoints().into_iter().find(|endpoint| endpoint.name() == host);
    netns.map_or_else(String::new, |endpoint| format!("nsenter --net={}", endpoint.netns().path().display()))
}
