//! Whole paths over veth pairs: from a pod to one on another node, and through a gateway.
//!
//! ```text
//! pod ── node ── veth pair ── node ── pod      for each way such a site of its own
//!  └ packets                           └ counted and dropped
//! ```
//!
//! Generator, path and sink share one CPU, so that what one packet costs is the time between two of them.

mod assembler;
mod bpf;
mod check;
mod cpu;
mod flannel;
mod frames;
mod live;
mod programs;
mod receive;
mod rounds;
mod sender;
mod site;
mod tables;
mod talk;
mod talk_tables;
mod transit;
mod way;
mod window;

use anyhow::{Context, Result};

use self::{
    check::Before,
    cpu::Cpu,
    frames::Flows,
    receive::Receiver,
    rounds::{Samples, order, same},
    site::Site,
    talk::{Latencies, Talk, Talkers, WAYS},
    transit::{Crossing, Passage},
    way::Way,
    window::Times,
};
use super::{Options, Progress, Suite, report::SuiteReport};

/// The suite.
pub const SUITE: Suite = Suite { name: "veth", about: ABOUT, run };

const ABOUT: &str =
    "Packets from pod to pod over two nodes, and through a gateway, on veth pairs and one CPU";

/// Nanoseconds of CPU for each packet.
type PathSamples = Samples<(Way, Flows)>;
/// Likewise.
type TransitSamples = Samples<(Passage, Flows)>;
/// Nanoseconds for each byte or exchange.
type TalkSamples = Samples<(Way, Talk)>;

fn rounds(options: Options) -> usize {
    if options.quick { 6 } else { 21 }
}

fn run(options: Options, progress: &Progress) -> Result<SuiteReport> {
    progress.add_steps(Way::ALL.len() + Passage::ALL.len() + 4 * rounds(options));
    let bench = Bench { cpu: Cpu::choose()?, options, progress };
    let mut report =
        SuiteReport { name: SUITE.name.to_owned(), about: ABOUT.to_owned(), ..SuiteReport::default() };
    let sites = bench.build(Way::ALL, "nodes for", Way::name, Site::build)?;
    let paths = bench.paths(&sites)?;
    for flows in Flows::ALL {
        bench.expect_same(&paths, flows, &format!("pod → pod, {}", flows.name()), &mut report)?;
    }
    tables::paths(&paths, &mut report);
    let (talks, latencies) = bench.talks(&sites, &mut report.notes)?;
    for talk in Talk::ALL {
        bench.expect_same(&talks, talk, talk.name(), &mut report)?;
    }
    talk_tables::talks(&talks, &latencies, &mut report);
    let receiving = bench.receiving(&sites)?;
    for flows in Flows::ALL {
        bench.expect_same(&receiving, flows, &format!("receiving node, {}", flows.name()), &mut report)?;
    }
    tables::receiving(&receiving, &mut report);
    drop(sites);
    let mut crossings = bench.build(Passage::ALL, "a gateway for", Passage::name, Crossing::build)?;
    tables::transit(&bench.transit(&mut crossings)?, &mut report);
    Ok(report)
}

/// What all measurements share.
struct Bench<'p> {
    cpu: Cpu,
    options: Options,
    progress: &'p Progress,
}

