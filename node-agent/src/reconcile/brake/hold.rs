use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::model::Prefix;

/// Routes that are held, and for how long the sources have repeated that they are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// When it began, for people.
    since: SystemTime,
    /// Routes that were in place when it began, those withdrawn shortly before included.
    in_place: usize,
    /// Routes withdrawn shortly before, which led to it.
    before: usize,
    /// How long the sources have been repeating, by a clock that stands still while no agent runs.
    clock: Duration,
    /// When the clock was last set; none while it stands still.
    set: Option<Instant>,
    /// What the clock showed when each route was first withdrawn.
    routes: BTreeMap<Prefix, Duration>,
    /// What the clock showed when it was last written down.
    saved: Duration,
}

/// A hold as it is written down: the same on another day, with another clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SavedHold {
    /// When it began.
    #[serde(with = "humantime_serde")]
    since: SystemTime,
    /// Routes that were in place when it began.
    in_place: usize,
    /// Routes withdrawn shortly before.
    before: usize,
    /// The held routes, by how long it has been repeated that they are to go.
    routes: Vec<SavedRoutes>,
}

/// Held routes that were withdrawn at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SavedRoutes {
    /// For how long it has been repeated, in milliseconds.
    repeated_ms: u64,
    prefixes: Vec<Prefix>,
}

impl Hold {
    pub(super) fn new(in_place: usize, before: usize, since: SystemTime) -> Self {
        Self {
            since,
            in_place,
            before,
            clock: Duration::ZERO,
            set: None,
            routes: BTreeMap::new(),
            saved: Duration::ZERO,
        }
    }

    pub(super) fn restore(saved: SavedHold) -> Self {
        let repeated = |routes: &SavedRoutes| Duration::from_millis(routes.repeated_ms);
        let clock = saved.routes.iter().map(repeated).max().unwrap_or_default();
        let mut hold = Self { clock, saved: clock, ..Self::new(saved.in_place, saved.before, saved.since) };
        for routes in saved.routes {
            let joined = clock.saturating_sub(repeated(&routes));
            hold.routes.extend(routes.prefixes.into_iter().map(|prefix| (prefix, joined)));
        }
        hold
    }

    /// What to write down.
    #[must_use]
    pub fn save(&self) -> SavedHold {
        let mut by_time: BTreeMap<Duration, Vec<Prefix>> = BTreeMap::new();
        for (prefix, joined) in &self.routes {
            by_time.entry(*joined).or_default().push(*prefix);
        }
        let routes = by_time.into_iter().map(|(joined, prefixes)| {
            let repeated = self.clock.saturating_sub(joined).as_millis();
            SavedRoutes { repeated_ms: u64::try_from(repeated).unwrap_or(u64::MAX), prefixes }
        });
        SavedHold {
            since: self.since,
            in_place: self.in_place,
            before: self.before,
            routes: routes.collect(),
        }
    }

    /// When it began, by the wall clock.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// How many routes were in place when it began.
    #[must_use]
    pub fn in_place(&self) -> usize {
        self.in_place
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Which are held, in order.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.routes.keys().copied()
    }

    /// Whether a route is held.
    #[must_use]
    pub fn contains(&self, prefix: &Prefix) -> bool {
        self.routes.contains_key(prefix)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(super) fn into_prefixes(self) -> impl Iterator<Item = Prefix> {
        self.routes.into_keys()
    }

    /// How many routes were withdrawn shortly before it.
    pub(super) fn before(&self) -> usize {
        self.before
    }

    /// How many withdrawals count against the routes in place.
    pub(super) fn counted(&self) -> usize {
        self.len() + self.before
    }

    /// Lets the clock go on; by sources that are not healthy nothing is repeated.
    pub(super) fn advance(&mut self, healthy: bool, now: Instant) {
        if !healthy {
            return self.interrupt();
        }
        if let Some(set) = self.set {
            self.clock += now.saturating_duration_since(set);
        }
        self.set = Some(now);
    }

    /// Stops the clock, and begins to count anew.
    pub(super) fn interrupt(&mut self) {
        self.set = None;
        self.routes.values_mut().for_each(|joined| *joined = self.clock);
    }

    /// Lets go of whatever is not withdrawn any more, and tells whether there was any.
    pub(super) fn retain(&mut self, withdrawn: &BTreeSet<Prefix>) -> bool {
        let before = self.len();
        self.routes.retain(|prefix, _| withdrawn.contains(prefix));
        self.len() < before
    }

    /// Takes in what is withdrawn, and tells whether any of it is new.
    pub(super) fn join(&mut self, withdrawn: BTreeSet<Prefix>) -> bool {
        let before = self.len();
        for prefix in withdrawn {
            self.routes.entry(prefix).or_insert(self.clock);
        }
        self.len() > before
    }

    /// Takes out what has been repeated for this long.
    pub(super) fn take_due(&mut self, after: Duration) -> Vec<Prefix> {
        let clock = self.clock;
        self.routes
            .extract_if(.., |_, joined| clock.saturating_sub(*joined) >= after)
            .map(|due| due.0)
            .collect()
    }

    /// When the next route is due; none while the clock stands still.
    pub(super) fn release_in(&self, after: Duration, now: Instant) -> Option<Duration> {
        let clock = self.clock + now.saturating_duration_since(self.set?);
        let first = self.routes.values().min()?;
        Some(after.saturating_sub(clock.saturating_sub(*first)))
    }

    /// Whether the clock has gone on by this much since it was last written down. Then it is taken for written.
    pub(super) fn waited_since_saved(&mut self, step: Duration) -> bool {
        let waited = self.clock.saturating_sub(self.saved) >= step;
        if waited {
            self.saved = self.clock;
        }
        waited
    }
}
