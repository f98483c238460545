//! Metrics and health over HTTP, for those who have enabled it: `/metrics` in OpenMetrics' text format, `/healthz` and
//! `/readyz`.
//!
//! ```text
//!  scraper ─► server (bounded) ──Ask──► App's loop ──Snapshot──► render ─► text
//! ```
//!
//! The loop replies with plain data; everything after that is pure. Labels take their values from fixed lists and from
//! the names of sources: whatever the size of the cluster, the number of series is the same.

mod families;
mod family;
mod health;
mod histogram;
mod pass_counts;
mod render;
mod server;
mod snapshot;

#[cfg(test)]
mod tests;

pub use health::Health;
pub use histogram::Histogram;
pub use pass_counts::PassCounts;
pub use server::{Ask, bind};
pub use snapshot::{Build, RouteState, Snapshot, SourceSample};
