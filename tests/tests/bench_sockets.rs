//! The socket load of the benchmark harness, on a way that the kernel routes and that is cut between rounds.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    bench::{
        latency::Latencies,
        sockets::{Ends, Exchange, Exchanged, Protocol, STRETCH, Stream, Transferred, last_cpu},
        stats::as_f64,
    },
    capture::{Capture, Keep},
    lab::{Endpoint, Lab, Pod, Topology},
    wait,
};

const SETTLE: Duration = Duration::from_millis(20);
const COUNT: Duration = Duration::from_millis(80);

fn lab(topology: Topology) -> Result<Lab> {
    let lab = Lab::build(topology)?;
    lab.route_plainly()?;
    Ok(lab)
}

fn ends(lab: &Lab) -> Result<Ends> {
    Ok(Ends::of(lab.pod("a1-0")?, lab.pod("a2-0")?))
}

/// Makes the sender's node drop what it forwards, or not any more.
fn cut(lab: &Lab, cut: bool) -> Result<()> {
    let rule = "add chain inet cut forward { type filter hook forward priority 0; policy drop; }";
    let commands =
        if cut { format!("add table inet cut; {rule}") } else { "delete table inet cut".to_owned() };
    lab.node("a1")?.netns().output("nft", &[&commands])?;
    Ok(())
}

/// What the window finds, and how many bytes the receiving pod's interface gets meanwhile.
fn bytes_seen<T>(lab: &Lab, window: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let pod = lab.pod("a2-0")?.netns();
    let counter = || -> Result<u64> {
        let shown = pod.output("ip", &["-json", "-s", "link", "show", "dev", Pod::INSIDE])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        shown[0]["stats64"]["rx"]["bytes"].as_u64().context("`ip link` shows no bytes")
    };
    let before = counter()?;
    let found = window()?;
    Ok((found, counter()? - before))
}

/// Checks that neither pod sends anything to the other within a time in which TCP sends a first time again.
fn expect_silence(lab: &Lab) -> Result<()> {
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let captures = [from, to].map(|pod| Capture::start(pod.netns(), Pod::INSIDE, Keep::Whole));
    thread::sleep(Duration::from_millis(250));
    for capture in captures {
        let captured = capture?.stop()?;
        let mut between = captured.packets().filter(|packet| {
            let (source, destination) = (packet.outer().source, packet.outer().destination);
            from.addresses().contains(&source) && to.addresses().contains(&destination)
                || to.addresses().contains(&source) && from.addresses().contains(&destination)
        });
        ensure!(between.next().is_none(), "packets after a window: {captured}");
    }
    Ok(())
}

/// Checks that neither pod has a connection, which might send again later. One that is not reset stays for minutes; a
/// process that another test is about to start has a copy of each socket for a moment.
fn expect_no_connections(lab: &Lab) -> Result<()> {
    const LISTENS: &str = "0A";
    let check = || {
        for pod in [lab.pod("a1-0")?, lab.pod("a2-0")?] {
            let table = pod.netns().run(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
            let states = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3));
            ensure!(states.filter(|state| *state != LISTENS).count() == 0, "{}:\n{table}", pod.name());
        }
        Ok(())
    };
    wait::until_ok("connections to be gone", Duration::from_secs(10), check)?;
    Ok(())
}

