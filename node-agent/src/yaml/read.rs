use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel refused.
    #[error("cannot read {path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("cannot read {path}: it is not a regular file", path = path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Larger than a file of ours can sensibly be.
    #[error(
        "cannot read {path}: it has {size} bytes; allowed: {max} bytes at most",
        path = path.display(),
        max = LARGEST_FILE
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Not text.
    #[error("cannot read {path}: line {line} is not UTF-8 text", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is not text.
        line: usize,
    },
}

/// Largest file that is read, in bytes: room for half a million pods.
const LARGEST_FILE: u64 = 64 << 20;

/// Reads a text file.
///
/// # Errors
/// It does not exist, may not be read, is no regular file, is too large, or is not UTF-8.
pub fn read(path: &Path) -> Result<String, ReadError> {
    let failed = |error| ReadError::Io { path: path.to_owned(), error };
    // Before opening it: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    if metadata.len() > LARGEST_FILE {
        return Err(ReadError::TooLarge { path: path.to_owned(), size: metadata.len() });
    }
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut bytes)).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        ReadError::NotUtf8 { path: path.to_owned(), line }
    })
}
