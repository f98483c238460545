//! What the running agent answers over its unix socket: one JSON document a line, a [`Request`] and then
//! its [`Response`], as often as the client likes on one connection.

mod client;
mod server;
mod status;
mod types;

#[cfg(test)]
mod tests;

pub use client::{AskError, ask};
pub use server::{Call, bind};
pub use status::{
    AttachmentRow, MapRow, MasqueradeStatus, ObjectCounts, PendingChange, PodMtu, ReconcileStatus,
    RouteCounts, SourceStatus, Status,
};
pub use types::{
    Candidate, CounterRow, Encapsulation, Lookup, Neighbour, Request, Response, RouteKind, RouteRow,
};
