//! The benchmark's own BPF programs: those that repeat a program of the datapath on the same packet, and those that
//! do nothing but look addresses up.
#![no_std]
#![no_main]
// The classifier macro generates an undocumented item for each program.
#![allow(missing_docs)]
// Helpers take and return lengths as numbers of another sign, and verdicts as 64 bits of which fewer count.
#![allow(clippy::cast_possible_truncation)]

mod lookups;
mod repeat;
// As the datapath has them.
#[path = "../bpf/routes.rs"]
mod routes;

/// Nothing here panics; the compiler wants to know what would happen.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// As the datapath's, so that both can use the same helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
