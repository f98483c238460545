//! What makes a figure one of the way that it is said to be of: every packet arrives as it was sent, and went that way.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    frames::{Flows, LENGTH},
    site::Site,
};
use crate::{
    agent::Counters,
    capture::{Capture, Captured, Keep},
    lab::Endpoint,
    netns::Netns,
    wait,
};

/// Where the IP header of a frame ends: what follows arrives unchanged.
const PAYLOAD: usize = 34;
/// How long the first packet may take: neighbours are asked for, and come to be known.
const FIRST: Duration = Duration::from_secs(3);

/// What a site had counted at some point.
pub struct Before {
    counters: Option<[Counters; 2]>,
    arrived: u64,
    icmp: u64,
}

impl Before {
    /// What it has counted by now.
    ///
    /// # Errors
    /// An agent does not answer, or a counter cannot be read.
    pub fn of(site: &Site) -> Result<Self> {
        Ok(Self { counters: counters(site)?, arrived: site.arrived.read()?, icmp: icmp_sent(site)? })
    }

    /// Checks that, since then, Podroute's programs at both nodes counted each packet that has arrived under the outcome
    /// of this way and dropped none, and that nobody sent an ICMP message.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn expect_only_this_way(&self, site: &Site) -> Result<()> {
        self.expect(site, self.arrived_since(site)?, 0)
    }

    /// The same of the receiving node alone.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn expect_only_received(&self, site: &Site) -> Result<()> {
        self.expect(site, self.arrived_since(site)?, 1)
    }

    /// The same of packets that nobody counts but the programs: some went this way.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn expect_some_this_way(&self, site: &Site) -> Result<()> {
        self.expect(site, 1, 0)
    }

    fn arrived_since(&self, site: &Site) -> Result<u64> {
        let arrived = site.arrived.read()? - self.arrived;
        ensure!(arrived > 0, "{}: nothing arrives", site.way.name());
        Ok(arrived)
    }

    /// So many packets at least; leaves so many of the nodes on the way out.
    fn expect(&self, site: &Site, least: u64, left_out: usize) -> Result<()> {
        let (way, icmp) = (site.way, icmp_sent(site)?);
        ensure!(icmp == self.icmp, "{}: {} ICMP messages were sent", way.name(), icmp - self.icmp);
        let (Some(before), Some(now), Some(outcomes)) = (&self.counters, counters(site)?, way.outcomes())
        else {
            return Ok(());
        };
        for ((before, now), (hook, outcome)) in before.iter().zip(&now).zip(outcomes).skip(left_out) {
            let counted = now.since(before)?;
            let packets = counted.packets(hook, outcome);
            ensure!(
                packets >= least && counted.dropped() == 0,
                "{}: {packets} of {least} packets are counted as {} at {}, {} are dropped:\n{counted}",
                way.name(),
                outcome.label(),
                hook.label(),
                counted.dropped()
            );
        }
        Ok(())
    }
}

fn counters(site: &Site) -> Result<Option<[Counters; 2]>> {
    if site.way.outcomes().is_none() {
        return Ok(None);
    }
    Ok(Some([site.agents.get("a1")?.counters()?, site.agents.get("a2")?.counters()?]))
}

/// ICMP messages that the nodes and the pods between which packets go have sent.
fn icmp_sent(site: &Site) -> Result<u64> {
    site.lab.endpoints().iter().map(|endpoint| icmp_sent_by(endpoint.netns())).sum()
}

fn icmp_sent_by(netns: &Netns) -> Result<u64> {
    let text =
        netns.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?.context("reading SNMP counters")?;
    snmp(&text, "Icmp:", "OutMsgs").with_context(|| format!("no ICMP counters in {}", netns.name()))
}

/// A value of /proc/net/snmp: a line of names, and a line of values.
fn snmp(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group)).map(str::split_whitespace);
    let (mut names, mut values) = (lines.next()?, lines.next()?);
    values.nth(names.position(|other| other == name)?)?.parse().ok()
}

/// Sends a packet of each flow, and checks that each arrives once, is the one that was sent, and went this way.
///
/// # Errors
/// It is otherwise.
pub fn check(site: &Site) -> Result<()> {
    let way = site.way.name();
    wait::until(&format!("the first packet by {way}"), FIRST, || {
        let before = site.arrived.read()?;
        site.send_once(Flows::One)?;
        Ok(site.arrived.read()? > before)
    })?;
    let before = Before::of(site)?;
    let (netns, interface) = site.sink()?;
    let capture = Capture::start(netns, interface, Keep::Whole)?;
    let sent = site.send_once(Flows::Many)?;
    wait::until(&format!("{sent} packets by {way}"), FIRST, || {
        Ok(site.arrived.read()? - before.arrived >= sent)
    })?;
    expect_unchanged(site, &capture.stop()?).with_context(|| way.to_owned())?;
    before.expect_only_this_way(site)
}

fn expect_unchanged(site: &Site, captured: &Captured) -> Result<()> {
    let sent = site.frames(Flows::Many);
    let [from, to] =
        [super::site::FROM, super::site::TO].map(|name| site.lab.pod(name).map(Endpoint::address));
    let (from, to) = (from?, to?);
    let arrived: Vec<_> = captured.arrived(to).collect();
    ensure!(arrived.len() == sent.len(), "{} packets instead of {}: {captured}", arrived.len(), sent.len());
    for packet in &arrived {
        let header = packet.inner();
        ensure!(
            !packet.is_encapsulated() && header.source == from && header.ttl == site.way.ttl(),
            "not as expected: {packet:?}"
        );
    }
    let payloads = arrived.iter().map(|packet| packet.payload.get(..LENGTH - PAYLOAD).unwrap_or_default());
    let payloads: BTreeSet<_> = payloads.collect();
    let expected: BTreeSet<_> = sent.iter().map(|frame| &frame[PAYLOAD..]).collect();
    ensure!(payloads == expected, "what arrived is not what was sent: {captured}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_found_by_name() {
        let text =
            "Ip: Forwarding InReceives\nIp: 1 7\nIcmp: InMsgs OutErrors OutMsgs\nIcmp: 3 0 5\nIcmpMsg: x\n";
        assert_eq!(snmp(text, "Icmp:", "OutMsgs"), Some(5));
        assert_eq!(snmp(text, "Icmp:", "Nothing"), None);
        assert_eq!(snmp(text, "Udp:", "OutMsgs"), None);
    }
}
