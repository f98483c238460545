//! What the running agent answers over its unix socket: one JSON document a line, a [`Request`] and then
//! its [`Response`], as often as the client likes on one connection. A [`Request::Trace`] is the last of its
//! connection: lines follow until the client has enough.

mod brake;
mod client;
mod config;
mod conflict;
mod envelope;
mod explain;
mod follow;
mod server;
mod status;
mod stream;
mod trace;
mod types;

#[cfg(test)]
mod tests;

pub use brake::{BrakeStatus, HeldRoutes};
pub use client::{AskError, ask};
pub use config::{ConfigStatus, Reloaded};
pub use conflict::ConflictRow;
pub use explain::{Disagreement, DisagreementKind, Explained, Explanation, Row, Step, StepKind, Subject};
pub use follow::Trace;
pub use server::{Call, bind};
pub use status::{
    AttachmentRow, LookupTableStatus, MapRow, MasqueradeStatus, ObjectCounts, PassStatus, PathMtuRow,
    PendingChange, PodMtu, ReconcileStatus, RouteCounts, SourceStatus, Status,
};
pub use stream::TraceCall;
pub use trace::{TraceEnd, TraceLine, TraceRequest, TraceRow};
pub use types::{
    Candidate, CounterRow, Encapsulation, EventList, Lookup, Neighbour, Request, Response, RouteKind,
    RouteRow,
};
