//! What Podroute's BPF programs and its user space share: the layout of every map's keys and values,
//! map names and capacities, the attach points ([`Hook`]) and the endings of a packet ([`Outcome`]).
//!
//! Addresses are byte arrays in network byte order, everything else is in host byte order. Any change
//! to a layout here needs a new [`LAYOUT_VERSION`]: pinned maps of another version are never read.
#![no_std]

#[cfg(feature = "user")]
extern crate std;

mod address;
#[cfg(feature = "bench")]
pub mod bench;
mod counter;
mod endpoint;
mod flow;
mod group;
mod hook;
mod layout;
mod lookup;
mod next_hop;
mod outcome;
mod route;
mod settings;
mod trace;
mod uplink;

pub use address::Address;
pub use counter::{COUNTERS, Counter, OUTCOMES_PER_HOOK, counter_index};
pub use endpoint::{Endpoint, SourceCheck};
pub use flow::Flow;
pub use group::{GROUP_BUCKETS, NextHopGroup};
pub use hook::Hook;
pub use layout::{
    LAYOUT_VERSION, MARK_FORWARDED, MARK_TRANSLATABLE, MAX_ENDPOINTS, MAX_NEXT_HOP_GROUPS, MAX_NEXT_HOPS,
    MAX_ROUTES, MAX_TRANSLATED_FLOWS, MAX_UPLINKS, TRANSLATED_PAIRS, TRANSLATED_PAIRS_CHUNK, XDP_DECAP,
    map_name,
};
#[cfg(feature = "user")]
pub use lookup::user::{
    Cells, GracePeriod, LookupUsage, LookupWriter, MapLookupError, MappedCells, RunningPrograms,
};
pub use lookup::{Cell, Found, LOOKUP_CELLS, LOOKUP_CHUNKS, LOOKUP_ROOTS, LookupChunk, look_up};
pub use next_hop::{NextHop, NextHopKind};
pub use outcome::{Ending, Outcome};
pub use route::Route;
pub use settings::Settings;
pub use trace::{TRACE_BUFFER, TRACE_ON, TRACE_SNAPLEN, TraceEvent, TraceFilter, TraceState};
pub use uplink::Uplink;

/// Marks the shared types as plain bytes, so that aya may copy them to and from maps.
#[cfg(feature = "user")]
mod user {
    // SAFETY: every type here is `repr(C)` (or transparent), `Copy`, without padding bytes (asserted by
    // the layout tests) and without pointers: any bit pattern is a value.
    unsafe impl aya::Pod for crate::Address {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::Counter {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::Endpoint {}
    // SAFETY: as above.
    unsafe impl<A: aya::Pod> aya::Pod for crate::Flow<A> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::NextHop {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::NextHopGroup {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::Route {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::Settings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::TraceFilter {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::TraceState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::Uplink {}
    #[cfg(feature = "bench")]
    mod bench {
        // SAFETY: as above.
        unsafe impl aya::Pod for crate::bench::Target {}
        // SAFETY: as above.
        unsafe impl aya::Pod for crate::bench::Template {}
        // SAFETY: as above.
        unsafe impl aya::Pod for crate::bench::Work {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the enum are places in a map: they must be dense and in order.
    #[test]
    fn outcome_index_is_its_place_in_all() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(index, *outcome as usize, "{}", outcome.label());
        }
    }

    /// One concept, one word: no two outcomes share a label, and a drop says so in its name.
    #[test]
    fn outcome_labels_are_unique_and_tell_the_ending() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            let label = outcome.label();
            assert!(Outcome::ALL[index + 1..].iter().all(|other| other.label() != label), "{label}");
            assert_eq!(label.starts_with("drop-"), outcome.ending() == Ending::Dropped, "{label}");
        }
    }

    /// Invariant 6: every count has one name everywhere; the documentation lists them all, in order.
    #[test]
    fn invariant_6_the_documentation_lists_every_outcome() {
        let page = include_str!("../../docs/datapath.md");
        let mut rest = page.split_once("| outcome | ending | meaning |").unwrap().1.lines().skip(2);
        for outcome in Outcome::ALL {
            let (label, ending) = (outcome.label(), outcome.ending().label());
            let row = rest.next().unwrap_or_default();
            let parts: [&str; 3] = [label, ending, outcome.meaning()];
            let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
            assert!(parts.iter().all(|part| cells.next() == Some(part)), "docs/datapath.md: {label}: {row}");
        }
        assert_eq!(rest.next(), None, "docs/datapath.md lists an outcome that does not exist");
    }

    /// Invariant 7: a size that changes is a new layout. Whoever changes a number here must raise
    /// `LAYOUT_VERSION` with it. Sizes are also free of padding, which aya's `Pod` asks for.
    #[test]
    fn layout_version_3_has_these_sizes() {
        assert_eq!(LAYOUT_VERSION, 3);
        assert_eq!(size_of::<Route>(), 4 + 4);
        assert_eq!(size_of::<NextHop>(), 8 + 4 + 4 + 3 * 16 + 4 + 4 + 6 + 6 + 4);
        assert_eq!((size_of::<NextHopGroup>(), GROUP_BUCKETS, MAX_NEXT_HOP_GROUPS), (8 + 16 * 4, 16, 1_024));
        assert_eq!(size_of::<Endpoint>(), 2 * 16 + 4 + 4);
        assert_eq!(size_of::<Settings>(), 2 * 16);
        assert_eq!(size_of::<Counter>(), 16);
        assert_eq!((size_of::<Flow<u32>>(), size_of::<Flow<Address>>()), (2 * 4 + 8, 2 * 16 + 8));
        assert_eq!((MAX_ROUTES, MAX_NEXT_HOPS, MAX_ENDPOINTS, COUNTERS), (1 << 20, 16_384, 4_096, 5 * 48));
        assert_eq!((LOOKUP_CHUNKS, size_of::<LookupChunk>()), (1 << 15, 512));
        assert_eq!((TRANSLATED_PAIRS, TRANSLATED_PAIRS_CHUNK), (1 << 18, 1 << 12));
        assert_eq!((MAX_TRANSLATED_FLOWS, MAX_UPLINKS, size_of::<Uplink>()), (131_072, 64, 6 + 2));
    }

    #[test]
    fn addresses_of_version_4_are_mapped() {
        let address = Address::from_v4([10, 0, 1, 11]);
        assert_eq!(address.octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 1, 11]);
        assert_eq!(Address::from_octets(address.octets()), address);
        assert_eq!(address.v4_bytes(), [10, 0, 1, 11]);
        assert!(address.is_v4() && address.is(&Address::from_v4([10, 0, 1, 11])));
        let other = Address::from_octets([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 10, 0, 1, 11]);
        assert!(!other.is_v4() && !other.is(&address) && !Address::NONE.is_v4());
    }
}
