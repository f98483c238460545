//! The brake on mass withdrawal: routes that would go all at once, because a state file was emptied by mistake or most
//! nodes are missing after a restart, are held until someone confirms it or the sources have repeated it for a while.
//!
//! ```text
//! plans ─► withdrawals ─► Brake::decide ─► held prefixes ─► Kept ─► the plans without what these need
//! ```
//!
//! Only routes that lead somewhere count: where an interface is gone or down there is nothing to be saved. Pure: time is
//! passed in.

mod hold;
mod kept;
mod withdrawals;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

pub use hold::{Hold, SavedHold};
pub(super) use kept::Kept;
pub(super) use withdrawals::{in_place, withdrawals};

use crate::{
    model::{BrakeSettings, Prefix},
    rib::Amendment,
};

/// Withdrawals within this time count as one: none gets past the brake because it came in several passes.
const WINDOW: Duration = Duration::from_secs(60);

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrakeNote {
    /// So many routes are held, of so many in place.
    Held {
        /// How many are held.
        held: usize,
        /// How many routes were in place before.
        in_place: usize,
        /// The first of them.
        first: Prefix,
    },
    /// So many routes are held no longer.
    Released {
        /// How many.
        released: usize,
        /// How many others are still held.
        held: usize,
        /// Why.
        how: Release,
    },
}

/// Why routes are held no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Somebody confirmed that they are to go.
    Confirmed,
    /// The sources have repeated it for long enough.
    Repeated,
    /// Others came back, and what is left is no mass withdrawal.
    Sank,
    /// All of them came back, or are not in place any more.
    CameBack,
}

/// What a pass would withdraw.
pub struct Proposal<'a> {
    /// Routes in place that lead somewhere and are wanted no longer.
    pub withdrawn: BTreeSet<Prefix>,
    /// How many routes that lead somewhere are in place. Asked for only where it matters.
    pub in_place: &'a dyn Fn() -> usize,
    /// Whether a prefix is wanted.
    pub wanted: &'a dyn Fn(&Prefix) -> bool,
    /// Whether every source could be read the last time: one that could not repeats nothing.
    pub healthy: bool,
    /// The time of day, for people.
    pub time: SystemTime,
}

/// Decides which withdrawals are held.
#[derive(Debug, Default)]
pub struct Brake {
    settings: BrakeSettings,
    /// Withdrawals that were let pass, within [`WINDOW`].
    recent: BTreeMap<Prefix, Instant>,
    hold: Option<Hold>,
    /// Held before, and free to go: confirmed, or repeated for long enough.
    free: BTreeSet<Prefix>,
    notes: Vec<BrakeNote>,
    /// Whether what is to be remembered over a restart has changed.
    changed: bool,
}

impl Brake {
    /// A brake that holds what an agent before this one has held.
    #[must_use]
    pub fn new(settings: BrakeSettings, saved: Option<SavedHold>) -> Self {
        Self { settings, hold: saved.map(Hold::restore), ..Self::default() }
    }

    /// Sets other limits; what is held stays until the next decision.
    pub fn set(&mut self, settings: BrakeSettings) {
        self.settings = settings;
    }

    /// What is held; none if nothing is.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// When some of what is held will be released, if the sources go on repeating it.
    #[must_use]
    pub fn release_in(&self, now: Instant) -> Option<Duration> {
        self.hold.as_ref()?.release_in(self.settings.release_after, now)
    }

