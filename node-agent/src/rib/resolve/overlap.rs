use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Problem, Resolver, Role, Target};
use crate::{
    model::Prefix,
    rib::{Claimant, Conflict, ConflictKind},
};

impl Resolver<'_> {
    /// Selected prefixes that contain a network that the host is connected to, and why they are refused:
    /// their routes would take the host's own neighbours away from it. A node's address is exempt, as it
    /// gets no kernel route, and so is a local pod's, whose interface may be such a network of its own.
    pub(super) fn overlapping_prefixes(&mut self) -> BTreeMap<Prefix, String> {
        let mut refused = BTreeMap::new();
        let connected: BTreeMap<Prefix, &str> = self.underlay.connected().collect();
        for (network, interface) in connected {
            for prefix in around(network) {
                let Some(candidate) = self.selection.routes.get(&prefix) else { continue };
                let exempt = candidate.role == Role::NodeAddress
                    || matches!(candidate.target, Target::Pod(_) | Target::Host);
                if exempt || refused.contains_key(&prefix) {
                    continue;
                }
                let reason =
                    format!("prefix overlaps the host's own network: {network} is connected to {interface}");
                let text = format!("{prefix}, {candidate}, is refused: {reason}");
                refused.insert(prefix, reason);
                let conflict = Conflict {
                    kind: ConflictKind::PrefixOverlapsHost,
                    about: prefix.to_string(),
                    winner: Claimant { name: format!("the network {network} of {interface}"), origin: None },
                    loser: Claimant::from(&**candidate),
                };
                self.out.problems.push(Problem::of(conflict, text));
            }
        }
        self.around_what_the_host_needs(&mut refused);
        refused
    }

    /// Routes to what is outside around an address of the host's own, or around a gateway of its routes: they would take
    /// from the host itself what it needs to reach anything.
    fn around_what_the_host_needs(&mut self, refused: &mut BTreeMap<Prefix, String>) {
        for (address, what) in self.underlay.needed() {
            for prefix in around(Prefix::host(address)) {
                let Some(candidate) = self.selection.routes.get(&prefix) else { continue };
                if candidate.role != Role::Route || refused.contains_key(&prefix) {
                    continue;
                }
                let reason = format!("it contains {address}, {what}");
                let text = format!("{prefix}, {candidate}, is refused: {reason}");
                refused.insert(prefix, reason);
                let conflict = Conflict {
                    kind: ConflictKind::PrefixOverlapsHost,
                    about: prefix.to_string(),
                    winner: Claimant { name: format!("{address}, {what}"), origin: None },
                    loser: Claimant::from(&**candidate),
                };
                self.out.problems.push(Problem::of(conflict, text));
            }
        }
    }
}

/// The prefix itself and every shorter one around it, the shortest first.
pub(in crate::rib) fn around(network: Prefix) -> impl DoubleEndedIterator<Item = Prefix> {
    let net = move |length| IpNet::new(network.address(), length).ok();
    (0..=network.len()).filter_map(net).map(Prefix::containing)
}
