//! The way as an administrator sees it: by the program `traceroute`, which sends UDP.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use crate::{command, family::Family, lab::Endpoint};

/// Runs `traceroute` to this address; returns who answered, the destination last.
///
/// # Errors
/// If it cannot be run, a hop does not answer, or it does not get there.
pub fn traceroute_by_udp(from: &dyn Endpoint, to: IpAddr) -> Result<Vec<IpAddr>> {
    let mut command = from.netns().command("timeout");
    // Three probes a hop, one after another, since hosts limit how many errors they send.
    command.args([
        "20",
        "traceroute",
        Family::of(to).option(),
        "-n",
        "-N",
        "1",
        "-q",
        "3",
        "-w",
        "1",
        "-m",
        "8",
    ]);
    let report = command::output(command.arg(to.to_string()))?;
    let hops: Vec<IpAddr> = report.lines().skip(1).filter_map(hop).collect();
    let lines = report.lines().skip(1).count();
    ensure!(hops.len() == lines && hops.last() == Some(&to), "traceroute has written:\n{report}");
    Ok(hops)
}

/// ` 2  10.0.2.11  0.1 ms  0.1 ms  0.1 ms`, or with `*` where a probe was not answered.
fn hop(line: &str) -> Option<IpAddr> {
    line.split_whitespace().skip(1).find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_hop() {
        assert_eq!(hop(" 2  10.0.2.11  0.098 ms  0.061 ms *"), Some(IpAddr::from([10, 0, 2, 11])));
        assert_eq!(hop(" 3  * fd00::1  0.098 ms *"), "fd00::1".parse().ok());
        assert_eq!(hop(" 4  * * *"), None);
    }
}
