//! Tracing: a copy of each wanted packet, with what became of it, into a ring buffer. All of it exists only
//! in programs that are loaded with [`on`]; for the others the verifier removes it.

use core::{ffi::c_void, hint::black_box, mem::MaybeUninit, ptr, slice};

use aya_ebpf::{
    Global,
    bindings::{__sk_buff, xdp_md},
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_skb_load_bytes, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
    macros::btf_map,
};
use node_ebpf::{ETHERNET_LENGTH, Packet, Tables, V4, V6, peek};
use node_ebpf_common::{
    Address, Ending, Hook, Outcome, TRACE_BUFFER, TRACE_SNAPLEN, TraceEvent, TraceFilter, TraceState,
};

use super::{
    act::Done,
    maps::{MappedFamily, Maps},
};

#[btf_map]
static TRACE_FILTER: Array<TraceFilter, 1> = Array::new();

#[btf_map]
static TRACE_STATE: PerCpuArray<TraceState, 1> = PerCpuArray::new();

#[btf_map]
static TRACE_EVENTS: RingBuf<TraceEvent, { TRACE_BUFFER as usize }> = RingBuf::new();

/// The event in the making: the stack has no room for it.
#[btf_map]
static TRACE_EVENT: PerCpuArray<TraceEvent, 1> = PerCpuArray::new();

/// Not 0 to trace; the loader sets it.
#[unsafe(no_mangle)]
static TRACE_ON: Global<u8> = Global::new(0);

/// The outcomes with which a packet leaves by the program.
const FORWARDED: u64 = TraceFilter::outcomes_ending(Ending::Forwarded);
/// The outcomes with which an outer header has been taken off.
const DECAPSULATED: u64 =
    1 << Outcome::DecapLocal as u32 | 1 << Outcome::DecapStack as u32 | 1 << Outcome::DecapPass as u32;

const NANOSECONDS: u64 = 1_000_000_000;

/// Whether these programs trace.
#[inline(always)]
pub fn on() -> bool {
    TRACE_ON.load() != 0
}

/// How a program ended with a packet.
pub struct Ended<'d> {
    pub hook: Hook,
    /// Bytes of the frame as it came in.
    pub length: u32,
    /// The outcome, and the ends of the packet as it came in.
    pub done: &'d Done,
}

/// A packet at the end of a program: the kernel's context of it.
pub trait Traceable: Copy {
    /// Length of the frame in bytes, as it is now.
    fn length(self) -> u32;

    /// Copies bytes of the frame, wherever they are; says whether there are so many.
    ///
    /// # Safety
    /// There is room for them.
    unsafe fn read(self, offset: u32, to: *mut c_void, length: u32) -> bool;

    /// Index of the interface that it is at, and of the one that it came in on.
    fn interfaces(self) -> (u32, u32);
}

impl Traceable for *mut __sk_buff {
    #[inline(always)]
    fn length(self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (*self).len }
    }

    #[inline(always)]
    unsafe fn read(self, offset: u32, to: *mut c_void, length: u32) -> bool {
        // SAFETY: the context is valid, and the caller says that there is room.
        (unsafe { bpf_skb_load_bytes(self.cast(), offset, to, length) }) == 0
    }

    #[inline(always)]
    fn interfaces(self) -> (u32, u32) {
        // SAFETY: as above.
        unsafe { ((*self).ifindex, (*self).ingress_ifindex) }
    }
}

impl Traceable for *mut xdp_md {
    #[inline(always)]
    fn length(self) -> u32 {
        // SAFETY: as above.
        (unsafe { bpf_xdp_get_buff_len(self) }) as u32
    }

    #[inline(always)]
    unsafe fn read(self, offset: u32, to: *mut c_void, length: u32) -> bool {
        // SAFETY: as above.
        (unsafe { bpf_xdp_load_bytes(self, offset, to, length) }) == 0
    }

    #[inline(always)]
    fn interfaces(self) -> (u32, u32) {
        // SAFETY: as above.
        let here = unsafe { (*self).ingress_ifindex };
        (here, here)
    }
}

/// The packet through the kernel's helpers, which read it wherever its bytes are.
struct Loaded<C>(C);

impl<C: Traceable> Packet for Loaded<C> {
    /// Nothing to do: the helper reaches everything.
    #[inline(always)]
    fn reach(&mut self, _: usize) {}

    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: there is room for a T.
        let read = unsafe { self.0.read(offset as u32, value.as_mut_ptr().cast(), size_of::<T>() as u32) };
        // SAFETY: all of it has been written, and T is plain bytes.
        read.then(|| unsafe { value.assume_init() })
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.0.length()
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        0
    }
}

