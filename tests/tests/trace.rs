//! `node-agent trace`: packets of a real lab as they pass, and nothing left behind when it ends.

use std::{collections::BTreeSet, net::IpAddr, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings, Trace},
    command, craft,
    lab::{Endpoint as _, Lab, Topology},
    probe::{Ping, Series, udp},
    state::{Encapsulation, State},
    story, wait,
};

fn started(lab: &Lab, agents: &mut Agents) -> Result<()> {
    agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))
}

/// Numbers of the programs in place, and how many clients trace.
fn programs(agent: &Agent) -> Result<(BTreeSet<u64>, u64)> {
    let status = agent.status()?;
    let rows = status["attachments"].as_array().context("no attachments")?;
    let ids = rows.iter().filter_map(|row| row["program-id"].as_u64()).collect();
    Ok((ids, status["trace-clients"].as_u64().context("no number of clients")?))
}

/// Waits until nobody traces on this node and its programs are not those of before.
fn expect_off(agent: &Agent, before: &BTreeSet<u64>) -> Result<()> {
    wait::until("tracing to end", Duration::from_secs(3), || {
        let (ids, clients) = programs(agent)?;
        Ok(clients == 0 && ids.is_disjoint(before))
    })?;
    let status = agent.cli(&["status"])?;
    ensure!(status.contains("Trace          off"), "{status}");
    Ok(())
}

fn ping(lab: &Lab, from: &str, to: &str) -> Result<()> {
    Ping::to(lab.pod(to)?.address())?.expect_reply(lab.pod(from)?).map(drop)
}

#[test]
fn a_packet_is_shown_with_its_whole_way_and_none_is_lost_for_it() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let (from, to, agent) = (lab.pod("a1-0")?, lab.pod("b1-0")?, agents.get("a1")?);
        ping(lab, "a1-0", "b1-0")?;
        let others = Series::start(lab.pod("a1-1")?, lab.pod("b1-1")?.address())?;
        let (before, clients) = programs(agent)?;
        ensure!(clients == 0, "{clients} clients trace");
        let trace = agent.trace(&["--pod", &from.full_name()])?;
        let (while_tracing, clients) = programs(agent)?;
        ensure!(clients == 1 && while_tracing.is_disjoint(&before), "{before:?} {while_tracing:?}");
        ping(lab, "a1-0", "b1-0")?;
        trace.expect(&format!(
            "from-pod {} ({}) {} > {} icmp 98 bytes: 10.244.3.0/24 -> node b1 via 10.0.1.1 -> ipip out eth0 outer \
             10.0.1.11 > 10.0.2.11",
            from.interface(),
            from.full_name(),
            from.address(),
            to.address()
        ))?;
        let line = trace.expect(&format!(
            "from-uplink eth0 {} > {} icmp 118 bytes: {}/32 -> pod {} -> decap-local out {} ({}) outer 10.0.2.11 > \
             10.0.1.11",
            to.address(),
            from.address(),
            from.address(),
            from.full_name(),
            from.interface(),
            from.full_name()
        ))?;
        ensure!(line.as_bytes()[2] == b':' && line.as_bytes()[8] == b'.', "no time: {line}");
        let (shown, last_words) = trace.end()?;
        let other = lab.pod("a1-1")?.address().to_string();
        ensure!(!shown.contains(&format!("{other} ")), "another pod's packets are shown:\n{shown}");
        let nothing = "0 more over the rate, 0 lost in the kernel's buffer, 0 lost on the way here";
        ensure!(last_words.contains(nothing), "{last_words}");
        expect_off(agent, &while_tracing)?;
        others.stop()?.expect_no_loss()
    })
}

#[test]
fn only_what_is_asked_for_is_shown() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let agent = agents.get("a1")?;
        ping(lab, "a1-0", "a2-0")?;
        let (a2, b1) = (lab.pod("a2-0")?.address(), lab.pod("b1-0")?.address());
        let by_ip = agent.trace(&["--ip", &a2.to_string()])?;
        let drops = agent.trace(&["--drops"])?;
        let ipip = agent.trace(&["--outcome", "ipip", "--outcome", "decap-local", "--hook", "from-pod"])?;
        let (first, clients) = programs(agent)?;
        ensure!(clients == 3, "{clients} clients trace");
        let unseen = || bail!("nothing is shown");
        for to in ["a1-1", "a2-0", "b1-0"] {
            ping(lab, "a1-0", to)?;
        }
        spoof(lab, a2)?;
        by_ip.expect("direct out eth0")?;
        let line = drops.expect("drop-spoofed-source")?;
        ensure!(line.contains(&format!("192.0.2.1 > {a2} icmp")), "{line}");
        ipip.expect(&b1.to_string())?;
        for (trace, all) in
            [(by_ip, format!(" {a2}")), (drops, "-> drop-".to_owned()), (ipip, "from-pod ".to_owned())]
        {
            let (shown, last_words) = trace.end()?;
            let others: Vec<_> = shown.lines().filter(|line| !line.contains(&all)).collect();
            ensure!(others.is_empty(), "without {all:?}: {others:#?}\n{last_words}");
            shown.lines().next().map_or_else(unseen, |_| Ok(()))?;
        }
        // Clients share the programs: these were replaced once at the beginning and once at the end.
        expect_off(agent, &first)
    })
}

