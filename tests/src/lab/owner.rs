//! Who a lab belongs to: its folder holds the process id and start time of its owner, so that a later
//! run can tell the lab of a live process from what a crashed one left.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::remove;

/// Folder of all labs.
pub(super) const LABS: &str = "/run/podroute-lab";
const OWNER: &str = "owner";
/// Content of the owner file of a lab that was left up on purpose.
const KEPT: &str = "kept";
/// A folder younger than this may be without an owner file: its owner is about to write it.
const GRACE: Duration = Duration::from_secs(10);

/// The lab's name, folder and everything that carries its name: namespaces, mounts, processes. Dropping
/// it removes all of that.
#[derive(Debug)]
pub struct LabDir {
    id: String,
    path: PathBuf,
    kept: bool,
}

impl LabDir {
    /// Claims a name that no other lab has: `<process id>-<number>`.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn unique() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self::create(format!("{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// Claims this name, after removal of what an earlier lab of this name left up.
    ///
    /// # Errors
    /// If a live process has a lab of this name, or the folder cannot be created.
    pub fn named(id: &str) -> Result<Self> {
        let path = Path::new(LABS).join(id);
        if path.exists() {
            if owner_lives(&path) {
                bail!("a running process has the lab {id:?} ({}): wait for it or end it", path.display());
            }
            remove::remove(id)?;
        }
        Self::create(id.to_owned())
    }

    fn create(id: String) -> Result<Self> {
        let path = Path::new(LABS).join(&id);
        fs::create_dir_all(LABS).with_context(|| format!("creating {LABS}"))?;
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        let lab = Self { id, path, kept: false };
        fs::write(lab.path.join(OWNER), owner_line(process::id())?)?;
        Ok(lab)
    }

    /// The lab's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The lab's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Full name of the namespace of one of the lab's hosts.
    #[must_use]
    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", remove::namespace_prefix(&self.id))
    }

    /// Leaves the lab up when this process ends.
    ///
    /// # Errors
    /// If the owner file cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        fs::write(self.path.join(OWNER), KEPT)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for LabDir {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = remove::remove(&self.id) {
            eprintln!("lab {} is not removed completely: {error:#}", self.id);
        }
    }
}

/// Removes the labs of processes that are no more. Labs of live processes and kept ones stay.
///
/// # Errors
/// If the labs cannot be listed, or one of the dead cannot be removed.
pub fn sweep() -> Result<()> {
    let folders = match fs::read_dir(LABS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        folders => folders.with_context(|| format!("listing {LABS}"))?,
    };
    for folder in folders {
        let path = folder?.path();
        let id = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_dead(&path) {
            remove::remove(id).with_context(|| format!("removing what the lab {id} left"))?;
        }
    }
    Ok(())
}

fn is_dead(lab: &Path) -> bool {
    match fs::read_to_string(lab.join(OWNER)) {
        Ok(owner) if owner.trim() == KEPT => false,
        Ok(owner) if !owner.is_empty() => !is_alive(&owner),
        _ => age(lab).is_some_and(|age| age > GRACE),
    }
}

fn owner_lives(lab: &Path) -> bool {
    fs::read_to_string(lab.join(OWNER)).is_ok_and(|owner| owner.trim() != KEPT && is_alive(&owner))
}

fn is_alive(owner: &str) -> bool {
    let pid = owner.split_whitespace().next().and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| owner_line(pid).is_ok_and(|now| now == owner))
}

fn age(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()
}

/// `<process id> <start time in ticks since boot>`: unlike the id alone, this pair never comes again.
fn owner_line(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let start = start_time(&stat).with_context(|| format!("{path} shows no running process"))?;
    Ok(format!("{pid} {start}"))
}

/// The start time in a line of /proc/PID/stat; none for a process that has ended and waits for its parent
/// to notice, which in a container without an init may be for ever.
fn start_time(stat: &str) -> Option<&str> {
    // The command's name, in parentheses, may hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") { None } else { fields.get(19).copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_only_with_its_own_start_time() {
        let own = owner_line(process::id()).unwrap();
        assert!(is_alive(&own));
        assert!(!is_alive(&format!("{} 1", process::id())));
        assert!(!is_alive("4194305 1"), "above the largest process id");
        assert!(!is_alive("nonsense"));
    }

    #[test]
    fn a_process_that_has_ended_has_no_start_time() {
        let stat = |state: &str| format!("7 (a (b) c) {state} {} 4711 0", ["1"; 18].join(" "));
        assert_eq!(start_time(&stat("S")), Some("4711"));
        assert_eq!(start_time(&stat("Z")), None);
        assert_eq!(start_time("7 (cut) S 1"), None);
    }
}
