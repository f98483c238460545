//! Masquerade: what this node's pods send out of the cluster gets the node's address, by an nftables table
//! of our own, so that the answer finds its way back.
//!
//! `table` says what the table should hold (from the selection), `render` writes it as nft reads it; both
//! are pure. `nft` runs the program. What is here decides when it is run: at the first pass, when what is
//! wanted has changed, and at audits.

mod nft;
mod render;
mod table;
mod watch;

pub use nft::{Nft, NftError};
pub use table::MasqueradeTable;
pub use watch::TableWatch;

use crate::fault::{self, Point};

/// The nftables table that is ours, by family and name: nobody else may use it.
pub const TABLE: &str = "inet podroute";

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Everything is as wanted, as far as is known.
    Nothing,
    /// Read it back: it was made, but may have been flushed by someone since.
    Compare,
    /// Fill it.
    Set,
    /// It should not be there, and may be.
    Remove,
}

/// What was last made, and how the kernel listed it right after.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Made {
    /// There is no table of ours.
    Nothing,
    /// This table.
    Table {
        table: MasqueradeTable,
        /// As `nft` lists it, handles included: whoever changes or replaces anything in it changes this.
        listing: String,
    },
}

/// Keeps the table as wanted.
#[derive(Debug)]
pub struct Masquerade {
    nft: Nft,
    /// None until something was made, and after a failure.
    made: Option<Made>,
}

/// A step that failed.
#[derive(Debug)]
pub struct Failed {
    /// What was to be done.
    pub change: String,
    /// Why it was not.
    pub error: NftError,
}

impl Masquerade {
    /// Knows nothing yet of what is in place.
    #[must_use]
    pub fn new(nft: Nft) -> Self {
        Self { nft, made: None }
    }

    /// The table that is in place, as far as is known.
    #[must_use]
    pub fn in_place(&self) -> Option<&MasqueradeTable> {
        match &self.made {
            Some(Made::Table { table, .. }) => Some(table),
            _ => None,
        }
    }

    /// Puts the wanted table in place, or removes ours where none is wanted. Tells whether it has changed
    /// anything.
    ///
    /// # Errors
    /// `nft` is missing or refuses. It is tried again at the next call.
    pub async fn pass(&mut self, wanted: Option<&MasqueradeTable>, audit: bool) -> Result<bool, Failed> {
        // What a failure leaves behind is not known.
        let made = self.made.take();
        let result = match (next_step(wanted, made.as_ref(), audit), wanted) {
            (Step::Compare, Some(table)) => self.compare(made, table).await,
            (Step::Set, Some(table)) => self.set(table).await,
            (Step::Remove, _) => self.remove().await,
            _ => Ok((made, false)),
        };
        let (made, changed) = result?;
        self.made = made;
        Ok(changed)
    }

    async fn compare(
        &self,
        made: Option<Made>,
        table: &MasqueradeTable,
    ) -> Result<(Option<Made>, bool), Failed> {
        let found = self.nft.list().await.map_err(failed("read back"))?;
        match (&made, found) {
            (Some(Made::Table { listing, .. }), Some(found)) if *listing == found => Ok((made, false)),
            _ => {
                tracing::warn!("the nftables table {TABLE} is not as it was made: it is made anew");
                self.replace(table).await
            }
        }
    }

    /// Fills the table; replaces it where that is not enough.
    async fn set(&self, table: &MasqueradeTable) -> Result<(Option<Made>, bool), Failed> {
        let failed = failed("set");
        match self.nft.apply(&render::fill(table)).await {
            Ok(()) => fault::point(Point::MasqueradeSet),
            // Something of this name is there that is not as ours would be.
            Err(NftError::Refused(said)) => {
                tracing::debug!("the nftables table {TABLE} cannot be filled: {said}");
                return self.replace(table).await;
            }
            Err(error) => return Err(failed(error)),
        }
        match self.nft.list().await.map_err(&failed)? {
            Some(listing) if render::has_our_objects_only(&listing) => Ok((Some(made(table, listing)), true)),
            _ => self.replace(table).await,
        }
    }

    async fn replace(&self, table: &MasqueradeTable) -> Result<(Option<Made>, bool), Failed> {
        let failed = failed("set");
        self.nft.apply(&render::replace(table)).await.map_err(&failed)?;
        match self.nft.list().await.map_err(&failed)? {
            Some(listing) => Ok((Some(made(table, listing)), true)),
            None => Err(failed(NftError::Vanished)),
        }
    }

    async fn remove(&self) -> Result<(Option<Made>, bool), Failed> {
        let removed = self.nft.remove().await.map_err(failed("remove"))?;
        Ok((Some(Made::Nothing), removed))
    }
}

fn made(table: &MasqueradeTable, listing: String) -> Made {
    Made::Table { table: table.clone(), listing }
}

fn failed(what: &str) -> impl Fn(NftError) -> Failed {
    move |error| Failed { change: format!("{what} the nftables table {TABLE}"), error }
}

fn next_step(wanted: Option<&MasqueradeTable>, made: Option<&Made>, audit: bool) -> Step {
    match (wanted, made) {
        // Nobody else makes this table: once it is gone, there is nothing to audit.
        (None, Some(Made::Nothing)) => Step::Nothing,
        (None, _) => Step::Remove,
        (Some(wanted), Some(Made::Table { table, .. })) if table == wanted => {
            if audit {
                Step::Compare
            } else {
                Step::Nothing
            }
        }
        (Some(_), _) => Step::Set,
    }
}

#[cfg(test)]
mod tests;
