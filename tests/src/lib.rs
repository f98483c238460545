//! The test harness of Podroute: labs of nodes and pods in network namespaces, probes and captures in
//! them, and the real agent on each node. The stories in `tests/*.rs` and `cargo xtask demo` use it.
//!
//! Everything here needs root and says so where it is not.

pub mod agent;
#[cfg(feature = "bench")]
pub mod bench;
pub mod capture;
pub mod command;
pub mod craft;
pub mod family;
pub mod kube_proxy;
pub mod lab;
pub mod metrics;
pub mod monitor;
pub mod netns;
pub mod offload;
pub mod preflight;
pub mod probe;
pub mod process;
#[cfg(feature = "program")]
pub mod program;
pub mod remains;
pub mod state;
mod story;
pub mod terminal;
pub mod wait;
pub mod way;

pub use story::{Failure, story};
