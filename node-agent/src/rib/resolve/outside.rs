//! Next hops of routes to what is outside of the cluster: a node's address takes the way to that node if that needs no
//! outer header, any other must be adjacent. What cannot be used is named, and the route stays with the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use node_ebpf_common::{NextHop, NextHopKind};

use super::{Path, ProblemKind, Resolver, Target};
use crate::{
    model::{AddressFamily, LinkNeighbour, NextHopKey, NextHopSet, NodeName, Prefix, Via},
    rib::address::{address_of, to_map},
};

/// What the next hops of a route come to.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    /// The next hop, or why there is none.
    way: Result<NextHopKey, String>,
    /// Next hops that are not used, and why.
    unusable: Vec<(IpAddr, String)>,
}

/// The ways by one stated next hop, and what they are by themselves.
struct Usable {
    key: NextHopKey,
    members: Vec<NextHopKey>,
}

impl<'a> Resolver<'a> {
    /// Finds the next hops of all routes to what is outside; routes with the same ones share them.
    pub(super) fn outside_routes(&mut self) {
        let selection = self.selection;
        let mut nodes: BTreeMap<IpAddr, &'a NodeName> = BTreeMap::new();
        for (name, node) in &selection.nodes {
            nodes.extend(node.addresses.iter().map(|address| (*address, name)));
        }
        for (prefix, candidate) in &selection.routes {
            let Target::NextHops(next_hops) = &candidate.target else { continue };
            let family = prefix.family();
            let known = self.outside.get(&(family, next_hops)).cloned();
            let outside = known.unwrap_or_else(|| {
                let outside = self.by_any_of(family, next_hops, &nodes);
                for (next_hop, reason) in &outside.unusable {
                    let text = format!(
                        "next hop {next_hop} of the route to {prefix} ({}) cannot be used: {reason}",
                        candidate.origin
                    );
                    self.problem(ProblemKind::NextHopUnusable, text);
                }
                self.outside.insert((family, next_hops), outside.clone());
                outside
            });
            if !outside.unusable.is_empty() {
                self.out.unusable.insert(*prefix, outside.unusable);
            }
        }
    }

    /// The next hop for a route with these ones.
    fn by_any_of(
        &mut self,
        family: AddressFamily,
        next_hops: &BTreeSet<IpAddr>,
        nodes: &BTreeMap<IpAddr, &'a NodeName>,
    ) -> Outside {
        // If it were sent on to another of them, that one would send it back.
        if let Some(own) = next_hops.iter().find(|next_hop| !self.underlay.holders(**next_hop).is_empty()) {
            let way = Err(format!("next hop {own} is this host itself, whose own stack decides"));
            return Outside { way, unusable: Vec::new() };
        }
        let (mut usable, mut unusable) = (Vec::new(), Vec::new());
        for &next_hop in next_hops {
            let found = match nodes.get(&next_hop) {
                Some(name) => self.by_node(family, name),
                None => self.by_neighbour(next_hop),
            };
            match found {
                Ok(found) => usable.push((next_hop, found)),
                Err(reason) => unusable.push((next_hop, reason)),
            }
        }
        let usable = self.answering(usable, &mut unusable);
        let way = match usable.as_slice() {
            [] => {
                let reasons: Vec<String> =
                    unusable.iter().map(|(next_hop, reason)| format!("{next_hop}: {reason}")).collect();
                Err(format!("no next hop can be used: {}", reasons.join("; ")))
            }
            [one] => Ok(one.key.clone()),
            several => self.group(NextHopSet { inner: family, next_hops: next_hops.clone() }, several),
        };
        Outside { way, unusable }
    }

    /// Takes next hops out whose neighbours do not answer, unless that is all of them.
    fn answering(
        &mut self,
        usable: Vec<(IpAddr, Usable)>,
        unusable: &mut Vec<(IpAddr, String)>,
    ) -> Vec<Usable> {
        let neighbours = |usable: &Usable| -> Vec<LinkNeighbour> {
            let members = usable.members.iter().filter_map(|key| self.next_hops.get(key));
            let neighbour = |hop: &NextHop| {
                Some(LinkNeighbour { link: hop.interface, address: address_of(hop.gateway)? })
            };
            members.filter_map(neighbour).collect()
        };
        let silent = |usable: &Usable| neighbours(usable).into_iter().all(|one| self.underlay.is_silent(one));
        if usable.len() > 1 {
            let deciding: Vec<_> = usable.iter().flat_map(|(_, usable)| neighbours(usable)).collect();
            let any_answers = usable.iter().any(|(_, usable)| !silent(usable));
            let (out, kept): (Vec<_>, Vec<_>) =
                usable.into_iter().partition(|(_, usable)| any_answers && silent(usable));
            let reason = "its neighbour does not answer, and that of another next hop does";
            unusable.extend(out.into_iter().map(|(next_hop, _)| (next_hop, reason.to_owned())));
            self.out.deciding.extend(deciding);
            return kept.into_iter().map(|(_, usable)| usable).collect();
        }
        usable.into_iter().map(|(_, usable)| usable).collect()
    }

