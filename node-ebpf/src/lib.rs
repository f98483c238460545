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
mod ipv6;
mod packet;
mod pair;
pub mod peek;
pub mod rewrite;
mod transport;

pub use family::{Family, Header, Ports};
pub use fib::{Fib, Tables};
pub use ipv4::V4;
pub use ipv6::V6;
pub use node_ebpf_common::Outcome;
pub use packet::{ETHER_TYPE_OFFSET, ETHERNET_LENGTH, Packet, PacketMut};
pub use transport::UDP;
