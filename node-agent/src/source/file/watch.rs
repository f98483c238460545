use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    panic::resume_unwind,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use super::{Part, reader::Reader};
use crate::{
    model::{SourceEvent, SourceId, SourceUpdate},
    source::Source,
    yaml,
};

/// How fast changes are seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// The file is read once nothing has happened to it for this long: a writer may need several steps.
    pub(super) quiet: Duration,
    /// The file is also read this often, in case no event tells of a change.
    pub(super) poll: Duration,
}

const TIMING: Timing = Timing { quiet: Duration::from_millis(50), poll: Duration::from_secs(2) };

/// The source that follows the file.
///
/// First comes an upsert of everything and `Synced`; after a change, what has changed and `Synced`; and
/// `Failed` when the file cannot be read or used: what was told before then stays in force. A file that
/// is missing at the start is waited for.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    part: Part,
}

impl FileSource {
    /// Follows the file of this path.
    #[must_use]
    pub fn new(path: PathBuf, part: Part) -> Self {
        Self { path, part }
    }
}

impl Source for FileSource {
    fn id(&self) -> SourceId {
        self.part.source.clone()
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn spawn(self: Box<Self>, updates: mpsc::Sender<SourceUpdate>) -> JoinHandle<()> {
        tokio::spawn(run(*self, updates, TIMING))
    }
}

/// The task behind [`FileSource`].
pub(super) async fn run(file: FileSource, updates: mpsc::Sender<SourceUpdate>, timing: Timing) {
    let FileSource { path, part } = file;
    let source = part.source.clone();
    let (signal, mut signals) = mpsc::channel(1);
    let mut reader = Reader::new(&path, part);
    let mut watch = None;
    let mut seen = Seen::default();
    loop {
        // Before reading: what happens between the two is seen then.
        watch = Watch::keep(watch, &path, &signal);
        seen.look(&path);
        let file = path.clone();
        let step = spawn_blocking(move || {
            let started = Instant::now();
            let text = yaml::read(&file);
            let was_read = text.is_ok();
            let mut events = reader.take(text);
            if !events.is_empty() {
                events.insert(0, SourceEvent::Read(started.elapsed()));
            }
            (reader, events, was_read)
        });
        let (back, events, was_read) = match step.await {
            Ok(step) => step,
            // This task has panicked, then: the agent ends with it.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Only a runtime that ends cancels it.
                Err(_) => return,
            },
        };
        reader = back;
        if !was_read {
            // It may be as it was, and could be read a moment later.
            seen = Seen::default();
        }
        for event in events {
            if updates.send(SourceUpdate { source: source.clone(), event }).await.is_err() {
                return;
            }
        }
        loop {
            tokio::select! {
                _ = signals.recv() => break,
                () = sleep(timing.poll) => if seen.may_have_changed(&path) { break },
                () = updates.closed() => return,
            }
        }
        settle(&mut signals, timing.quiet).await;
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
struct Watch {
    folder: FolderId,
    /// None if the kernel refused: then the poll sees changes.
    _watcher: Option<RecommendedWatcher>,
}

/// Device and inode: another folder under the same path is another folder.
type FolderId = (u64, u64);

impl Watch {
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
            let folder = folder.display();
            tracing::warn!(%error, %folder, "no watch on the cluster state's folder: changes are seen by polling");
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
mod tests;
