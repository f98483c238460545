//! Tracing, as decided in user space: which packets the programs are to report, which of those a client
//! gets, and what an event means in the cluster's terms. Pure: no I/O, no clock.

mod explain;
mod filter;
mod share;

#[cfg(test)]
pub(crate) use explain::tests::encapsulated;
pub use explain::{Names, Way, explain};
pub use filter::{filter, union};
pub use share::Share;
