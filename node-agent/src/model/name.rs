use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a string is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a DNS-1123 subdomain.
    #[error(
        "{0:?} is not a valid name: use lower-case letters, digits, '-' and '.', start and end with a letter or digit, 253 characters at most"
    )]
    NotDns1123(String),
    /// A pod's name without a namespace.
    #[error("{0:?} is not a pod's name: write it as NAMESPACE/NAME")]
    NoNamespace(String),
}

fn check_dns_1123(name: &str) -> Result<(), NameError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let valid = name.len() <= 253
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.chars().all(inside);
    if valid { Ok(()) } else { Err(NameError::NotDns1123(name.to_owned())) }
}

/// Name of a Kubernetes node: a DNS-1123 subdomain. Every route to the node has it, so that its text is shared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        check_dns_1123(name)?;
        Ok(Self(name.into()))
    }
}

/// Name of a pod: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodName(Arc<str>);

impl FromStr for PodName {
    type Err = NameError;

    fn from_str(full: &str) -> Result<Self, NameError> {
        let (namespace, name) =
            full.split_once('/').ok_or_else(|| NameError::NoNamespace(full.to_owned()))?;
        check_dns_1123(namespace)?;
        check_dns_1123(name)?;
        Ok(Self(full.into()))
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

text!(NodeName);
text!(PodName);
