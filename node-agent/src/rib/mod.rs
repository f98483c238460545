//! The routing information base: what the sources said ([`Table`]), which of it is used and why not the
//! rest ([`select`]), and what that means on this host ([`resolve`]). Pure: no I/O, no clock of its own.
//!
//! ```text
//! SourceUpdate ──► Table ──► select ──► Selection ──► resolve ──► Resolved { wanted, problems, … }
//!                                                       ▲
//!                                                    HostView
//! ```

mod address;
mod amend;
mod conflict;
mod explain;
mod path_mtu;
mod problem;
mod resolve;
mod select;
mod table;

pub use address::{address_of, to_map};
pub use amend::{Amendment, amendment};
#[cfg(test)]
pub(crate) use amend::{GoneRoute, NewRoute};
pub use conflict::{Claimant, Conflict, ConflictKind};
pub use explain::{
    Lookup, LoserRow, RouteRow, lookup, lookup_prefix, rows, rows_around, rows_inside, unused,
};
pub use path_mtu::{LearnedMtu, PathMtus};
pub use problem::{Problem, ProblemKind};
pub use resolve::{Path, ResolveSettings, Resolved, resolve};
pub use select::{Candidate, Loser, OwnNode, Role, Selection, Target, select};
pub use table::{SourceStatus, Table};

#[cfg(test)]
pub(crate) mod fixtures;