#[test]
fn bytes_are_those_that_arrived_and_nothing_is_on_the_way_afterwards() -> Result<()> {
    let lab = lab(Topology::flat())?;
    for flows in [1, 8] {
        let mut stream = Stream::open(&ends(&lab)?, flows, last_cpu()?)?;
        for _ in 0..3 {
            let (found, seen): (Transferred, u64) =
                bytes_seen(&lab, || stream.window(Duration::ZERO, COUNT))?;
            found.expect_whole()?;
            ensure!(found.bytes.len() == flows && found.time >= COUNT, "{found:?}");
            // What the interface counts has headers, and what arrived after the counted time.
            let total = found.total();
            ensure!(total > 1_000_000 && total < seen && seen < total * 5 / 4, "{seen}: {found:?}");
            // No stretch was cheaper than all are together, but for the last, which has no cost of its own.
            let least = found.costs.iter().copied().fold(f64::INFINITY, f64::min);
            let spent = least * as_f64(usize::try_from(total)?) / found.time.as_secs_f64() / 1e9;
            let stretches = found.time.as_secs_f64() / STRETCH.as_secs_f64();
            ensure!(as_f64(found.costs.len()) <= stretches + 1.0, "{found:?}");
            ensure!((0.01..1.1).contains(&spent) && found.cost() >= least, "{spent}: {found:?}");
            expect_silence(&lab)?;
        }
    }
    Ok(())
}

#[test]
fn a_settling_time_is_not_counted() -> Result<()> {
    let lab = lab(Topology::flat())?;
    let mut stream = Stream::open(&ends(&lab)?, 2, last_cpu()?)?;
    let (found, seen) = bytes_seen(&lab, || stream.window(COUNT * 4, COUNT))?;
    found.expect_whole()?;
    ensure!(found.total() * 2 < seen, "{seen} bytes with the settling time: {found:?}");
    let mut exchange = Exchange::open(&ends(&lab)?, Protocol::Udp, 64, last_cpu()?)?;
    let (found, seen) = bytes_seen(&lab, || exchange.window(COUNT * 4, COUNT))?;
    found.expect_whole()?;
    let requests = usize::try_from(seen)? / (14 + 20 + 8 + 64);
    ensure!(found.samples.len() * 2 < requests, "{requests} requests, {} samples", found.samples.len());
    Ok(())
}

#[test]
fn a_stream_over_a_cut_way_tells_so_and_goes_on_when_it_is_mended() -> Result<()> {
    let lab = lab(Topology::flat())?;
    for flows in [1, 8] {
        let mut stream = Stream::open(&ends(&lab)?, flows, last_cpu()?)?;
        stream.window(SETTLE, COUNT)?.expect_whole()?;
        cut(&lab, true)?;
        // The first loses what it sends, the second cannot connect.
        for (round, why) in ["had not arrived", "TCP from"].into_iter().enumerate() {
            let found = stream.window(SETTLE, COUNT)?;
            ensure!(found.total() == 0 && found.cost().is_infinite(), "{found:?}");
            ensure!(found.broken.len() == flows, "{found:?}");
            ensure!((found.retransmitted > 0) == (round == 0), "{found:?}");
            let error = found.expect_whole().unwrap_err().to_string();
            ensure!(error.contains(why), "{error}");
            expect_no_connections(&lab)?;
        }
        cut(&lab, false)?;
        let found = stream.window(SETTLE, COUNT)?;
        found.expect_whole()?;
        ensure!(found.retransmitted == 0, "{found:?}");
    }
    Ok(())
}

#[test]
fn exchanges_are_answered_one_after_the_other() -> Result<()> {
    let lab = lab(Topology::dual_stack())?;
    let v4 = ends(&lab)?;
    let v6 = Ends { address: lab.pod("a2-0")?.v6().unwrap().into(), ..v4.clone() };
    for (ends, header) in [(v4, 20), (v6, 40)] {
        for (protocol, size, transport) in
            [(Protocol::Udp, 1, 8), (Protocol::Udp, 64, 8), (Protocol::Tcp, 1, 32), (Protocol::Tcp, 64, 32)]
        {
            let mut exchange = Exchange::open(&ends, protocol, size, last_cpu()?)?;
            let mut rounds = Vec::new();
            for _ in 0..2 {
                let (found, seen): (Exchanged, u64) =
                    bytes_seen(&lab, || exchange.window(Duration::ZERO, COUNT))?;
                found.expect_whole()?;
                ensure!(found.time >= COUNT && found.samples.iter().all(|took| *took > 0.0));
                let together: f64 = found.samples.iter().sum();
                ensure!(together <= found.time.as_secs_f64() * 1e9, "{together} ns in {:?}", found.time);
                // One packet each, and a few that acknowledge or look for neighbours.
                let requests = usize::try_from(seen)? / (14 + header + transport + size);
                let answered = found.samples.len();
                ensure!((answered..=answered * 21 / 20 + 10).contains(&requests), "{requests} of {answered}");
                expect_silence(&lab)?;
                rounds.push(found.samples);
            }
            let latencies = Latencies::of(&rounds);
            println!("{protocol:?} {size} to {}: {latencies:?}", ends.address);
            ensure!(latencies.is_some());
        }
    }
    Ok(())
}

