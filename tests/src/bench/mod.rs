//! The benchmark harness: Podroute and what a user would run instead, side by side in one run.
//!
//! ```text
//! suite ─► rounds (A B A B …) ─► samples ─► stats: ratios with intervals ─► report ─► terminal, JSON, SVG, Markdown
//! ```
//!
//! A suite measures and knows nothing of how it is shown; the report knows nothing of what was measured. Absolute
//! times are noise on shared machines, so what counts are ratios of things measured in the same round; a ratio that
//! is too uncertain is not printed ([`stats::Estimate`]).

pub mod control;
pub mod latency;
pub mod lookup;
pub mod machine;
pub mod own_object;
pub mod prefixes;
pub mod program;
pub mod report;
pub mod run;
pub mod sockets;
pub mod stats;
pub mod veth;

pub use run::{Options, Progress, Suite};

/// Every suite, in the order in which they are run.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![program::SUITE, lookup::SUITE, veth::SUITE, control::SUITE]
}
