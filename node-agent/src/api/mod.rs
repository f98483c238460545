//! What the running agent answers over its unix socket: one JSON document a line, a [`Request`] and then
//! its [`Response`], as often as the client likes on one connection.

mod client;
mod server;
mod types;

#[cfg(test)]
mod tests;

pub use client::{AskError, ask};
pub use server::{Call, Server, ServerError, bind};
pub use types::{
    AttachmentRow, Candidate, CounterRow, Encapsulation, Lookup, MapRow, Neighbour, ObjectCounts,
    PendingChange, ReconcileStatus, Request, Response, RouteCounts, RouteKind, RouteRow, SourceStatus,
    Status,
};
