//! `node-agent trace` in the background.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::Agent;
use crate::{process::Background, wait};

/// How long it may take to begin, to show a packet, or to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running trace; dropping it ends it.
#[derive(Debug)]
pub struct Trace {
    process: Background,
    output: PathBuf,
    messages: PathBuf,
}

impl Agent {
    /// Starts `node-agent trace` with these arguments and waits until it traces.
    ///
    /// # Errors
    /// If it cannot be started, or the agent refuses.
    pub fn trace(&self, arguments: &[&str]) -> Result<Trace> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |end: &str| self.node.folder().join(format!("trace-{number}.{end}"));
        let (output, messages) = (file("out"), file("err"));
        let mut command = self.command(&["trace"]);
        command.args(arguments).arg("--socket").arg(self.node.socket());
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&messages)?);
        let mut trace = Trace { process: Background::spawn(&mut command)?, output, messages };
        wait::until("the trace to begin", PATIENCE, || {
            if let Some(status) = trace.process.exited()? {
                bail!("the trace has ended ({status}): {}", trace.messages()?);
            }
            Ok(trace.messages()?.contains("tracing"))
        })?;
        Ok(trace)
    }
}

impl Trace {
    /// What it has shown.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn shown(&self) -> Result<String> {
        fs::read_to_string(&self.output).with_context(|| format!("reading {}", self.output.display()))
    }

    fn messages(&self) -> Result<String> {
        fs::read_to_string(&self.messages).with_context(|| format!("reading {}", self.messages.display()))
    }

    /// Waits until it has shown a line that contains this, and returns the line.
    ///
    /// # Errors
    /// If it does not in time; the error has what it has shown instead.
    pub fn expect(&self, part: &str) -> Result<String> {
        let find = || {
            let shown = self.shown()?;
            let line = shown.lines().find(|line| line.contains(part)).map(ToOwned::to_owned);
            line.with_context(|| format!("no line contains {part:?}:\n{shown}"))
        };
        Ok(wait::until_ok("a line of the trace", PATIENCE, find)?.0)
    }

    /// Ends it as Ctrl-C does, and returns what it has shown and its last words.
    ///
    /// # Errors
    /// If it does not end well.
    pub fn end(mut self) -> Result<(String, String)> {
        self.process.signal(Signal::SIGINT)?;
        self.finished()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not, or not well.
    pub fn finished(mut self) -> Result<(String, String)> {
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.messages()?);
        Ok((self.shown()?, self.messages()?))
    }

    /// Stops it: it does not read, but is there.
    ///
    /// # Errors
    /// If it is gone.
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Sends it a signal that it cannot handle, and waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(PATIENCE)
    }
}
