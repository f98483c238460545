use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::model::Prefix;

/// The brake on mass withdrawal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BrakeStatus {
    /// The largest share of the routes in place, in per cent, that is withdrawn without question; 100 for any.
    pub share: u8,
    /// The least number of routes that is ever held.
    pub at_least: usize,
    /// How long the sources must repeat a withdrawal that is held, in seconds.
    pub release_after_seconds: u64,
    /// What is held; none if nothing is.
    pub held: Option<HeldRoutes>,
}

/// Routes that no source states any more, and that stay all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HeldRoutes {
    /// How many there are.
    pub routes: usize,
    /// How many routes were in place when it began, those withdrawn shortly before included.
    pub in_place: usize,
    /// The first ones.
    pub prefixes: Vec<Prefix>,
    /// Since when.
    #[serde(with = "humantime_serde")]
    pub since: SystemTime,
    /// When the first of them will go if the sources repeat it till then, in seconds; none while a source has failed.
    pub release_in_seconds: Option<u64>,
}

impl HeldRoutes {
    /// How many prefixes are listed.
    pub const LISTED: usize = 10;
}