#[test]
fn exchanges_over_a_cut_way_are_lost_and_are_answered_again_when_it_is_mended() -> Result<()> {
    let lab = lab(Topology::flat())?;
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut exchange = Exchange::open(&ends(&lab)?, protocol, 1, last_cpu()?)?;
        exchange.window(SETTLE, COUNT)?.expect_whole()?;
        cut(&lab, true)?;
        for round in 0..2 {
            let found = exchange.window(SETTLE, COUNT)?;
            ensure!(found.samples.is_empty() && (1..=3).contains(&found.lost), "{found:?}");
            let resent = protocol == Protocol::Tcp && round == 0;
            ensure!((found.retransmitted > 0) == resent, "{found:?}");
            let error = found.expect_whole().unwrap_err().to_string();
            ensure!(round > 0 || error.contains("the request"), "{error}");
            expect_no_connections(&lab)?;
        }
        cut(&lab, false)?;
        exchange.window(SETTLE, COUNT)?.expect_whole()?;
    }
    Ok(())
}

/// Here the sender's own system calls fail at once.
#[test]
fn a_way_that_refuses_at_once_loses_no_millions() -> Result<()> {
    let lab = lab(Topology::flat())?;
    let pod = lab.pod("a1-0")?.netns();
    let mut exchange = Exchange::open(&ends(&lab)?, Protocol::Udp, 1, last_cpu()?)?;
    let mut stream = Stream::open(&ends(&lab)?, 1, last_cpu()?)?;
    let route = format!("blackhole {}", lab.pod("a2-0")?.address());
    pod.ip(&format!("route add {route}"))?;
    let found = exchange.window(SETTLE, COUNT)?;
    ensure!(found.samples.is_empty() && (1..=3).contains(&found.lost), "{found:?}");
    let why = found.expect_whole().unwrap_err().to_string();
    ensure!(why.contains("sending the request"), "{why}");
    for _ in 0..2 {
        let found = stream.window(SETTLE, COUNT)?;
        ensure!(found.total() == 0 && found.broken.len() == 1, "{found:?}");
    }
    pod.ip(&format!("route del {route}"))?;
    exchange.window(SETTLE, COUNT)?.expect_whole()?;
    stream.window(SETTLE, COUNT)?.expect_whole()
}

#[test]
fn what_makes_no_sense_is_an_error_that_says_what() -> Result<()> {
    let lab = lab(Topology::flat())?;
    let ends = ends(&lab)?;
    let text = |error: Option<anyhow::Error>| format!("{:#}", error.unwrap());
    let error = text(Stream::open(&ends, 0, last_cpu()?).err());
    ensure!(error.contains("0 flows"), "{error}");
    let error = text(Exchange::open(&ends, Protocol::Udp, 0, last_cpu()?).err());
    ensure!(error.contains("0 bytes"), "{error}");
    let error = text(Stream::open(&ends, 1, 9999).err());
    ensure!(error.contains("CPU 9999"), "{error}");
    let nowhere = Ends { address: "10.244.2.99".parse()?, ..ends };
    let error = text(Exchange::open(&nowhere, Protocol::Tcp, 1, last_cpu()?).err());
    ensure!(error.contains("10.244.2.99") && error.contains("listening"), "{error}");
    Ok(())
}
