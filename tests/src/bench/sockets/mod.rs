//! Load from real sockets: [`Stream`]s of TCP, and [`Exchange`]s of a request and its answer over UDP or TCP.
//!
//! ```text
//!            one thread, pinned to one CPU
//!   ┌─────────────────────────────────────────┐
//!   socket in `from` ─► path of this way ─► socket in `to`
//! ```
//!
//! Sockets are opened once, inside of the namespaces, and stay open between rounds; a window lets them work for a
//! while. One thread holds both ends. On virtual links the kernel carries a packet along the whole path within the
//! system call that sends it, or soon after it on the same CPU. So sender, path and receiver share one CPU which is
//! never idle, and time per byte or exchange is what all of it costs. No thread waits to be woken by another: that
//! costs as much as a path, depends on the scheduler, and would hide what is compared. So figures are less than what
//! two processes see, and only their ratios mean something.
//!
//! Others run on the CPU too. They are kept out by medians: of the exchanges' times, and of what a byte cost in each
//! short stretch of a window. Totals a second have them in.
//!
//! After a window nothing is on the way: a way that does not deliver what it was given has its connections reset
//! (opened anew in the next window), and what was wrong is in the result.

mod connection;
mod cpu;
mod ends;
mod exchange;
mod flow;
mod stream;
mod udp;

pub use cpu::{last_cpu, on_cpu};
pub use ends::Ends;
pub use exchange::{Exchange, Exchanged, Protocol};
pub use stream::{STRETCH, Stream, Transferred};
