//! With XDP before it, tc must come to the same as without, whatever comes in: on random packets, and with the
//! real programs on both sides.

use std::{collections::BTreeMap, env};

use fastrand::Rng;
use node_ebpf_common::{Ending, Hook, Outcome, Uplink};

use tests::program::{XDP_DROP, XDP_PASS};

use crate::{model::Model, random, rig::*};

/// Packets of a run.
const PACKETS: u32 = 20_000;
/// Packets that each mode is compared with the model on.
const MODELLED: u32 = 100_000;
/// The default seed; `PODROUTE_SEED` sets another.
const SEED: u64 = 3;

#[test]
fn xdp_and_tc_do_together_what_tc_does_alone() {
    let seed = env::var("PODROUTE_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for decap in [false, true] {
        let mut rig = Rig::load_with(0, false, decap);
        rig.set_uplink(LOOPBACK, Uplink::default());
        let mut seen = BTreeMap::<Outcome, u32>::new();
        for _ in 0..PACKETS {
            let (frame, _) = random::frame(&mut rng, Hook::FromUplink);
            let outcome = compare(&mut rig, &frame, decap);
            *seen.entry(outcome).or_default() += 1;
        }
        println!("{seen:?}");
        for outcome in [
            Outcome::Pass,
            Outcome::StackOtherProtocol,
            Outcome::DropUnknownTunnelSource,
            Outcome::DropSpoofedInnerSource,
            Outcome::DropNestedTunnel,
            Outcome::DropTunnelNotLocal,
            Outcome::DropTunnelFragment,
            Outcome::DropUnassigned,
            Outcome::DropCongestionMark,
            Outcome::DropSpoofedUplinkSource,
        ] {
            assert!(seen.contains_key(&outcome), "{} was never met", outcome.label());
        }
        assert_eq!(seen.contains_key(&Outcome::DecapPass), decap);
    }
}

/// Runs both ways and compares what comes out; returns how XDP ended.
fn compare(rig: &mut Rig, frame: &[u8], decap: bool) -> Outcome {
    let alone = rig.run(Hook::FromUplink, frame);
    let first = rig.run_xdp(frame);
    let told =
        format!("{} before {}, decap {decap}: {frame:02x?}", first.outcome.label(), alone.outcome.label());
    if first.outcome.ending() == Ending::Dropped {
        assert_eq!(
            (first.verdict, first.outcome, alone.verdict),
            (XDP_DROP, alone.outcome, TC_ACT_SHOT),
            "{told}"
        );
        return first.outcome;
    }
    assert_eq!(first.verdict, XDP_PASS, "{told}");
    assert!(first.outcome == Outcome::DecapPass || first.data == frame, "{told}");
    let second = rig.run(Hook::FromUplink, &first.data);
    assert_eq!((second.verdict, &second.data), (alone.verdict, &alone.data), "{told}");
    let expected = match (first.outcome, alone.outcome) {
        (Outcome::DecapPass, Outcome::DecapLocal) => &[Outcome::Local][..],
        (Outcome::DecapPass, Outcome::DecapStack) => {
            &[Outcome::StackHost, Outcome::StackTtl, Outcome::StackTooBig]
        }
        (_, other) => &[other],
    };
    assert!(expected.contains(&second.outcome), "{}: {told}", second.outcome.label());
    first.outcome
}

/// Both modes, compared with the plain-Rust model: outcome, verdict, and every byte that comes out.
#[test]
fn xdp_does_as_the_model_says() {
    for decap in [false, true] {
        let (model, mut seen) = (Model::new(), BTreeMap::<_, u32>::new());
        let mut rig = Rig::load_with(0, false, decap);
        rig.set_uplink(LOOPBACK, Uplink::default());
        let mut rng = Rng::with_seed(SEED);
        for _ in 0..MODELLED {
            let (frame, _) = random::frame(&mut rng, Hook::FromUplink);
            let (outcome, dropped, data) = model.expect_xdp(&frame, decap);
            let before = rig.counter(Hook::Xdp, outcome).packets;
            let (verdict, after) = rig.run_xdp_raw(&frame);
            let told = || format!("{} must be the outcome: {frame:02x?}", outcome.label());
            assert_eq!(rig.counter(Hook::Xdp, outcome).packets, before + 1, "{}", told());
            assert_eq!(verdict, if dropped { XDP_DROP } else { XDP_PASS }, "{}", told());
            assert!(after == data, "{}\nis     {after:02x?}\nshould {data:02x?}", told());
            *seen.entry(outcome).or_default() += 1;
        }
        println!("{seen:?}");
        let mut wanted = vec![
            Outcome::Pass,
            Outcome::StackOtherProtocol,
            Outcome::DropUnknownTunnelSource,
            Outcome::DropSpoofedInnerSource,
            Outcome::DropTunnelNotLocal,
            Outcome::DropTunnelFragment,
            Outcome::DropUnassigned,
            Outcome::DropCongestionMark,
            Outcome::DropSpoofedUplinkSource,
        ];
        wanted.extend(decap.then_some(Outcome::DecapPass));
        for outcome in wanted {
            assert!(seen.get(&outcome).is_some_and(|count| *count > 20), "{} was not met", outcome.label());
        }
    }
}
