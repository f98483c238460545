//! A network namespace: commands and closures that run inside of it.
//!
//! Processes enter by `setns` between fork and exec. `ip netns exec` is no choice: it gives the process
//! a mount namespace with a /sys of its own, in which no bpffs can be seen.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::command;

/// Where iproute2 keeps the names of network namespaces.
pub const NAMES: &str = "/run/netns";

/// A handle to a named network namespace. It does not own the name: the lab removes its namespaces.
#[derive(Debug, Clone)]
pub struct Netns {
    name: Arc<str>,
    file: Arc<File>,
}

impl Netns {
    /// Opens the namespace with this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(name: &str) -> Result<Self> {
        let path = PathBuf::from(NAMES).join(name);
        let file = File::open(&path).with_context(|| format!("network namespace {}", path.display()))?;
        Ok(Self { name: name.into(), file: Arc::new(file) })
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of its name in the file system.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(NAMES).join(&*self.name)
    }

    /// A command that will run inside, in the mount namespace of the caller.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        let enter = move || {
            // SAFETY: the closure owns the file, so its descriptor is open as long as it is borrowed here.
            let namespace = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
        };
        // SAFETY: between fork and exec the closure makes one system call and nothing else; it neither
        // allocates nor locks.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs `program` with these arguments inside and returns its stdout.
    ///
    /// # Errors
    /// If it cannot be started or fails.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        command::output(self.command(program).args(arguments)).with_context(|| format!("in {}", self.name))
    }

    /// Runs `ip` inside with arguments as one would type them.
    ///
    /// # Errors
    /// If it fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.output("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs many `ip` commands inside, one a line, in one process.
    ///
    /// # Errors
    /// If one fails; those after it are not run.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        command::output_with_input(self.command("ip").args(["-batch", "-"]), lines)
            .with_context(|| format!("in {}", self.name))?;
        Ok(())
    }

    /// Runs the closure on a thread of its own that is inside, and returns its result. Sockets that it
    /// opens stay inside wherever they are used afterwards.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering network namespace {}", self.name))?;
                Ok(body())
            });
            inside.join().map_err(|_| anyhow!("a thread inside of {} panicked", self.name))?
        })
    }

    /// Sets a sysctl of the network namespace, given as in `sysctl.conf` (`net.ipv4.ip_forward`).
    /// A dot inside of an interface name is written as `/`, as sysctl does.
    ///
    /// # Errors
    /// If there is no such sysctl or the value is refused.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = sysctl_path(name);
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("setting {name}={value} in {}", self.name))
    }

    /// Reads a sysctl of the network namespace.
    ///
    /// # Errors
    /// If there is no such sysctl.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let path = sysctl_path(name);
        let value = self
            .run(|| fs::read_to_string(&path))?
            .with_context(|| format!("reading {name} in {}", self.name))?;
        Ok(value.trim().to_owned())
    }

    /// Index of the interface with this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn interface_index(&self, interface: &str) -> Result<u32> {
        self.run(|| nix::net::if_::if_nametoindex(interface))?
            .with_context(|| format!("interface {interface} in {}", self.name))
    }

    /// Packets that the interface has sent so far.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn packets_sent(&self, interface: &str) -> Result<u64> {
        self.packets(interface, "tx")
    }

    /// Packets that the interface has received so far.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn packets_received(&self, interface: &str) -> Result<u64> {
        self.packets(interface, "rx")
    }

    fn packets(&self, interface: &str, direction: &str) -> Result<u64> {
        let shown = self.output("ip", &["-json", "-stats", "link", "show", "dev", interface])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        shown[0]["stats64"][direction]["packets"].as_u64().context("`ip link` shows no packets")
    }

    /// The interface's MAC address.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let shown = self.output("ip", &["-json", "link", "show", "dev", interface])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let text = shown[0]["address"].as_str().context("`ip link` shows no address")?;
        parse_mac(text)
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{text:?} is no MAC address"))?;
    bytes.try_into().map_err(|_| anyhow!("{text:?} is no MAC address"))
}

fn sysctl_path(name: &str) -> PathBuf {
    let path: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    PathBuf::from("/proc/sys").join(path)
}
