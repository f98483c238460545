use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::AddressFamily;

/// Why a string is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not `address/length`.
    #[error("{0:?} is not a prefix: write it as ADDRESS/LENGTH, for example 10.244.1.0/24")]
    NotAPrefix(String),
    /// Bits are set behind the prefix length.
    #[error("{given} has bits set behind its length: did you mean {meant}?")]
    HostBits {
        /// What was written.
        given: IpNet,
        /// The prefix that contains it.
        meant: IpNet,
    },
}

/// An address prefix of either family, without bits behind its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

impl Prefix {
    /// The prefix that holds just this address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The prefix that contains this interface address.
    #[must_use]
    pub fn containing(net: IpNet) -> Self {
        Self(net.trunc())
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.network()
    }

    /// Its length in bits.
    #[must_use]
    pub fn len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it is one address (/32, /128).
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether the address is inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the other prefix is inside, or the same.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Every prefix inside, itself among them, as they are ordered: by address, then by length.
    #[must_use]
    pub fn inside(&self) -> RangeInclusive<Self> {
        *self..=Self::host(self.0.broadcast())
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> AddressFamily {
        self.address().into()
    }

    /// The prefix as ipnet has it.
    #[must_use]
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let net: IpNet = text.parse().map_err(|_| PrefixError::NotAPrefix(text.to_owned()))?;
        let meant = net.trunc();
        if net == meant { Ok(Self(net)) } else { Err(PrefixError::HostBits { given: net, meant }) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` lets callers ask for a column width.
        f.pad(&self.0.to_string())
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl From<Ipv4Net> for Prefix {
    fn from(net: Ipv4Net) -> Self {
        Self(IpNet::V4(net.trunc()))
    }
}

impl From<Ipv6Net> for Prefix {
    fn from(net: Ipv6Net) -> Self {
        Self(IpNet::V6(net.trunc()))
    }
}
