//! What the programs cost: printed, not asserted (absolute times are noise); the size is asserted.

use aya::{TestRun as _, TestRunOptions};
use node_ebpf_common::Hook;

use crate::{packet::Frame, rig::*};

/// Log messages exist only in programs loaded with them: with the level at 0 the verifier removes their
/// code, so the packet path pays nothing.
#[test]
fn log_messages_cost_nothing_when_off() {
    let translated = |level: u8, hook| {
        let mut rig = Rig::with_log_level(level);
        rig.program(hook).info().expect("info").size_translated().expect("size") / 8
    };
    for hook in Hook::ALL {
        let (off, debug, trace) = (translated(0, hook), translated(4, hook), translated(5, hook));
        println!("{}: {off} instructions; with debug messages {debug}, with trace {trace}", hook.label());
        assert!(off < debug && debug < trace);
        assert!(off < 1_500, "{} has grown to {off} instructions", hook.label());
    }
}

/// Nanoseconds per packet of each outcome, best of five runs of 200,000. A program that rewrites its
/// packet sees it rewritten in the next repeat, so those are given by the outcomes whose packets stay.
#[test]
fn print_nanoseconds_per_packet() {
    let mut rig = Rig::new();
    let inner = Frame::udp(IPIP_POD, UNASSIGNED, 10);
    for (name, hook, frame) in [
        ("other protocol (floor)", Hook::FromUplink, None),
        ("stack-not-routed", Hook::FromPod, Some(Frame::udp(POD, OUTSIDE, 22))),
        ("stack-host", Hook::FromPod, Some(Frame::udp(POD, NODE, 22))),
        ("stack-too-big", Hook::FromPod, Some(Frame::udp(POD, IPIP_POD, 1_460))),
        ("drop-unassigned", Hook::FromPod, Some(Frame::udp(POD, UNASSIGNED, 22))),
        ("drop-spoofed-source", Hook::FromPod, Some(Frame::udp(OUTSIDE, DIRECT_POD, 22))),
        ("stack-transit", Hook::FromUplink, Some(Frame::udp(DIRECT_POD, IPIP_POD, 22))),
        ("tunnel: both lookups, drop", Hook::FromUplink, Some(Frame::ipip(IPIP_NODE, NODE, &inner))),
        ("stack-routed", Hook::ToUplink, Some(Frame::udp(NODE, OUTSIDE, 22))),
    ] {
        let bytes = frame.map_or_else(|| [&[0xff; 12][..], &[0x08, 0x06], &[0; 50]].concat(), |f| f.bytes());
        let best = (0..5)
            .map(|_| {
                let options =
                    TestRunOptions { data_in: Some(&bytes), repeat: 200_000, ..TestRunOptions::default() };
                rig.program(hook).test_run(options).expect("test run").duration
            })
            .min()
            .expect("five runs");
        println!("{:12} {name:28} {:4} ns", hook.label(), best.as_nanos());
        assert!(best.as_nanos() > 0);
    }
}
