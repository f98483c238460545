//! Network namespaces of pods, by the number that the host's own has for them.
//!
//! A pod's end of a veth can be read from outside by that number, but not changed: `RTM_SETLINK` takes
//! `IFLA_TARGET_NETNSID` for the namespace to *move* an interface to (`do_setlink` in the kernel's
//! `net/core/rtnetlink.c`). So the namespace is entered, by a file that names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns};

use super::one_request::ask;

/// Namespaces that can be entered.
#[derive(Debug, Default)]
pub(super) struct Namespaces(BTreeMap<i32, File>);

impl Namespaces {
    /// Looks for namespaces with these numbers: first among those that have a name, as container runtimes
    /// and `ip netns` give them, then among those of all processes.
    pub(super) fn find(mut wanted: BTreeSet<i32>) -> Self {
        let mut found = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for path in listed("/run/netns", "").chain(listed("/proc", "ns/net")) {
            if wanted.is_empty() {
                break;
            }
            // A process may have ended meanwhile, and most share a namespace with others.
            let Ok(file) = File::open(&path) else { continue };
            let Ok(inode) = file.metadata().map(|metadata| metadata.ino()) else { continue };
            if !seen.insert(inode) {
                continue;
            }
            if let Some(id) = number_of(&file).filter(|id| wanted.remove(id)) {
                found.insert(id, file);
            }
        }
        Self(found)
    }

    /// A netlink socket in this namespace; nothing if it was not found.
    pub(super) fn socket(&self, id: i32) -> Option<io::Result<Socket>> {
        let file = self.0.get(&id)?;
        // The thread that enters it is thrown away: the agent's own must stay where it is.
        let open = || {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            Socket::new(NETLINK_ROUTE)
        };
        Some(thread::scope(|scope| {
            scope.spawn(open).join().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
        }))
    }
}

/// The files with this name below every entry of a folder; the entries themselves if the name is empty.
fn listed(folder: &str, name: &'static str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(Path::new(folder)).into_iter().flatten().flatten();
    entries.map(move |entry| if name.is_empty() { entry.path() } else { entry.path().join(name) })
}

/// The number that this thread's namespace has for another one; none if it has none, or it is no namespace.
fn number_of(namespace: &File) -> Option<i32> {
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Fd(u32::try_from(namespace.as_raw_fd()).ok()?)];
    let socket = Socket::new(NETLINK_ROUTE).ok()?;
    match ask(&socket, RouteNetlinkMessage::GetNsId(message), 0).ok()?? {
        RouteNetlinkMessage::NewNsId(answer) => {
            answer.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) => Some(*id).filter(|id| *id >= 0),
                _ => None,
            })
        }
        _ => None,
    }
}
