//! A datapath in memory, for tests: holds what is written, and refuses what it is told to refuse.

use aya::maps::MapError;
use nix::errno::Errno;

use super::{Datapath, DatapathError};
use crate::{
    reconcile::{MapChange, ObservedDatapath},
    stop::Stop,
};

/// The datapath as the kernel would hold it.
#[derive(Default)]
pub struct MemoryDatapath {
    /// What is in place.
    pub state: ObservedDatapath,
    /// Changes whose text contains one of these are refused.
    pub refuse: Vec<String>,
    /// How many routes there is room for; none for any number.
    pub room: Option<usize>,
    /// What was made, in order.
    pub applied: Vec<MapChange>,
    /// Somebody asks the agent to stop when so many changes were made.
    pub stop_after: Option<(usize, Stop)>,
    /// How often it was read back.
    pub observations: usize,
}

impl Datapath for MemoryDatapath {
    fn observe(&mut self) -> Result<ObservedDatapath, DatapathError> {
        self.observations += 1;
        Ok(self.state.clone())
    }

    fn apply(&mut self, change: &MapChange) -> Result<(), DatapathError> {
        let text = change.to_string();
        if self.refuse.iter().any(|part| text.contains(part.as_str())) {
            return Err(DatapathError::Missing("patience"));
        }
        if let MapChange::SetRoute { prefix, .. } = change
            && self.room.is_some_and(|room| self.state.routes.len() >= room)
            && !self.state.routes.contains_key(prefix)
        {
            let error = MapError::IoError(Errno::ENOSPC.into());
            return Err(DatapathError::Map { action: format!("set {prefix}"), map: "ROUTES_V4", error });
        }
        self.state.record(change);
        self.applied.push(change.clone());
        if let Some((number, stop)) = &self.stop_after
            && self.applied.len() >= *number
        {
            stop.ask();
        }
        Ok(())
    }
}
