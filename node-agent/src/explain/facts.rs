//! What an explanation is made of: each plane as it was read, beside what it should hold.

use std::net::IpAddr;

use node_ebpf_common::{Endpoint, Hook, NextHop, Route};

use crate::{
    api::{CounterRow, PathMtuRow, PendingChange, TraceRow},
    host::Neighbour,
    model::{KernelAnswer, KernelRoute, LinkState, NodeName, Prefix},
    rib::{self, Path},
};

/// Everything that is known of one address or prefix, read at one time.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The sources, and how they are.
    pub sources: Vec<SourceFact>,
    /// Whether a pass was made with all that the sources have.
    pub settled: bool,
    /// Objects of the sources that state something of the target.
    pub stated: Vec<Stated>,
    /// The pod that was asked for.
    pub asked: Option<Stated>,
    /// Who claims the prefixes around the target, and who gets them.
    pub decided: Decided,
    /// What should be in place; none: the host's stack decides.
    pub wanted: Option<WantedWay>,
    /// What the maps hold.
    pub bpf: BpfFacts,
    /// Programs on the way.
    pub hooks: Vec<HookFact>,
    /// The interfaces that packets leave through: several where next hops share the load.
    pub links: Vec<LinkFact>,
    /// The kernel's routes.
    pub kernel: KernelFacts,
    /// The neighbours that packets are sent to.
    pub neighbours: Vec<NeighbourFact>,
    /// How large packets may be.
    pub mtu: MtuFacts,
    /// What was counted and traced.
    pub packets: PacketFacts,
    /// What is still to be done, and what is wrong.
    pub pending: PendingFacts,
}

/// A source.
#[derive(Debug, Clone)]
pub struct SourceFact {
    /// Its name and place.
    pub name: String,
    /// Whether it has told everything it had at its start.
    pub synced: bool,
    /// Why it cannot be read now.
    pub error: Option<String>,
}

/// An object that states something of the target.
#[derive(Debug, Clone)]
pub struct Stated {
    /// What it is: `pod default/web-0 on node a1, interface veth-web-0`.
    pub what: String,
    /// The node it belongs to.
    pub node: Option<NodeName>,
    /// Where it stands.
    pub origin: String,
}

/// What the routing information base decided.
#[derive(Debug, Clone, Default)]
pub struct Decided {
    /// The longest match with a route.
    pub route: Option<rib::RouteRow>,
    /// Longer matches that have none.
    pub passed_over: Vec<rib::RouteRow>,
    /// Claims that nobody has.
    pub unused: Vec<(Prefix, rib::LoserRow)>,
    /// The node that the match leads to.
    pub node: Option<NodeName>,
    /// Whether other nodes claim the prefix of the match.
    pub rivals: Vec<rib::LoserRow>,
    /// Prefixes around that of the match, longest first.
    pub around: Vec<rib::RouteRow>,
    /// Prefixes inside of a target that is more than one address.
    pub inside: Vec<rib::RouteRow>,
    /// How many more of those there are.
    pub more_inside: usize,
}

/// What should be in place.
#[derive(Debug, Clone)]
pub struct WantedWay {
    /// The prefix.
    pub prefix: Prefix,
    /// Name of the next-hop object.
    pub name: String,
    /// The object.
    pub next_hop: NextHop,
    /// Bits of the route.
    pub flags: u32,
    /// How it is reached.
    pub path: Option<Path>,
    /// Members, where it is a group.
    pub members: Vec<(String, NextHop)>,
}

impl WantedWay {
    /// The objects by which packets leave: the members of the group, or the object itself.
    pub fn hops(&self) -> impl Iterator<Item = &NextHop> {
        let own = self.members.is_empty().then_some(&self.next_hop);
        own.into_iter().chain(self.members.iter().map(|(_, member)| member))
    }
}

/// What the maps hold.
#[derive(Debug, Clone, Default)]
pub struct BpfFacts {
    /// The longest match in the routes map.
    pub trie: Option<TrieAnswer>,
    /// Whether the brake holds the target's route.
    pub held: bool,
    /// What is wrong if the lookup table answers something else.
    pub lookup_table: Option<String>,
    /// Whether the lookup table was asked: it knows IPv4 addresses only.
    pub lookup_table_asked: bool,
    /// The endpoint of a local pod that should be there, and the one that is.
    pub endpoint: Option<(Endpoint, Option<Endpoint>)>,
}

/// The longest match in the routes map.
#[derive(Debug, Clone)]
pub struct TrieAnswer {
    /// The shortest prefix by which the same is found: the one that matched, or one around it that says the same.
    pub prefix: Prefix,
    /// The route.
    pub route: Route,
    /// The object that it leads to.
    pub next_hop: NextHop,
}

/// A hook that should have a program.
#[derive(Debug, Clone)]
pub struct HookFact {
    /// The interface.
    pub interface: String,
    /// The hook.
    pub hook: Hook,
    /// Number of the program that should run.
    pub expected: u32,
    /// Number of the program of ours that runs.
    pub running: Option<u32>,
    /// How it is attached; none where XDP cannot be, and tc does its work.
    pub method: Option<String>,
}

/// An interface as it is.
#[derive(Debug, Clone)]
pub struct LinkFact {
    /// Its name, or its number.
    pub name: String,
    /// How it is; none if it does not exist.
    pub state: Option<LinkState>,
}

/// The kernel's routes.
#[derive(Debug, Clone, Default)]
pub struct KernelFacts {
    /// The route of ours that should be there, as the kernel would report it.
    pub wanted: Option<KernelRoute>,
    /// Every route of the main table to its prefix, or to the longest one around the target.
    pub found: Vec<KernelRoute>,
    /// What the kernel itself answers for the address; none for a prefix.
    pub answer: Option<Result<KernelAnswer, String>>,
    /// Whether packets of the family are forwarded.
    pub forwarding: bool,
    /// Names of interfaces by index.
    pub names: std::collections::BTreeMap<u32, String>,
}

/// A neighbour.
#[derive(Debug, Clone)]
pub struct NeighbourFact {
    /// Its address.
    pub address: IpAddr,
    /// The interface.
    pub interface: String,
    /// The kernel's entry.
    pub entry: Option<Neighbour>,
    /// The link-layer address that programs put on packets by themselves; none if they use the entry's.
    pub programs_use: Option<[u8; 6]>,
}

/// How large packets may be.
#[derive(Debug, Clone, Default)]
pub struct MtuFacts {
    /// What a router told of the way.
    pub learned: Option<PathMtuRow>,
    /// The pods' MTU and where it comes from.
    pub pods: Option<(u32, String)>,
}

/// What was counted and traced.
#[derive(Debug, Clone, Default)]
pub struct PacketFacts {
    /// Every counter of this node.
    pub counters: Vec<CounterRow>,
    /// The last traced packet from or to the target.
    pub last_trace: Option<TraceRow>,
    /// Whether packets are traced now.
    pub tracing: bool,
}

/// What is still to be done, and what is wrong.
#[derive(Debug, Clone, Default)]
pub struct PendingFacts {
    /// Failed changes that concern the target.
    pub changes: Vec<PendingChange>,
    /// How many other changes have failed.
    pub other_changes: usize,
    /// Problems that concern the target.
    pub problems: Vec<String>,
    /// How many other problems there are.
    pub other_problems: usize,
    /// Whether masquerade is wanted, and whether it is in place.
    pub masquerade: (bool, bool),
}
