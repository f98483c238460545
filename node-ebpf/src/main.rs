//! BPF entry points. Each reads the context, asks the library what to do, does it and counts it.
#![no_std]
#![no_main]
// The classifier macro generates an undocumented item for each program.
#![allow(missing_docs)]
// Helpers return verdicts, sizes and random numbers as 64 bits of which fewer count.
#![allow(clippy::cast_possible_truncation)]

mod bpf {
    pub mod act;
    pub mod frame;
    pub mod maps;
    pub mod neighbour;
    pub mod routes;
    pub mod skb;
    pub mod trace;
    pub mod xdp;
}

use aya_ebpf::{
    EbpfContext,
    bindings::TC_ACT_UNSPEC,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::{log, macro_support::Level};
use bpf::{
    act::{self, Done},
    frame::Frame,
    maps,
    skb::Skb,
    trace,
};
use node_ebpf::{Outcome, Packet as _};
use node_ebpf_common::{Ending, Hook, MARK_FORWARDED};

/// tc ingress at the host side of a pod's veth.
#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    let length = skb.frame_length();
    let mut done = Done::UNREAD;
    let verdict = act::from_pod(&mut skb, &mut done);
    finish(&ctx, ctx.skb.skb, Hook::FromPod, length, &done);
    verdict
}

/// tc ingress at an uplink.
#[classifier]
pub fn from_uplink(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    let length = skb.frame_length();
    let mut done = Done::UNREAD;
    let verdict = act::from_uplink(&mut skb, &mut done);
    finish(&ctx, ctx.skb.skb, Hook::FromUplink, length, &done);
    verdict
}

/// tc egress at an uplink.
#[classifier]
pub fn to_uplink(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    // What from-pod has routed comes by here too: counted there, it goes on at once.
    if skb.take_mark(MARK_FORWARDED) {
        return TC_ACT_UNSPEC;
    }
    let length = skb.frame_length();
    let mut done = Done::UNREAD;
    let verdict = act::to_uplink(&mut skb, &mut done);
    finish(&ctx, ctx.skb.skb, Hook::ToUplink, length, &done);
    verdict
}

/// tc egress at the host side of a pod's veth.
#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(&ctx);
    let length = skb.frame_length();
    let mut done = Done::UNREAD;
    let verdict = act::to_pod(&mut skb, &mut done);
    finish(&ctx, ctx.skb.skb, Hook::ToPod, length, &done);
    verdict
}

/// XDP at an uplink, also for frames in more than one buffer (jumbo frames).
#[xdp(frags)]
pub fn xdp(ctx: XdpContext) -> u32 {
    let frame = Frame::new(ctx.ctx);
    let length = frame.len();
    let mut done = Done::UNREAD;
    let verdict = bpf::xdp::from_uplink(&frame, &mut done);
    finish(&ctx, ctx.ctx, Hook::Xdp, length, &done);
    verdict
}

/// Counts the outcome and logs it (code that exists only in programs loaded with that log level).
#[inline(always)]
fn finish(ctx: &impl EbpfContext, raw: impl trace::Traceable, hook: Hook, length: u32, done: &Done) {
    maps::count(hook, done.outcome, length);
    if done.outcome != Outcome::StackOtherProtocol {
        // Numbers, which the agent turns into names: with strings of many lengths the verifier would have
        // to follow each of them through the whole message.
        let level = if done.outcome.ending() == Ending::Dropped { Level::Debug } else { Level::Trace };
        log!(
            ctx,
            level,
            "{} {} {:i} -> {:i} {} bytes",
            hook as u32,
            done.outcome as u32,
            done.source.octets(),
            done.destination.octets(),
            length
        );
    }
    // Last: the verifier need not go through it for each outcome when nothing looks at the outcome any more.
    if trace::on() {
        trace::record(raw, &trace::Ended { hook, length, done });
    }
}

/// Nothing here panics; the compiler wants to know what would happen.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_redirect_neigh` and others are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
