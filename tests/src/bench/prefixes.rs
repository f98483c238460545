//! Prefixes as a cluster has them, and addresses to look up in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use ipnet::IpNet;

use super::stats::as_f64;
use crate::family::Family;

/// The first address that prefixes are taken from: clear of the addresses of nodes and of the small cluster.
const START_V4: u32 = u32::from_be_bytes([11, 0, 0, 0]);
const START_V6: u128 = 0xfd01 << 112;

/// One address of ten is a prefix of its own in a mixed set.
const SINGLE: usize = 10;

/// A set of prefixes.
pub struct PrefixSet {
    family: Family,
    /// The prefixes, in no order.
    pub prefixes: Vec<IpNet>,
    /// Prefixes between them, as many or more, which are not in the set.
    pub unused: Vec<IpNet>,
}

/// Which addresses are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Each prefix as often as any other.
    Uniform,
    /// The `n`th prefix a share of 1 ÷ `n`, as the law of Zipf has it: few get most.
    Skewed,
    /// Addresses between the prefixes, which have no route.
    Misses,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Skewed, Self::Misses];

    /// Its name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Uniform => "hits, uniform",
            Self::Skewed => "hits, skewed",
            Self::Misses => "misses",
        }
    }
}

impl PrefixSet {
    /// So many pods' ranges of this length, at random places among twice as many that follow each other.
    #[must_use]
    pub fn ranges(family: Family, length: u8, count: usize, rng: &mut Rng) -> Self {
        Self::among(family, length, count, 2 * count, rng)
    }

    /// IPv4: nine of ten are ranges of 26 bits, and one of ten is a single address inside of one of these, as of a
    /// pod that has moved. There is a free range for every five.
    #[must_use]
    pub fn mixed(count: usize, rng: &mut Rng) -> Self {
        let singles = count / SINGLE;
        let ranges = count - singles;
        let mut set = Self::among(Family::V4, 26, ranges, ranges + ranges / 5 + 1, rng);
        let mut seen = std::collections::HashSet::new();
        while seen.len() < singles {
            let range = set.prefixes[rng.usize(..ranges)];
            seen.insert(IpNet::from(inside(range, rng)));
        }
        // A set has an order of its own in each process.
        let mut seen: Vec<IpNet> = seen.into_iter().collect();
        seen.sort_unstable();
        set.prefixes.extend(seen);
        rng.shuffle(&mut set.prefixes);
        set
    }

    fn among(family: Family, length: u8, count: usize, places: usize, rng: &mut Rng) -> Self {
        let mut all: Vec<IpNet> = (0..places).map(|index| range(family, length, index)).collect();
        rng.shuffle(&mut all);
        let unused = all.split_off(count);
        Self { family, prefixes: all, unused }
    }

    /// The family of its prefixes.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// So many addresses to look up.
    #[must_use]
    pub fn destinations(&self, pattern: Pattern, count: usize, rng: &mut Rng) -> Vec<IpAddr> {
        let zipf = Zipf::new(if pattern == Pattern::Skewed { self.prefixes.len() } else { 1 });
        let mut one = || match pattern {
            Pattern::Uniform => inside(self.prefixes[rng.usize(..self.prefixes.len())], rng),
            Pattern::Skewed => inside(self.prefixes[zipf.draw(rng)], rng),
            Pattern::Misses => inside(self.unused[rng.usize(..self.unused.len())], rng),
        };
        std::iter::repeat_with(&mut one).take(count).collect()
    }
}

/// The range of this length with this number.
fn range(family: Family, length: u8, index: usize) -> IpNet {
    let shift = u32::from(family.bits() - length);
    let address = match family {
        Family::V4 => {
            let index = u32::try_from(index).expect("fewer ranges than addresses");
            Ipv4Addr::from(START_V4 + (index << shift)).into()
        }
        Family::V6 => Ipv6Addr::from(START_V6 + ((index as u128) << shift)).into(),
    };
    IpNet::new(address, length).expect("a length of this family")
}

