//! The longest prefix that matches, found in the plainest way: what every structure must agree with.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

/// Prefixes with what they lead to.
#[derive(Default)]
pub struct Naive {
    by_length: BTreeMap<u8, HashMap<IpNet, u32>>,
}

impl FromIterator<(IpNet, u32)> for Naive {
    fn from_iter<I: IntoIterator<Item = (IpNet, u32)>>(prefixes: I) -> Self {
        let mut naive = Self::default();
        for (prefix, next_hop) in prefixes {
            naive.by_length.entry(prefix.prefix_len()).or_default().insert(prefix.trunc(), next_hop);
        }
        naive
    }
}

impl Naive {
    /// What the longest prefix leads to that holds this address. All prefixes are of its family.
    #[must_use]
    pub fn look_up(&self, address: IpAddr) -> Option<u32> {
        self.by_length.iter().rev().find_map(|(length, prefixes)| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            prefixes.get(&prefix).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let prefix = |text: &str| text.parse::<IpNet>().unwrap();
        let naive: Naive = [("0.0.0.0/1", 1), ("11.0.0.0/24", 2), ("11.0.0.64/26", 3), ("11.0.0.65/32", 4)]
            .into_iter()
            .map(|(text, next_hop)| (prefix(text), next_hop))
            .collect();
        for (address, expected) in [
            ("11.0.0.1", Some(2)),
            ("11.0.0.64", Some(3)),
            ("11.0.0.65", Some(4)),
            ("11.0.0.127", Some(3)),
            ("11.0.0.128", Some(2)),
            ("11.0.1.0", Some(1)),
            ("128.0.0.0", None),
        ] {
            assert_eq!(naive.look_up(address.parse().unwrap()), expected, "{address}");
        }
        let v6: Naive = [(prefix("fd01::/64"), 7)].into_iter().collect();
        assert_eq!(v6.look_up("fd01::5".parse().unwrap()), Some(7));
        assert_eq!(v6.look_up("fd01:0:0:1::5".parse().unwrap()), None);
    }
}