    /// A node's address leads the way that packets to its pods go, if that is without an outer header: out of a tunnel a
    /// node takes only what is for its own pods. A group must not mix families of gateways.
    fn by_node(&self, family: AddressFamily, name: &'a NodeName) -> Result<Usable, String> {
        let way = self.ways.get(&(name, family)).cloned();
        let key = way.unwrap_or_else(|| Err(format!("node {name} is not used")))?;
        if let NextHopKey::Node(path) = &key
            && path.outer != family
        {
            return Err(format!("node {name} is reached over {} only", path.outer));
        }
        if self.next_hops.get(&key).is_none_or(|next_hop| next_hop.kind != NextHopKind::Direct as u32) {
            return Err(format!(
                "packets to node {name} are encapsulated, and it takes encapsulated packets for its own pods only"
            ));
        }
        let members = self.groups.get(&key).cloned().unwrap_or_else(|| vec![key.clone()]);
        Ok(Usable { key, members })
    }

    /// Any other address must be adjacent.
    fn by_neighbour(&mut self, gateway: IpAddr) -> Result<Usable, String> {
        let mut ways = self.underlay.ways(gateway).map_err(|why| why.to_string())?;
        self.out.deciding.append(&mut ways.deciding);
        let first = ways.hops.first().and_then(|hop| hop.gateway);
        let hop = ways.hops.into_iter().find(|hop| hop.gateway.is_none()).ok_or_else(|| {
            let way = first.map(|first| format!(": {first} is on the way")).unwrap_or_default();
            format!("it is no node's address and not adjacent{way}")
        })?;
        let key = NextHopKey::Via(Via { node: None, gateway, interface: hop.link.index });
        let next_hop = NextHop {
            identity: key.identity(),
            kind: NextHopKind::Direct as u32,
            interface: hop.link.index,
            gateway: to_map(Some(gateway)),
            tunnel_source: to_map(self.own_address(AddressFamily::from(gateway))),
            mtu: hop.mtu,
            ..NextHop::default()
        };
        let path = Path {
            interface: hop.link.name.clone(),
            underlay: Some(hop.route),
            adjacent: true,
            link_mtu: hop.mtu,
        };
        self.next_hops.insert(key.clone(), next_hop);
        self.out.paths.insert(key.clone(), path);
        Ok(Usable { members: vec![key.clone()], key })
    }

    /// The owner of a group: the first member's fields, and the smallest MTU, since a packet may take any way.
    fn group(&mut self, set: NextHopSet, several: &[Usable]) -> Result<NextHopKey, String> {
        let members: BTreeSet<NextHopKey> =
            several.iter().flat_map(|usable| usable.members.clone()).collect();
        let objects: Vec<NextHop> =
            members.iter().filter_map(|key| self.next_hops.get(key)).copied().collect();
        let (Some(first), Some(first_key)) = (objects.first(), members.first()) else {
            return Err("no next hop can be used".to_owned());
        };
        let key = NextHopKey::Group(set);
        let mtu = objects.iter().map(|next_hop| next_hop.mtu).min().unwrap_or(first.mtu);
        self.next_hops.insert(key.clone(), NextHop { identity: key.identity(), mtu, ..*first });
        if let Some(path) = self.out.paths.get(first_key).cloned() {
            self.out.paths.insert(key.clone(), path);
        }
        self.groups.insert(key.clone(), members.into_iter().collect());
        Ok(key)
    }

    /// The next hop for a route to what is outside.
    pub(super) fn way_outside(
        &self,
        prefix: Prefix,
        next_hops: &'a BTreeSet<IpAddr>,
    ) -> Result<NextHopKey, String> {
        match self.outside.get(&(prefix.family(), next_hops)) {
            Some(outside) => outside.way.clone(),
            None => Err("its next hops are not known".to_owned()),
        }
    }
}
