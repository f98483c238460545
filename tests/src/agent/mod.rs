//! The real agent, one on each node of a lab.

mod counters;
mod events;
mod settings;
mod trace;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

pub use counters::{Count, Counters};
pub use events::Follow;
pub use settings::Settings;
pub use trace::Trace;

use crate::{
    command,
    lab::{Endpoint, Lab, Node},
    process::Background,
    state::{State, write_atomically},
    wait,
};

/// How long an agent may take until it has told all it knows to the kernel.
const READY: Duration = Duration::from_secs(10);

/// The agent of one node, running or not; its datapath outlives it. Dropping it ends the process.
#[derive(Debug)]
pub struct Agent {
    node: Node,
    binary: PathBuf,
    process: Option<Background>,
}

impl Agent {
    /// Writes config and state, and starts the process.
    ///
    /// # Errors
    /// If the binary is missing or anything cannot be written.
    pub fn start(node: &Node, settings: &Settings, state: &State) -> Result<Self> {
        settings.write(node)?;
        let mut agent = Self { node: node.clone(), binary: binary()?, process: None };
        agent.apply(state)?;
        agent.launch()?;
        Ok(agent)
    }

    /// Starts the process again after its end, with the files as they are, and waits until it is ready.
    ///
    /// # Errors
    /// If it still runs, cannot be started or does not get ready.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the agent on {} still runs", self.node.name());
        self.launch()?;
        self.wait_until_ready()
    }

    /// Starts the process, with the files as they are.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_as(&self.binary.clone(), &[])
    }

    /// Starts another build as the process, with these environment variables and the files as they are.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch_as(&mut self, binary: &Path, variables: &[(&str, &OsStr)]) -> Result<()> {
        let path = self.node.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("opening {}", path.display()))?;
        let mut command = self.node.netns().command(binary);
        command.envs(variables.iter().copied());
        command.arg("run").arg("--config").arg(settings::config_file(&self.node));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(Background::spawn(&mut command)?);
        Ok(())
    }

    /// Waits until `node-agent status` says that it is synced and has nothing left to do.
    ///
    /// # Errors
    /// If it ends, or is not ready in time.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let name = self.node.name().to_owned();
        wait::until(&format!("the agent on {name} to be synced"), READY, || {
            if let Some(status) = self.process.as_mut().map(Background::exited).transpose()?.flatten() {
                bail!("the agent on {name} has ended ({status}):\n{}", log_tail(&self.node, 20));
            }
            let nothing_pending =
                |status: &Value| status["reconcile"]["pending"].as_array().is_some_and(Vec::is_empty);
            Ok(self.status().is_ok_and(|status| status["synced"] == true && nothing_pending(&status)))
        })?;
        Ok(())
    }

    /// Sends a signal that ends it, and waits for the end.
    ///
    /// # Errors
    /// If it does not run, or does not end within 5 seconds.
    pub fn kill(&mut self, signal: Signal) -> Result<ExitStatus> {
        let name = self.node.name();
        let process = self.process.as_mut().ok_or_else(|| anyhow!("no agent runs on {name}"))?;
        process.signal(signal)?;
        let status = process.wait(Duration::from_secs(5))?;
        self.process = None;
        Ok(status)
    }

    /// Sends a signal, and does not wait for what comes of it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let name = self.node.name();
        self.process.as_mut().ok_or_else(|| anyhow!("no agent runs on {name}"))?.signal(signal)
    }

    /// The process's id.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> Result<u32> {
        let name = self.node.name();
        Ok(self.process.as_ref().ok_or_else(|| anyhow!("no agent runs on {name}"))?.pid())
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// If it does not run, or not end in time.
    pub fn wait_for_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let name = self.node.name();
        let process = self.process.as_mut().ok_or_else(|| anyhow!("no agent runs on {name}"))?;
        let status = process.wait(timeout)?;
        self.process = None;
        Ok(status)
    }

    /// Replaces its cluster-state file; it will notice.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn apply(&self, state: &State) -> Result<()> {
        state.write(&settings::state_file(&self.node))
    }

    /// Replaces its cluster-state file by this text, valid or not.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn apply_text(&self, text: &str) -> Result<()> {
        write_atomically(&settings::state_file(&self.node), text)
    }

    /// Replaces the other file that its settings name by this text, valid or not.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn apply_other(&self, name: &str, text: &str) -> Result<()> {
        write_atomically(&settings::other_file(&self.node, name), text)
    }

    /// Removes the other file that its settings name.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_other(&self, name: &str) -> Result<()> {
        let file = settings::other_file(&self.node, name);
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))
    }

    /// Replaces its settings; they are in effect after a restart.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn configure(&self, settings: &Settings) -> Result<()> {
        settings.write(&self.node)
    }

    /// Asks the running agent, with arguments as on the command line, and returns what is printed.
    ///
    /// # Errors
    /// If it does not answer or says that the question is wrong.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        command::output(self.command(arguments).arg("--socket").arg(self.node.socket()))
    }

    /// As [`Self::cli`], and returns the exit code and everything that is printed, whatever the code.
    ///
    /// # Errors
    /// If it cannot be started or is killed.
    pub fn cli_with_code(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let mut command = self.command(arguments);
        command.arg("--socket").arg(self.node.socket()).stdin(Stdio::null());
        let ran = command.output().with_context(|| format!("starting {}", command::line(&command)))?;
        let code = ran.status.code().with_context(|| format!("{} was killed", command::line(&command)))?;
        let text =
            [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok((code, text))
    }

    /// As [`Self::cli`] with `--output json`.
    ///
    /// # Errors
    /// As [`Self::cli`], or if the answer is no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.cli(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("`node-agent {}` wrote: {text}", arguments.join(" ")))
    }

    /// `node-agent status`.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// The problems that `status` reports, each as one text.
    ///
    /// # Errors
    /// As [`Self::json`], or if the status has no list of problems.
    pub fn problems(&self) -> Result<Vec<String>> {
        let status = self.status()?;
        let problems = status["problems"].as_array().context("the status lists no problems")?;
        let text = |problem: &Value| problem.as_str().map_or_else(|| problem.to_string(), ToOwned::to_owned);
        Ok(problems.iter().map(text).collect())
    }

    /// The agent's state directory, unless the settings name another one.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        settings::state_dir(&self.node)
    }

    /// `node-agent counters`.
    ///
    /// # Errors
    /// As [`Self::json`], or if the counters are not as expected.
    pub fn counters(&self) -> Result<Counters> {
        Counters::parse(&self.cli(&["counters", "--output", "json"])?)
    }

    /// `node-agent cleanup`, which needs no running agent; returns what it prints.
    ///
    /// # Errors
    /// If it fails.
    pub fn cleanup(&self, dry_run: bool) -> Result<String> {
        let mut command = self.command(&["cleanup"]);
        if dry_run {
            command.arg("--dry-run");
        }
        command.arg("--bpffs").arg(self.node.bpffs());
        command::output(command.arg("--state-dir").arg(settings::state_dir(&self.node)))
    }

    /// A command line that asks the agent, to be run in some way of one's own.
    #[must_use]
    pub fn command_line(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.arg("--socket").arg(self.node.socket());
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.node.netns().command(&self.binary);
        command.args(arguments);
        command
    }
}

