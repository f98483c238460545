use std::borrow::Cow;

use ipnet::IpNet;

use crate::{
    model::{NodeName, Prefix},
    rib::{Role, Selection},
};

/// What the table holds, of both families: disjoint prefixes, in order, as few as possible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MasqueradeTable {
    /// Where this node's pods have their addresses from: only what comes from there is masqueraded.
    pub local_pods: Vec<IpNet>,
    /// All pods and nodes of the cluster, and what routes are stated to: what goes there is not masqueraded.
    pub cluster: Vec<IpNet>,
}

impl MasqueradeTable {
    /// The table for the node with this name. In the cluster is whatever the selection has a route for,
    /// also one that this host cannot use at the moment: a node that is unreachable for a while must not
    /// see our pods under another address afterwards.
    #[must_use]
    pub fn of(selection: &Selection, own: &NodeName) -> Self {
        let routes = selection.routes.iter();
        let local =
            routes.filter(|(_, route)| route.node.as_ref() == Some(own) && route.role != Role::NodeAddress);
        Self {
            local_pods: aggregate(local.map(|(prefix, _)| prefix.net())),
            cluster: aggregate(selection.routes.keys().map(|prefix| prefix.net())),
        }
    }
}

impl MasqueradeTable {
    /// The same with more prefixes of the cluster: those to which routes are held although nobody states them any more.
    #[must_use]
    pub fn with(&self, held: &[Prefix]) -> Cow<'_, Self> {
        if held.is_empty() {
            return Cow::Borrowed(self);
        }
        let nets = self.cluster.iter().copied().chain(held.iter().map(Prefix::net));
        Cow::Owned(Self { local_pods: self.local_pods.clone(), cluster: aggregate(nets) })
    }
}

/// Sets of intervals refuse overlaps: a pod's own address inside of a prefix, for example.
fn aggregate(nets: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut nets = IpNet::aggregate(&nets.collect());
    nets.sort();
    nets
}
