//! The lookup table in front of the IPv4 trie: filled by the writer, read by the programs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::maps::Map;
use ipnet::Ipv4Net;
use node_ebpf_common::{Cell, Cells as _, Hook, MappedCells, Outcome, Route, map_name};

use crate::{packet::Frame, rig::*};

/// The next hop of `IPIP_POD` and of `DIRECT_POD`.
const IPIP: Route = Route { next_hop: 6, flags: 0 };
const DIRECT: Route = Route { next_hop: 5, flags: 0 };

fn outcome(rig: &mut Rig, to: [u8; 4]) -> Outcome {
    rig.run(Hook::FromPod, &Frame::udp(POD, to, 100).bytes()).outcome
}

fn around(address: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new(address.into(), length).expect("a prefix").trunc()
}

/// The table counts, not the trie: else the comparisons with the model would show nothing of it.
#[test]
fn programs_go_by_the_table() {
    let mut rig = Rig::new().with_lookup_table();
    assert_eq!(outcome(&mut rig, OUTSIDE), Outcome::StackNotRouted);
    rig.table().set(around(OUTSIDE, 24), IPIP);
    assert_eq!(outcome(&mut rig, OUTSIDE), Outcome::Ipip);
    rig.table().set(around(OUTSIDE, 32), DIRECT);
    assert_eq!(outcome(&mut rig, OUTSIDE), Outcome::Direct);
    rig.table().remove(around(OUTSIDE, 32));
    assert_eq!(outcome(&mut rig, OUTSIDE), Outcome::Ipip);
    rig.table().remove(around(OUTSIDE, 24));
    assert_eq!(outcome(&mut rig, OUTSIDE), Outcome::StackNotRouted);
    rig.table().remove(around(IPIP_POD, 24));
    assert_eq!(outcome(&mut rig, IPIP_POD), Outcome::StackNotRouted);
}

/// What the table leaves to the trie is found there, at each of its levels, and so is all while nobody writes it.
#[test]
fn programs_ask_the_trie_where_the_table_says_so() {
    let mut rig = Rig::new();
    assert_eq!(outcome(&mut rig, IPIP_POD), Outcome::Ipip);
    let mut rig = rig.with_lookup_table();
    let mut cells = rig.mapped_cells();
    let [first, second, third, fourth] = LOCAL_POD;
    let chunk = cells.load(first.into(), second).child().expect("a chunk for the /16");
    let last = cells.load(chunk, third).child().expect("a chunk for the /24");
    for (chunk, place) in [(last, fourth), (chunk, third), (first.into(), second)] {
        for (cell, expected) in [(Cell::NO_ROUTE, Outcome::StackNotRouted), (Cell::ASK_TRIE, Outcome::Local)]
        {
            cells.store(chunk, place, cell);
            assert_eq!(outcome(&mut rig, LOCAL_POD), expected);
        }
    }
}

/// A packet's prefix, and its sender's address, stay while others come and go around and beside them, so that cells
/// change at all levels and chunks go in and out of use: the program finds its way each time.
#[test]
fn what_stays_is_never_missing_while_the_table_changes() {
    let mut rig = Rig::new().with_lookup_table();
    let frame = Frame::udp(POD, DIRECT_POD, 100).bytes();
    let around_it = [0, 7, 12, 16, 20, 23].map(|length| around(DIRECT_POD, length));
    let [first, second, third, _] = DIRECT_POD;
    let beside_it =
        [(128, 25), (200, 32), (64, 26)].map(|(last, length)| around([first, second, third, last], length));
    let mut table = rig.table.take().expect("a table");
    let done = AtomicBool::new(false);
    let changes = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut changes = 0_u32;
            while !done.load(Ordering::Relaxed) || changes == 0 {
                for prefix in around_it.iter().chain(&beside_it) {
                    table.set(*prefix, IPIP);
                    changes += 1;
                }
                for prefix in around_it.iter().chain(&beside_it) {
                    table.remove(*prefix);
                }
            }
            changes
        });
        for _ in 0..30_000 {
            rig.run_raw(Hook::FromPod, &frame, Context::default());
        }
        done.store(true, Ordering::Relaxed);
        writer.join().expect("the writer")
    });
    let ended = |outcome| rig.counter(Hook::FromPod, outcome).packets;
    let others: Vec<_> = Outcome::ALL.iter().filter(|outcome| ended(**outcome) > 0).collect();
    assert_eq!(others, [&Outcome::Direct], "while {changes} prefixes came and went");
    assert!(changes > 100, "only {changes} prefixes came and went");
}

/// A chunk that leads nowhere, or to itself, must not keep a program from ending.
#[test]
fn a_broken_table_is_no_trap() {
    let mut rig = Rig::new().with_lookup_table();
    let mut cells = rig.mapped_cells();
    for (chunk, place) in (0..1 << 15).flat_map(|chunk| (0..=u8::MAX).map(move |place| (chunk, place))) {
        cells.store(chunk, place, Cell::of_child(chunk));
    }
    assert_eq!(outcome(&mut rig, IPIP_POD), Outcome::Ipip);
}

/// A chunk is used again after a grace period, which this kernel can tell.
#[test]
fn chunks_are_used_again() {
    let mut rig = Rig::new().with_lookup_table();
    let before = rig.table().usage();
    // More than there are chunks, one after the other.
    for number in 0..40_000_u32 {
        let [_, _, first, second] = number.to_be_bytes();
        let prefix = around([172, first, second, 0], 25);
        rig.table().set(prefix, IPIP);
        rig.table().remove(prefix);
    }
    rig.table().set(around(OUTSIDE, 25), IPIP);
    assert_eq!(outcome(&mut rig, OUTSIDE), Outcome::Ipip);
    rig.table().remove(around(OUTSIDE, 25));
    assert_eq!(rig.table().usage(), before);
}

#[test]
fn a_map_that_was_not_made_for_it_is_refused_with_what_to_do() {
    let mut rig = Rig::new();
    let Map::Array(data) = rig.map(map_name::NEXT_HOPS) else { panic!("not an array") };
    let text = MappedCells::map(data.fd()).expect_err("a foreign map").to_string();
    assert!(
        text.contains("LOOKUP_V4") && text.contains("BPF_F_MMAPABLE") && text.contains("cleanup"),
        "{text}"
    );
}
