//! Where facts about the cluster come from. Each source says `Upsert`, `Withdraw` and `Synced`, and
//! `Failed` when it cannot be read; what it said before then stays in force.

pub mod file;
