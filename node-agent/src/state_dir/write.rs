use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::fault::{self, Point};

/// Puts the bytes in the file's place: whoever reads finds the old ones or these, also after a crash. `new` is where
/// they are written first, in the same folder.
pub(super) fn atomically(folder: &Path, path: &Path, new: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_new(new, bytes).and_then(|()| {
        fault::point(Point::StateWritten);
        fs::rename(new, path)
    });
    if written.is_err() {
        // What is left of it would only take room, which may be what was missing. That it fails as well is no news.
        let _ = fs::remove_file(new);
    }
    written?;
    fault::point(Point::StateKept);
    // Only then the new name is on the disk.
    File::open(folder)?.sync_all()
}

fn write_new(new: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}