/// The agents of a lab, by node.
#[derive(Debug, Default)]
pub struct Agents(BTreeMap<String, Agent>);

impl Agents {
    /// Starts an agent on every node and waits until all are ready.
    ///
    /// # Errors
    /// If one cannot be started or does not get ready.
    pub fn start(&mut self, lab: &Lab, settings: &Settings, state: &State) -> Result<()> {
        self.start_each(lab, settings, |_| state)
    }

    /// The same with a state of its own for each node.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_each<'s>(
        &mut self,
        lab: &Lab,
        settings: &Settings,
        state_of: impl Fn(&Node) -> &'s State,
    ) -> Result<()> {
        for node in lab.nodes() {
            self.0.insert(node.name().to_owned(), Agent::start(node, settings, state_of(node))?);
        }
        self.0.values_mut().try_for_each(Agent::wait_until_ready)
    }

    /// The agent of this node.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, node: &str) -> Result<&Agent> {
        self.0.get(node).ok_or_else(|| anyhow!("no agent was started on {node}"))
    }

    /// The agent of this node, to be ended or restarted.
    ///
    /// # Errors
    /// If there is none.
    pub fn get_mut(&mut self, node: &str) -> Result<&mut Agent> {
        self.0.get_mut(node).ok_or_else(|| anyhow!("no agent was started on {node}"))
    }

    /// Replaces the cluster-state file of every agent.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn apply(&self, state: &State) -> Result<()> {
        self.0.values().try_for_each(|agent| agent.apply(state))
    }

    /// Every agent with its node's name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Agent)> {
        self.0.iter().map(|(node, agent)| (node.as_str(), agent))
    }

    /// Lets the processes go on when this is dropped.
    pub fn leave_running(self) {
        self.0.into_values().for_each(std::mem::forget);
    }
}

/// The last lines of the log of a node's agent.
#[must_use]
pub fn log_tail(node: &Node, lines: usize) -> String {
    let Ok(log) = std::fs::read_to_string(node.log()) else { return "no log\n".to_owned() };
    let all: Vec<_> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("  {line}\n")).collect()
}

/// Path of the agent's binary: `PODROUTE_AGENT`, or the workspace's release build.
///
/// # Errors
/// If there is no such file; the error names the command that builds it.
pub fn binary() -> Result<PathBuf> {
    let path = env::var_os("PODROUTE_AGENT").map_or_else(release_build, PathBuf::from);
    ensure!(
        path.is_file(),
        "there is no agent at {}: run `cargo build --release -p node-agent`, or set PODROUTE_AGENT to its path",
        path.display()
    );
    Ok(path)
}

/// Path of the build that tests can make crash (feature `fault-injection`): `PODROUTE_FAULT_AGENT`, or where
/// `cargo xtask test` puts it.
///
/// # Errors
/// If there is no such file; the error names the command that builds it.
pub fn fault_binary() -> Result<PathBuf> {
    let built = || target().join("fault-injection/node-agent");
    let path = env::var_os("PODROUTE_FAULT_AGENT").map_or_else(built, PathBuf::from);
    ensure!(
        path.is_file(),
        "there is no agent with fault injection at {}: run `cargo xtask test`, or `cargo build -p node-agent \
         --features fault-injection` and set PODROUTE_FAULT_AGENT to its path",
        path.display()
    );
    Ok(path)
}

fn release_build() -> PathBuf {
    target().join("release/node-agent")
}

fn target() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = package.parent().unwrap_or(package);
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}
