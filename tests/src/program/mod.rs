//! The real BPF object, loaded with a small cluster's tables and run by the kernel on packets made here
//! (`BPF_PROG_TEST_RUN`): for the program tests and the benchmark harness. Whatever fails in here panics, and says what.

pub mod cases;
pub mod cluster;
pub mod rig;
pub mod table;
pub mod uplink;
mod xdp;

pub use xdp::{XDP_DROP, XDP_PASS, XDP_REDIRECT};
