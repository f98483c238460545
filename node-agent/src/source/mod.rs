//! Where facts about the cluster come from. Each source says `Upsert`, `Withdraw` and `Synced`, and
//! `Failed` when it cannot be read; what it said before then stays in force.

pub mod file;

#[cfg(test)]
mod tests;

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    config::Config,
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
    vec![Box::new(file::FileSource::new(config.source_file.clone()))]
}
