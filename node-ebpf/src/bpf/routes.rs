//! The routes: which one an address has. The benchmark's programs are built with this file too.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use node_ebpf_common::{Cell, Found, LOOKUP_CHUNKS, LookupChunk, MAX_ROUTES, Route, look_up};

#[btf_map]
static ROUTES_V4: LpmTrie<u32, Route, { MAX_ROUTES as usize }> = LpmTrie::new();

#[btf_map]
static ROUTES_V6: LpmTrie<[u32; 4], Route, { MAX_ROUTES as usize }> = LpmTrie::new();

/// In front of `ROUTES_V4`; the agent writes it through a mapping of its memory.
#[btf_map]
static LOOKUP_V4: Array<LookupChunk, { LOOKUP_CHUNKS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// The route of an IPv4 address in network byte order.
#[inline(always)]
pub fn v4(address: u32) -> Option<Route> {
    match table_v4(address) {
        Found::Route(route) => Some(route),
        Found::NoRoute => None,
        Found::AskTrie => trie_v4(address),
    }
}

/// The route of an IPv6 address in network byte order.
#[inline(always)]
pub fn v6(address: [u32; 4]) -> Option<Route> {
    ROUTES_V6.get(&Key::new(128, address)).copied()
}

/// What the trie says of an IPv4 address.
#[inline(always)]
pub fn trie_v4(address: u32) -> Option<Route> {
    ROUTES_V4.get(&Key::new(32, address)).copied()
}

/// What the lookup table says of an IPv4 address.
#[inline(always)]
pub fn table_v4(address: u32) -> Found {
    look_up(address.to_ne_bytes(), cell)
}

/// A cell of the lookup table.
#[inline(always)]
fn cell(chunk: u32, place: u8) -> Cell {
    let Some(chunk) = LOOKUP_V4.get_ptr(chunk) else { return Cell::ASK_TRIE };
    // SAFETY: the place is within the chunk, and a cell is 16 bits at an even address, which the agent writes in one
    // store. Volatile, because it does so while programs read.
    Cell(unsafe { ptr::read_volatile(chunk.cast::<u16>().add(usize::from(place))) })
}
