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
        let info = rig.program(hook).info().expect("info");
        let verified = info.verified_instruction_count().unwrap_or_default();
        println!("{} at log level {level}: the verifier looked at {verified}", hook.label());
        // It gives up at 1,000,000, and those of older kernels look at several times as many.
        assert!(verified < 100_000, "{} is too much for old verifiers: {verified}", hook.label());
        info.size_translated().expect("size") / 8
    };
    for hook in Hook::CLASSIFIERS {
        let (off, debug, trace) = (translated(0, hook), translated(4, hook), translated(5, hook));
        println!("{}: {off} instructions, {trace} with log messages", hook.label());
        assert!(off < debug && debug <= trace);
        assert!(off < 4_500, "{} has grown to {off} instructions", hook.label());
    }
}

/// Tracing exists only in programs loaded with it, likewise.
#[test]
fn tracing_costs_nothing_when_off() {
    for hook in Hook::CLASSIFIERS {
        let size = |trace| {
            let info = Rig::load(0, trace).program(hook).info().expect("info");
            let verified = info.verified_instruction_count().unwrap_or_default();
            println!("{}: traced: {trace}: the verifier looked at {verified}", hook.label());
            assert!(verified < 100_000, "{} is too much for old verifiers: {verified}", hook.label());
            info.size_translated().expect("size") / 8
        };
        let (off, on) = (size(false), size(true));
        println!("{}: {off} instructions, {on} with tracing", hook.label());
        assert!(off < on);
    }
}

/// A packet and the program that it goes through.
struct Case {
    name: &'static str,
    hook: Hook,
    packet: Vec<u8>,
}

fn case(name: &'static str, hook: Hook, frame: &Frame) -> Case {
    Case { name, hook, packet: frame.bytes() }
}

/// The shortest way through a program: what test-run and counting cost.
fn floor() -> Case {
    let packet = [&[0xff; 12][..], &[0x08, 0x06], &[0; 50]].concat();
    Case { name: "stack-other-protocol", hook: Hook::FromUplink, packet }
}

/// Outcomes that leave the packet as it is, so that it can be run again and again.
fn unchanged() -> Vec<Case> {
    let inner = Frame::udp(IPIP_POD, UNASSIGNED, 10);
    let too_big = Frame::udp(POD, IPIP_POD, 1_460);
    vec![
        floor(),
        case("stack-not-routed", Hook::FromPod, &Frame::udp(POD, OUTSIDE, 22)),
        case("stack-host", Hook::FromPod, &Frame::udp(POD, NODE, 22)),
        case("stack-too-big", Hook::FromPod, &too_big),
        case("stack-ttl", Hook::FromPod, &Frame::udp(POD, DIRECT_POD, 22).with(|ip| ip.time_to_live = 1)),
        case("drop-unassigned", Hook::FromPod, &Frame::udp(POD, UNASSIGNED, 22)),
        case("drop-spoofed-source", Hook::FromPod, &Frame::udp(OUTSIDE, DIRECT_POD, 22)),
        case("drop-pod-tunnel", Hook::FromPod, &Frame::ipip(POD, IPIP_NODE, &inner)),
        case("stack-not-routed", Hook::FromUplink, &Frame::udp(OUTSIDE, OUTSIDE, 22)),
        case("stack-host", Hook::FromUplink, &Frame::udp(OUTSIDE, NODE, 22)),
        case("stack-transit", Hook::FromUplink, &Frame::udp(DIRECT_POD, IPIP_POD, 22)),
        case("drop-unassigned", Hook::FromUplink, &Frame::ipip(IPIP_NODE, NODE, &inner)),
        case("drop-unknown-tunnel-source", Hook::FromUplink, &Frame::ipip(OUTSIDE, NODE, &inner)),
        case("stack-routed", Hook::ToUplink, &Frame::udp(NODE, OUTSIDE, 22)),
    ]
}

/// Outcomes that rewrite the packet: the next repeat would see what this one left.
fn rewritten() -> Vec<Case> {
    let inner = |destination| Frame::ipip(IPIP_NODE, NODE, &Frame::udp(IPIP_POD, destination, 22));
    vec![
        floor(),
        case("stack-not-routed", Hook::FromPod, &Frame::udp(POD, OUTSIDE, 22)),
        case("local", Hook::FromPod, &Frame::udp(POD, LOCAL_POD, 22)),
        case("direct", Hook::FromPod, &Frame::udp(POD, DIRECT_POD, 22)),
        case("ipip", Hook::FromPod, &Frame::udp(POD, IPIP_POD, 22)),
        case("local", Hook::FromUplink, &Frame::udp(DIRECT_POD, LOCAL_POD, 22)),
        case("decap-local", Hook::FromUplink, &inner(LOCAL_POD)),
        case("decap-stack", Hook::FromUplink, &inner(NODE)),
        case("ipip", Hook::ToUplink, &Frame::udp(HOST, IPIP_POD, 22)),
    ]
}

fn nanoseconds(rig: &mut Rig, case: &Case, repeat: u32) -> u128 {
    let options = TestRunOptions { data_in: Some(&case.packet), repeat, ..TestRunOptions::default() };
    rig.program(case.hook).test_run(options).expect("test run").duration.as_nanos()
}

/// Nanoseconds per packet of each outcome, 64-byte packets and a dozen prefixes. What stays as it is: best
/// of five runs of 200,000 repeats. What is rewritten: median of 4,001 single runs, of which the floor's
/// median, taken in the same way, is mostly the clock.
#[test]
fn print_nanoseconds_per_packet() {
    let mut rig = Rig::new();
    for case in unchanged() {
        let best = (0..5).map(|_| nanoseconds(&mut rig, &case, 200_000)).min().expect("five runs");
        println!("{:12} {:28} {best:4} ns repeated", case.hook.label(), case.name);
        assert!(best > 0);
    }
    let mut floor = None;
    for case in rewritten() {
        let mut runs: Vec<u128> = (0..4_001).map(|_| nanoseconds(&mut rig, &case, 1)).collect();
        runs.sort_unstable();
        let median = runs[runs.len() / 2];
        let above = median.saturating_sub(*floor.get_or_insert(median));
        println!("{:12} {:28} {median:4} ns single, {above:4} above the floor", case.hook.label(), case.name);
    }
}
