use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Which source a fact came from. Sources are in order of their preference, and among equals of their names: where two
/// state the same object, the first is believed.
///
/// It is serialised as its name. What is read back has the last preference of all: it is for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SourceId {
    /// Lower comes first.
    preference: u8,
    name: Cow<'static, str>,
}

impl SourceId {
    /// The cluster-state file, if it is the only one.
    pub const FILE: Self = Self::new("file", Self::DEFAULT_PREFERENCE);

    /// The preference of a source for which none is named.
    pub const DEFAULT_PREFERENCE: u8 = 100;

    /// The source of this name; the lower its preference, the sooner it is believed.
    #[must_use]
    pub const fn new(name: &'static str, preference: u8) -> Self {
        Self { preference, name: Cow::Borrowed(name) }
    }

    /// The same with a name that somebody has given it.
    #[must_use]
    pub const fn named(name: String, preference: u8) -> Self {
        Self { preference, name: Cow::Owned(name) }
    }

    /// Of several sources with the same object, the one with the lower number is believed.
    #[must_use]
    pub const fn preference(&self) -> u8 {
        self.preference
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl From<String> for SourceId {
    fn from(name: String) -> Self {
        Self { preference: u8::MAX, name: Cow::Owned(name) }
    }
}

impl From<SourceId> for String {
    fn from(source: SourceId) -> Self {
        source.name.into_owned()
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_preference_comes_first_then_the_name() {
        let mut sources = [
            SourceId::new("bgp", 200),
            SourceId::new("etcd", 100),
            SourceId::FILE,
            SourceId::new("zookeeper", 50),
        ];
        sources.sort();
        assert_eq!(sources.map(|source| source.to_string()), ["zookeeper", "etcd", "file", "bgp"]);
    }

    #[test]
    fn it_is_written_as_its_name() {
        let json = serde_json::to_string(&SourceId::FILE).unwrap();
        assert_eq!(json, "\"file\"");
        let read: SourceId = serde_json::from_str(&json).unwrap();
        assert_eq!(read.to_string(), "file");
        assert!(SourceId::FILE < read, "what only somebody says comes last");
    }
}
