//! The path MTU to other nodes, as routers on the way tell it: kept by destination, forgotten after a while.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::model::TooBigReport;

/// How long a path MTU holds before a larger one is tried again (RFC 1191 section 6.3, RFC 8201 section 5.3; the
/// kernel's `mtu_expires`).
const LIFETIME: Duration = Duration::from_secs(600);
/// The kernel's `min_pmtu`: what a forged report can bring IPv4 down to.
const SMALLEST_V4: u32 = 552;
/// Reports of less are not for us to believe (RFC 8201 section 4).
const SMALLEST_V6: u32 = 1280;

/// A path MTU that a router told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedMtu {
    /// Largest packet that passes, in bytes, outer header included.
    pub mtu: u32,
    /// Who told.
    pub router: IpAddr,
    /// Until when it holds.
    pub until: Instant,
}

/// Why a report changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is about packets that this node does not send.
    #[error("this node has no tunnel between these addresses")]
    NoTunnel,
    /// The router names no MTU.
    #[error("it names no MTU")]
    NoMtu,
    /// Every IPv6 link takes more.
    #[error("every IPv6 link takes {SMALLEST_V6} bytes")]
    TooSmall,
    /// Such packets are not sent, or not any more.
    #[error("the path MTU is {0} already")]
    NotSmaller(u32),
}

/// The path MTUs of encapsulated packets by the address of the other node. There are never more than nodes.
#[derive(Debug, Clone, Default)]
pub struct PathMtus(BTreeMap<IpAddr, LearnedMtu>);

impl PathMtus {
    /// Takes in a report. `tunnel_mtu` is the largest packet that this node itself can send between the two
    /// addresses; none if it sends none. A report does not make an older one last longer.
    ///
    /// # Errors
    /// Why the report changes nothing.
    pub fn learn(
        &mut self,
        report: &TooBigReport,
        tunnel_mtu: Option<u32>,
        now: Instant,
    ) -> Result<LearnedMtu, Ignored> {
        let link = tunnel_mtu.ok_or(Ignored::NoTunnel)?;
        let present = self.0.get(&report.destination).map_or(link, |learned| learned.mtu.min(link));
        let mtu = match report.destination {
            _ if report.mtu == 0 => return Err(Ignored::NoMtu),
            IpAddr::V4(_) => report.mtu.max(SMALLEST_V4),
            IpAddr::V6(_) if report.mtu < SMALLEST_V6 => return Err(Ignored::TooSmall),
            IpAddr::V6(_) => report.mtu,
        };
        if mtu >= present {
            return Err(Ignored::NotSmaller(present));
        }
        let learned = LearnedMtu { mtu, router: report.router, until: now + LIFETIME };
        self.0.insert(report.destination, learned);
        Ok(learned)
    }

    /// Forgets and returns the destinations whose time has passed.
    pub fn expire(&mut self, now: Instant) -> Vec<IpAddr> {
        self.0.extract_if(.., |_, learned| learned.until <= now).map(|(destination, _)| destination).collect()
    }

