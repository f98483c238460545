//! Link-layer addresses of gateways, remembered for a moment: asking the kernel's tables takes longer than all the
//! rest of what the XDP program does.

use aya_ebpf::{btf_maps::PerCpuArray, helpers::generated::bpf_jiffies64, macros::btf_map};
use node_ebpf_common::{Address, NextHop};

use super::frame::{Frame, LinkLayer};

/// How long an answer is taken for granted, in jiffies: 25 ms where the kernel counts 1,000 of them a second, 250 ms
/// where it counts 100. Another address of a neighbour is noticed that much later than the kernel does.
const LIFETIME: u64 = 25;

/// How many answers each CPU remembers.
const ROOM: usize = 256;

/// An answer. No user space reads it, and it goes with the programs that wrote it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Answer {
    gateway: Address,
    interface: u32,
    link_layer: LinkLayer,
    /// The jiffy from which on it is asked again.
    until: u64,
}

#[btf_map]
static NEIGHBOURS: PerCpuArray<Answer, ROOM> = PerCpuArray::new();

/// The link-layer addresses on the way to the next hop's gateway, if the kernel knows its neighbour. That it does not
/// is never remembered.
#[inline(always)]
pub fn neighbour(frame: &Frame, via: &NextHop) -> Option<LinkLayer> {
    let answer = NEIGHBOURS.get_ptr_mut(place(&via.gateway))?;
    // SAFETY: the pointer is to this CPU's entry, and no two XDP programs run on one CPU at a time.
    let answer = unsafe { &mut *answer };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_jiffies64() };
    if answer.until > now && answer.interface == via.interface && answer.gateway.is(&via.gateway) {
        return Some(answer.link_layer);
    }
    let link_layer = frame.neighbour(via)?;
    *answer = Answer { gateway: via.gateway, interface: via.interface, link_layer, until: now + LIFETIME };
    Some(link_layer)
}

/// Where a gateway's answer is: neighbours differ in the last bytes of their addresses.
#[inline(always)]
fn place(gateway: &Address) -> u32 {
    let [_, _, third, last] = gateway.v4_word().to_ne_bytes();
    u32::from(third ^ last)
}
