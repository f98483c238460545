//! Watches a namespace's routes with `ip monitor route`: all of IPv4, and of IPv6 those that agents make. (Others of IPv6
//! come up by themselves a second after an interface, when duplicate address detection has ended.)

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    family::Family,
    lab::{Endpoint, Node},
    process::Background,
    wait,
};

/// A running `ip monitor route` for each family on a node; dropping it ends them.
#[derive(Debug)]
pub struct RouteMonitor([Watch; 2]);

impl RouteMonitor {
    /// Starts it, and waits until it has shown a change in each family that was made for it: it can see changes.
    ///
    /// # Errors
    /// If it cannot be started or shows nothing.
    pub fn start(node: &Node) -> Result<Self> {
        Ok(Self([Watch::start(node, Family::V4)?, Watch::start(node, Family::V6)?]))
    }

    /// The changes since the start, as `ip` shows them.
    ///
    /// # Errors
    /// If it has ended or its files cannot be read.
    pub fn changes(&mut self) -> Result<String> {
        let [v4, v6] = &mut self.0;
        let of_agents = |line: &&str| line.contains(PROTOCOL);
        let v6 = v6.changes()?.lines().filter(of_agents).map(|line| format!("{line}\n")).collect::<String>();
        Ok(v4.changes()? + &v6)
    }
}

/// How `ip` marks the routes of agents.
const PROTOCOL: &str = "proto 77";

/// A table that nobody looks into: in the main one, an agent takes what has its protocol for its own.
const TABLE: u32 = 77;

/// A route of no use to anyone (of a documentation prefix), put in and taken out to see that the monitor listens.
const fn sign(family: Family) -> &'static str {
    match family {
        Family::V4 => "203.0.113.77",
        Family::V6 => "2001:db8:77:77::77",
    }
}

/// The monitor of one family.
#[derive(Debug)]
struct Watch {
    process: Background,
    file: PathBuf,
    /// Bytes of the file that were written before the watch began.
    before: usize,
}

impl Watch {
    fn start(node: &Node, family: Family) -> Result<Self> {
        let file = node.folder().join(format!("routes{}.log", family.option()));
        let output = File::create(&file).with_context(|| format!("creating {}", file.display()))?;
        let mut command = node.netns().command("ip");
        // Without a buffer, so that what is not in the file has not happened.
        command.args([family.option(), "monitor", "route"]).stdin(Stdio::null()).stdout(output);
        let process = Background::spawn(&mut command)?;
        let mut monitor = Self { process, file, before: 0 };
        let (option, sign) = (family.option(), sign(family));
        wait::until("`ip monitor route` to show a change", Duration::from_secs(3), || {
            for change in ["add", "del"] {
                node.netns()
                    .ip(&format!("{option} route {change} blackhole {sign} proto 77 table {TABLE}"))?;
            }
            let text = monitor.text()?;
            Ok(text.lines().any(|line| line.contains(sign) && line.contains(PROTOCOL)))
        })?;
        monitor.settle()?;
        Ok(monitor)
    }

    fn changes(&mut self) -> Result<String> {
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
