//! The host's network by netlink and `/proc/sys`: reads it, changes it, tells when it changed.
//!
//! Everything acts on the network namespace of the calling thread, so the agent runs on a single-threaded
//! runtime. Decoding and encoding are pure (`*_message`); the only I/O is in `session`, `one_request`,
//! `namespaces`, `sysctl`, `watch` and `reachability`.

mod address_message;
mod apply;
mod error;
mod exchange;
mod inspect;
mod link_message;
mod mtu;
mod namespaces;
mod neighbour;
mod neighbour_event;
mod neighbour_message;
mod observe;
mod one_request;
mod path_mtu;
mod reachability;
mod route_message;
mod session;
mod sysctl;
mod watch;

pub use error::HostError;
pub use neighbour::Neighbour;
pub use path_mtu::PathMtuWatch;
pub use reachability::Reachability;
pub use watch::{Changes, HostWatch};

use sysctl::Sysctls;

/// The network of the host this runs on. Holds no state of its own: each operation opens its own netlink
/// socket, so that one that broke never outlives the operation it broke in.
#[derive(Debug, Clone)]
pub struct Host {
    sysctls: Sysctls,
}

impl Host {
    /// The network namespace of the calling thread.
    #[must_use]
    pub fn new() -> Self {
        Self { sysctls: Sysctls::system() }
    }
}
