use std::net::{IpAddr, Ipv6Addr};

use node_ebpf_common::Address;

/// An address as the maps hold it; all zero for none.
pub fn to_map(address: Option<IpAddr>) -> Address {
    match address {
        None => Address::NONE,
        Some(IpAddr::V4(v4)) => Address::from_v4(v4.octets()),
        Some(IpAddr::V6(v6)) => Address::from_octets(v6.octets()),
    }
}

/// The address that the maps hold; none for all zero.
pub fn address_of(address: Address) -> Option<IpAddr> {
    (address != Address::NONE).then(|| IpAddr::V6(Ipv6Addr::from(address.octets())).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_map_and_back() {
        for text in ["10.0.1.11", "255.255.255.255", "fd00::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(address_of(to_map(Some(address))), Some(address));
        }
        assert_eq!(address_of(to_map(None)), None);
        assert_eq!(to_map(Some(IpAddr::from([10, 0, 1, 11]))), Address::from_v4([10, 0, 1, 11]));
    }
}