/// Writes an event for the packet, if it is wanted, its turn, and there is room; says whether it did. (A
/// function of its own in the program, for the sake of the stack.)
#[inline(never)]
pub fn record<C: Traceable>(ctx: C, ended: &Ended<'_>) -> bool {
    let (Some(filter), Some(state)) = (TRACE_FILTER.get(0), TRACE_STATE.get_ptr_mut(0)) else { return false };
    let Some(event) = TRACE_EVENT.get_ptr_mut(0) else { return false };
    // SAFETY: the pointers are to this CPU's entries, and no two of these programs run on one CPU at a time.
    let (state, event) = unsafe { (&mut *state, &mut *event) };
    event.hook = ended.hook as u32;
    event.outcome = ended.done.outcome as u32;
    event.frame_length = ended.length;
    (event.source, event.destination) = (ended.done.source, ended.done.destination);
    let event = black_box(event);
    // Read back, so that the verifier does not follow each outcome through all that comes.
    // SAFETY: a field of the event.
    let outcome = 1 << (unsafe { ptr::read_volatile(&raw const event.outcome) } & 63);
    read_headers(&Loaded(ctx), outcome & DECAPSULATED != 0, event);
    let event = black_box(event);
    find_way(ctx, ended.hook, outcome & FORWARDED != 0, event);
    let event = black_box(event);
    if !filter.wants(event) {
        return false;
    }
    // SAFETY: the helpers have no preconditions.
    (event.time, event.cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    if !is_its_turn(filter, state, event.time) {
        return false;
    }
    event.final_length = ctx.length();
    // Bounded by bits: how a comparison bounds it would be lost on the way to the verifier.
    let wanted = (event.final_length.min(filter.snaplen).wrapping_sub(1) & (TRACE_SNAPLEN as u32 - 1)) + 1;
    let captured = if copy(ctx, &mut event.bytes, wanted) { wanted } else { 0 };
    event.captured = captured;
    let written = write(event, captured);
    state.lost += u64::from(!written);
    written
}

/// Reads the packet as it is now. A tunnel packet's ends are those of the packet inside; if the outer header
/// has been taken off, its ends are those that the packet came in with.
#[inline(always)]
fn read_headers<C: Traceable>(packet: &Loaded<C>, decapsulated: bool, event: &mut TraceEvent) {
    (event.source_port, event.destination_port, event.protocol) = ([0; 2], [0; 2], 0);
    (event.outer_source, event.outer_destination) = (Address::NONE, Address::NONE);
    let came_in = (event.source, event.destination);
    let (outer_source, outer_destination) = (&mut event.outer_source, &mut event.outer_destination);
    let Some(first) = peek::ends(packet, ETHERNET_LENGTH, outer_source, outer_destination) else { return };
    let inside = match first.is_tunnel() {
        true => peek::ends(packet, first.offset, &mut event.source, &mut event.destination),
        false => None,
    };
    if inside.is_none() {
        (event.source, event.destination) = (event.outer_source, event.outer_destination);
        (event.outer_source, event.outer_destination) =
            if decapsulated { came_in } else { (Address::NONE, Address::NONE) };
    }
    let last = inside.unwrap_or(first);
    event.protocol = u32::from(last.protocol);
    [event.source_port, event.destination_port] = last.ports(packet);
}

/// Where it came in, where it leaves, and what the programs find for its destination.
#[inline(always)]
fn find_way<C: Traceable>(ctx: C, hook: Hook, forwarded: bool, event: &mut TraceEvent) {
    (event.next_hop, event.next_interface) = next_hop(event.destination);
    let (here, came_by) = ctx.interfaces();
    (event.in_interface, event.out_interface) = match hook.is_ingress() {
        true => (here, if forwarded { event.next_interface } else { 0 }),
        false => (came_by, here),
    };
}

/// Index and interface of the next hop that the programs find for this destination.
#[inline(always)]
fn next_hop(destination: Address) -> (u32, u32) {
    let found = if destination.is_v4() { V4::route(destination.v4_word()) } else { V6::route(destination) };
    let Some(index) = found.map(|route| route.next_hop) else { return (0, 0) };
    (index, Maps.next_hop(index).map_or(0, |next_hop| next_hop.interface))
}

/// Sampling, then the rate.
#[inline(always)]
fn is_its_turn(filter: &TraceFilter, state: &mut TraceState, time: u64) -> bool {
    state.wanted += 1;
    if filter.sample > 1 && !state.wanted.is_multiple_of(u64::from(filter.sample)) {
        return false;
    }
    let second = time / NANOSECONDS;
    if state.second != second {
        state.second = second;
        state.events = 0;
    }
    if state.events >= u64::from(filter.rate) {
        state.limited += 1;
        return false;
    }
    state.events += 1;
    true
}

/// Copies this many bytes of the packet's start, unless it is shorter.
#[inline(always)]
fn copy<C: Traceable>(ctx: C, to: &mut [u8; TRACE_SNAPLEN], length: u32) -> bool {
    // SAFETY: the destination has room for TRACE_SNAPLEN bytes, which is the most that is asked for.
    unsafe { ctx.read(0, to.as_mut_ptr().cast(), length) }
}

/// Writes the event with so many bytes of the packet. False if there is no room.
#[inline(always)]
fn write(event: &TraceEvent, captured: u32) -> bool {
    let length = TraceEvent::HEAD + captured as usize;
    // SAFETY: the event is at least that long, and plain bytes without padding.
    let entry = unsafe { slice::from_raw_parts(ptr::from_ref(event).cast::<u8>(), length) };
    TRACE_EVENTS.output_untyped::<[u8]>(entry, 0).is_ok()
}
