use std::path::{Path, PathBuf};

use super::{DatapathError, Pins, attach};
use crate::reconcile::AttachmentPoint;

/// What `cleanup` removes of the datapath: programs at interfaces, then pins.
#[derive(Debug)]
pub struct Leftovers {
    /// Where programs of ours are attached.
    pub attachments: Vec<AttachmentPoint>,
    /// Pinned maps and our directories.
    pub pins: Vec<PathBuf>,
}

/// Finds everything of ours, of whatever layout and from whichever agent.
///
/// # Errors
/// The pins or the kernel cannot be read.
pub fn leftovers(bpffs: &Path) -> Result<Leftovers, DatapathError> {
    let pins = Pins::new(bpffs);
    let attached = attach::Attached::observe(&pins)?;
    let mut attachments: Vec<AttachmentPoint> =
        attached.links.keys().chain(attached.clsact.keys()).copied().collect();
    attachments.sort_unstable();
    attachments.dedup();
    let links = pins.links();
    let rest = pins.everything()?.into_iter().filter(|pin| pin.parent() != Some(&links)).collect();
    Ok(Leftovers { attachments, pins: rest })
}

/// Detaches one of the leftovers.
///
/// # Errors
/// The kernel refuses.
pub fn detach_leftover(bpffs: &Path, point: AttachmentPoint) -> Result<(), DatapathError> {
    attach::detach(&Pins::new(bpffs), point)
}

/// Removes one of the leftover pins: a map, or a directory that must be empty by now.
///
/// # Errors
/// It cannot be removed.
pub fn remove_leftover(pin: &Path) -> Result<(), DatapathError> {
    let result = if pin.is_dir() { std::fs::remove_dir(pin) } else { attach::remove_file(pin) };
    result.map_err(DatapathError::pin("remove", pin))
}
