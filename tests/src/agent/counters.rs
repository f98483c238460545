//! The agent's counters, as values that can be compared.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, anyhow, ensure};
use node_ebpf_common::{Ending, Hook, Outcome};
use serde::Deserialize;

/// A line of `node-agent counters --output json`.
#[derive(Debug, Deserialize)]
struct Line {
    hook: String,
    outcome: String,
    ending: String,
    packets: u64,
    bytes: u64,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets; a GSO super-packet is one.
    pub packets: u64,
    /// Bytes, link-layer header included.
    pub bytes: u64,
}

/// Counts of every outcome at every hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(BTreeMap<(Hook, Outcome), Count>);

impl Counters {
    /// Reads what `node-agent counters --output json` writes.
    ///
    /// # Errors
    /// If it is something else, names an unknown hook or outcome, or leaves one out.
    pub fn parse(json: &str) -> Result<Self> {
        let lines: Vec<Line> = serde_json::from_str(json).context("the counters are not as expected")?;
        let counts = lines
            .iter()
            .map(|line| {
                let (hook, outcome) = (hook(&line.hook)?, outcome(&line.outcome)?);
                ensure!(outcome.ending().label() == line.ending, "{} ends in {}", line.outcome, line.ending);
                Ok(((hook, outcome), Count { packets: line.packets, bytes: line.bytes }))
            })
            .collect::<Result<BTreeMap<_, _>>>()?;
        ensure!(
            counts.len() == Hook::ALL.len() * Outcome::ALL.len(),
            "{} counters instead of {} hooks x {} outcomes",
            counts.len(),
            Hook::ALL.len(),
            Outcome::ALL.len()
        );
        Ok(Self(counts))
    }

    /// Packets that ended so.
    #[must_use]
    pub fn packets(&self, hook: Hook, outcome: Outcome) -> u64 {
        self.0.get(&(hook, outcome)).map_or(0, |count| count.packets)
    }

    /// What was added since an earlier reading.
    ///
    /// # Errors
    /// If a counter went back.
    pub fn since(&self, earlier: &Self) -> Result<Self> {
        let difference = |(key, now): (&(Hook, Outcome), &Count)| {
            let before = earlier.0.get(key).copied().unwrap_or_default();
            let went_back = || anyhow!("the counter {} {} went back", key.0.label(), key.1.label());
            let packets = now.packets.checked_sub(before.packets).ok_or_else(went_back)?;
            let bytes = now.bytes.checked_sub(before.bytes).ok_or_else(went_back)?;
            Ok((*key, Count { packets, bytes }))
        };
        Ok(Self(self.0.iter().map(difference).collect::<Result<_>>()?))
    }

    /// The counters that are not zero.
    pub fn counted(&self) -> impl Iterator<Item = (Hook, Outcome, Count)> {
        self.0
            .iter()
            .filter(|(_, count)| count.packets > 0)
            .map(|((hook, outcome), count)| (*hook, *outcome, *count))
    }

    /// Dropped packets, whatever the reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let dropped = self.counted().filter(|(_, outcome, _)| outcome.ending() == Ending::Dropped);
        dropped.map(|(_, _, count)| count.packets).sum()
    }
}

fn hook(label: &str) -> Result<Hook> {
    let found = Hook::ALL.into_iter().find(|hook| hook.label() == label);
    found.with_context(|| format!("the agent counts at an unknown hook {label:?}"))
}

fn outcome(label: &str) -> Result<Outcome> {
    let found = Outcome::ALL.into_iter().find(|outcome| outcome.label() == label);
    found.with_context(|| format!("the agent counts an unknown outcome {label:?}"))
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (hook, outcome, count) in self.counted() {
            let (hook, outcome) = (hook.label(), outcome.label());
            writeln!(f, "  {hook:12} {outcome:27} {:8} packets {:11} bytes", count.packets, count.bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(direct: u64) -> String {
        let lines: Vec<_> = Hook::ALL
            .iter()
            .flat_map(|hook| Outcome::ALL.iter().map(move |outcome| (hook, outcome)))
            .map(|(hook, outcome)| {
                let packets = if *outcome == Outcome::Direct { direct } else { 0 };
                serde_json::json!({"hook": hook.label(), "outcome": outcome.label(),
                    "ending": outcome.ending().label(), "packets": packets, "bytes": packets * 98})
            })
            .collect();
        serde_json::Value::from(lines).to_string()
    }

    #[test]
    fn counters_can_be_compared() {
        let (before, after) = (Counters::parse(&json(3)).unwrap(), Counters::parse(&json(5)).unwrap());
        let added = after.since(&before).unwrap();
        assert_eq!(added.packets(Hook::FromPod, Outcome::Direct), 2);
        assert_eq!((added.counted().count(), added.dropped()), (Hook::ALL.len(), 0));
        assert!(before.since(&after).is_err());
    }

    #[test]
    fn an_unknown_label_or_a_missing_line_is_an_error() {
        assert!(Counters::parse(&json(1).replace("\"direct\"", "\"driect\"")).is_err());
        assert!(Counters::parse("[]").is_err());
    }
}