impl Bench<'_> {
    /// Builds all of them. Not on the one CPU: agents would stay there.
    fn build<K: Copy, T, const N: usize>(
        &self,
        all: [K; N],
        what: &str,
        name: fn(K) -> &'static str,
        build: fn(K) -> Result<T>,
    ) -> Result<Vec<T>> {
        let one = |of: K| {
            self.progress.doing(format!("building {what} {}", name(of)));
            let built = build(of)?;
            self.progress.step();
            Ok(built)
        };
        all.into_iter().map(one).collect()
    }

    /// Measures each thing once in each round, on the one CPU.
    fn in_rounds<T: Copy + Send + Sync, K: Ord + Copy + Send>(
        &self,
        what: &str,
        things: &[T],
        mut measure: impl FnMut(T) -> Result<(K, f64)> + Send,
    ) -> Result<Samples<K>> {
        let mut samples = Samples::default();
        for round in 0..rounds(self.options) {
            self.progress.doing(format!("{what}, round {}", round + 1));
            let measured = self
                .cpu
                .run(|| order(things, round).into_iter().map(&mut measure).collect::<Result<Vec<_>>>())?;
            measured.into_iter().for_each(|(of, sample)| samples.push(of, sample));
            self.progress.step();
        }
        Ok(samples)
    }

    /// Refuses the run if the twin was not measured as what it is the twin of.
    fn expect_same<K: Ord + Copy>(
        &self,
        samples: &Samples<(Way, K)>,
        of: K,
        what: &str,
        report: &mut SuiteReport,
    ) -> Result<()> {
        let ratio = samples.ratio((Way::Twin, of), (Way::Direct, of)).context("nothing was measured")?;
        report.notes.push(same(what, &ratio, self.options)?);
        Ok(())
    }

    fn times(&self) -> Times {
        Times::of(self.options)
    }

    /// From pod to pod.
    fn paths(&self, sites: &[Site]) -> Result<PathSamples> {
        self.progress.doing("checking that packets arrive");
        self.cpu.run(|| sites.iter().try_for_each(check::check))?;
        let before = sites.iter().map(Before::of).collect::<Result<Vec<_>>>()?;
        let samples = self.in_rounds("pod to pod", &with_flows(sites), |(site, flows)| {
            let window = site.measure(&self.cpu, self.times(), flows)?;
            let what = || format!("{}, {}", site.way.name(), flows.name());
            Ok(((site.way, flows), window.nanoseconds().with_context(what)?))
        })?;
        before.iter().zip(sites).try_for_each(|(before, site)| before.expect_only_this_way(site))?;
        Ok(samples)
    }

    /// Between sockets in the pods, and back.
    fn talks(&self, sites: &[Site], notes: &mut Vec<String>) -> Result<(TalkSamples, Latencies)> {
        self.progress.doing("connecting sockets");
        let sites = || sites.iter().filter(|site| WAYS.contains(&site.way));
        let mut talkers = sites().map(|site| Talkers::open(site, &self.cpu)).collect::<Result<Vec<_>>>()?;
        let before = sites().map(Before::of).collect::<Result<Vec<_>>>()?;
        let numbers = || 0..talkers.len();
        let things: Vec<_> = Talk::ALL
            .into_iter()
            .flat_map(|talk| numbers().map(move |number| (number, talk)))
            .filter(|(number, talk)| talk.can_go_by(talkers[*number].way))
            .collect();
        let mut latencies = Latencies::new();
        let samples = self.in_rounds("between sockets", &things, |(number, talk)| {
            let talkers = &mut talkers[number];
            Ok(((talkers.way, talk), talkers.measure(talk, self.times(), &mut latencies)?))
        })?;
        before.iter().zip(sites()).try_for_each(|(before, site)| before.expect_some_this_way(site))?;
        notes.extend(talkers.iter().filter_map(Talkers::note));
        Ok((samples, latencies))
    }

    /// From the wire to the pod.
    fn receiving(&self, sites: &[Site]) -> Result<PathSamples> {
        self.progress.doing("preparing the receiving nodes");
        let receivers = self.cpu.run(|| sites.iter().map(Receiver::of).collect::<Result<Vec<_>>>())?;
        let before = sites.iter().map(Before::of).collect::<Result<Vec<_>>>()?;
        let samples = self.in_rounds("receiving nodes", &with_flows(&receivers), |(receiver, flows)| {
            let (way, window) = (receiver.site.way, receiver.measure(self.times(), flows)?);
            let what = || format!("the receiving node of {}, {}", way.name(), flows.name());
            Ok(((way, flows), window.nanoseconds().with_context(what)?))
        })?;
        before.iter().zip(sites).try_for_each(|(before, site)| before.expect_only_received(site))?;
        Ok(samples)
    }

    /// Through a gateway.
    fn transit(&self, crossings: &mut [Crossing]) -> Result<TransitSamples> {
        self.progress.doing("checking that frames arrive");
        self.cpu.run(|| crossings.iter_mut().try_for_each(Crossing::make_ready))?;
        let crossings = &*crossings;
        let before = crossings.iter().map(|crossing| Ok((crossing.counters()?, crossing.arrived()?)));
        let before = before.collect::<Result<Vec<_>>>()?;
        let samples = self.in_rounds("through a gateway", &with_flows(crossings), |(crossing, flows)| {
            let window = crossing.measure(self.times(), flows)?;
            let what = || format!("{}, {}", crossing.passage.name(), flows.name());
            Ok(((crossing.passage, flows), window.nanoseconds().with_context(what)?))
        })?;
        for (crossing, (counters, arrived)) in crossings.iter().zip(&before) {
            crossing.expect_transit(counters.as_ref(), crossing.arrived()? - arrived)?;
        }
        Ok(samples)
    }
}

/// Each of them with one flow, and each with many.
fn with_flows<T>(things: &[T]) -> Vec<(&T, Flows)> {
    Flows::ALL.into_iter().flat_map(|flows| things.iter().map(move |thing| (thing, flows))).collect()
}

#[cfg(test)]
mod tests;
