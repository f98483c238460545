use std::{panic::resume_unwind, path::PathBuf};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use super::{Part, reader::Reader};
use crate::{
    file_watch::{FileWatch, Timing},
    model::{SourceEvent, SourceId, SourceUpdate},
    source::Source,
    yaml,
};

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
        tokio::spawn(run(*self, updates, Timing::USUAL))
    }
}

/// The task behind [`FileSource`].
pub(super) async fn run(file: FileSource, updates: mpsc::Sender<SourceUpdate>, timing: Timing) {
    let FileSource { path, part } = file;
    let source = part.source.clone();
    let mut reader = Reader::new(&path, part);
    let mut watch = FileWatch::new(path.clone(), timing);
    loop {
        watch.keep();
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
            watch.forget();
        }
        for event in events {
            if updates.send(SourceUpdate { source: source.clone(), event }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = watch.changed() => {}
            () = updates.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests;
