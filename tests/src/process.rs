//! A child process that does not outlive its handle.

use std::{
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::command;

/// A running child; dropping it ends it (SIGTERM, and SIGKILL two seconds later).
#[derive(Debug)]
pub struct Background {
    child: Child,
    what: String,
}

impl Background {
    /// Starts the command.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let what = command::line(command);
        let child = command.spawn().with_context(|| format!("cannot start `{what}`"))?;
        Ok(Self { child, what })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs; its exit status if not.
    ///
    /// # Errors
    /// If the kernel cannot tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(anyhow!("`{}` has already ended ({status})", self.what));
        }
        kill(self.as_pid()?, signal).with_context(|| format!("sending {signal} to `{}`", self.what))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// If it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(anyhow!("`{}` still runs after {timeout:?}", self.what));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn as_pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // The child is not yet reaped, so its id cannot have gone to another process.
        if self.signal(Signal::SIGTERM).is_err() || self.wait(Duration::from_secs(2)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
