//! The path MTU as an application learns it: by `tracepath`, which sends UDP and believes what routers say.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use crate::{command, family::Family, lab::Endpoint};

/// What `tracepath` has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTrace {
    /// The routers on the way, each once; the last is the destination.
    pub hops: Vec<IpAddr>,
    /// The path MTU in bytes.
    pub mtu: u16,
}

/// Runs `tracepath` to the receiver's (first) address.
///
/// # Errors
/// If it cannot be run, or does not get there.
pub fn tracepath(from: &dyn Endpoint, to: &dyn Endpoint) -> Result<PathTrace> {
    let address = to.address();
    let mut command = from.netns().command("timeout");
    command.args(["20", "tracepath", Family::of(address).option(), "-n", "-m", "8", &address.to_string()]);
    let report = command::output(&mut command)?;
    let trace = parse(&report).with_context(|| format!("tracepath has written:\n{report}"))?;
    ensure!(trace.hops.last() == Some(&address), "tracepath does not reach {address}:\n{report}");
    Ok(trace)
}

fn parse(report: &str) -> Result<PathTrace> {
    let mut hops: Vec<IpAddr> = Vec::new();
    for line in report.lines() {
        // ` 1:  10.0.1.11   0.1ms`; a hop is asked again when it has named another MTU.
        let address = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        hops.extend(address.filter(|address| hops.last() != Some(address)));
    }
    let resume = report.lines().find_map(|line| line.trim().strip_prefix("Resume: pmtu "));
    let mtu = resume.and_then(|rest| rest.split_whitespace().next()).context("no path MTU")?;
    Ok(PathTrace { hops, mtu: mtu.parse().with_context(|| format!("path MTU {mtu:?}"))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_hops_and_an_mtu() {
        let report = " 1?: [LOCALHOST]                        0.015ms pmtu 1500\n \
                      1:  fd00:0:0:1::11                       0.052ms \n \
                      1:  fd00:0:0:1::11                       0.021ms pmtu 1460\n \
                      2:  fd00:244:3::10                       0.030ms reached\n     \
                      Resume: pmtu 1460 hops 2 back 2 \n";
        let trace = parse(report).unwrap();
        assert_eq!(trace.mtu, 1460);
        assert_eq!(
            trace.hops,
            ["fd00:0:0:1::11", "fd00:244:3::10"].map(|hop| hop.parse::<IpAddr>().unwrap())
        );
        assert!(parse(" 1:  no reply\n     Too many hops: pmtu 1500\n").is_err());
    }
}
