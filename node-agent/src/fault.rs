//! Points at which tests end the agent as a crash would: by SIGKILL, between two steps of what it does; and what tests can
//! have the kernel refuse.
//!
//! Only builds with the feature `fault-injection` know them, and such builds are for tests:
//!
//! - `PODROUTE_CRASH_AT=N`: the process ends at the N-th point that it passes, counted from 1.
//! - `PODROUTE_CRASH_FROM=FILE`: points count from when there is such a file, so that a crash comes in the middle of a life.
//! - `PODROUTE_CRASH_LOG=FILE`: every point passed is written there, a line each, behind a line with all names.
//! - `PODROUTE_WAIT_AT=N`: the process waits at the N-th point that it passes, and lets nothing else have its turn.
//! - `PODROUTE_WAIT_UNTIL=FILE`: until there is such a file.
//! - `PODROUTE_PANIC_IN=TASK`: this task of the agent panics.
//! - `PODROUTE_PANIC_FROM=FILE`: but not before there is such a file.
//! - `PODROUTE_REFUSALS=FILE`: while there is such a file, what it names is refused: an operation and an error number in
//!   each line, such as `map-update 12`.
//! - `PODROUTE_TEST_MAX_ROUTES=N`: the maps of routes have room for so many only.
//! - `PODROUTE_TEST_LAYOUT=N`: the agent takes itself for a build with this version of the layout.

use std::convert::Infallible;

/// Declares the points with their names.
macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A point at which the agent may end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        #[cfg(feature = "fault-injection")]
        impl Point {
            /// The names of all.
            const NAMES: &[&str] = &[$($name),*];

            /// Its name.
            fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// The folders of the pins are there, the maps are not opened.
    PinsMade = "pins-made",
    /// The maps are open and the programs loaded, nothing is attached.
    Loaded = "loaded",
    /// Before the settings are written.
    Settings = "settings",
    /// Before a next-hop object is written.
    NextHop = "next-hop",
    /// Before an endpoint is written.
    Endpoint = "endpoint",
    /// Before a route or several are written.
    Route = "route",
    /// Routes are in the trie, the lookup table does not have them.
    RouteInTrie = "route-in-trie",
    /// Before a program is attached or replaced.
    Attach = "attach",
    /// A program is attached anew, its link is not pinned.
    LinkMade = "link-made",
    /// A filter is in place, a link of another method at the same hook is still there.
    FilterMade = "filter-made",
    /// Before a program is detached.
    Detach = "detach",
    /// Before an endpoint is removed.
    EndpointGone = "endpoint-gone",
    /// Before a route is removed.
    RouteGone = "route-gone",
    /// A route is out of the trie, the lookup table still has it.
    RouteOutOfTrie = "route-out-of-trie",
    /// Before a next-hop object is freed.
    NextHopFreed = "next-hop-freed",
    /// Before the maps of another layout are removed.
    LayoutGone = "layout-gone",
    /// One map of another layout is removed, others are not.
    LayoutPinGone = "layout-pin-gone",
    /// The datapath is even, the kernel's own tables are not.
    DatapathDone = "datapath-done",
    /// Before a sysctl is set.
    Sysctl = "sysctl",
    /// Before the MTU of a pod's veth is set.
    PodMtu = "pod-mtu",
    /// Before a group of netlink requests.
    Netlink = "netlink",
    /// The kernel's own tables are even, the masquerade table is not.
    HostDone = "host-done",
    /// The masquerade table is filled, but not read back.
    MasqueradeSet = "masquerade-set",
    /// A document of the state directory is written, but has not taken its name.
    StateWritten = "state-written",
    /// A document of the state directory has taken its name, or is removed.
    StateKept = "state-kept",
    /// The pass is over.
    PassDone = "pass-done",
}

/// Something that the kernel may refuse at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To write an entry of a map.
    MapUpdate,
    /// To open a pinned link.
    LinkOpen,
    /// To attach a program to an interface, or to put it in the place of another one.
    Attach,
    /// To open a netlink socket.
    NetlinkSocket,
    /// To take requests for changes.
    NetlinkRequest,
    /// To list a table as it is at one time: whatever the number, it has changed meanwhile.
    NetlinkDump,
}

#[cfg(feature = "fault-injection")]
impl Operation {
    /// Its name.
    const fn name(self) -> &'static str {
        match self {
            Self::MapUpdate => "map-update",
            Self::LinkOpen => "link-open",
            Self::Attach => "attach",
            Self::NetlinkSocket => "netlink-socket",
            Self::NetlinkRequest => "netlink-request",
            Self::NetlinkDump => "netlink-dump",
        }
    }
}

