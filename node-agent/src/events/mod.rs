//! What happened, for people: a bounded list of events, each with a kind, a time and a number that gives their order.

mod kind;
mod ring;

pub use kind::EventKind;
pub use ring::{Event, Events};
