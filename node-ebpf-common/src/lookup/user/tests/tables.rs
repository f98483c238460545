//! Single cases, by name.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::rig::{ALL_CHUNKS, Change, Rig};
use crate::{Cell, Found, LOOKUP_ROOTS, LookupUsage, Route};

fn set(prefix: &str, next_hop: u32) -> Change {
    Change::Set(prefix.parse().unwrap(), Route { next_hop, flags: 0 })
}

fn remove(prefix: &str) -> Change {
    Change::Remove(prefix.parse().unwrap())
}

fn found(rig: &Rig, address: [u8; 4]) -> Found {
    rig.writer.look_up(address)
}

const fn to(next_hop: u32) -> Found {
    Found::Route(Route { next_hop, flags: 0 })
}

#[test]
fn what_is_right_already_is_not_written() {
    let mut rig = Rig::new(ALL_CHUNKS);
    for change in
        [set("10.0.0.0/8", 1), set("10.244.0.0/16", 2), set("10.244.3.0/24", 3), set("10.244.3.9/32", 4)]
    {
        rig.change(change);
    }
    let stores = rig.memory.0.borrow().stores;
    rig.restart();
    assert_eq!(rig.reconcile(), 0);
    rig.change(set("10.244.3.0/24", 3));
    assert_eq!(rig.memory.0.borrow().stores, stores);
    // A chunk is filled first, and another address of the same /24 is one store.
    rig.change(set("10.244.3.10/32", 5));
    assert_eq!(rig.memory.0.borrow().stores, stores + 1);
    assert_eq!((found(&rig, [10, 244, 3, 9]), found(&rig, [10, 244, 3, 10])), (to(4), to(5)));
    assert_eq!((found(&rig, [10, 244, 3, 8]), found(&rig, [10, 244, 4, 8])), (to(3), to(2)));
    assert_eq!((found(&rig, [10, 243, 3, 8]), found(&rig, [11, 0, 0, 1])), (to(1), Found::NoRoute));
}

#[test]
fn what_a_shorter_prefix_says_shows_again_when_the_longer_one_goes() {
    let mut rig = Rig::new(ALL_CHUNKS);
    for change in
        [set("0.0.0.0/0", 1), set("10.244.0.0/14", 2), set("10.244.3.128/25", 3), remove("10.244.0.0/14")]
    {
        rig.change(change);
    }
    assert_eq!((found(&rig, [10, 244, 3, 128]), found(&rig, [10, 244, 3, 127])), (to(3), to(1)));
    rig.change(remove("10.244.3.128/25"));
    assert_eq!(rig.writer.usage(), LookupUsage { chunks: 256, max_chunks: 1 << 15, left_to_trie: 0 });
}

/// Neither the chunk of the /24 nor that of the /16 has anything to say any more, and both go in one store.
#[test]
fn chunks_that_say_nothing_are_given_up() {
    let mut rig = Rig::new(2);
    for change in [set("10.0.0.0/8", 0), set("10.1.1.1/32", 1), set("10.1.1.2/32", 2), set("10.1.1.1/32", 0)]
    {
        rig.change(change);
    }
    assert_eq!((found(&rig, [10, 1, 1, 1]), found(&rig, [10, 1, 1, 2])), (Found::AskTrie, to(2)));
    let stores = rig.memory.0.borrow().stores;
    rig.change(set("10.1.1.2/32", 0));
    assert_eq!(rig.memory.0.borrow().stores, stores + 1);
    assert_eq!(rig.writer.usage().chunks, LOOKUP_ROOTS);
    rig.change(set("10.0.0.0/8", 3));
    assert_eq!((found(&rig, [10, 1, 1, 1]), found(&rig, [10, 1, 1, 3])), (Found::AskTrie, to(3)));
}

