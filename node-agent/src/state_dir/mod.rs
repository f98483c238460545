//! What must outlive the agent: small typed documents in one folder.
//!
//! A document is written whole to a file beside it, which then takes its name: a crash at any moment leaves the old one or
//! the new one. What is found torn, changed, of a newer version or not ours is set aside, and never half believed.
//! Without the folder the agent works all the same, and forgets.

mod document;
mod write;

use std::{
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
};

pub use document::{Document, DocumentDefect};
use nix::unistd::{AccessFlags, access};

use crate::fault::{self, Point};

/// Every document that there is, by its name: what `cleanup` looks for.
const NAMES: [&str; 1] = ["brake"];

/// Longest document in bytes: what is longer is not ours.
const LONGEST: u64 = 64 << 20;

/// Why a document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The kernel refused.
    #[error("cannot {action} {path}: {error}", path = path.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// What is there cannot be believed; it has been set aside.
    #[error("{path} cannot be used: {defect}; it has been set aside as {aside}", path = path.display(), aside = aside.display())]
    Bad {
        /// The document.
        path: PathBuf,
        /// What is wrong with it.
        defect: DocumentDefect,
        /// Where it is now.
        aside: PathBuf,
    },
}

/// Where one document is kept.
#[derive(Debug)]
pub struct Store<D> {
    folder: PathBuf,
    document: PhantomData<fn() -> D>,
}

impl<D: Document> Store<D> {
    /// The document's place in the folder. Nothing is read, written or made yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), document: PhantomData }
    }

    /// The document; none if there is none.
    ///
    /// # Errors
    /// It cannot be read, or not believed. What cannot be believed has been set aside, so that the next call finds none.
    pub fn load(&self) -> Result<Option<D>, StateDirError> {
        let path = self.path();
        let failed = |action| {
            let path = path.clone();
            move |error| StateDirError::Io { action, path, error }
        };
        let bytes = match fs::symlink_metadata(&path) {
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed("look at")(error)),
            Ok(found) if !found.is_file() || found.len() > LONGEST => Err(DocumentDefect::Foreign),
            Ok(_) => Ok(fs::read(&path).map_err(failed("read"))?),
        };
        bytes.and_then(|bytes| document::decode(&bytes)).map(Some).or_else(|defect| {
            let aside = self.beside("bad");
            fs::rename(&path, &aside).map_err(failed("set aside"))?;
            Err(StateDirError::Bad { path: path.clone(), defect, aside })
        })
    }

    /// Writes the document, and returns when it is on the disk. Makes the folder if there is none.
    ///
    /// # Errors
    /// It cannot be written; then the one before is still there.
    pub fn save(&self, document: &D) -> Result<(), StateDirError> {
        let failed = |action, path: PathBuf| move |error| StateDirError::Io { action, path, error };
        let bytes = document::encode(document)
            .map_err(|error| failed("write", self.path())(io::Error::other(error)))?;
        fs::create_dir_all(&self.folder).map_err(failed("make the folder", self.folder.clone()))?;
        write::atomically(&self.folder, &self.path(), &self.beside("new"), &bytes)
            .map_err(failed("write", self.path()))
    }

    /// Removes the document, if there is one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> Result<(), StateDirError> {
        let path = self.path();
        match fs::remove_file(&path) {
            Err(error) if !is_missing(&error) => Err(StateDirError::Io { action: "remove", path, error }),
            _ => {
                fault::point(Point::StateKept);
                Ok(())
            }
        }
    }

    fn path(&self) -> PathBuf {
        file(&self.folder, D::NAME)
    }

    fn beside(&self, extension: &str) -> PathBuf {
        beside(&self.path(), extension)
    }
}

/// Makes the folder if there is none, and looks whether documents can be written there.
///
/// # Errors
/// They cannot.
pub fn check(folder: &Path) -> Result<(), StateDirError> {
    let failed = |action| move |error| StateDirError::Io { action, path: folder.to_owned(), error };
    fs::create_dir_all(folder).map_err(failed("make the folder"))?;
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| failed("write to the folder")(errno.into()))
}

/// What is ours in the folder, and the folder itself if nothing else is in it.
///
/// # Errors
/// The folder cannot be read.
pub fn leftovers(folder: &Path) -> Result<Vec<PathBuf>, StateDirError> {
    let failed = |error| StateDirError::Io { action: "read the folder", path: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let ours: Vec<PathBuf> = NAMES
        .iter()
        .map(|name| file(folder, name))
        .flat_map(|path| [beside(&path, "bad"), beside(&path, "new"), path])
        .collect();
    let (mut found, mut others) = (Vec::new(), false);
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if ours.contains(&path) { found.push(path) } else { others = true }
    }
    found.sort();
    if !others {
        found.push(folder.to_owned());
    }
    Ok(found)
}

/// Removes one of the [`leftovers`].
///
/// # Errors
/// The kernel refuses.
pub fn remove_leftover(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Also where something on the way is a file.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests;
