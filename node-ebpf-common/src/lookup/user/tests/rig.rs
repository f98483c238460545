//! A writer, the trie in front of which it keeps a table, and a comparison of both.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    vec::Vec,
};

use ipnet::Ipv4Net;

use super::cells::{Answer, Shared};
use crate::{Cell, Found, LOOKUP_CHUNKS, LOOKUP_ROOTS, LookupUsage, LookupWriter, Route};

/// A change of the routes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Set(Ipv4Net, Route),
    Remove(Ipv4Net),
}

pub(super) struct Rig {
    pub(super) memory: Shared,
    pub(super) writer: LookupWriter<Shared, Shared>,
    pub(super) trie: BTreeMap<Ipv4Net, Route>,
    addresses: BTreeSet<u32>,
}

/// The longest prefix that matches, found by trying them all from the longest.
fn longest_match(trie: &BTreeMap<Ipv4Net, Route>, address: u32) -> Answer {
    let prefixes =
        (0..=32).rev().filter_map(|length| Ipv4Net::new(Ipv4Addr::from_bits(address), length).ok());
    prefixes.map(|prefix| prefix.trunc()).find_map(|prefix| trie.get(&prefix).copied())
}

/// Addresses that may find out whether a prefix is right: its ends, what is beside it, some within it.
fn addresses(prefix: Ipv4Net) -> [u32; 6] {
    let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
    let within = first + (last - first) / 3;
    [first, last, first.wrapping_sub(1), last.wrapping_add(1), within, first + (last - first) / 2]
}

impl Rig {
    /// With so many chunks that can be used, besides the roots.
    pub(super) fn new(chunks: u32) -> Self {
        let memory = Shared::new(LOOKUP_ROOTS + chunks);
        let writer = LookupWriter::start(memory.clone(), memory.clone(), []);
        Self { memory, writer, trie: BTreeMap::new(), addresses: BTreeSet::from([0, u32::MAX]) }
    }

    /// Makes a change in the trie and tells readers what they may see from now on.
    pub(super) fn change_trie(&mut self, change: Change) {
        let before = self.trie.clone();
        let prefix = match change {
            Change::Set(prefix, route) => {
                self.trie.insert(prefix, route);
                prefix
            }
            Change::Remove(prefix) => {
                self.trie.remove(&prefix);
                prefix
            }
        };
        self.addresses.extend(addresses(prefix));
        let right = |address| [longest_match(&before, address), longest_match(&self.trie, address)];
        let answers: Vec<_> = self.addresses.iter().map(|address| (*address, right(*address))).collect();
        self.memory.0.borrow_mut().expect(&answers);
    }

    /// Makes a change in the table.
    pub(super) fn change_table(&mut self, change: Change) {
        match change {
            Change::Set(prefix, route) => self.writer.set(prefix, route),
            Change::Remove(prefix) => self.writer.remove(prefix),
        }
    }

    /// Makes a change in both.
    pub(super) fn change(&mut self, change: Change) {
        self.change_trie(change);
        self.change_table(change);
        self.compare();
    }

    /// The writer ends, and another one takes the table over.
    pub(super) fn restart(&mut self) {
        let routes = self.trie.clone();
        self.writer = LookupWriter::start(self.memory.clone(), self.memory.clone(), routes);
    }

    pub(super) fn reconcile(&mut self) -> usize {
        self.writer.reconcile(self.trie.clone())
    }

    pub(super) fn audit(&mut self) -> usize {
        self.writer.audit()
    }

    /// Readers' answers must be those of the trie, and no chunk may be in use that says nothing: it would pass for one
    /// that was never written.
    pub(super) fn compare(&self) {
        let memory = self.memory.0.borrow();
        for child in memory.children() {
            assert!((0..=u8::MAX).any(|place| memory.cell(child, place) != Cell::ASK_TRIE), "chunk {child}");
        }
        for address in &self.addresses {
            let right = longest_match(&self.trie, *address);
            match memory.look_up(*address) {
                Found::AskTrie => {}
                Found::NoRoute => assert_eq!(right, None, "{address:#x}"),
                Found::Route(route) => assert_eq!(right, Some(route), "{address:#x}"),
            }
        }
    }

    /// Somebody else writes cells. Readers whose way leads over none of them must be right all the time.
    pub(super) fn scribble(&self, scribbles: &[(u32, u8, u16)]) {
        let mut memory = self.memory.0.borrow_mut();
        memory.forget_readers();
        for (chunk, place, cell) in scribbles {
            memory.write(*chunk, *place, *cell);
        }
        let is_scribbled =
            |(chunk, place)| scribbles.iter().any(|other| (other.0, other.1) == (chunk, place));
        let unharmed = self.addresses.iter().filter(|address| !memory.way(**address).any(is_scribbled));
        let right = |address: &u32| (*address, [longest_match(&self.trie, *address); 2]);
        let answers: Vec<_> = unharmed.map(right).collect();
        memory.expect(&answers);
    }

    /// Nothing is left to the trie that fits a cell, and no chunk is used that is not needed.
    pub(super) fn must_be_whole(&self) {
        let blocks = |length: u8| -> BTreeSet<Ipv4Net> {
            let longer = self.trie.keys().filter(|prefix| prefix.prefix_len() > length);
            longer.filter_map(|prefix| Some(Ipv4Net::new(prefix.network(), length).ok()?.trunc())).collect()
        };
        let needed = blocks(16).len() + blocks(24).len();
        let chunks = LOOKUP_ROOTS + u32::try_from(needed).unwrap();
        assert_eq!(self.writer.usage(), LookupUsage { chunks, left_to_trie: 0, ..self.writer.usage() });
    }
}

/// As many chunks as the map has.
pub(super) const ALL_CHUNKS: u32 = LOOKUP_CHUNKS - LOOKUP_ROOTS;
