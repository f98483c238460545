//! Packet sizes around the path MTU, with and without DF, while the uplinks' MTU changes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{
    Failure,
    agent::Settings,
    lab::{Endpoint, Lab, Topology},
    probe::{self, Answer, Fragmentation, Ping},
    state::{Encapsulation, State},
    story, wait,
};

/// Bytes of an IPIP header.
const IPIP: u16 = 20;
/// Sizes are tried this far below and above the limit.
const AROUND: u16 = 25;

#[test]
fn packets_up_to_the_path_mtu_pass_and_larger_ones_are_answered() -> Result<(), Failure> {
    story(Topology::two_subnets().with_pod_mtu(1500), |lab, agents| {
        let settings = Settings { pod_mtu: Some("keep"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, Encapsulation::CrossSubnet))?;
        for uplink in [1500, 1400, 1320] {
            lab.set_uplink_mtu(uplink)?;
            for (to, limit) in [("a2-0", uplink), ("b1-0", uplink - IPIP)] {
                let (from, to) = (lab.pod("a1-0")?, lab.pod(to)?);
                followed(from, to, limit)?;
                followed(to, from, limit)?;
                sizes_around(from, to, limit)?;
                probe::tcp(from, to, 60_000)?;
                probe::udp(from, to, 3000)?;
            }
            host_to_pods(lab)?;
        }
        Ok(())
    })
}

/// The agents follow a change of the uplinks' MTU.
fn followed(from: &dyn Endpoint, to: &dyn Endpoint, limit: u16) -> Result<()> {
    let fits = Ping::to(to.address())?.size(limit).fragmentation(Fragmentation::Forbidden);
    wait::until_ok(&format!("{limit} bytes to fit"), Duration::from_secs(10), || {
        let too_big = fits.size(limit + 1).timeout(Duration::from_millis(100)).send(from.netns())?;
        let learned = match too_big {
            Answer::FragmentationNeeded { mtu, .. } => mtu == limit,
            Answer::TooBigHere => true,
            _ => false,
        };
        ensure!(learned, "{} bytes: {too_big:?}", limit + 1);
        fits.expect_reply(from)
    })?;
    Ok(())
}

fn sizes_around(from: &dyn Endpoint, to: &dyn Endpoint, limit: u16) -> Result<()> {
    for size in (limit - AROUND..=limit + AROUND).step_by(5) {
        let ping = Ping::to(to.address())?.size(size);
        ping.expect_reply(from)?;
        let answer = ping.fragmentation(Fragmentation::Forbidden).send(from.netns())?;
        let right = match answer {
            Answer::Reply { .. } => size <= limit,
            Answer::FragmentationNeeded { mtu, .. } => size > limit && mtu == limit,
            Answer::TooBigHere => size > 1500,
            _ => false,
        };
        ensure!(
            right,
            "{size} bytes with DF from {} to {}, limit {limit}: {answer:?}",
            from.name(),
            to.name()
        );
    }
    Ok(())
}

fn host_to_pods(lab: &Lab) -> Result<()> {
    for to in ["a1-0", "a2-0", "b1-0"] {
        let (from, to) = (lab.node("a1")?, lab.pod(to)?);
        for size in (1270..=1600).step_by(30) {
            Ping::to(to.address())?.size(size).expect_reply(from)?;
        }
        probe::tcp(from, to, 60_000)?;
        probe::tcp(to, from, 60_000)?;
    }
    Ok(())
}

#[test]
fn a_pod_with_room_for_the_header_needs_no_answer() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let from = lab.pod("a1-0")?;
        for to in ["a1-1", "a2-0", "b1-0"] {
            let full = Ping::to(lab.pod(to)?.address())?.size(1480).fragmentation(Fragmentation::Forbidden);
            full.expect_reply(from)?;
            ensure!(full.size(1481).send(from.netns())? == Answer::TooBigHere);
        }
        Ok(())
    })
}
