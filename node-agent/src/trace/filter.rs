//! What a client asks for, as the filter that the programs read.

use std::net::IpAddr;

use node_ebpf_common::{Address, Hook, Outcome, TRACE_SNAPLEN, TraceFilter};

use crate::{
    api::TraceRequest,
    model::{NodeName, Pod},
    rib::to_map,
};

/// The filter for a request, with the pods of the cluster state and the indexes of this host's interfaces.
///
/// # Errors
/// The request names something that there is not, or a limit out of its range; the text says which.
pub fn filter<'p>(
    request: &TraceRequest,
    own: &NodeName,
    mut pods: impl Iterator<Item = &'p Pod>,
    interface: impl Fn(&str) -> Option<u32>,
) -> Result<TraceFilter, String> {
    let mut filter = TraceFilter {
        outcomes: bits("outcome", &request.outcomes, &Outcome::ALL.map(Outcome::label))?,
        hooks: u32::try_from(bits("hook", &request.hooks, &Hook::ALL.map(Hook::label))? & 0xffff_ffff)
            .unwrap_or(u32::MAX),
        sample: at_least_one("sample", request.sample)?,
        rate: at_least_one("rate", request.rate)?,
        snaplen: request.snaplen,
        ..TraceFilter::ALL
    };
    if request.snaplen == 0 || u64::from(request.snaplen) > TRACE_SNAPLEN as u64 {
        return Err(format!(
            "snaplen {} is not allowed; allowed: 1 to {TRACE_SNAPLEN} bytes",
            request.snaplen
        ));
    }
    filter.addresses[0] = to_map(request.ip);
    let Some(name) = &request.pod else { return Ok(filter) };
    let pod = pods.find(|pod| pod.name == *name).ok_or_else(|| {
        format!("there is no pod {name} in the cluster state: `node-agent routes` lists those of this node")
    })?;
    if pod.node == *own {
        filter.interface = interface(&pod.interface)
            .ok_or_else(|| format!("the interface {} of pod {name} does not exist", pod.interface))?;
    } else if request.ip.is_some() {
        return Err(format!(
            "pod {name} is on node {}: trace it there, or here by its address alone",
            pod.node
        ));
    } else {
        filter.addresses = addresses(&pod.addresses);
    }
    Ok(filter)
}

fn addresses(of: &[IpAddr]) -> [Address; 2] {
    let address = |index| to_map(of.get(index).copied());
    [address(0), address(1)]
}

/// A bit for each of these names; all bits if there are none.
fn bits(what: &str, names: &[String], known: &[&str]) -> Result<u64, String> {
    if names.is_empty() {
        return Ok(u64::MAX);
    }
    names.iter().try_fold(0, |bits, name| match known.iter().position(|label| label == name) {
        Some(place) => Ok(bits | 1 << place),
        None => Err(format!("{name:?} is no {what}; allowed: {}", known.join(", "))),
    })
}

fn at_least_one(what: &str, number: u32) -> Result<u32, String> {
    if number == 0 { Err(format!("{what} 0 is not allowed; allowed: 1 or more")) } else { Ok(number) }
}

