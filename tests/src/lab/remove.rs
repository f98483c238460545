//! Removal of a lab by its name: the same way at its end, after a crash, and for one that was kept.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::owner::LABS;
use crate::netns::NAMES;

/// Start of the names of a lab's namespaces.
pub(super) fn namespace_prefix(id: &str) -> String {
    format!("podroute-{id}-")
}

/// Removes the lab's processes, mounts, namespaces and files. What another process removes at the same
/// time is no error.
pub(super) fn remove(id: &str) -> Result<()> {
    let namespaces = namespaces_of(id)?;
    end_processes(&namespaces)?;
    let folder = Path::new(LABS).join(id);
    unmount_below(&folder)?;
    for namespace in &namespaces {
        unmount(namespace)?;
        ignore_missing(fs::remove_file(namespace))
            .with_context(|| format!("removing {}", namespace.display()))?;
    }
    ignore_missing(fs::remove_dir_all(&folder)).with_context(|| format!("removing {}", folder.display()))?;
    Ok(())
}

fn namespaces_of(id: &str) -> Result<Vec<PathBuf>> {
    let prefix = namespace_prefix(id);
    let entries = match fs::read_dir(NAMES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("listing {NAMES}"))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The prefix ends with a dash, so that lab 12-1 is not taken for the start of lab 12-10.
        if name.starts_with(&prefix) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Ends the processes that live in these namespaces, and only those.
fn end_processes(namespaces: &[PathBuf]) -> Result<()> {
    let inodes: BTreeSet<u64> =
        namespaces.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.ino()).collect();
    if inodes.is_empty() {
        return Ok(());
    }
    for (signal, patience) in [(Signal::SIGTERM, 2000), (Signal::SIGKILL, 2000)] {
        let deadline = Instant::now() + Duration::from_millis(patience);
        for pid in processes_in(&inodes)? {
            let _ = kill(pid, signal);
        }
        while Instant::now() < deadline {
            if processes_in(&inodes)?.is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    anyhow::bail!("processes {:?} do not end", processes_in(&inodes)?)
}

fn processes_in(inodes: &BTreeSet<u64>) -> Result<Vec<Pid>> {
    let own = process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has just ended has no namespace any more.
        let inside = fs::metadata(entry.path().join("ns/net")).is_ok_and(|meta| inodes.contains(&meta.ino()));
        if inside && pid != own {
            found.push(Pid::from_raw(i32::try_from(pid)?));
        }
    }
    Ok(found)
}

fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    let below = mounts.lines().filter_map(|line| line.split_whitespace().nth(4)).map(Path::new);
    for mount in below.filter(|mount| mount.starts_with(folder)) {
        unmount(mount)?;
    }
    Ok(())
}

fn unmount(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("unmounting {}", path.display())),
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
