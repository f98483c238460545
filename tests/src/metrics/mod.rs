//! Metrics and health of an agent, as whoever scrapes it sees them.

mod exposition;
mod http;

pub use exposition::{Exposition, Sample};
pub use http::{Reply, exchange, get};
