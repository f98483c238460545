//! The maps, and the library's view of them.

use core::ptr;

use aya_ebpf::{
    btf_maps::{Array, DevMapHash, HashMap, LruHashMap, PerCpuArray},
    helpers::generated::bpf_ktime_get_ns,
    macros::btf_map,
};
use node_ebpf::{Family, Fib, Outcome, Tables, UDP, V4, V6, decide::Translation};
use node_ebpf_common::{
    Address, COUNTERS as COUNTERS_LENGTH, Counter, Endpoint, Flow, Hook, MAX_ENDPOINTS, MAX_NEXT_HOP_GROUPS,
    MAX_NEXT_HOPS, MAX_TRANSLATED_FLOWS, MAX_UPLINKS, NextHop, NextHopGroup, Route, Settings,
    TRANSLATED_PAIRS as TRANSLATED_PAIRS_LENGTH, TRANSLATED_PAIRS_CHUNK, Uplink, counter_index,
};

use super::routes;

#[btf_map]
static NEXT_HOPS: Array<NextHop, { MAX_NEXT_HOPS as usize }> = Array::new();

#[btf_map]
static NEXT_HOP_GROUPS: Array<NextHopGroup, { MAX_NEXT_HOP_GROUPS as usize }> = Array::new();

#[btf_map]
static ENDPOINTS: HashMap<u32, Endpoint, { MAX_ENDPOINTS as usize }> = HashMap::new();

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();

#[btf_map]
static TRANSLATED_V4: Translated<V4> = LruHashMap::new();

#[btf_map]
static TRANSLATED_V6: Translated<V6> = LruHashMap::new();

/// Asked before these two: most pairs of pods talk without a Service.
#[btf_map]
static TRANSLATED_PAIRS: Array<PairChunk, { PAIR_CHUNKS as usize }> = Array::new();

#[btf_map]
static UPLINKS: HashMap<u32, Uplink, { MAX_UPLINKS as usize }> = HashMap::new();

/// Where frames may be sent out. Only programs for frames in several buffers may use it: the first program
/// that is loaded with it decides.
#[btf_map]
pub static DEVICES: DevMapHash<{ MAX_UPLINKS as usize }> = DevMapHash::new();

#[btf_map]
static COUNTERS: PerCpuArray<Counter, { COUNTERS_LENGTH as usize }> = PerCpuArray::new();

/// Adds a packet to its outcome's counter, on this CPU.
#[inline(always)]
pub fn count(hook: Hook, outcome: Outcome, length: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(hook, outcome)) {
        // SAFETY: the pointer is to this CPU's slot, and a tc program is not preempted by another on the
        // same CPU that writes it (softirqs do not nest).
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(length);
        }
    }
}

/// The uplink with this interface index, if the XDP program may use it.
#[inline(always)]
pub fn uplink(interface: u32) -> Option<&'static Uplink> {
    // SAFETY: the agent writes entries whole, and one that is removed or written over is still an uplink's.
    unsafe { UPLINKS.get(interface) }
}

/// Flows that netfilter translates, with the time at which each was first seen.
type Translated<F> = LruHashMap<Flow<<F as Family>::Address>, u64, { MAX_TRANSLATED_FLOWS as usize }>;

type PairChunk = [u8; TRANSLATED_PAIRS_CHUNK as usize];
const PAIR_CHUNKS: u32 = TRANSLATED_PAIRS_LENGTH / TRANSLATED_PAIRS_CHUNK;

/// The byte of a pair of addresses.
#[inline(always)]
fn pair(place: u32) -> Option<*mut u8> {
    let chunk = TRANSLATED_PAIRS.get_ptr_mut(place / TRANSLATED_PAIRS_CHUNK)?;
    // SAFETY: the place is within the chunk.
    Some(unsafe { chunk.cast::<u8>().add((place % TRANSLATED_PAIRS_CHUNK) as usize) })
}

/// The maps as forwarding information.
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn next_hop(&self, index: u32) -> Option<&NextHop> {
        NEXT_HOPS.get(index)
    }

    #[inline(always)]
    fn group(&self, index: u32) -> Option<&NextHopGroup> {
        NEXT_HOP_GROUPS.get(index)
    }

    #[inline(always)]
    fn endpoint(&self, interface: u32) -> Option<&Endpoint> {
        // SAFETY: the agent replaces entries whole and removes them only after detaching the program
        // from the interface; a value read at the moment of its removal is still that interface's.
        unsafe { ENDPOINTS.get(interface) }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }
}

/// An address family with its maps.
pub trait MappedFamily: Family + 'static {
    /// Whether there is a lookup table in front of the trie.
    const HAS_LOOKUP_TABLE: bool;

    /// The routes.
    fn route(address: Self::Address) -> Option<Route>;

    /// The translated flows.
    fn translated() -> &'static Translated<Self>;
}

impl MappedFamily for V4 {
    const HAS_LOOKUP_TABLE: bool = true;

    #[inline(always)]
    fn route(address: u32) -> Option<Route> {
        routes::v4(address)
    }

    #[inline(always)]
    fn translated() -> &'static Translated<Self> {
        &TRANSLATED_V4
    }
}

impl MappedFamily for V6 {
    const HAS_LOOKUP_TABLE: bool = false;

    #[inline(always)]
    fn route(address: Address) -> Option<Route> {
        routes::v6(address.words())
    }

    #[inline(always)]
    fn translated() -> &'static Translated<Self> {
        &TRANSLATED_V6
    }
}

impl<F: MappedFamily> Fib<F> for Maps {
    const ROUTES_ARE_QUICK: bool = F::HAS_LOOKUP_TABLE;

    #[inline(always)]
    fn route(&self, address: F::Address) -> Option<Route> {
        F::route(address)
    }

    #[inline(always)]
    fn is_translated(&self, flow: &Flow<F::Address>) -> bool {
        // SAFETY: the byte is within the map. Volatile, because other CPUs write it.
        let may_be = pair(F::pair(flow.local, flow.remote))
            .is_some_and(|pair| unsafe { ptr::read_volatile(pair) } != 0);
        may_be && F::translated().get_ptr(flow).is_some()
    }
}

/// Remembers a flow that netfilter translates. A lookup of one that is known keeps it among the recently
/// used.
#[inline(never)]
pub fn remember<F: MappedFamily>(translation: &Translation<F::Address>) {
    remember_flow::<F>(&translation.flow);
    if translation.both_ways {
        remember_flow::<F>(&translation.flow.reversed());
    }
}

#[inline(always)]
fn remember_flow<F: MappedFamily>(flow: &Flow<F::Address>) {
    insert::<F>(flow);
    if flow.protocol == u32::from(UDP) {
        // Answers may come in fragments, which have no ports.
        insert::<F>(&flow.without_ports());
    }
}

#[inline(always)]
fn insert<F: MappedFamily>(flow: &Flow<F::Address>) {
    // First: whoever finds the flow must find its pair.
    if let Some(pair) = pair(F::pair(flow.local, flow.remote)) {
        // SAFETY: the byte is within the map, and all write the same.
        unsafe { ptr::write_volatile(pair, 1) };
    }
    let flows = F::translated();
    if flows.get_ptr(flow).is_none() {
        // SAFETY: the helper has no preconditions.
        let now = unsafe { bpf_ktime_get_ns() };
        // Fails only if the map is being changed at that place; the next packet tries again.
        let _ = flows.insert(flow, now, 0);
    }
}