    /// When the next one's time passes.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.0.values().map(|learned| learned.until).min()
    }

    /// Forgets destinations that are no node's any more.
    pub fn retain(&mut self, is_node: impl Fn(IpAddr) -> bool) {
        self.0.retain(|destination, _| is_node(*destination));
    }

    /// The path MTU to an address, if a router told of one.
    #[must_use]
    pub fn get(&self, destination: IpAddr) -> Option<&LearnedMtu> {
        self.0.get(&destination)
    }

    /// All, by destination.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &LearnedMtu)> {
        self.0.iter().map(|(destination, learned)| (*destination, learned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B1: &str = "10.0.2.11";
    const B1_V6: &str = "fd00:2::11";
    const LINK: Option<u32> = Some(1500);

    fn report(destination: &str, mtu: u32) -> TooBigReport {
        let destination: IpAddr = destination.parse().unwrap();
        let (router, source) =
            if destination.is_ipv4() { ("10.0.1.1", "10.0.1.11") } else { ("fd00:1::1", "fd00:1::11") };
        TooBigReport { router: router.parse().unwrap(), source: source.parse().unwrap(), destination, mtu }
    }

    #[test]
    fn what_is_learned_and_what_is_not() {
        for (destination, told, tunnel, expected) in [
            (B1, 1400, LINK, Ok(1400)),
            (B1, 1499, LINK, Ok(1499)),
            (B1, 1500, LINK, Err(Ignored::NotSmaller(1500))),
            (B1, 9000, LINK, Err(Ignored::NotSmaller(1500))),
            (B1, 0, LINK, Err(Ignored::NoMtu)),
            (B1, 1, LINK, Ok(552)),
            (B1, 551, LINK, Ok(552)),
            (B1, 553, LINK, Ok(553)),
            (B1, 68, Some(500), Err(Ignored::NotSmaller(500))),
            (B1, 1400, None, Err(Ignored::NoTunnel)),
            (B1_V6, 1400, LINK, Ok(1400)),
            (B1_V6, 1280, LINK, Ok(1280)),
            (B1_V6, 1279, LINK, Err(Ignored::TooSmall)),
            (B1_V6, 0, LINK, Err(Ignored::NoMtu)),
            (B1_V6, u32::MAX, LINK, Err(Ignored::NotSmaller(1500))),
        ] {
            let mut mtus = PathMtus::default();
            let learned = mtus.learn(&report(destination, told), tunnel, Instant::now());
            assert_eq!(learned.map(|learned| learned.mtu), expected, "{destination} {told} {tunnel:?}");
            assert_eq!(mtus.iter().count(), usize::from(expected.is_ok()));
        }
    }

    #[test]
    fn only_less_is_news() {
        let (mut mtus, start) = (PathMtus::default(), Instant::now());
        mtus.learn(&report(B1, 1400), LINK, start).unwrap();
        let later = start + LIFETIME / 2;
        for told in [1400, 1450] {
            assert_eq!(mtus.learn(&report(B1, told), LINK, later), Err(Ignored::NotSmaller(1400)));
        }
        assert_eq!(mtus.next_expiry(), Some(start + LIFETIME), "it lasts no longer than it did");
        assert_eq!(mtus.learn(&report(B1, 1300), LINK, later).unwrap().mtu, 1300);
        assert_eq!(mtus.next_expiry(), Some(later + LIFETIME));
        // The uplink has become smaller since.
        assert_eq!(mtus.learn(&report(B1, 1250), Some(1200), later), Err(Ignored::NotSmaller(1200)));
    }

    #[test]
    fn each_is_forgotten_in_its_own_time() {
        let (mut mtus, start) = (PathMtus::default(), Instant::now());
        assert_eq!(mtus.next_expiry(), None);
        mtus.learn(&report(B1, 1400), LINK, start).unwrap();
        mtus.learn(&report(B1_V6, 1400), LINK, start + Duration::from_secs(60)).unwrap();
        assert_eq!(mtus.expire(start + LIFETIME - Duration::from_nanos(1)), [] as [IpAddr; 0]);
        assert_eq!(mtus.next_expiry(), Some(start + LIFETIME));
        assert_eq!(mtus.expire(start + LIFETIME), [B1.parse::<IpAddr>().unwrap()]);
        assert_eq!(mtus.get(B1.parse().unwrap()), None);
        assert_eq!(mtus.expire(start + 2 * LIFETIME), [B1_V6.parse::<IpAddr>().unwrap()]);
        // Tried again, it is learned again.
        mtus.learn(&report(B1, 1400), LINK, start + 2 * LIFETIME).unwrap();
    }

    #[test]
    fn nodes_that_have_gone_are_forgotten() {
        let mut mtus = PathMtus::default();
        for destination in [B1, B1_V6] {
            mtus.learn(&report(destination, 1400), LINK, Instant::now()).unwrap();
        }
        mtus.retain(|destination| destination.is_ipv6());
        assert_eq!(mtus.iter().map(|(destination, _)| destination.to_string()).collect::<Vec<_>>(), [B1_V6]);
    }
}
