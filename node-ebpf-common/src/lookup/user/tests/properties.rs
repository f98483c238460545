//! Random changes of prefixes that overlap, with readers at every store.

use std::{net::Ipv4Addr, vec::Vec};

use ipnet::Ipv4Net;
use proptest::{collection::vec, prelude::*, sample::select};

use super::rig::{Change, Rig};
use crate::{Cell, Cells, LOOKUP_ROOTS, MAX_NEXT_HOPS, Route};

/// Few addresses, so that prefixes lie within each other.
fn prefix() -> impl Strategy<Value = Ipv4Net> {
    let byte = || select(&[0_u8, 1, 10, 255]);
    let length = prop_oneof![1 => 0_u8..=8, 4 => 9_u8..=24, 4 => 25_u8..=32, 2 => select(&[16_u8, 24, 32])];
    ([byte(), byte(), byte(), byte()], length).prop_map(|(bytes, length)| {
        Ipv4Net::new(Ipv4Addr::from_octets(bytes), length).expect("a length up to 32").trunc()
    })
}

fn route() -> impl Strategy<Value = Route> {
    (1_u32..6, 0..=Route::NODE_ADDRESS).prop_map(|(next_hop, flags)| Route { next_hop, flags })
}

/// Now and then one that fits no cell.
fn any_route() -> impl Strategy<Value = Route> {
    let unfit = select(&[
        Route { next_hop: 0, flags: 0 },
        Route { next_hop: 3, flags: 2 },
        Route { next_hop: MAX_NEXT_HOPS, flags: 0 },
    ]);
    prop_oneof![4 => route(), 1 => unfit]
}

/// As often as not a prefix that has a route is changed again, or loses it.
fn changes(route: impl Strategy<Value = Route>) -> impl Strategy<Value = Vec<Change>> {
    vec((prefix(), route, any::<prop::sample::Index>(), 0_u8..8), 1..24).prop_map(|steps| {
        let mut prefixes: Vec<Ipv4Net> = Vec::new();
        let change = |(new, route, index, kind): (Ipv4Net, Route, prop::sample::Index, u8)| {
            let known = if prefixes.is_empty() { new } else { prefixes[index.index(prefixes.len())] };
            let prefix = if kind < 4 { new } else { known };
            prefixes.push(prefix);
            if kind < 6 { Change::Set(prefix, route) } else { Change::Remove(prefix) }
        };
        steps.into_iter().map(change).collect()
    })
}

/// Written by somebody else: leads to roots, to the chunk itself, to others, to nothing that exists, or names a route.
fn scribble(chunks: u32) -> impl Strategy<Value = (u32, u8, u16)> {
    let place = select(&[0_u8, 1, 10, 255]);
    let chunk = prop_oneof![select(&[0_u32, 1, 10, 255]), LOOKUP_ROOTS..chunks];
    let child = prop_oneof![0..LOOKUP_ROOTS, LOOKUP_ROOTS..chunks, Just(0x7fff)];
    let cell = prop_oneof![child.prop_map(|chunk| Cell::of_child(chunk).0), any::<u16>(), Just(0)];
    (chunk, place, cell)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each address has the old answer or the new one at every moment, and in the end the new one.
    #[test]
    fn the_table_says_what_the_trie_says(changes in changes(route())) {
        let mut rig = Rig::new(600);
        for change in changes {
            rig.change(change);
            rig.must_be_whole();
        }
        prop_assert_eq!(rig.reconcile(), 0);
    }

    /// With few chunks the trie is asked more, the answers are the same.
    #[test]
    fn with_too_few_chunks_the_table_stays_exact(
        changes in changes(any_route()),
        chunks in 0_u32..6,
        refuses in any::<bool>(),
    ) {
        let mut rig = Rig::new(chunks);
        rig.memory.0.borrow_mut().refuses_grace_periods = refuses;
        for change in changes {
            rig.change(change);
            prop_assert!(rig.writer.usage().chunks <= LOOKUP_ROOTS + chunks);
        }
        prop_assert_eq!(rig.reconcile(), 0);
        rig.compare();
    }

    /// Wherever writers end, the next one makes it good, and no reader is misled meanwhile.
    #[test]
    fn a_writer_that_ends_anywhere_is_made_good(
        changes in changes(any_route()),
        last in (prefix(), route()),
        chunks in prop_oneof![0_u32..6, Just(600)],
        ends in vec(0_usize..700, 1..3),
    ) {
        let mut rig = Rig::new(chunks);
        for change in changes {
            rig.change(change);
        }
        let last = Change::Set(last.0, last.1);
        rig.change_trie(last);
        for (index, stores) in ends.into_iter().enumerate() {
            rig.memory.0.borrow_mut().stores_left = Some(stores);
            if index == 0 { rig.change_table(last) } else { rig.restart() }
        }
        rig.memory.0.borrow_mut().stores_left = None;
        rig.restart();
        rig.compare();
        prop_assert_eq!(rig.reconcile(), 0);
    }

    /// Whatever somebody writes into the table, it is put right, and what was right stays so meanwhile.
    #[test]
    fn a_broken_table_is_healed(
        before in changes(route()),
        scribbles in vec(scribble(LOOKUP_ROOTS + 40), 1..40),
        restart in any::<bool>(),
        after in changes(route()),
    ) {
        let mut rig = Rig::new(600);
        before.into_iter().for_each(|change| rig.change(change));
        rig.scribble(&scribbles);
        if restart { rig.restart() } else { rig.reconcile(); }
        rig.compare();
        rig.must_be_whole();
        for change in after {
            rig.change(change);
            rig.must_be_whole();
        }
    }

    /// A change in a table that somebody has written to ends, whatever comes of it until the next audit.
    #[test]
    fn a_change_of_a_broken_table_ends(
        before in changes(route()),
        scribbles in vec(scribble(LOOKUP_ROOTS + 40), 1..40),
        after in changes(route()),
    ) {
        let mut rig = Rig::new(40);
        before.into_iter().for_each(|change| rig.change(change));
        rig.scribble(&scribbles);
        for change in after {
            rig.change_trie(change);
            rig.memory.0.borrow_mut().forget_readers();
            rig.change_table(change);
        }
        rig.reconcile();
        rig.compare();
        prop_assert!(rig.memory.chunks() >= rig.writer.usage().chunks);
    }
}
