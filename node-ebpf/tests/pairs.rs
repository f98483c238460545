//! Which pairs of addresses can be told apart when asked whether a flow between them may be translated.

use std::collections::HashSet;

use node_ebpf::{Family, V4, V6};
use node_ebpf_common::{Address, TRANSLATED_PAIRS};

/// Addresses of pods as clusters have them: many nodes' prefixes, the same few last bytes in each.
fn pods() -> Vec<[u8; 3]> {
    (0..40).flat_map(|node| (2..12).map(move |pod| [244, node, pod])).collect()
}

fn v4([a, b, c]: [u8; 3]) -> u32 {
    u32::from_ne_bytes([10, a, b, c])
}

fn v6([a, b, c]: [u8; 3]) -> Address {
    Address::from_octets([0xfd, 0, a, 0, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, c])
}

/// Of 110 local pods and their peers, as few share a place as chance makes it: 4,400 pairs of 262,144 places take
/// 4,363 on average.
fn pairs_are_spread<F: Family>(address: fn([u8; 3]) -> F::Address) {
    let (all, mut places, mut pairs) = (pods(), HashSet::new(), 0);
    for local in 0..110 {
        for remote in all.iter().step_by(10) {
            let place = F::pair(address([244, 200, local]), address(*remote));
            assert!(place < TRANSLATED_PAIRS);
            places.insert(place);
            pairs += 1;
        }
    }
    assert!(places.len() > pairs * 97 / 100, "{pairs} pairs have {} places", places.len());
}

#[test]
fn pairs_of_both_families_are_spread() {
    pairs_are_spread::<V4>(v4);
    pairs_are_spread::<V6>(v6);
}

/// What one pod remembers says nothing of what the other one does.
#[test]
fn the_ends_of_a_pair_are_not_interchangeable() {
    for (one, other) in pods().iter().zip(pods().iter().skip(7)) {
        assert_ne!(V4::pair(v4(*one), v4(*other)), V4::pair(v4(*other), v4(*one)));
        assert_ne!(V6::pair(v6(*one), v6(*other)), V6::pair(v6(*other), v6(*one)));
    }
}