/// A random address in a prefix.
fn inside(prefix: IpNet, rng: &mut Rng) -> IpAddr {
    match prefix {
        IpNet::V4(v4) => Ipv4Addr::from(u32::from(v4.addr()) | rng.u32(..) & u32::from(v4.hostmask())).into(),
        IpNet::V6(v6) => {
            Ipv6Addr::from(u128::from(v6.addr()) | rng.u128(..) & u128::from(v6.hostmask())).into()
        }
    }
}

/// Numbers from zero, of which the `n`th, counted from one, has a share of 1 ÷ `n`.
struct Zipf {
    /// Shares up to each number, of their sum.
    up_to: Vec<f64>,
}

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = Vec::with_capacity(count);
        for number in 1..=count {
            sum += 1.0 / as_f64(number);
            up_to.push(sum);
        }
        up_to.iter_mut().for_each(|share| *share /= sum);
        Self { up_to }
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.f64();
        self.up_to.partition_point(|share| *share <= at).min(self.up_to.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sets(rng: &mut Rng) -> [PrefixSet; 3] {
        [
            PrefixSet::ranges(Family::V4, 24, 500, rng),
            PrefixSet::ranges(Family::V6, 64, 500, rng),
            PrefixSet::mixed(500, rng),
        ]
    }

    #[test]
    fn a_set_has_so_many_different_prefixes() {
        for set in sets(&mut Rng::with_seed(1)) {
            let different: HashSet<IpNet> = set.prefixes.iter().copied().collect();
            assert_eq!((set.prefixes.len(), different.len()), (500, 500));
            assert!(different.iter().all(|prefix| prefix.trunc() == *prefix));
            assert!(set.unused.iter().all(|unused| !different.contains(unused)));
        }
    }

    #[test]
    fn nine_of_ten_are_ranges_in_a_mixed_set() {
        let set = PrefixSet::mixed(500, &mut Rng::with_seed(1));
        let of_length = |length| set.prefixes.iter().filter(move |prefix| prefix.prefix_len() == length);
        assert_eq!((of_length(26).count(), of_length(32).count()), (450, 50));
        for single in of_length(32) {
            assert!(of_length(26).any(|range| range.contains(single)), "{single}");
        }
    }

    #[test]
    fn hits_are_inside_and_misses_outside_of_all_prefixes() {
        let mut rng = Rng::with_seed(2);
        for set in sets(&mut rng) {
            let hit = |address: &IpAddr| set.prefixes.iter().any(|prefix| prefix.contains(address));
            for pattern in Pattern::ALL {
                let destinations = set.destinations(pattern, 300, &mut rng);
                assert_eq!(destinations.len(), 300);
                assert!(destinations.iter().all(|to| hit(to) == (pattern != Pattern::Misses)), "{pattern:?}");
            }
        }
    }

    /// Of 1,000 numbers the first has a share of 1 ÷ 7.485 (the thousandth harmonic number), the second half of it.
    #[test]
    fn few_prefixes_get_most_of_skewed_destinations() {
        let (zipf, mut rng) = (Zipf::new(1_000), Rng::with_seed(3));
        let mut drawn = vec![0_u32; 1_000];
        for _ in 0..100_000 {
            drawn[zipf.draw(&mut rng)] += 1;
        }
        for (number, expected) in [(0, 13_359), (1, 6_680), (9, 1_336)] {
            let off = drawn[number].abs_diff(expected);
            assert!(off < expected / 10, "{number} was drawn {} times, not {expected}", drawn[number]);
        }
        assert_eq!(Zipf::new(1).draw(&mut rng), 0);
    }

    #[test]
    fn uniform_destinations_reach_every_prefix() {
        let mut rng = Rng::with_seed(4);
        let set = PrefixSet::ranges(Family::V4, 24, 16, &mut rng);
        let destinations = set.destinations(Pattern::Uniform, 16_000, &mut rng);
        for prefix in &set.prefixes {
            let count = destinations.iter().filter(|to| prefix.contains(*to)).count();
            assert!((800..1_200).contains(&count), "{prefix}: {count}");
        }
    }
}
