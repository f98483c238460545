//! The kinds of prefixes.

use fastrand::Rng;
use ipnet::IpNet;
use node_ebpf_common::{MAX_NEXT_HOPS, Route};

use super::super::prefixes::PrefixSet;
use crate::family::Family;

/// How the prefixes of a workload are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mix {
    /// IPv4 ranges of one length, 24.
    V4,
    /// IPv4, nine of ten ranges of 26 bits, one of ten a single address.
    Mixed,
    /// IPv6 ranges of one length, 64.
    V6,
}

impl Mix {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::V4, Self::Mixed, Self::V6];

    /// For people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V4 => "IPv4, /24",
            Self::Mixed => "IPv4, 90 % /26 and 10 % /32",
            Self::V6 => "IPv6, /64",
        }
    }

    /// The family.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::V4 | Self::Mixed => Family::V4,
            Self::V6 => Family::V6,
        }
    }

    /// So many prefixes.
    #[must_use]
    pub fn prefixes(self, count: usize, rng: &mut Rng) -> PrefixSet {
        match self {
            Self::V4 => PrefixSet::ranges(Family::V4, 24, count, rng),
            Self::Mixed => PrefixSet::mixed(count, rng),
            Self::V6 => PrefixSet::ranges(Family::V6, 64, count, rng),
        }
    }

    /// So many routes, each to a next hop that many others have, too.
    #[must_use]
    pub fn routes(self, count: usize, rng: &mut Rng) -> (PrefixSet, Vec<(IpNet, Route)>) {
        let set = self.prefixes(count, rng);
        let next_hops = (1..MAX_NEXT_HOPS).cycle();
        let routes = set.prefixes.iter().zip(next_hops);
        let routes = routes.map(|(prefix, next_hop)| (*prefix, Route { next_hop, flags: 0 })).collect();
        (set, routes)
    }
}
