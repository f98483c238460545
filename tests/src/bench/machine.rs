//! What a run was made on, so that its figures can be read later.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::command;

/// The machine and the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for people.
    pub processor: String,
    /// How many CPUs this process may use.
    pub cpus: usize,
    /// The kernel's release, `uname -r`.
    pub kernel: String,
    /// Memory in MiB.
    pub memory: u64,
    /// The commit, with `+` where the checkout has changes.
    pub commit: String,
    /// The day, `2026-11-25`.
    pub date: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here() -> Self {
        let said = |command: &mut Command| {
            command::output(command).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        let changed = !said(Command::new("git").args(["status", "--porcelain"])).is_empty();
        let commit = said(Command::new("git").args(["rev-parse", "--short=10", "HEAD"]));
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(0, Into::into),
            kernel: said(Command::new("uname").arg("-r")),
            memory: field("/proc/meminfo", "MemTotal").map_or(0, |text| kibibytes(&text) / 1024),
            commit: if changed { commit + "+" } else { commit },
            date: said(Command::new("date").arg("+%Y-%m-%d")),
        }
    }
}

fn field(path: &str, name: &str) -> Option<String> {
    value(&fs::read_to_string(path).ok()?, name)
}

/// The value in the first line `name : value`.
fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn kibibytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        let text = "MemTotal:       24689372 kB\nMemFree:  1 kB\n";
        assert_eq!(value(text, "MemTotal").map(|text| kibibytes(&text)), Some(24_689_372));
        assert_eq!(value("processor\t: 0\nmodel name\t: A B: C\n", "model name").unwrap(), "A B: C");
        assert_eq!(value(text, "Swap"), None);
    }
}
