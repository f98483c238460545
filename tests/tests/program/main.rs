//! Program tests: the real BPF object, run by the kernel (`BPF_PROG_TEST_RUN`) on packets made here.
//! Verdict, output bytes and counters are compared with what the decision must be.
//!
//! They need root and BPF; without, they fail and say so.

mod cases;
mod cost;
mod from_pod;
mod from_uplink;
mod fuzz;
mod groups;
mod lookup;
mod model;
mod model_group;
mod model_packet;
mod packet;
mod random;
mod to_uplink;
mod trace;
mod xdp;
mod xdp_random;
mod xdp_transit;

use tests::program::{cluster, rig};