/// The filter that lets everything through that one of these wants; none if there are none. Where two
/// differ in a field, the programs do not look at it, and the clients' own filters do.
pub fn union<'f>(filters: impl IntoIterator<Item = &'f TraceFilter>) -> Option<TraceFilter> {
    filters.into_iter().copied().reduce(|one, other| {
        let same_interface = one.interface == other.interface;
        let same_addresses = one.addresses == other.addresses;
        TraceFilter {
            outcomes: one.outcomes | other.outcomes,
            hooks: one.hooks | other.hooks,
            interface: if same_interface { one.interface } else { 0 },
            addresses: if same_addresses { one.addresses } else { [Address::NONE; 2] },
            sample: if one.sample == other.sample { one.sample } else { 1 },
            rate: one.rate.max(other.rate),
            snaplen: one.snaplen.max(other.snaplen),
            reserved: 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use node_ebpf_common::Ending;

    use super::*;
    use crate::rib::fixtures::pod;

    fn request() -> TraceRequest {
        TraceRequest {
            pod: None,
            ip: None,
            outcomes: vec![],
            hooks: vec![],
            sample: 1,
            rate: 1_000,
            snaplen: 128,
        }
    }

    fn made(request: &TraceRequest) -> Result<TraceFilter, String> {
        let pods = [pod("default/web", "a1", "10.244.1.10"), pod("default/far", "b1", "10.244.3.10")];
        filter(request, &"a1".parse().unwrap(), pods.iter(), |name| (name == "veth-web").then_some(7))
    }

    #[test]
    fn no_wish_is_every_packet() {
        assert_eq!(made(&request()), Ok(TraceFilter::ALL));
    }

    #[test]
    fn each_wish_is_a_field() {
        let (base, all) = (request(), TraceFilter::ALL);
        let mapped = |text: &str| to_map(Some(text.parse().unwrap()));
        let ip = |text: &str| TraceRequest { ip: Some(text.parse().unwrap()), ..base.clone() };
        let pod = |text: &str| TraceRequest { pod: Some(text.parse().unwrap()), ..base.clone() };
        let one = |text: &str| [mapped(text), Address::NONE];
        let drops = Outcome::ALL.into_iter().filter(|outcome| outcome.ending() == Ending::Dropped);
        let drops = drops.map(|outcome| outcome.label().to_owned()).collect();
        for (request, expected) in [
            (ip("10.244.3.10"), TraceFilter { addresses: one("10.244.3.10"), ..all }),
            (ip("fd00::1"), TraceFilter { addresses: one("fd00::1"), ..all }),
            (pod("default/web"), TraceFilter { interface: 7, ..all }),
            (pod("default/far"), TraceFilter { addresses: one("10.244.3.10"), ..all }),
            (
                TraceRequest { outcomes: drops, ..base.clone() },
                TraceFilter { outcomes: TraceFilter::outcomes_ending(Ending::Dropped), ..all },
            ),
            (
                TraceRequest { hooks: vec!["from-uplink".to_owned(), "to-pod".to_owned()], ..base.clone() },
                TraceFilter { hooks: 0b1010, ..all },
            ),
            (
                TraceRequest { sample: 8, rate: 5, snaplen: 256, ..base.clone() },
                TraceFilter { sample: 8, rate: 5, snaplen: 256, ..all },
            ),
        ] {
            assert_eq!(made(&request), Ok(expected), "{request:?}");
        }
    }

    #[test]
    fn what_there_is_not_is_refused_by_name() {
        let base = request();
        let far = Some("default/far".parse().unwrap());
        for (request, message) in [
            (
                TraceRequest { outcomes: vec!["dorp".to_owned()], ..base.clone() },
                "\"dorp\" is no outcome; allowed: local, direct",
            ),
            (
                TraceRequest { hooks: vec!["to-moon".to_owned()], ..base.clone() },
                "\"to-moon\" is no hook; allowed: from-pod",
            ),
            (TraceRequest { sample: 0, ..base.clone() }, "sample 0 is not allowed; allowed: 1 or more"),
            (TraceRequest { rate: 0, ..base.clone() }, "rate 0 is not allowed"),
            (TraceRequest { snaplen: 257, ..base.clone() }, "allowed: 1 to 256 bytes"),
            (TraceRequest { snaplen: 0, ..base.clone() }, "allowed: 1 to 256 bytes"),
            (
                TraceRequest { pod: Some("default/none".parse().unwrap()), ..base.clone() },
                "there is no pod default/none",
            ),
            (
                TraceRequest { pod: far, ip: Some("10.244.1.10".parse().unwrap()), ..base.clone() },
                "pod default/far is on node b1: trace it there",
            ),
        ] {
            let error = made(&request).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    /// What one of several wants passes the programs' filter, whatever the others want.
    #[test]
    fn the_union_wants_what_anyone_wants() {
        let all = TraceFilter::ALL;
        let one = TraceFilter { outcomes: 1, interface: 7, sample: 4, rate: 10, snaplen: 64, ..all };
        assert_eq!(union([]), None);
        assert_eq!(union([&one]), Some(one));
        assert_eq!(union([&one, &one]), Some(one));
        let address = [Address::from_v4([10, 0, 0, 1]), Address::NONE];
        let other = TraceFilter { outcomes: 2, hooks: 1, addresses: address, sample: 6, rate: 20, ..all };
        let expected = TraceFilter { outcomes: 3, rate: 20, snaplen: 128, ..all };
        assert_eq!(union([&one, &other]), Some(expected));
        assert_eq!(union([&other, &one]), Some(expected));
    }
}
