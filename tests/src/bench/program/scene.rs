//! The programs and packets that are measured: the small cluster's for the outcomes, and larger tables for what the
//! number of prefixes does.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use fastrand::Rng;
use node_ebpf_common::{Hook, Outcome, Route, Uplink};

use super::{
    super::prefixes::{Pattern, PrefixSet},
    repeat::{Kind, Repeater},
    subject::{Sample, Subject},
};
use crate::{
    family::Family,
    program::{
        cases::{self, cases},
        cluster::{
            Cluster, DIRECT_NEXT_HOP, DIRECT_NEXT_HOP_V6, IPIP_POD, IPIP_POD_V6, LOOPBACK, POD, POD_V6,
        },
        rig::Rig,
        uplink::ip,
    },
};

/// Destinations that are taken in turn.
const DESTINATIONS: usize = 1 << 12;

/// A subject with the rig that it is run in, and what was measured.
pub struct Entry {
    /// What is measured.
    pub subject: Subject,
    /// What it is for.
    pub part: Part,
    rig: usize,
    /// One a round.
    pub samples: Vec<Sample>,
}

/// What a subject is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One packet of each outcome, in the small cluster.
    Outcome,
    /// Forwarding to random destinations.
    Scale(Scale),
}

/// A way to forward, and how large the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The program.
    pub hook: Hook,
    /// The packets' family.
    pub family: Family,
    /// Prefixes beside those of the small cluster.
    pub prefixes: usize,
    /// Whether the lookup table in front of the trie is written.
    pub table: bool,
}

/// Everything that is measured.
pub struct Scene {
    rigs: Vec<Rig>,
    repeater: Repeater,
    /// What is measured.
    pub entries: Vec<Entry>,
    /// Nanoseconds of a tc and an XDP program that return at once, one a round.
    pub bare: [Vec<f64>; 2],
}

impl Scene {
    /// Loads the programs, beside an uplink with this index, and with so many prefixes.
    ///
    /// # Errors
    /// The kernel refuses something, or a packet ends in another way than it should.
    pub fn new(interface: u32, sizes: &[usize], mut say: impl FnMut(String)) -> Result<Self> {
        ip("neigh add 10.0.1.12 lladdr 02:00:00:00:00:12 dev up0 nud permanent");
        ip("neigh add fd00:0:0:1::12 lladdr 02:00:00:00:00:12 dev up0 nud permanent");
        let repeater = Repeater::load()?;
        let mut scene = Self { rigs: Vec::new(), repeater, entries: Vec::new(), bare: Default::default() };
        say("loading the small cluster".to_owned());
        scene.add_outcomes()?;
        for &prefixes in sizes {
            say(format!("loading {prefixes} prefixes"));
            scene.add_scale(interface, prefixes)?;
        }
        Ok(scene)
    }

    fn add_outcomes(&mut self) -> Result<()> {
        let mut tc = Rig::new().with_lookup_table();
        let mut xdp = Rig::load_with(0, false, true).with_lookup_table();
        xdp.set_uplink(LOOPBACK, Uplink::default());
        let rig = self.rigs.len();
        for case in cases() {
            let subject = Subject::new(&mut tc, case.hook, case.outcome, case.families, &case.frame)?;
            self.add(subject, Part::Outcome, rig);
        }
        for case in cases().iter().filter(|case| case.hook == Hook::FromUplink) {
            let outcome = xdp.run_xdp(&case.frame).outcome;
            let name = format!("{} ({} at from-uplink)", case.families, case.outcome.label());
            let subject = Subject::new(&mut xdp, Hook::Xdp, outcome, &name, &case.frame)?;
            self.add(subject, Part::Outcome, rig + 1);
        }
        self.rigs.extend([tc, xdp]);
        Ok(())
    }

    fn add_scale(&mut self, interface: u32, prefixes: usize) -> Result<()> {
        let mut rng = Rng::with_seed(prefixes as u64);
        let sets = Family::ALL.map(|family| {
            let length = if family == Family::V4 { 24 } else { 64 };
            PrefixSet::ranges(family, length, prefixes, &mut rng)
        });
        let destinations =
            sets.each_ref().map(|set| set.destinations(Pattern::Uniform, DESTINATIONS, &mut rng));
        for table in [true, false] {
            let mut rig = Rig::new();
            rig.add_uplink(interface);
            rig.set_device(interface);
            let mut routes = Cluster::new().routes;
            for (set, next_hop) in sets.iter().zip([DIRECT_NEXT_HOP, DIRECT_NEXT_HOP_V6]) {
                for &prefix in &set.prefixes {
                    let route = Route { next_hop, flags: 0 };
                    rig.set_route(prefix, route);
                    routes.push((prefix, route));
                }
            }
            if table {
                rig = rig.with_lookup_table_of(&routes);
            }
            let number = self.rigs.len();
            for (family, destinations) in Family::ALL.into_iter().zip(&destinations) {
                // The table is for IPv4 only.
                if family == Family::V6 && !table {
                    continue;
                }
                for (hook, outcome) in [(Hook::FromPod, Outcome::Direct), (Hook::Xdp, Outcome::Transit)] {
                    let frame = forwarded(hook, family, destinations[0]);
                    let name = format!("{family:?}, {prefixes} prefixes");
                    let subject = Subject::new(&mut rig, hook, outcome, &name, &frame)?
                        .to(destinations.clone(), &mut self.repeater)?;
                    self.add(subject, Part::Scale(Scale { hook, family, prefixes, table }), number);
                }
            }
            self.rigs.push(rig);
        }
        Ok(())
    }

    fn add(&mut self, subject: Subject, part: Part, rig: usize) {
        self.entries.push(Entry { subject, part, rig, samples: Vec::new() });
    }

    /// Measures everything once, each repeated so many times.
    ///
    /// # Errors
    /// A repetition did not end as it must.
    pub fn round(&mut self, repeat: u32) -> Result<()> {
        let frame = cases().swap_remove(0).frame;
        for kind in [Kind::Skb, Kind::Frame] {
            self.bare[kind as usize].push(self.repeater.bare(kind, &frame, repeat)?);
        }
        for entry in &mut self.entries {
            let sample = entry.subject.measure(&mut self.rigs[entry.rig], &mut self.repeater, repeat)?;
            entry.samples.push(sample);
        }
        Ok(())
    }

    /// The rig of the small cluster.
    pub fn small_cluster(&mut self) -> &mut Rig {
        &mut self.rigs[0]
    }
}

/// What a pod of this node, or another node's pod through this node, sends to a destination on an adjacent node.
fn forwarded(hook: Hook, family: Family, destination: IpAddr) -> Vec<u8> {
    let source: IpAddr = match (hook, family) {
        (Hook::Xdp, Family::V4) => Ipv4Addr::from(IPIP_POD).into(),
        (Hook::Xdp, Family::V6) => IPIP_POD_V6.into(),
        (_, Family::V4) => Ipv4Addr::from(POD).into(),
        (_, Family::V6) => POD_V6.into(),
    };
    cases::frame(&cases::udp(source, destination, 64, 22))
}
