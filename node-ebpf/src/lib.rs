//! What Podroute's BPF programs decide, as pure functions: parse → decide → rewrite.
//!
//! Nothing here knows the kernel: packets come through [`Packet`], tables through [`Fib`], so the same
//! code runs in the kernel and in the host's unit tests. A decision is complete before the first byte is
//! written; every ending is an [`Outcome`]. Everything is generic over the address [`Family`].
//!
//! All functions are `inline(always)`: the verifier tracks packet pointers best in one flat program.
#![no_std]

pub mod checksum;
pub mod decide;
mod family;
mod fib;
mod ipv4;
mod packet;
pub mod rewrite;

pub use family::{Family, Header};
pub use fib::Fib;
pub use ipv4::V4;
pub use node_ebpf_common::Outcome;
pub use packet::{ETHERNET_LENGTH, Packet, PacketMut};