/// Fails if a test wants the kernel to refuse this, as the kernel would.
///
/// # Errors
/// With the number that the test has chosen.
#[cfg(feature = "fault-injection")]
pub fn refuse(operation: Operation) -> std::io::Result<()> {
    injection::refuse(operation)
}

/// Refuses nothing: this build is for users.
///
/// # Errors
/// Never.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub const fn refuse(_: Operation) -> std::io::Result<()> {
    Ok(())
}

/// Ends the process here if a test wants it to.
#[cfg(feature = "fault-injection")]
pub fn point(point: Point) {
    injection::pass(point);
}

/// Does nothing: this build is for users.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_: Point) {}

/// Panics if a test wants this task to, when it wants it. Never ends.
#[cfg(feature = "fault-injection")]
pub async fn in_task(name: String) -> Infallible {
    if injection::variable::<String>("PODROUTE_PANIC_IN").is_some_and(|task| task == name) {
        while injection::is_missing("PODROUTE_PANIC_FROM") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("a test wants it");
    }
    std::future::pending().await
}

/// Never ends: this build is for users.
#[cfg(not(feature = "fault-injection"))]
pub fn in_task(_: String) -> std::future::Pending<Infallible> {
    std::future::pending()
}

/// The version of the layout that this agent goes by.
#[cfg(feature = "fault-injection")]
#[must_use]
pub fn layout_version() -> u32 {
    injection::variable("PODROUTE_TEST_LAYOUT").unwrap_or(node_ebpf_common::LAYOUT_VERSION)
}

/// The version of the layout that this agent goes by.
#[cfg(not(feature = "fault-injection"))]
#[must_use]
pub const fn layout_version() -> u32 {
    node_ebpf_common::LAYOUT_VERSION
}

/// How many routes a map has room for.
#[cfg(feature = "fault-injection")]
#[must_use]
pub fn max_routes() -> u32 {
    injection::variable("PODROUTE_TEST_MAX_ROUTES").unwrap_or(node_ebpf_common::MAX_ROUTES)
}

/// How many routes a map has room for.
#[cfg(not(feature = "fault-injection"))]
#[must_use]
pub const fn max_routes() -> u32 {
    node_ebpf_common::MAX_ROUTES
}

#[cfg(feature = "fault-injection")]
mod injection {
    use std::{
        env,
        fs::{self, OpenOptions},
        io::{self, Write as _},
        path::Path,
        str::FromStr,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
        thread::sleep,
        time::Duration,
    };

    use nix::{
        sys::signal::{Signal, raise},
        unistd::pause,
    };

    use super::{Operation, Point};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static CRASH_AT: LazyLock<Option<u64>> = LazyLock::new(|| variable("PODROUTE_CRASH_AT"));
    static WAIT_AT: LazyLock<Option<u64>> = LazyLock::new(|| variable("PODROUTE_WAIT_AT"));

    pub(super) fn variable<T: FromStr>(name: &str) -> Option<T> {
        env::var(name).ok()?.parse().ok()
    }

    /// Whether the variable names a file that is not there.
    pub(super) fn is_missing(variable: &str) -> bool {
        env::var_os(variable).is_some_and(|file| !Path::new(&file).exists())
    }

    pub(super) fn refuse(operation: Operation) -> io::Result<()> {
        let Some(file) = env::var_os("PODROUTE_REFUSALS") else { return Ok(()) };
        let Ok(text) = fs::read_to_string(file) else { return Ok(()) };
        let number = |line: &str| {
            let (named, number) = line.split_once(' ')?;
            number.parse().ok().filter(|_| named == operation.name())
        };
        text.lines().find_map(number).map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
    }

    pub(super) fn pass(point: Point) {
        if is_missing("PODROUTE_CRASH_FROM") {
            return;
        }
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(file) = env::var_os("PODROUTE_CRASH_LOG") {
            let mut text = if number == 1 { format!("{}\n", Point::NAMES.join(" ")) } else { String::new() };
            text += point.name();
            text.push('\n');
            let file = OpenOptions::new().create(true).append(true).open(file);
            if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
                tracing::error!("cannot write the log of crash points: {error}");
            }
        }
        while *WAIT_AT == Some(number) && is_missing("PODROUTE_WAIT_UNTIL") {
            sleep(Duration::from_millis(10));
        }
        if *CRASH_AT == Some(number) {
            let _ = raise(Signal::SIGKILL);
            pause();
        }
    }
}
