//! The decision once more, in plain Rust over byte slices and lists: what the programs are compared with. It
//! shares no code with them but the outcomes and the shapes of the maps.

use std::{collections::HashSet, net::IpAddr};

use node_ebpf_common::{
    Address, Ending, Flow, Hook, MARK_FORWARDED, MARK_TRANSLATABLE, NextHop, NextHopKind, Outcome, Route,
};

use crate::{
    cluster::{Cluster, LOOPBACK, to_map},
    model_group::{choose, ways},
    model_packet::{Ip, less_one_hop, mark_congestion, outer, read},
    rig::{Context, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
};

const UDP: u8 = 17;

/// What must come out of a run.
pub struct Expected {
    /// What is counted; nothing for what only passes by.
    pub outcome: Option<Outcome>,
    /// The verdict.
    pub verdict: u32,
    /// `skb->mark` afterwards.
    pub mark: u32,
    /// The packet afterwards; none where it does not matter.
    pub data: Option<Vec<u8>>,
}

/// The model: tables, and the flows that netfilter translates as they become known.
pub struct Model {
    cluster: Cluster,
    /// Flows that have been remembered.
    pub translated: HashSet<Flow<Address>>,
}

/// What happens to a packet that is not left alone.
struct Act {
    outcome: Outcome,
    verdict: u32,
    data: Vec<u8>,
    mark: u32,
}

type Decided = Result<Act, Outcome>;

impl Model {
    /// Nothing is translated yet.
    pub fn new() -> Self {
        Self { cluster: Cluster::new(), translated: HashSet::new() }
    }

    /// What a program must do.
    pub fn expect(&mut self, hook: Hook, frame: &[u8], context: Context) -> Expected {
        let passes_by =
            |mark, outcome| Expected { outcome, verdict: TC_ACT_UNSPEC, mark, data: Some(frame.to_vec()) };
        let mut mark = context.mark;
        if hook == Hook::ToUplink && mark & MARK_FORWARDED != 0 {
            return passes_by(mark & !MARK_FORWARDED, None);
        }
        if hook == Hook::ToPod && mark & MARK_TRANSLATABLE == 0 {
            return passes_by(mark, Some(Outcome::StackRouted));
        }
        let unicast = frame[..6] == [0; 6];
        let ip = matches!(frame[12..14], [0x08, 0x00] | [0x86, 0xdd]);
        if !ip || (hook.is_ingress() && !unicast) {
            return passes_by(mark, Some(Outcome::StackOtherProtocol));
        }
        let decided = read(frame, 14, frame[12] == 0x86, context.gso_size).and_then(|ip| match hook {
            Hook::FromPod => self.pod_sends(frame, &ip, context),
            Hook::FromUplink => self.uplink_brings(frame, &ip, context),
            Hook::ToUplink => self.stack_sends(frame, &ip, context, &mut mark),
            Hook::ToPod => self.stack_delivers(frame, &ip, &mut mark),
            Hook::Xdp => unreachable!("XDP is compared with tc, not with the model"),
        });
        match decided {
            Ok(act) => Expected {
                outcome: Some(act.outcome),
                verdict: act.verdict,
                mark: mark | act.mark,
                data: Some(act.data),
            },
            Err(outcome) => {
                let dropped = outcome.ending() == Ending::Dropped;
                let translatable = hook.is_ingress()
                    && matches!(
                        outcome,
                        Outcome::StackNotRouted | Outcome::StackHost | Outcome::StackTranslated
                    );
                Expected {
                    outcome: Some(outcome),
                    verdict: if dropped { TC_ACT_SHOT } else { TC_ACT_UNSPEC },
                    mark: mark | if translatable { MARK_TRANSLATABLE } else { 0 },
                    data: (outcome != Outcome::DropRewriteFailed).then(|| frame.to_vec()),
                }
            }
        }
    }

    /// What the XDP program must do, on an uplink through which the kernel knows no neighbours: outcome, whether
    /// the frame is dropped, and the frame afterwards.
    pub fn expect_xdp(&self, frame: &[u8], decap: bool) -> (Outcome, bool, Vec<u8>) {
        let ip = matches!(frame[12..14], [0x08, 0x00] | [0x86, 0xdd]);
        if !ip || frame[..6] != [0; 6] {
            return (Outcome::StackOtherProtocol, false, frame.to_vec());
        }
        match self.xdp(frame, decap) {
            Ok(data) => (Outcome::DecapPass, false, data),
            // What cannot be read here may be readable for tc.
            Err(Outcome::DropMalformed) => (Outcome::Pass, false, frame.to_vec()),
            Err(outcome) => (outcome, outcome.ending() == Ending::Dropped, frame.to_vec()),
        }
    }

    fn xdp(&self, frame: &[u8], decap: bool) -> Result<Vec<u8>, Outcome> {
        let ip = read(frame, 14, frame[12] == 0x86, 0)?;
        if self.is_tunnel_to_node(&ip) {
            if ip.fragment {
                return Err(Outcome::DropTunnelFragment);
            }
            let inner = read(frame, 14 + ip.length, ip.protocol == 41, 0)?;
            let (_, _, congested) = self.accept(&ip, &inner)?;
            return if decap { Ok(without_outer(frame, &ip, &inner, congested)) } else { Err(Outcome::Pass) };
        }
        if self.is_own(ip.source) {
            return Err(Outcome::DropSpoofedUplinkSource);
        }
        self.next_hop(&ip, Outcome::Pass)?;
        Err(Outcome::Pass)
    }

    fn is_tunnel_to_node(&self, ip: &Ip) -> bool {
        let settings = self.cluster.settings;
        let node = if ip.source.is_ipv4() { settings.node_v4 } else { settings.node_v6 };
        matches!(ip.protocol, 4 | 41) && to_map(ip.destination) == node
    }

    fn find(&self, address: IpAddr) -> Option<(Route, Option<NextHop>)> {
        self.cluster.route(address).map(|route| (route, self.cluster.next_hop(route.next_hop)))
    }

    fn kind(&self, address: IpAddr) -> Option<NextHopKind> {
        self.find(address)?.1.and_then(|next_hop| NextHopKind::from_u32(next_hop.kind))
    }

    /// Whether the address is this node's or one of its pods'.
    fn is_own(&self, address: IpAddr) -> bool {
        matches!(
            self.kind(address),
            Some(NextHopKind::LocalPod | NextHopKind::Unassigned | NextHopKind::Host)
        )
    }

    /// The next hop for a packet, and its kind.
    fn next_hop(&self, ip: &Ip, unknown: Outcome) -> Result<(NextHop, NextHopKind), Outcome> {
        let (_, next_hop) = self.find(ip.destination).ok_or(unknown)?;
        let next_hop = choose(&self.cluster, ip, next_hop.ok_or(Outcome::DropNoNextHop)?);
        match NextHopKind::from_u32(next_hop.kind).expect("a known kind") {
            NextHopKind::Unassigned => Err(Outcome::DropUnassigned),
            kind => Ok((next_hop, kind)),
        }
    }

    fn pod_sends(&self, frame: &[u8], ip: &Ip, context: Context) -> Decided {
        let endpoint = self.cluster.endpoint;
        let first = [endpoint.address_v4, endpoint.address_v6].contains(&to_map(ip.source));
        let second = self.find(ip.source).and_then(|found| found.1).is_some_and(|next_hop| {
            next_hop.kind == NextHopKind::LocalPod as u32 && next_hop.interface == LOOPBACK
        });
        let discovery = link_local(ip.source) && link_local(ip.destination);
        if !first && !second && !discovery {
            return Err(Outcome::DropSpoofedSource);
        }
        if matches!(ip.protocol, 4 | 41) {
            return Err(Outcome::DropPodTunnel);
        }
        let (via, kind) = self.next_hop(ip, Outcome::StackNotRouted)?;
        if kind == NextHopKind::Host {
            return Err(Outcome::StackHost);
        }
        forwardable(ip, &via)?;
        if self.translated.contains(&flow(ip)) {
            return Err(Outcome::StackTranslated);
        }
        let mut data = frame.to_vec();
        less_one_hop(&mut data, 14);
        match kind {
            NextHopKind::LocalPod => Ok(deliver(data, &via, Outcome::Local)),
            NextHopKind::Direct => {
                Ok(Act { outcome: Outcome::Direct, verdict: TC_ACT_REDIRECT, data, mark: MARK_FORWARDED })
            }
            _ => {
                let data = encapsulate(&data, ip, &via, context)?;
                Ok(Act { outcome: Outcome::Ipip, verdict: TC_ACT_REDIRECT, data, mark: MARK_FORWARDED })
            }
        }
    }

    fn uplink_brings(&self, frame: &[u8], ip: &Ip, context: Context) -> Decided {
        if self.is_tunnel_to_node(ip) {
            return self.decapsulate(frame, ip, context);
        }
        if self.is_own(ip.source) {
            return Err(Outcome::DropSpoofedUplinkSource);
        }
        let (via, kind) = self.next_hop(ip, Outcome::StackNotRouted)?;
        match kind {
            NextHopKind::Host => return Err(Outcome::StackHost),
            NextHopKind::LocalPod => {}
            _ => return Err(Outcome::StackTransit),
        }
        forwardable(ip, &via)?;
        if self.translated.contains(&flow(ip).reversed()) {
            return Err(Outcome::StackTranslated);
        }
        let mut data = frame.to_vec();
        less_one_hop(&mut data, 14);
        Ok(deliver(data, &via, Outcome::Local))
    }

    /// Whether a tunnel packet is accepted: the next hop of what is inside, and whether that gets the congestion
    /// mark.
    fn accept(&self, ip: &Ip, inner: &Ip) -> Result<(NextHop, NextHopKind, bool), Outcome> {
        let owner = self.find(inner.source).and_then(|found| found.1);
        let remote = [NextHopKind::Direct as u32, NextHopKind::Ipip as u32];
        let leads = |way: &NextHop| remote.contains(&way.kind) && way.tunnel_destination == to_map(ip.source);
        let owned = owner.is_some_and(|owner| {
            remote.contains(&owner.kind) && ways(&self.cluster, owner).iter().any(leads)
        });
        if !owned {
            let known = self.find(ip.source).is_some_and(|(route, _)| route.flags == Route::NODE_ADDRESS);
            return Err(if known {
                Outcome::DropSpoofedInnerSource
            } else {
                Outcome::DropUnknownTunnelSource
            });
        }
        if matches!(inner.protocol, 4 | 41) {
            return Err(Outcome::DropNestedTunnel);
        }
        let congested = ip.traffic_class & 3 == 3;
        if congested && inner.traffic_class & 3 == 0 {
            return Err(Outcome::DropCongestionMark);
        }
        let (via, kind) = self.next_hop(inner, Outcome::DropTunnelNotLocal)?;
        if !matches!(kind, NextHopKind::LocalPod | NextHopKind::Host) {
            return Err(Outcome::DropTunnelNotLocal);
        }
        Ok((via, kind, congested))
    }

    fn decapsulate(&self, frame: &[u8], ip: &Ip, context: Context) -> Decided {
        if ip.fragment {
            return Err(Outcome::DropTunnelFragment);
        }
        let inner = read(frame, 14 + ip.length, ip.protocol == 41, context.gso_size)?;
        let (via, kind, congested) = self.accept(ip, &inner)?;
        if context.gso_size > 0 {
            return Err(Outcome::DropRewriteFailed);
        }
        let mut data = without_outer(frame, ip, &inner, congested);
        let to_pod = kind == NextHopKind::LocalPod
            && forwardable(&inner, &via).is_ok()
            && !self.translated.contains(&flow(&inner).reversed());
        if !to_pod {
            let mark = MARK_TRANSLATABLE;
            return Ok(Act { outcome: Outcome::DecapStack, verdict: TC_ACT_UNSPEC, data, mark });
        }
        less_one_hop(&mut data, 14);
        Ok(deliver(data, &via, Outcome::DecapLocal))
    }

    fn stack_sends(&mut self, frame: &[u8], ip: &Ip, context: Context, mark: &mut u32) -> Decided {
        if *mark & MARK_TRANSLATABLE != 0 {
            *mark &= !MARK_TRANSLATABLE;
            self.remember(ip);
        }
        let leave =
            Ok(Act { outcome: Outcome::StackRouted, verdict: TC_ACT_UNSPEC, data: frame.to_vec(), mark: 0 });
        let Some((route, Some(owner))) = self.find(ip.destination) else { return leave };
        let (via, several) = (choose(&self.cluster, ip, owner), owner.group != 0);
        if several && via.kind == NextHopKind::Direct as u32 && route.flags != Route::NODE_ADDRESS {
            // The stack may have chosen another way.
            let (outcome, data) = (Outcome::StackRouted, frame.to_vec());
            return Ok(Act { outcome, verdict: TC_ACT_REDIRECT, data, mark: MARK_FORWARDED });
        }
        if via.kind != NextHopKind::Ipip as u32 {
            return leave;
        }
        let settings = self.cluster.settings;
        let nodes_own = [settings.node_v4, settings.node_v6].contains(&to_map(ip.source));
        if route.flags == Route::NODE_ADDRESS && (nodes_own || !self.is_own(ip.source)) {
            return leave;
        }
        if ip.largest > via.mtu {
            return Err(Outcome::DropTooBig);
        }
        let data = encapsulate(frame, ip, &via, context)?;
        if !several && via.tunnel_destination.is_v4() == ip.source.is_ipv4() {
            return Ok(Act { outcome: Outcome::Ipip, verdict: TC_ACT_UNSPEC, data, mark: 0 });
        }
        Ok(Act { outcome: Outcome::Ipip, verdict: TC_ACT_REDIRECT, data, mark: MARK_FORWARDED })
    }

    fn stack_delivers(&mut self, frame: &[u8], ip: &Ip, mark: &mut u32) -> Decided {
        *mark &= !MARK_TRANSLATABLE;
        if self.remember(ip) {
            return Err(Outcome::StackTranslated);
        }
        let data = frame.to_vec();
        Ok(Act { outcome: Outcome::StackRouted, verdict: TC_ACT_UNSPEC, data, mark: 0 })
    }

    /// Remembers the flow of a packet that netfilter has translated; says whether it did.
    fn remember(&mut self, ip: &Ip) -> bool {
        let remote = |kind| matches!(kind, Some(NextHopKind::Direct | NextHopKind::Ipip));
        let local = |kind| kind == Some(NextHopKind::LocalPod);
        let (source, destination) = (self.kind(ip.source), self.kind(ip.destination));
        let mut flows = Vec::new();
        if local(source) && (local(destination) || remote(destination)) {
            flows.push(flow(ip));
        }
        if local(destination) && (local(source) || remote(source)) {
            flows.push(flow(ip).reversed());
        }
        if ip.protocol == UDP {
            flows.extend(flows.clone().iter().map(Flow::without_ports));
        }
        self.translated.extend(&flows);
        !flows.is_empty()
    }
}

/// The frame without its outer header.
fn without_outer(frame: &[u8], ip: &Ip, inner: &Ip, congested: bool) -> Vec<u8> {
    let ether_type = if inner.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    let mut data = [&frame[..12], &ether_type, &frame[14 + ip.length..]].concat();
    if congested {
        mark_congestion(&mut data, 14);
    }
    data
}

fn flow(ip: &Ip) -> Flow<Address> {
    Flow {
        local: to_map(ip.source),
        remote: to_map(ip.destination),
        local_port: ip.source_port.to_be(),
        remote_port: ip.destination_port.to_be(),
        protocol: u32::from(ip.protocol),
    }
}

fn link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn forwardable(ip: &Ip, via: &NextHop) -> Result<(), Outcome> {
    match (ip.hops, ip.largest > via.mtu) {
        (0 | 1, _) => Err(Outcome::StackTtl),
        (_, true) => Err(Outcome::StackTooBig),
        _ => Ok(()),
    }
}

/// Delivers to a pod: its MACs where they are known.
fn deliver(mut data: Vec<u8>, pod: &NextHop, outcome: Outcome) -> Act {
    if pod.mac_destination != [0; 6] {
        data[..6].copy_from_slice(&pod.mac_destination);
        data[6..12].copy_from_slice(&pod.mac_source);
    }
    Act { outcome, verdict: TC_ACT_REDIRECT, data, mark: 0 }
}

/// Test runs make super-packets without a type, to which the kernel adds no header.
fn encapsulate(frame: &[u8], ip: &Ip, via: &NextHop, context: Context) -> Result<Vec<u8>, Outcome> {
    if context.gso_size > 0 {
        return Err(Outcome::DropRewriteFailed);
    }
    let over_v4 = via.tunnel_destination.is_v4();
    let ether_type = if over_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    Ok([&frame[..12], &ether_type, &outer(ip, frame.len() - 14, via), &frame[14..]].concat())
}
