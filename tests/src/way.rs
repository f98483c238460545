//! The way that packets take from one endpoint to another: what the cluster state demands, and what the
//! sender's counters show.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use node_ebpf_common::{Hook, Outcome};

use crate::{
    agent::{Agents, Counters},
    family::Family,
    lab::{Endpoint, Lab, View},
    probe::Ping,
    state::{Encapsulation, NonAdjacent},
};

/// How packets leave the sender's node, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They stay on the node.
    Local,
    /// To the next hop as they are.
    Direct,
    /// To the next hop with an IPIP header.
    Ipip,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Direct => "direct",
            Self::Ipip => "ipip",
        })
    }
}

/// The way that this encapsulation demands between two endpoints, one of them a pod, for packets of the
/// family of the receiver's (first) address; none if there must be none.
///
/// # Errors
/// If an endpoint's node is not in the lab, or the nodes have no address of one family.
pub fn demanded(
    lab: &Lab,
    encapsulation: Encapsulation,
    from: &dyn Endpoint,
    to: &dyn Endpoint,
) -> Result<Option<Way>> {
    if from.node() == to.node() {
        return Ok(Some(Way::Local));
    }
    let family = Family::of(to.address());
    let adjacent = lab.node(from.node())?.subnet() == lab.node(to.node())?.subnet();
    // An IPv4 packet can go to an IPv6 gateway, but not the other way round.
    let carried = family == Family::V4 || underlay(lab, from, to)? == family;
    Ok(match (encapsulation, adjacent && carried) {
        (Encapsulation::Always, _) => Some(Way::Ipip),
        (Encapsulation::Never(_) | Encapsulation::CrossSubnet, true) => Some(Way::Direct),
        (Encapsulation::CrossSubnet | Encapsulation::Never(NonAdjacent::Ipip), false) => Some(Way::Ipip),
        (Encapsulation::Never(NonAdjacent::Refuse), false) => None,
    })
}

/// The family in which the endpoints' nodes speak to each other for packets of the family of the
/// receiver's (first) address: that family if both have it, otherwise the other one.
///
/// # Errors
/// If an endpoint's node is not in the lab, or the nodes have no address of one family.
pub fn underlay(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<Family> {
    let nodes = [lab.node(from.node())?, lab.node(to.node())?];
    let family = Family::of(to.address());
    let have = |family: &Family| nodes.iter().all(|node| node.address_of(*family).is_some());
    let found = [family, family.other()].into_iter().find(have);
    found.with_context(|| format!("{} and {} have no address of one family", from.node(), to.node()))
}

/// Pings twice, and reads from the counters of the sender's node which way the second request went (the
/// first resolves neighbours). Returns the round-trip time, too.
///
/// # Errors
/// If there is no reply, no agent to ask, or the counters do not show one clear way.
pub fn observed(agents: &Agents, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<(Way, Duration)> {
    let agent = agents.get(from.node())?;
    let ping = Ping::to(to.address())?;
    ping.expect_reply(from)?;
    let mut unclear = String::new();
    // The kernel's own packets are counted too: IPv6 neighbours are asked now and then whether they are still there.
    for _ in 0..ATTEMPTS {
        let before = agent.counters()?;
        let rtt = ping.expect_reply(from)?;
        let counted = agent.counters()?.since(&before)?;
        let way = if from.is_pod() { way_of_pod(&counted) } else { way_of_host(&counted) };
        match way {
            Some(way) => return Ok((way, rtt)),
            None => unclear = counted.to_string(),
        }
    }
    bail!("from {} to {}: the counters show no clear way:\n{unclear}", from.name(), to.address())
}

/// How often the counters are read before they are said not to show one clear way.
const ATTEMPTS: u32 = 3;

/// What a pod sends is counted at from-pod; a reply from its own node's host passes no program.
fn way_of_pod(counted: &Counters) -> Option<Way> {
    let ways = [
        (Outcome::Local, Way::Local),
        (Outcome::StackHost, Way::Local),
        (Outcome::Direct, Way::Direct),
        (Outcome::Ipip, Way::Ipip),
    ];
    let mut seen = ways.iter().filter(|(outcome, _)| counted.packets(Hook::FromPod, *outcome) > 0);
    let (_, way) = seen.next()?;
    seen.next().is_none().then_some(*way)
}

/// What a host sends to another node is counted at to-uplink; of what it sends to its own pods, the
/// reply is counted at from-pod.
fn way_of_host(counted: &Counters) -> Option<Way> {
    let ipip = counted.packets(Hook::ToUplink, Outcome::Ipip);
    let direct = counted.packets(Hook::ToUplink, Outcome::StackRouted);
    let local = counted.packets(Hook::FromPod, Outcome::StackHost);
    match (local > 0, direct > 0, ipip > 0) {
        (true, false, false) => Some(Way::Local),
        (false, true, false) => Some(Way::Direct),
        (false, false, true) => Some(Way::Ipip),
        _ => None,
    }
}

/// Every pair of endpoints in which at least one is a pod, in both directions.
#[must_use]
pub fn pairs(lab: &Lab) -> Vec<(&dyn Endpoint, &dyn Endpoint)> {
    let endpoints = lab.endpoints();
    let all = endpoints.iter().flat_map(|from| endpoints.iter().map(move |to| (*from, *to)));
    all.filter(|(from, to)| from.name() != to.name() && (from.is_pod() || to.is_pod())).collect()
}

/// Every pair in which at least one is a pod, in both directions, by the receiver's address of this
/// family; a sender without one (a host) has another of its own to send from.
#[must_use]
pub fn pairs_in(lab: &Lab, family: Family) -> Vec<(&dyn Endpoint, View<'_>)> {
    let pairs = pairs(lab).into_iter();
    pairs.filter_map(|(from, to)| View::new(to, family).map(|to| (from, to))).collect()
}

/// Checks that the way observed is the one demanded.
///
/// # Errors
/// If it is another, or there is none.
pub fn expect(
    lab: &Lab,
    agents: &Agents,
    encapsulation: Encapsulation,
    (from, to): (&dyn Endpoint, &dyn Endpoint),
) -> Result<()> {
    let demanded = demanded(lab, encapsulation, from, to)?;
    let (observed, _) = observed(agents, from, to)?;
    ensure!(
        demanded == Some(observed),
        "from {} to {}: {observed} instead of {demanded:?}",
        from.name(),
        to.name()
    );
    Ok(())
}
