//! Throughput of one TCP connection, measured by iperf3.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{command, family::Family, lab::Endpoint, process::Background, wait};

const PORT: u16 = 5201;

/// Result of a transfer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Rate at the receiver.
    pub bits_per_second: f64,
    /// Segments that the sender sent again.
    pub retransmits: u64,
    /// Longest time in which iperf3 saw nothing arrive, by intervals of 100 ms.
    pub longest_stall: Duration,
}

/// Sends over one TCP connection for this many seconds, by the family of the receiver's (first) address.
///
/// # Errors
/// If iperf3 fails, the connection does, or either hangs for 10 seconds.
pub fn throughput(from: &dyn Endpoint, to: &dyn Endpoint, seconds: u8) -> Result<Throughput> {
    let what = || format!("iperf3 from {} to {}", from.name(), to.name());
    let address = to.address().to_string();
    let port = PORT.to_string();
    let mut server = to.netns().command("iperf3");
    server.args(["--server", "--one-off", "--port", &port, "--bind", &address]);
    let mut server = Background::spawn(server.stdin(Stdio::null()).stdout(Stdio::null()))?;
    wait_until_listening(server.pid(), Family::of(to.address())).with_context(what)?;
    let mut client = from.netns().command("timeout");
    client.arg((u32::from(seconds) + 10).to_string());
    client.args(["iperf3", "--client", &address, "--port", &port, "--time", &seconds.to_string()]);
    client.args(["--interval", "0.1", "--connect-timeout", "3000", "--json"]);
    let report = command::output(&mut client).with_context(what)?;
    server.wait(Duration::from_secs(5)).with_context(what)?;
    parse(&report).with_context(what)
}

/// The server is ready when its port is in the namespace's table of listening sockets.
fn wait_until_listening(pid: u32, family: Family) -> Result<()> {
    let (port, listening) = (format!(":{PORT:04X}"), "0A");
    let table = if family == Family::V6 { "tcp6" } else { "tcp" };
    wait::until("iperf3 to listen", Duration::from_secs(3), || {
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        Ok(sockets.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(listening)
        }))
    })?;
    Ok(())
}

fn parse(report: &str) -> Result<Throughput> {
    let report: serde_json::Value = serde_json::from_str(report).context("its report is no JSON")?;
    ensure!(report["error"].is_null(), "{}", report["error"]);
    let end = &report["end"];
    let intervals = report["intervals"].as_array().context("no intervals")?;
    let (mut stall, mut longest) = (0.0, 0.0_f64);
    for interval in intervals {
        let idle = interval["sum"]["bytes"].as_u64() == Some(0);
        stall = if idle { stall + interval["sum"]["seconds"].as_f64().unwrap_or(0.0) } else { 0.0 };
        longest = longest.max(stall);
    }
    Ok(Throughput {
        bytes: end["sum_received"]["bytes"].as_u64().context("no bytes")?,
        bits_per_second: end["sum_received"]["bits_per_second"].as_f64().context("no rate")?,
        retransmits: end["sum_sent"]["retransmits"].as_u64().context("no retransmits")?,
        longest_stall: Duration::from_secs_f64(longest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_counted_over_intervals() {
        let report = r#"{"intervals": [
            {"sum": {"bytes": 1, "seconds": 0.1}}, {"sum": {"bytes": 0, "seconds": 0.1}},
            {"sum": {"bytes": 0, "seconds": 0.1}}, {"sum": {"bytes": 5, "seconds": 0.1}}],
            "end": {"sum_received": {"bytes": 6, "bits_per_second": 120.0}, "sum_sent": {"retransmits": 2}}}"#;
        let parsed = parse(report).unwrap();
        assert_eq!((parsed.bytes, parsed.retransmits), (6, 2));
        assert!((parsed.longest_stall.as_secs_f64() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_failed_run_is_an_error() {
        assert!(parse(r#"{"error": "unable to connect"}"#).is_err());
    }
}