    /// A source has failed, or says nothing that can be used: it does not repeat anything, so that the time begins anew.
    pub fn interrupt(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.interrupt();
            self.changed = true;
        }
    }

    /// Lets go what is held at this moment, and nothing else; which routes that are. None if nothing is held.
    pub fn confirm(&mut self) -> Option<Vec<Prefix>> {
        let released: Vec<Prefix> = self.hold.take()?.into_prefixes().collect();
        self.free.extend(released.iter().copied());
        self.note(BrakeNote::Released { released: released.len(), held: 0, how: Release::Confirmed });
        Some(released)
    }

    /// What people should know since this was asked the last time.
    pub fn take_notes(&mut self) -> Vec<BrakeNote> {
        std::mem::take(&mut self.notes)
    }

    /// Whether what is held must be written down: it is another, or has been repeated for a while. Then
    /// [`Hold::save`] is what to write, or nothing if there is no hold.
    pub fn must_save(&mut self) -> bool {
        // Not every moment of waiting: what a crash forgets of it only makes the wait longer.
        let step = (self.settings.release_after / 20).max(Duration::from_secs(1));
        let waited = self.hold.as_mut().is_some_and(|hold| hold.waited_since_saved(step));
        std::mem::take(&mut self.changed) || waited
    }

    /// Which of the withdrawn routes are held.
    pub fn decide(&mut self, proposal: Proposal<'_>, now: Instant) -> BTreeSet<Prefix> {
        let Proposal { withdrawn, in_place, wanted, healthy, time } = proposal;
        self.free.retain(|prefix| withdrawn.contains(prefix));
        self.recent.retain(|prefix, at| now.saturating_duration_since(*at) < WINDOW && !wanted(prefix));
        let let_pass = |prefix: &Prefix| self.free.contains(prefix) || self.recent.contains_key(prefix);
        // What is free to go is in place, but does not count any more.
        let free = self.free.len();
        let in_place = || in_place().saturating_sub(free);
        let doubtful: BTreeSet<Prefix> = withdrawn.into_iter().filter(|prefix| !let_pass(prefix)).collect();
        match self.hold.take() {
            Some(hold) => self.go_on(hold, doubtful, in_place(), healthy, now),
            None => self.begin(doubtful, &in_place, (healthy, time), now),
        }
        self.hold.as_ref().map(|hold| hold.prefixes().collect()).unwrap_or_default()
    }

    /// Whether one changed node's routes may be changed at once, outside of a pass; withdrawals are taken note of then.
    /// `in_place` is how many routes there are.
    pub(super) fn admits(&mut self, amendment: &Amendment, in_place: usize, now: Instant) -> bool {
        let withdrawn: BTreeSet<Prefix> = amendment.removed.iter().map(|gone| gone.prefix).collect();
        if let Some(hold) = &self.hold {
            // A route that is held is there: it is not new.
            return withdrawn.is_empty() && !amendment.added.iter().any(|new| hold.contains(&new.prefix));
        }
        let all = withdrawn.iter().chain(self.recent.keys()).collect::<BTreeSet<_>>().len();
        if !withdrawn.is_empty() && self.settings.exceeded_by(all, in_place + all - withdrawn.len()) {
            return false;
        }
        self.recent.extend(withdrawn.into_iter().map(|prefix| (prefix, now)));
        true
    }

    /// Nothing is held so far.
    fn begin(
        &mut self,
        doubtful: BTreeSet<Prefix>,
        in_place: &dyn Fn() -> usize,
        (healthy, time): (bool, SystemTime),
        now: Instant,
    ) {
        let Some(first) = doubtful.first().copied() else { return };
        let withdrawn = doubtful.len() + self.recent.len();
        if withdrawn >= self.settings.at_least {
            let (held, in_place) = (doubtful.len(), in_place() + self.recent.len());
            if self.settings.exceeded_by(withdrawn, in_place) {
                let mut hold = Hold::new(in_place, self.recent.len(), time);
                hold.advance(healthy, now);
                hold.join(doubtful);
                self.hold = Some(hold);
                return self.note(BrakeNote::Held { held, in_place, first });
            }
        }
        self.recent.extend(doubtful.into_iter().map(|prefix| (prefix, now)));
    }

    /// Something is held. Whatever else is withdrawn is held, too, until it is clear what becomes of it.
    fn go_on(
        &mut self,
        mut hold: Hold,
        doubtful: BTreeSet<Prefix>,
        in_place: usize,
        healthy: bool,
        now: Instant,
    ) {
        hold.advance(healthy, now);
        self.changed |= hold.retain(&doubtful);
        let came_back = hold.is_empty();
        self.changed |= hold.join(doubtful);
        let due = hold.take_due(self.settings.release_after);
        let (released, held) = (due.len(), hold.len());
        self.free.extend(due);
        // Of the routes at its beginning, or of what is left of them.
        let base = hold.in_place().min(in_place.saturating_sub(released) + hold.before());
        if held > 0 && self.settings.exceeded_by(hold.counted(), base) {
            self.hold = Some(hold);
            if released > 0 {
                self.note(BrakeNote::Released { released, held, how: Release::Repeated });
            }
            return;
        }
        self.recent.extend(hold.into_prefixes().map(|prefix| (prefix, now)));
        let (released, how) = match (released, held) {
            (0, 0) => (0, Release::CameBack),
            (0, rest) if came_back => (rest, Release::CameBack),
            (0, rest) => (rest, Release::Sank),
            (due, rest) => (due + rest, Release::Repeated),
        };
        self.note(BrakeNote::Released { released, held: 0, how });
    }

    fn note(&mut self, note: BrakeNote) {
        self.changed = true;
        self.notes.push(note);
    }
}

#[cfg(test)]
mod tests;
