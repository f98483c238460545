//! The structures that are compared.

use crate::family::Family;

/// What addresses are looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Structure {
    /// In nothing: the loop by itself, which is subtracted.
    Loop,
    /// The table, and the trie where it says so, as the datapath has it.
    Both,
    /// The table alone.
    Table,
    /// The kernel's LPM trie.
    Trie,
    /// A hash on the /24 prefix, which answers for prefixes of that one length only.
    Hash,
}

impl Structure {
    /// Those for addresses of a family; a hash only where all prefixes are of its length.
    #[must_use]
    pub fn of(family: Family, one_length: bool) -> Vec<Self> {
        match (family, one_length) {
            (Family::V4, true) => vec![Self::Both, Self::Table, Self::Trie, Self::Hash],
            (Family::V4, false) => vec![Self::Both, Self::Table, Self::Trie],
            (Family::V6, _) => vec![Self::Trie],
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Both => "16-8-8 table, then trie (the datapath)",
            Self::Table => "16-8-8 table alone",
            Self::Trie => "LPM trie",
            Self::Hash => "hash on the /24",
        }
    }

    /// The program that looks up in it, of a family; `dependent` if each lookup waits for the one before.
    #[must_use]
    pub fn program(self, family: Family, dependent: bool) -> String {
        let name = match self {
            Self::Loop => "loop",
            Self::Both => "both",
            Self::Table => "table",
            Self::Trie => "trie",
            Self::Hash => "hash",
        };
        let family = if family == Family::V4 { "v4" } else { "v6" };
        format!("{name}_{family}{}", if dependent { "_dependent" } else { "" })
    }
}
