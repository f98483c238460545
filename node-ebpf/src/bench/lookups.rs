//! Looks a group of addresses up in one run, by one structure after the other. A checksum of what was found tells
//! the harness whether it was right; the loop by itself is what is subtracted.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, TC_ACT_UNSPEC},
    btf_maps::{Array, HashMap},
    macros::{btf_map, classifier},
    programs::TcContext,
};
use node_ebpf_common::{
    Address, Found, MAX_ROUTES, Route,
    bench::{GROUPS_V4, GROUPS_V6, LOOKUPS, NOT_FOUND, Work, checksum},
};

use crate::routes;

#[btf_map]
static WORK: Array<Work, 1> = Array::new();

#[btf_map]
static DESTINATIONS_V4: Array<[u32; LOOKUPS], { GROUPS_V4 as usize }> = Array::new();

#[btf_map]
static DESTINATIONS_V6: Array<[Address; LOOKUPS], { GROUPS_V6 as usize }> = Array::new();

#[btf_map]
static HASH_V4: HashMap<u32, Route, { MAX_ROUTES as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// The /24 prefix of an address in network byte order.
const MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
/// No verdict: there is nothing to work through.
const FAILED: i32 = 0x0bad;

/// What the harness expects for a route.
#[inline(always)]
fn found(route: Option<Route>) -> u32 {
    match route {
        Some(route) => route.next_hop,
        None => NOT_FOUND,
    }
}

/// The same of the table alone: what only the trie knows is a value of its own.
#[inline(always)]
fn found_in_table(address: u32) -> u32 {
    match routes::table_v4(address) {
        Found::Route(route) => route.next_hop,
        Found::NoRoute => NOT_FOUND,
        Found::AskTrie => u32::MAX,
    }
}

#[inline(always)]
fn found_in_hash(address: u32) -> u32 {
    // SAFETY: nobody writes to the map while programs run.
    found(unsafe { HASH_V4.get(address & MASK) }.copied())
}

/// Looks one group up. If `DEPENDENT`, an address is known only when the one before it has been looked up.
#[inline(always)]
fn group<A: Copy + 'static, W, const DEPENDENT: bool>(
    destinations: impl FnOnce(u32) -> Option<&'static [A; LOOKUPS]>,
    changed: impl Fn(A, u32) -> W,
    look_up: impl Fn(W) -> u32,
) -> i32 {
    let Some(work) = WORK.get_ptr_mut(0) else { return FAILED };
    // SAFETY: one program runs at a time, on one CPU.
    let work = unsafe { &mut *work };
    let next = work.next;
    let Some(group) = destinations(work.first.wrapping_add(next)) else { return FAILED };
    work.next = (next + 1) & work.groups.wrapping_sub(1);
    let (mut sum, mut last, zero) = (work.checksum, 0, work.zero);
    for address in group {
        let change = if DEPENDENT { last & zero } else { 0 };
        last = look_up(changed(*address, change));
        sum = checksum(sum, last);
    }
    work.checksum = sum;
    TC_ACT_UNSPEC
}

#[inline(always)]
fn v4<const DEPENDENT: bool>(look_up: impl Fn(u32) -> u32) -> i32 {
    group::<_, _, DEPENDENT>(|index| DESTINATIONS_V4.get(index), |address, change| address ^ change, look_up)
}

#[inline(always)]
fn v6<const DEPENDENT: bool>(look_up: impl Fn([u32; 4]) -> u32) -> i32 {
    let changed = |address: Address, change| {
        let [a, b, c, d] = address.words();
        [a, b, c, d ^ change]
    };
    group::<_, _, DEPENDENT>(|index| DESTINATIONS_V6.get(index), changed, look_up)
}

/// A program that looks IPv4 or IPv6 addresses up, and one where each lookup depends on the one before.
macro_rules! lookups {
    ($($family:ident $independent:ident $dependent:ident $look_up:expr;)*) => {
        $(
            #[classifier]
            pub fn $independent(_: TcContext) -> i32 {
                $family::<false>($look_up)
            }

            #[classifier]
            pub fn $dependent(_: TcContext) -> i32 {
                $family::<true>($look_up)
            }
        )*
    };
}

lookups! {
    v4 loop_v4 loop_v4_dependent |address| address;
    v4 trie_v4 trie_v4_dependent |address| found(routes::trie_v4(address));
    v4 table_v4 table_v4_dependent found_in_table;
    v4 both_v4 both_v4_dependent |address| found(routes::v4(address));
    v4 hash_v4 hash_v4_dependent found_in_hash;
    v6 loop_v6 loop_v6_dependent |[a, b, c, d]: [u32; 4]| a ^ b ^ c ^ d;
    v6 trie_v6 trie_v6_dependent |address| found(routes::v6(address));
}