/// Sends a packet from an address that is not the pod's.
fn spoof(lab: &Lab, to: IpAddr) -> Result<()> {
    let IpAddr::V4(to) = to else { bail!("{to} is not IPv4") };
    craft::send(lab.pod("a1-0")?.netns(), &craft::echo_reply([192, 0, 2, 1], to)?)
}

#[test]
fn packets_are_shown_as_json_and_counted() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let agent = agents.get("a1")?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        udp(from, to, 100)?;
        let asked = ["--outcome", "ipip", "--count", "2", "--snaplen", "64", "--output", "json"];
        let trace = agent.trace(&[&asked[..], &["--ip", &to.address().to_string()]].concat())?;
        udp(from, to, 100)?;
        udp(from, to, 100)?;
        udp(from, to, 100)?;
        let (shown, last_words) = trace.finished()?;
        ensure!(last_words.contains("2 packets;"), "{last_words}");
        let rows: Vec<Value> = shown.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(rows.len() == 2, "{shown}");
        for row in rows {
            for (field, expected) in [
                ("hook", Value::from("from-pod")),
                ("in-pod", from.full_name().into()),
                ("source", from.address().to_string().into()),
                ("source-name", format!("pod {}", from.full_name()).into()),
                ("destination-name", format!("pod {}", to.full_name()).into()),
                ("destination-port", 7777.into()),
                ("protocol", "udp".into()),
                ("prefix", "10.244.3.0/24".into()),
                ("next-hop", "node b1".into()),
                ("outcome", "ipip".into()),
                ("ending", "forwarded".into()),
                ("outer-destination", "10.0.2.11".into()),
                ("bytes", 142.into()),
                ("final-bytes", 162.into()),
            ] {
                ensure!(row[field] == expected, "{field} is {}, not {expected}", row[field]);
            }
            let packet = row["packet"].as_str().context("no packet")?;
            // Ethernet, the outer header, and the inner one as far as it fits.
            ensure!(packet.len() == 128 && packet[24..32] == *"08004500", "{packet}");
        }
        Ok(())
    })
}

/// Another program reads the file: addresses within the tunnel, and the time.
#[test]
fn packets_are_written_to_a_file_that_tcpdump_reads() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let (agent, node) = (agents.get("a1")?, lab.node("a1")?);
        let file = node.folder().join("trace.pcapng");
        let path = file.to_str().context("a path")?;
        let (from, to) = (lab.pod("a1-0")?.address(), lab.pod("b1-0")?.address());
        let trace =
            agent.trace(&["--write", path, "--pod", &lab.pod("a1-0")?.full_name(), "--outcome", "ipip"])?;
        ping(lab, "a1-0", "b1-0")?;
        wait::until("the packet to be written", Duration::from_secs(3), || Ok(programs(agent)?.1 == 1))?;
        std::thread::sleep(Duration::from_millis(200));
        let (shown, last_words) = trace.end()?;
        ensure!(
            shown.is_empty() && last_words.starts_with("tracing") && last_words.contains("1 packets;"),
            "{shown}{last_words}"
        );
        let read = command::output(Command::new("tcpdump").args(["-n", "-tttt", "-r", path]))?;
        let tunnel = format!("IP 10.0.1.11 > 10.0.2.11: IP {from} > {to}: ICMP echo request");
        ensure!(read.contains(&tunnel), "{read}");
        let now = command::output(Command::new("date").arg("+%Y-%m-%d"))?;
        ensure!(read.starts_with(now.trim()), "not today: {read}");
        let bytes = std::fs::read(&file).context("reading the file")?;
        let comment = "10.244.3.0/24 -> node b1 via 10.0.1.1 -> ipip out eth0";
        ensure!(String::from_utf8_lossy(&bytes).contains(comment), "no comment in the file");
        Ok(())
    })
}

#[test]
fn a_client_or_an_agent_that_is_killed_ends_its_trace() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        ping(lab, "a1-0", "b1-0")?;
        let others = Series::start(lab.pod("a1-0")?, lab.pod("b1-0")?.address())?;
        let begin = |agents: &Agents| -> Result<(Trace, BTreeSet<u64>)> {
            let agent = agents.get("a1")?;
            let trace = agent.trace(&[])?;
            trace.expect("ipip")?;
            Ok((trace, programs(agent)?.0))
        };
        let (trace, while_tracing) = begin(agents)?;
        trace.kill()?;
        expect_off(agents.get("a1")?, &while_tracing)?;

        let (trace, while_tracing) = begin(agents)?;
        agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
        let (_, last_words) = trace.finished()?;
        ensure!(last_words.contains("the agent has ended"), "{last_words}");
        agents.get_mut("a1")?.restart()?;
        expect_off(agents.get("a1")?, &while_tracing)?;
        others.stop()?.expect_no_loss()
    })
}

/// A client that does not read loses packets, and neither the agent nor another client notices.
#[test]
fn a_client_that_does_not_read_blocks_nobody() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let agent = agents.get("a1")?;
        let mut slow = agent.trace(&["--rate", "1000000", "--output", "json"])?;
        slow.pause()?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        for _ in 0..2_000 {
            udp(from, to, 10)?;
        }
        let other = agent.trace(&["--outcome", "ipip"])?;
        ping(lab, "a1-0", "b1-0")?;
        other.expect("icmp")?;
        slow.resume()?;
        let (_, last_words) = slow.end()?;
        ensure!(!last_words.contains(" 0 lost on the way here"), "{last_words}");
        Ok(())
    })
}
