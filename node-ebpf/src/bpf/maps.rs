//! The maps, and the library's view of them.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    macros::btf_map,
};
use node_ebpf::{Family, Fib, Outcome, V4};
use node_ebpf_common::{
    COUNTERS as COUNTERS_LENGTH, Counter, Endpoint, Hook, MAX_ENDPOINTS, MAX_NEXT_HOPS, MAX_ROUTES, NextHop,
    Route, Settings, counter_index,
};

#[btf_map]
static ROUTES_V4: LpmTrie<[u8; 4], Route, { MAX_ROUTES as usize }> = LpmTrie::new();

#[btf_map]
static NEXT_HOPS: Array<NextHop, { MAX_NEXT_HOPS as usize }> = Array::new();

#[btf_map]
static ENDPOINTS: HashMap<u32, Endpoint, { MAX_ENDPOINTS as usize }> = HashMap::new();

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();

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

/// The maps as forwarding information.
pub struct Maps;

impl Fib<V4> for Maps {
    #[inline(always)]
    fn route(&self, address: <V4 as Family>::Address) -> Option<Route> {
        ROUTES_V4.get(&Key::new(32, address)).copied()
    }

    #[inline(always)]
    fn next_hop(&self, index: u32) -> Option<&NextHop> {
        NEXT_HOPS.get(index)
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

    #[inline(always)]
    fn owns(&self, endpoint: &Endpoint, address: [u8; 4]) -> bool {
        endpoint.address_v4.v4_bytes() == address && address != [0; 4]
    }

    #[inline(always)]
    fn is_node(&self, settings: &Settings, address: [u8; 4]) -> bool {
        settings.node_v4.v4_bytes() == address
    }

    #[inline(always)]
    fn is_tunnel_peer(&self, next_hop: &NextHop, address: [u8; 4]) -> bool {
        next_hop.tunnel_destination.v4_bytes() == address
    }
}
