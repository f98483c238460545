//! A test run with repeats gives each repeat the packet that the one before has left behind: with fewer hops, with a
//! header more or less. These programs put it back as it was, and then go over to the program that is measured.
//! The same with a program that returns at once is what is subtracted.

use aya_ebpf::{
    bindings::{
        BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
        BPF_F_INVALIDATE_HASH, TC_ACT_UNSPEC, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, xdp_action::XDP_PASS,
    },
    btf_maps::{Array, ProgramArray},
    helpers::generated::{
        bpf_skb_store_bytes, bpf_xdp_adjust_head, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
    },
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use node_ebpf_common::bench::{HEADERS, TARGETS as TARGETS_LENGTH, Target, Template};

#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();

#[btf_map]
static TARGETS: Array<Target, { TARGETS_LENGTH as usize }> = Array::new();

/// Of tc programs.
#[btf_map]
static REPEATED: ProgramArray<1> = ProgramArray::new();

/// Of XDP programs: a program array holds programs of one type.
#[btf_map]
static REPEATED_XDP: ProgramArray<1> = ProgramArray::new();

/// No verdict: the packet could not be put back, or there is no program to go over to.
const FAILED: i32 = 0x0bad;
/// Less than any header, in bytes.
const SOME_ROOM: i32 = 4;
/// Where the Ethernet header ends.
const NETWORK_HEADER: usize = 14;
const ETHER_TYPE_V4: u32 = u16::from_ne_bytes([0x08, 0x00]) as u32;

/// Puts an skb back, and goes over to the program that is measured.
#[classifier]
pub fn repeat_skb(ctx: TcContext) -> i32 {
    if restore_skb(&ctx).is_some() {
        // SAFETY: nothing is left to be done here.
        unsafe { REPEATED.tail_call(&ctx, 0) };
    }
    FAILED
}

/// Puts a frame back, likewise.
#[xdp(frags)]
pub fn repeat_frame(ctx: XdpContext) -> u32 {
    if restore_frame(&ctx).is_some() {
        // SAFETY: nothing is left to be done here.
        unsafe { REPEATED_XDP.tail_call(&ctx, 0) };
    }
    FAILED as u32
}

/// Returns at once.
#[classifier]
pub fn return_skb(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Returns at once.
#[xdp(frags)]
pub fn return_frame(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Makes room for a header or takes it away, by the same calls as the datapath's program, and does nothing else.
#[classifier]
pub fn room_skb(ctx: TcContext) -> i32 {
    let Some(template) = TEMPLATE.get(0) else { return FAILED };
    if adjust_room(&ctx, template.room, template.room_flags).is_none() {
        // The kernel takes the note of a tunnel once, and a test run keeps the packet.
        if adjust_room(&ctx, template.room, 0).is_none() {
            return FAILED;
        }
        if template.other_family != 0 && tell_family(&ctx, template.other_family).is_none() {
            return FAILED;
        }
    }
    TC_ACT_UNSPEC
}

/// The same for a frame.
#[xdp(frags)]
pub fn room_frame(ctx: XdpContext) -> u32 {
    let Some(template) = TEMPLATE.get(0) else { return FAILED as u32 };
    // SAFETY: the context is valid, and no pointers into the frame are kept.
    let failed = unsafe { bpf_xdp_adjust_head(ctx.ctx, -template.room) } != 0;
    if failed { FAILED as u32 } else { XDP_PASS }
}

#[inline(always)]
fn restore_skb(ctx: &TcContext) -> Option<()> {
    let template = TEMPLATE.get_ptr_mut(0)?;
    // SAFETY: one program runs at a time, on one CPU.
    let template = unsafe { &mut *template };
    let (skb, difference) = (ctx.skb.skb, template.length as i32 - ctx.len() as i32);
    if difference != 0 {
        adjust_room(ctx, difference, 0)?;
    }
    // SAFETY: the kernel hands a valid context to the program.
    if unsafe { (*skb).protocol } != template.protocol {
        let flag = match template.protocol {
            ETHER_TYPE_V4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
            _ => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
        };
        tell_family(ctx, flag)?;
    }
    // SAFETY: as above; the field is writable for tc programs.
    unsafe { (*skb).mark = 0 };
    take_target(template)?;
    let length = length_of_headers(template)?;
    let headers = template.headers.as_ptr().cast();
    // SAFETY: so many bytes are there.
    let failed = unsafe { bpf_skb_store_bytes(skb, 0, headers, length, u64::from(BPF_F_INVALIDATE_HASH)) };
    (failed == 0).then_some(())
}

#[inline(always)]
fn restore_frame(ctx: &XdpContext) -> Option<()> {
    let template = TEMPLATE.get_ptr_mut(0)?;
    // SAFETY: one program runs at a time, on one CPU.
    let template = unsafe { &mut *template };
    // SAFETY: the kernel hands a valid context to the program.
    let difference = template.length as i32 - unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as i32;
    // SAFETY: as above, and no pointers into the frame are kept.
    if difference != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, -difference) } != 0 {
        return None;
    }
    take_target(template)?;
    let length = length_of_headers(template)?;
    // SAFETY: so many bytes are there.
    let failed = unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, template.headers.as_mut_ptr().cast(), length) };
    (failed == 0).then_some(())
}

/// Writes the next target into the template's header.
#[inline(always)]
fn take_target(template: &mut Template) -> Option<()> {
    if template.targets == 0 {
        return Some(());
    }
    let next = template.next;
    template.next = next.wrapping_add(1);
    if template.next == template.first.wrapping_add(template.targets) {
        template.next = template.first;
    }
    let target = TARGETS.get(next)?;
    let headers = template.headers.as_mut_ptr();
    // SAFETY: both places are within the headers and, with what stands before them, aligned.
    unsafe {
        if template.protocol == ETHER_TYPE_V4 {
            headers.add(NETWORK_HEADER + 10).cast::<u16>().write(target.checksum as u16);
            headers.add(NETWORK_HEADER + 16).cast::<u32>().write(target.address[0]);
        } else {
            headers.add(NETWORK_HEADER + 24).cast::<[u32; 4]>().write(target.address);
        }
    }
    Some(())
}

#[inline(always)]
fn length_of_headers(template: &Template) -> Option<u32> {
    let length = template.headers_length;
    (1..=HEADERS as u32).contains(&length).then_some(length)
}

#[inline(always)]
fn adjust_room(ctx: &TcContext, difference: i32, flags: u32) -> Option<()> {
    let flags = u64::from(flags | BPF_F_ADJ_ROOM_FIXED_GSO);
    ctx.adjust_room(difference, BPF_ADJ_ROOM_MAC, flags).ok()
}

/// Tells the kernel that the packet is of another family now, which it learns only where a header comes off.
#[inline(always)]
fn tell_family(ctx: &TcContext, flag: u32) -> Option<()> {
    adjust_room(ctx, -SOME_ROOM, flag)?;
    adjust_room(ctx, SOME_ROOM, 0)
}