/// Without a free chunk, the trie is asked; when there is one again, an audit fills it, which is no repair.
#[test]
fn what_found_no_chunk_gets_one_at_the_next_audit() {
    let mut rig = Rig::new(1);
    rig.change(set("10.1.1.0/24", 1));
    rig.change(set("10.2.1.0/24", 2));
    assert_eq!((found(&rig, [10, 1, 1, 1]), found(&rig, [10, 2, 1, 1])), (to(1), Found::AskTrie));
    assert_eq!(rig.writer.usage(), LookupUsage { chunks: 257, max_chunks: 257, left_to_trie: 1 });
    rig.change(remove("10.1.1.0/24"));
    assert_eq!(rig.reconcile(), 0);
    assert_eq!(found(&rig, [10, 2, 1, 1]), to(2));
    assert_eq!(rig.writer.usage().left_to_trie, 0);
}

/// A chunk that was in use must not be filled anew while somebody may be reading it.
#[test]
fn a_chunk_is_used_again_only_after_a_grace_period() {
    let mut rig = Rig::new(1);
    rig.memory.0.borrow_mut().refuses_grace_periods = true;
    // Never used: nobody needs to be waited for.
    rig.change(set("10.1.1.0/24", 1));
    rig.change(remove("10.1.1.0/24"));
    for restart in [false, true] {
        if restart {
            rig.restart();
        }
        rig.change(set("10.2.1.0/24", 2));
        assert_eq!(found(&rig, [10, 2, 1, 1]), Found::AskTrie);
    }
    rig.memory.0.borrow_mut().refuses_grace_periods = false;
    rig.change(set("10.2.1.0/24", 3));
    assert_eq!((found(&rig, [10, 2, 1, 1]), rig.memory.0.borrow().grace_periods), (to(3), 1));
}

#[test]
fn cells_that_somebody_wrote_are_counted() {
    let mut rig = Rig::new(8);
    rig.change(set("10.244.3.0/24", 3));
    let child = rig.memory.0.borrow().cell(10, 244).child().unwrap();
    for scribble in [(child, 3, 7), (child, 4, 0), (10, 244, 0), (11, 0, Cell::of_child(0).0)] {
        for look in [Rig::reconcile, Rig::audit] {
            rig.scribble(&[scribble]);
            assert_eq!(look(&mut rig), 1, "{scribble:?}");
            rig.must_be_whole();
            rig.compare();
            assert_eq!(look(&mut rig), 0, "{scribble:?}");
        }
    }
    // Every cell leads to the same chunk, which leads to itself.
    rig.memory.0.borrow_mut().cells.fill(Cell::of_child(LOOKUP_ROOTS).0);
    rig.memory.0.borrow_mut().forget_readers();
    assert_eq!(rig.reconcile(), 1 << 16);
    rig.must_be_whole();
    rig.compare();
}

/// 100,000 prefixes of /24 in 391 of /16, in a random order; each of them is found, as is what lies around them.
#[test]
fn a_large_table_is_right() {
    let mut rig = Rig::new(ALL_CHUNKS);
    let prefix = |number: u32| {
        let network = Ipv4Addr::from_bits(0x0a00_0000 + (number << 8));
        (Ipv4Net::new(network, 24).unwrap(), Route { next_hop: number % 5_000 + 1, flags: 0 })
    };
    let numbers = (0..100_000).map(|number| number * 7_773 % 100_000);
    for (prefix, route) in numbers.map(prefix) {
        rig.writer.set(prefix, route);
        rig.trie.insert(prefix, route);
    }
    for number in 0..100_000 {
        let (prefix, route) = prefix(number);
        assert_eq!(found(&rig, prefix.broadcast().octets()), Found::Route(route));
    }
    assert_eq!(
        (found(&rig, [9, 255, 255, 255]), found(&rig, [11, 200, 0, 0])),
        (Found::NoRoute, Found::NoRoute)
    );
    rig.must_be_whole();
    assert_eq!(rig.reconcile(), 0);
}
