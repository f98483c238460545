//! Where facts about the cluster come from. Each source says `Upsert`, `Withdraw` and `Synced`, and
//! `Failed` when it cannot be read; what it said before then stays in force.

pub mod file;

#[cfg(test)]
mod tests;

use std::path::Path;

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    config::{Config, StateFile},
    model::{SourceId, SourceUpdate},
};

/// What plugs a source in: the agent knows no more of any.
pub trait Source: Send {
    /// Its name and its preference.
    fn id(&self) -> SourceId;

    /// Where it reads, for people: the path of a file, for example.
    fn place(&self) -> String;

    /// Starts the task that tells what it has and every change, each update with its own [`Source::id`], until the
    /// receiver is gone.
    fn spawn(self: Box<Self>, updates: mpsc::Sender<SourceUpdate>) -> JoinHandle<()>;
}

/// The sources that the configuration asks for.
#[must_use]
pub fn enabled(config: &Config) -> Vec<Box<dyn Source>> {
    let source = |(path, part): (&Path, file::Part)| {
        Box::new(file::FileSource::new(path.to_owned(), part)) as Box<dyn Source>
    };
    parts(&config.sources).map(source).collect()
}

/// Each cluster-state file with what it is of the whole.
pub fn parts(files: &[StateFile]) -> impl Iterator<Item = (&Path, file::Part)> {
    let whole = files.len() == 1;
    files
        .iter()
        .map(move |StateFile { source, path }| (path.as_path(), file::Part { source: source.clone(), whole }))
}
