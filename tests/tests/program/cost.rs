//! How large the programs are, and what is not in them as long as it is not asked for.

use node_ebpf_common::Hook;

use crate::rig::*;

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
        assert!(off < 5_000, "{} has grown to {off} instructions", hook.label());
    }
}

/// Tracing exists only in programs loaded with it, likewise; without, the load of its constant is left.
#[test]
fn tracing_is_not_in_programs_loaded_without_it() {
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
        assert!(off + 500 < on, "{} has {off} instructions without tracing, {on} with it", hook.label());
    }
}

/// An agent may be asked for everything at once.
#[test]
fn log_messages_and_tracing_fit_together() {
    let mut rig = Rig::load(5, true);
    for hook in Hook::CLASSIFIERS {
        let info = rig.program(hook).info().expect("info");
        let verified = info.verified_instruction_count().unwrap_or_default();
        println!("{}: with messages and traced: the verifier looked at {verified}", hook.label());
        assert!(verified < 100_000, "{} is too much for old verifiers: {verified}", hook.label());
    }
}
