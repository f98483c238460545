//! What runs while things happen to the agent of node a1.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{
    family::Family,
    lab::{Endpoint, Lab},
    probe::{TcpFlow, TcpReport, UdpFlow, UdpReport},
};

use crate::services::{Quiet, services};

/// TCP must not have to wait for its retransmission timer (200 ms at least) twice in a row.
pub const STALL: Duration = Duration::from_millis(500);

/// From pods of a1, to them, and from a1 itself: on the node, directly, through the tunnel.
const UDP: [(&str, &str); 6] =
    [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-1", "a1-1"), ("a1", "b1-1"), ("a1", "a1-0")];
/// Directly, and through the tunnel.
const TCP: [(&str, &str); 2] = [("a2-1", "a1-0"), ("a1-1", "b1-0")];

/// A thousand datagrams a second each way between pairs, in each family that they have, and TCP without a pause,
/// also through Services, where some connections are silent meanwhile, too.
pub struct Traffic {
    udp: Vec<UdpFlow>,
    tcp: Vec<TcpFlow>,
    quiet: Vec<Quiet>,
}

/// What became of it.
pub struct Report {
    pub udp: Vec<UdpReport>,
    pub tcp: Vec<TcpReport>,
    /// Connections that broke, and how.
    pub broken: Vec<String>,
}

impl Traffic {
    pub fn start(lab: &Lab) -> Result<Self> {
        let (mut udp, mut tcp, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        for family in Family::ALL {
            for (from, to) in UDP {
                let (from, to) = (endpoint(lab, from)?, endpoint(lab, to)?);
                if let Some(address) = to.address_of(family) {
                    udp.push(UdpFlow::start(from, to, address)?);
                }
            }
            for (from, to) in TCP {
                let (from, to) = (endpoint(lab, from)?, endpoint(lab, to)?);
                if let Some(address) = to.address_of(family) {
                    tcp.push(TcpFlow::start(from, to, address)?);
                }
            }
            for service in services(lab, family)? {
                tcp.push(service.flow()?);
                quiet.push(service.quiet()?);
            }
        }
        Ok(Self { udp, tcp, quiet })
    }

    pub fn stop(self) -> Result<Report> {
        let udp = self.udp.into_iter().map(UdpFlow::stop).collect::<Result<_>>()?;
        let (mut tcp, mut broken) = (Vec::new(), Vec::new());
        for flow in self.tcp {
            match flow.stop() {
                Ok(report) => tcp.push(report),
                Err(error) => broken.push(format!("{error:#}")),
            }
        }
        let quiet = self.quiet.into_iter().map(Quiet::expect_alive);
        broken.extend(quiet.filter_map(|alive| Some(format!("{:#}", alive.err()?))));
        Ok(Report { udp, tcp, broken })
    }
}

impl Report {
    /// Datagrams sent, and those of them that did not come back.
    pub fn sent_and_lost(&self) -> (u64, u64) {
        let sum = |of: fn(&UdpReport) -> u32| self.udp.iter().map(|one| u64::from(of(one))).sum();
        (sum(|one| one.sent), sum(UdpReport::lost))
    }

    /// The longest time in which one of the flows got nothing back.
    pub fn longest_gap(&self) -> Duration {
        self.udp.iter().map(UdpReport::longest_gap).max().unwrap_or_default()
    }

    /// The longest time in which nothing came over one of the connections.
    pub fn longest_stall(&self) -> Duration {
        self.tcp.iter().map(|one| one.longest_stall).max().unwrap_or_default()
    }

    pub fn expect_no_loss(&self) -> Result<()> {
        ensure!(self.broken.is_empty(), "{}", self.broken.join("; "));
        ensure!(!self.udp.is_empty() && !self.tcp.is_empty(), "nothing was sent");
        self.udp.iter().try_for_each(UdpReport::expect_no_loss)?;
        for tcp in &self.tcp {
            ensure!(tcp.bytes > 0 && tcp.longest_stall <= STALL, "{tcp}");
        }
        Ok(())
    }
}

pub fn endpoint<'l>(lab: &'l Lab, name: &str) -> Result<&'l dyn Endpoint> {
    let all = lab.endpoints();
    all.into_iter().find(|one| one.name() == name).with_context(|| format!("the lab has no {name}"))
}
