//! Follows a file that others write: tells when it may say something else, once its writer has paused.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// How fast changes are seen.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A change is told once nothing has happened to the file for this long: a writer may need several steps.
    pub quiet: Duration,
    /// The file is also looked at this often, in case no event tells of a change.
    pub poll: Duration,
}

impl Timing {
    /// For files that people and Kubernetes write.
    pub const USUAL: Self = Self { quiet: Duration::from_millis(50), poll: Duration::from_secs(2) };
}

/// A file that is followed. Read it after [`FileWatch::keep`] and after each [`FileWatch::changed`].
pub struct FileWatch {
    path: PathBuf,
    timing: Timing,
    folder: Option<FolderWatch>,
    seen: Seen,
    signal: mpsc::Sender<()>,
    signals: mpsc::Receiver<()>,
}

impl FileWatch {
    /// Follows the file of this path, which need not be there.
    #[must_use]
    pub fn new(path: PathBuf, timing: Timing) -> Self {
        let (signal, signals) = mpsc::channel(1);
        Self { path, timing, folder: None, seen: Seen::default(), signal, signals }
    }

    /// Watches the folder that is there now. Before reading: what happens between the two is told then.
    pub fn keep(&mut self) {
        self.folder = FolderWatch::keep(self.folder.take(), &self.path, &self.signal);
        self.seen.look(&self.path);
    }

    /// For a file that could not be read: it may stay as it is, and could be read a moment later.
    pub fn forget(&mut self) {
        self.seen = Seen::default();
    }

    /// Waits until the file may have changed. May be dropped while it waits.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                _ = self.signals.recv() => break,
                () = sleep(self.timing.poll) => if self.seen.may_have_changed(&self.path) { break },
            }
        }
        settle(&mut self.signals, self.timing.quiet).await;
    }
}

/// Waits until no signal has come for a while, but not for ever.
async fn settle(signals: &mut mpsc::Receiver<()>, quiet: Duration) {
    let latest = Instant::now() + quiet * 20;
    while Instant::now() < latest && timeout(quiet, signals.recv()).await.is_ok() {}
}

/// What the file was like when it was read, so that it need not be read again as long as it is the same.
#[derive(Debug, Default)]
struct Seen {
    /// None if there was none, or it could not be looked at.
    stamp: Option<Stamp>,
    /// Whether it was like that the time before, too. Once is not enough: it may be written again in the same moment,
    /// by a clock that is coarse.
    twice: bool,
}

/// Device, inode, size, and when it last changed in any way, in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl Seen {
    /// Takes in what the file is like before it is read.
    fn look(&mut self, path: &Path) {
        let stamp = stamp(path);
        *self = Self { twice: stamp.is_some() && stamp == self.stamp, stamp };
    }

    fn may_have_changed(&self, path: &Path) -> bool {
        !self.twice || stamp(path) != self.stamp
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
}

/// A watch on the file's folder: a rename over the file, or of a link on the way to it (as a ConfigMap
/// does), is an event there, not at the file.
struct FolderWatch {
    folder: FolderId,
    /// None if the kernel refused: then the poll sees changes.
    _watcher: Option<RecommendedWatcher>,
}

/// Device and inode: another folder under the same path is another folder.
type FolderId = (u64, u64);

impl FolderWatch {
    /// The watch as it is if it is on the right folder, otherwise a new one; none if there is no folder.
    fn keep(watch: Option<Self>, path: &Path, signal: &mpsc::Sender<()>) -> Option<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let metadata = fs::metadata(folder).ok()?;
        let id = (metadata.dev(), metadata.ino());
        if watch.as_ref().is_some_and(|watch| watch.folder == id) {
            return watch;
        }
        let watcher = start_watcher(folder, path.file_name()?, signal.clone()).inspect_err(|error| {
            let path = path.display();
            tracing::warn!(%error, %path, "no watch on the file's folder: its changes are seen by polling");
        });
        Some(Self { folder: id, _watcher: watcher.ok() })
    }
}

fn start_watcher(
    folder: &Path,
    name: &OsStr,
    signal: mpsc::Sender<()>,
) -> notify::Result<RecommendedWatcher> {
    let name = name.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| concerns(&event, &name)) {
            // A full channel holds a signal already.
            let _ = signal.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether the event can mean that the file says something else now.
fn concerns(event: &Event, name: &OsStr) -> bool {
    let read_only =
        matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    // Kubernetes swaps the link `..data` on which the file's own link depends.
    let ours = |path: &PathBuf| {
        path.file_name().is_none_or(|file| file == name || file.as_encoded_bytes().starts_with(b".."))
    };
    event.need_rescan() || (!read_only && event.paths.iter().any(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_file_is_no_change_of_it() {
        let event = |kind, path: &str| Event::new(kind).add_path(PathBuf::from(path));
        let name = OsStr::new("cluster.yaml");
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!concerns(&event(open, "/etc/cluster.yaml"), name));
        assert!(!concerns(&event(EventKind::Any, "/etc/agent.yaml"), name));
        assert!(concerns(
            &event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/etc/cluster.yaml"),
            name
        ));
        assert!(concerns(&event(EventKind::Any, "/etc/..data"), name));
    }

    #[test]
    fn a_file_is_read_again_until_it_was_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.yaml");
        let mut seen = Seen::default();
        seen.look(&path);
        seen.look(&path);
        assert!(seen.may_have_changed(&path), "there is none");
        fs::write(&path, "one").unwrap();
        seen.look(&path);
        assert!(seen.may_have_changed(&path), "seen once only");
        seen.look(&path);
        assert!(!seen.may_have_changed(&path));
        // As a writer does that renames a file over it, with the same size.
        let new = folder.path().join("new");
        fs::write(&new, "two").unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(seen.may_have_changed(&path));
        seen.look(&path);
        assert!(seen.may_have_changed(&path));
        seen.look(&path);
        fs::remove_file(&path).unwrap();
        assert!(seen.may_have_changed(&path));
    }
}
