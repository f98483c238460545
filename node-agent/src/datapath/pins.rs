//! Where things are pinned: what lets the datapath outlive the agent.
//!
//! ```text
//! <bpffs>/podroute/v3/<MAP>              maps of layout version 3
//!                                        (flow maps that did not change are pinned in two: `adopt`)
//! <bpffs>/podroute/links/<hook>-<index>  a program at an interface, by interface index
//! ```

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use node_ebpf_common::Hook;

use super::{DatapathError, attach::remove_file};
use crate::fault::{self, Point, layout_version};

/// The directories below one bpffs.
#[derive(Debug, Clone)]
pub struct Pins {
    bpffs: PathBuf,
}

impl Pins {
    /// The pins below this mount point (or any directory on a bpffs).
    pub fn new(bpffs: impl Into<PathBuf>) -> Self {
        Self { bpffs: bpffs.into() }
    }

    /// Everything of ours.
    pub fn root(&self) -> PathBuf {
        self.bpffs.join("podroute")
    }

    /// The maps of this build's layout.
    pub fn maps(&self) -> PathBuf {
        self.layout(layout_version())
    }

    /// The maps of a layout.
    pub fn layout(&self, version: u32) -> PathBuf {
        self.root().join(format!("v{version}"))
    }

    /// One map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Every link.
    pub fn links(&self) -> PathBuf {
        self.root().join("links")
    }

    /// The link of a hook at an interface.
    pub fn link(&self, hook: Hook, interface: u32) -> PathBuf {
        self.links().join(format!("{}-{interface}", hook.label()))
    }

    /// Checks that this is a bpffs and makes the directories.
    ///
    /// # Errors
    /// It is not, or they cannot be made.
    pub fn create(&self) -> Result<(), DatapathError> {
        let magic = statfs(&self.bpffs)
            .map_err(|errno| DatapathError::pin("look at", &self.bpffs)(errno.into()))?
            .filesystem_type();
        if magic != BPF_FS_MAGIC {
            return Err(DatapathError::NotBpffs { path: self.bpffs.clone() });
        }
        for directory in [self.root(), self.maps(), self.links()] {
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(DatapathError::pin("create", directory)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Hook and interface index of every pinned link. Names that are not ours are left out.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pinned_links(&self) -> Result<Vec<(Hook, u32)>, DatapathError> {
        let directory = self.links();
        Ok(entries(&directory)?.iter().filter_map(|path| parse_link(path)).collect())
    }

    /// Versions of other layouts whose maps are still pinned: by agents of another version.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn other_layouts(&self) -> Result<BTreeSet<u32>, DatapathError> {
        let found = entries(&self.root())?;
        let versions = found.iter().filter_map(|path| parse_layout(path));
        Ok(versions.filter(|version| *version != layout_version()).collect())
    }

    /// Removes the maps of a layout, which no attached program may use any more.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn remove_layout(&self, version: u32) -> Result<(), DatapathError> {
        let directory = self.layout(version);
        for pin in entries(&directory)? {
            remove_file(&pin).map_err(DatapathError::pin("remove", &pin))?;
            fault::point(Point::LayoutPinGone);
        }
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DatapathError::pin("remove", directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// Every pin of ours, of whatever layout, directories last: in an order in which they can be removed.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn everything(&self) -> Result<Vec<PathBuf>, DatapathError> {
        let mut found = Vec::new();
        let root = self.root();
        for directory in entries(&root)? {
            found.extend(entries(&directory)?);
            found.push(directory);
        }
        if root.exists() {
            found.push(root);
        }
        Ok(found)
    }
}

/// What is in a directory, sorted; nothing if it does not exist.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DatapathError::pin("read", directory)(error)),
    };
    let mut paths: Vec<PathBuf> = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(DatapathError::pin("read", directory))?;
    paths.sort();
    Ok(paths)
}

/// Hook and interface index in a link's name.
fn parse_link(path: &Path) -> Option<(Hook, u32)> {
    let (hook, index) = path.file_name()?.to_str()?.rsplit_once('-')?;
    let hook = Hook::ALL.into_iter().find(|known| known.label() == hook)?;
    Some((hook, index.parse().ok()?))
}

/// Version in the name of a layout's directory, written as we write it.
fn parse_layout(path: &Path) -> Option<u32> {
    let version = path.file_name()?.to_str()?.strip_prefix('v')?;
    version.parse().ok().filter(|parsed: &u32| parsed.to_string() == version)
}

#[cfg(test)]
mod tests {
    use node_ebpf_common::LAYOUT_VERSION;

    use super::*;

    #[test]
    fn other_layouts_are_found_and_removed_by_their_version() {
        let directory = tempfile::tempdir().unwrap();
        let pins = Pins::new(directory.path());
        assert_eq!(pins.other_layouts().unwrap(), BTreeSet::new());
        let own = format!("v{LAYOUT_VERSION}");
        for name in ["v1", own.as_str(), "v12", "links", "v", "v1x", "v01", "vv1"] {
            fs::create_dir_all(pins.root().join(name)).unwrap();
            fs::write(pins.root().join(name).join("NEXT_HOPS"), "").unwrap();
        }
        assert_eq!(pins.other_layouts().unwrap(), BTreeSet::from([1, 12]));
        pins.remove_layout(1).unwrap();
        pins.remove_layout(1).unwrap();
        assert_eq!(pins.other_layouts().unwrap(), BTreeSet::from([12]));
        assert!(pins.map("NEXT_HOPS").exists(), "our own stay");
        assert!(pins.root().join("v01/NEXT_HOPS").exists(), "what we do not write is not ours");
    }

    #[test]
    fn link_names_can_be_read_back() {
        let pins = Pins::new("/sys/fs/bpf");
        for hook in Hook::ALL {
            assert_eq!(parse_link(&pins.link(hook, 12)), Some((hook, 12)));
        }
    }

    /// Invariant 3: what we cannot recognise as ours is not ours.
    #[test]
    fn other_names_are_not_ours() {
        for name in ["from-pod", "from-pod-", "from-pod-x", "somebody-7", "from_pod-7"] {
            assert_eq!(parse_link(Path::new(name)), None, "{name}");
        }
    }

    /// Invariant 7: maps of another layout are in another directory, and never opened.
    #[test]
    fn the_layout_version_is_part_of_every_maps_path() {
        let path = Pins::new("/sys/fs/bpf").map("NEXT_HOPS");
        assert_eq!(path, Path::new(&format!("/sys/fs/bpf/podroute/v{LAYOUT_VERSION}/NEXT_HOPS")));
    }

    #[test]
    fn a_directory_on_no_bpffs_is_refused_with_the_command_to_mount_one() {
        let directory = tempfile::tempdir().unwrap();
        let error = Pins::new(directory.path()).create().unwrap_err().to_string();
        assert!(error.contains("mount -t bpf bpf"), "{error}");
    }
}
