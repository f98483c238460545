//! What interfaces take over from the kernel: segmentation, checksums, merging of what comes in.

use std::process::Command;

use anyhow::Result;

use crate::{command, netns::Netns};

/// How long an interface that merges waits for more, in nanoseconds. A veth takes each packet as soon as it is there,
/// and so has hardly ever two; network cards take what comes in within some time.
const MERGING_WAIT: u32 = 100_000;

/// Features of `ethtool -K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Cutting of super-packets, TCP's and UDP's, in tunnels and outside.
    Segmentation,
    /// Checksums of what is sent. Without it an interface does not segment either.
    Checksums,
    /// Merging of what comes in. Off at a new veth.
    Merging,
}

impl Feature {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Segmentation => {
                &["tso", "gso", "tx-udp-segmentation", "tx-ipxip4-segmentation", "tx-ipxip6-segmentation"]
            }
            Self::Checksums => &["tx"],
            Self::Merging => &["gro"],
        }
    }
}

/// Turns a feature of an interface on or off.
///
/// # Errors
/// If the interface cannot.
pub fn set(netns: &Netns, interface: &str, feature: Feature, on: bool) -> Result<()> {
    let mut arguments = vec!["-K", interface];
    for name in feature.names() {
        arguments.extend([*name, if on { "on" } else { "off" }]);
    }
    netns.output("ethtool", &arguments)?;
    if feature == Feature::Merging {
        // Unlike a command that only enters the namespace, this one sees the interfaces of the namespace in /sys.
        let wait = if on { MERGING_WAIT } else { 0 };
        let write = format!("echo {wait} >/sys/class/net/{interface}/gro_flush_timeout");
        command::output(Command::new("ip").args(["netns", "exec", netns.name(), "sh", "-c", &write]))?;
    }
    Ok(())
}
