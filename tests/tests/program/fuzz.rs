//! 100,000 random and mutated packets through each program, compared with the plain-Rust model: outcome,
//! verdict, mark, and every byte that comes out. Half of them without the lookup table, half with it.

use std::{collections::BTreeMap, env};

use fastrand::Rng;
use node_ebpf_common::{Hook, Outcome};

use crate::{model::Model, model_packet::without_random_fields, random, rig::Rig};

const PACKETS: u32 = 100_000;
/// Another one: `PODROUTE_SEED=…`.
const SEED: u64 = 20_261_123;

#[test]
fn from_pod_does_as_the_model_says() {
    compare(
        Hook::FromPod,
        &[
            Outcome::Local,
            Outcome::Direct,
            Outcome::Ipip,
            Outcome::StackNotRouted,
            Outcome::StackHost,
            Outcome::StackOtherProtocol,
            Outcome::StackTtl,
            Outcome::StackTooBig,
            Outcome::DropMalformed,
            Outcome::DropSpoofedSource,
            Outcome::DropPodTunnel,
            Outcome::DropUnassigned,
            Outcome::DropNoNextHop,
        ],
    );
}

#[test]
fn from_uplink_does_as_the_model_says() {
    compare(
        Hook::FromUplink,
        &[
            Outcome::Local,
            Outcome::DecapLocal,
            Outcome::DecapStack,
            Outcome::StackNotRouted,
            Outcome::StackHost,
            Outcome::StackTransit,
            Outcome::StackTtl,
            Outcome::StackTooBig,
            Outcome::DropMalformed,
            Outcome::DropUnknownTunnelSource,
            Outcome::DropSpoofedInnerSource,
            Outcome::DropNestedTunnel,
            Outcome::DropTunnelNotLocal,
            Outcome::DropTunnelFragment,
            Outcome::DropUnassigned,
            Outcome::DropCongestionMark,
            Outcome::DropSpoofedUplinkSource,
        ],
    );
}

#[test]
fn to_uplink_does_as_the_model_says() {
    compare(
        Hook::ToUplink,
        &[Outcome::Ipip, Outcome::StackRouted, Outcome::DropTooBig, Outcome::DropMalformed],
    );
}

#[test]
fn to_pod_does_as_the_model_says() {
    compare(Hook::ToPod, &[Outcome::StackTranslated, Outcome::StackRouted, Outcome::DropMalformed]);
}

/// Flows that are remembered at one hook show at the others: all four programs with one set of tables.
#[test]
fn all_programs_together_do_as_the_model_says() {
    for mut run in Comparison::both() {
        for _ in 0..PACKETS / 2 {
            let hook = Hook::CLASSIFIERS[run.rng.usize(0..Hook::CLASSIFIERS.len())];
            run.one(hook);
        }
        run.must_have_seen(Hook::FromPod, &[Outcome::StackTranslated]);
        run.must_have_seen(Hook::FromUplink, &[Outcome::StackTranslated]);
        run.flows_are_known();
    }
}

fn compare(hook: Hook, outcomes: &[Outcome]) {
    for mut run in Comparison::both() {
        for _ in 0..PACKETS / 2 {
            run.one(hook);
        }
        run.must_have_seen(hook, outcomes);
        run.flows_are_known();
    }
}

struct Comparison {
    rig: Rig,
    model: Model,
    rng: Rng,
    seed: u64,
    seen: BTreeMap<(Hook, Outcome), u32>,
}

impl Comparison {
    /// Without the lookup table and with it, on other packets.
    fn both() -> [Self; 2] {
        let seed = env::var("PODROUTE_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
        println!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        [Rig::new(), Rig::new().with_lookup_table()].map(|rig| Self {
            rig,
            model: Model::new(),
            rng: rng.fork(),
            seed,
            seen: BTreeMap::new(),
        })
    }

    fn one(&mut self, hook: Hook) {
        let (frame, context) = random::frame(&mut self.rng, hook);
        let expected = self.model.expect(hook, &frame, context);
        let before = expected.outcome.map(|outcome| self.rig.counter(hook, outcome).packets);
        let (verdict, mark, mut data) = self.rig.run_raw(hook, &frame, context);
        let told = || {
            let outcome = expected.outcome.map_or("nothing", Outcome::label);
            format!("seed {}: {} must be {outcome}: {context:?} {frame:02x?}", self.seed, hook.label())
        };
        if let (Some(outcome), Some(before)) = (expected.outcome, before) {
            assert_eq!(self.rig.counter(hook, outcome).packets, before + 1, "{}", told());
            *self.seen.entry((hook, outcome)).or_default() += 1;
        }
        assert_eq!((verdict, mark), (expected.verdict, expected.mark), "{}", told());
        if let Some(mut wanted) = expected.data {
            if expected.outcome == Some(Outcome::Ipip) {
                without_random_fields(&mut data);
                without_random_fields(&mut wanted);
            }
            assert!(data == wanted, "{}\nis     {data:02x?}\nshould {wanted:02x?}", told());
        }
    }

    /// What was never met was not compared either.
    fn must_have_seen(&self, hook: Hook, outcomes: &[Outcome]) {
        for ((hook, outcome), count) in &self.seen {
            println!("{:12} {:28} {count}", hook.label(), outcome.label());
        }
        for outcome in outcomes {
            let count = self.seen.get(&(hook, *outcome)).copied().unwrap_or_default();
            assert!(count > 20, "{} was met {count} times at {}", outcome.label(), hook.label());
        }
    }

    fn flows_are_known(&mut self) {
        println!("{} flows are translated", self.model.translated.len());
        for flow in &self.model.translated {
            assert!(self.rig.is_translated(flow), "{flow:?} is not in the map");
        }
    }
}
