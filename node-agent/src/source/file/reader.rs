use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use super::{ClusterState, Part, diff, everything, parse};
use crate::{model::SourceEvent, yaml::ReadError};

/// Knows what was last read and last told, and says what is to be told next. No I/O.
#[derive(Debug)]
pub(super) struct Reader {
    /// The file's path, for people.
    path: String,
    /// What findings and origins call the file.
    name: String,
    part: Part,
    /// Hash of what the last attempt gave, text or error.
    seen: Option<u64>,
    /// What was told: the last good state.
    told: Option<ClusterState>,
}

impl Reader {
    /// Has read nothing yet.
    pub(super) fn new(path: &Path, part: Part) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { path: path.display().to_string(), name, part, seen: None, told: None }
    }

    /// What to tell, now that an attempt to read the file gave this. Nothing if it gave the same as the
    /// attempt before.
    pub(super) fn take(&mut self, read: Result<String, ReadError>) -> Vec<SourceEvent> {
        let read = read.map_err(|error| error.to_string());
        let seen = hash(&read);
        if self.seen.replace(seen) == Some(seen) {
            return Vec::new();
        }
        let state = read.and_then(|text| {
            parse(&text, &self.name, &self.part)
                .map_err(|error| format!("cannot use {}:\n{error}", self.path))
        });
        match state {
            Err(error) => vec![SourceEvent::Failed(error)],
            Ok(state) => {
                let mut events = match &self.told {
                    Some(told) => diff(told, &state),
                    None => everything(&state),
                };
                events.push(SourceEvent::Synced);
                self.told = Some(state);
                events
            }
        }
    }
}

fn hash(read: &Result<String, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    read.hash(&mut hasher);
    hasher.finish()
}
