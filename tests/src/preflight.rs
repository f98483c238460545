//! What a lab needs of the machine. What is missing is an error that says how to fix it, never a skip.

use std::{env, path::Path};

use anyhow::{Result, ensure};
use nix::unistd::Uid;

/// Tools that labs and probes run, and the Debian package of each.
const TOOLS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("iptables-restore", "iptables"),
    ("iperf3", "iperf3"),
    ("tracepath", "iputils-tracepath"),
    ("traceroute", "traceroute"),
    ("bpftool", "bpftool"),
    ("ethtool", "ethtool"),
];

/// Checks that this process may build labs.
///
/// # Errors
/// If it is not root, or a tool is missing; the error names the command that fixes it.
pub fn check() -> Result<()> {
    ensure!(
        Uid::effective().is_root(),
        "test hosts are network namespaces, and only root may create them: run `sudo -E env \"PATH=$PATH\" cargo \
         xtask test`"
    );
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !on_path(tool)).collect();
    ensure!(
        missing.is_empty(),
        "missing: {}. Run `cargo xtask setup`, or `apt-get install {}`",
        missing.iter().map(|(tool, _)| *tool).collect::<Vec<_>>().join(", "),
        missing.iter().map(|(_, package)| *package).collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

fn on_path(tool: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| Path::new(&folder).join(tool).is_file()))
}
