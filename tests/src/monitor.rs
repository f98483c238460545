//! Watches a namespace's routes with `ip monitor route`.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    lab::{Endpoint, Node},
    process::Background,
    wait,
};

/// A route of no use to anyone (TEST-NET-3), put in and taken out to see that the monitor listens.
const SIGN: &str = "203.0.113.77";

/// A running `ip monitor route` on a node; dropping it ends it.
#[derive(Debug)]
pub struct RouteMonitor {
    process: Background,
    file: PathBuf,
    /// Bytes of the file that were written before the watch began.
    before: usize,
}

impl RouteMonitor {
    /// Starts it, and waits until it has shown a change that was made for it: it can see changes.
    ///
    /// # Errors
    /// If it cannot be started or shows nothing.
    pub fn start(node: &Node) -> Result<Self> {
        let file = node.folder().join("routes.log");
        let output = File::create(&file).with_context(|| format!("creating {}", file.display()))?;
        let mut command = node.netns().command("ip");
        // Without a buffer, so that what is not in the file has not happened.
        command.args(["monitor", "route"]).stdin(Stdio::null()).stdout(output);
        let process = Background::spawn(&mut command)?;
        let mut monitor = Self { process, file, before: 0 };
        wait::until("`ip monitor route` to show a change", Duration::from_secs(3), || {
            node.netns().ip(&format!("route add blackhole {SIGN}"))?;
            node.netns().ip(&format!("route del blackhole {SIGN}"))?;
            Ok(monitor.text()?.contains(SIGN))
        })?;
        monitor.settle()?;
        Ok(monitor)
    }

    /// The changes since the start, as `ip` shows them.
    ///
    /// # Errors
    /// If it has ended or its file cannot be read.
    pub fn changes(&mut self) -> Result<String> {
        self.settle()?;
        anyhow::ensure!(self.process.exited()?.is_none(), "`ip monitor route` has ended");
        Ok(self.text()?.split_off(self.before))
    }

    /// Waits until nothing has been written for 100 ms; at the start, forgets what was.
    fn settle(&mut self) -> Result<()> {
        let mut length = self.text()?.len();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.text()?.len();
            if now == length {
                break;
            }
            length = now;
        }
        if self.before == 0 {
            self.before = length;
        }
        Ok(())
    }

    fn text(&self) -> Result<String> {
        fs::read_to_string(&self.file).with_context(|| format!("reading {}", self.file.display()))
    }
}
