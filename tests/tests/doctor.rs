//! `node-agent doctor` finds what is planted, and what it says to do puts it right.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agents, Settings},
    command,
    lab::{Endpoint, Lab, Topology},
    state::{Encapsulation, State},
    story,
};

const NODE: &str = "a1";

/// A node whose agent has set everything up, and runs no more.
fn set_up(lab: &mut Lab, agents: &mut Agents) -> Result<()> {
    lab.add_uplink(NODE, "eth1")?;
    let settings = Settings { uplinks: Some(vec!["eth0", "eth1"]), ..Settings::default() };
    let state = State::of(lab, Encapsulation::CrossSubnet);
    agents.start(lab, &Settings::default(), &state)?;
    fs::create_dir_all(cni(lab)?)?;
    agents.get_mut(NODE)?.kill(Signal::SIGTERM)?;
    agents.get(NODE)?.configure(&settings)
}

fn cni(lab: &Lab) -> Result<std::path::PathBuf> {
    Ok(lab.node(NODE)?.folder().join("net.d"))
}

/// Exit code and findings that are not fine, with more arguments.
fn doctor(lab: &Lab, agents: &Agents, more: &[&str]) -> Result<(i32, Vec<Value>)> {
    let node = lab.node(NODE)?;
    let (config, cni) = (node.folder().join("etc/agent.yaml"), cni(lab)?);
    let (config, cni) = (config.display().to_string(), cni.display().to_string());
    let arguments = ["doctor", "--config", &config, "--cni-conf-dir", &cni, "--output", "json"];
    let (code, text) = agents.get(NODE)?.cli_with_code(&[&arguments[..], more].concat())?;
    let report: Value = serde_json::from_str(&text).with_context(|| format!("doctor wrote {text}"))?;
    let findings = report["findings"].as_array().context("no findings")?;
    Ok((code, findings.iter().filter(|finding| finding["severity"] != "ok").cloned().collect()))
}

fn expect_fine(lab: &Lab, agents: &Agents) -> Result<()> {
    let (code, findings) = doctor(lab, agents, &["--strict"])?;
    ensure!(code == 0 && findings.is_empty(), "{code}: {findings:#?}");
    Ok(())
}

/// The one finding that there is; `severity` also tells the exit code.
fn expect_one(lab: &Lab, agents: &Agents, check: &str, severity: &str) -> Result<Value> {
    let (code, mut findings) = doctor(lab, agents, &[])?;
    ensure!(findings.len() == 1, "expected {check} alone: {findings:#?}");
    let finding = findings.remove(0);
    ensure!(finding["check"] == check && finding["severity"] == severity, "{finding}");
    ensure!(code == i32::from(severity == "error"), "exit code {code} with {finding}");
    ensure!(doctor(lab, agents, &["--strict"])?.0 == 1, "not strict: {finding}");
    Ok(finding)
}

#[test]
fn each_fix_puts_right_what_was_planted() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        set_up(lab, agents)?;
        expect_fine(lab, agents)?;
        let netns = lab.node(NODE)?.netns();
        let conflist = cni(lab)?.join("10-calico.conflist");
        let plant_conflist =
            format!("echo '{{\"plugins\": [{{\"type\": \"calico\"}}]}}' > {}", conflist.display());
        for (plant, check) in [
            ("sysctl -qw net.ipv4.ip_forward=0", "forwarding"),
            ("sysctl -qw net.ipv4.conf.eth1.rp_filter=1", "rp-filter"),
            ("ip link set eth1 down", "uplinks"),
            ("ip link set eth1 mtu 1400", "mtu"),
            ("ip link add cali123 type veth peer name other0", "other-cni-link"),
            ("ip link add cni0 type bridge", "other-cni-link"),
            ("ip route add 10.99.0.0/26 dev eth0 proto 80", "other-cni-routes"),
            (&plant_conflist, "other-cni-config"),
        ] {
            command::output(netns.command("sh").args(["-c", plant]))?;
            let finding = expect_one(lab, agents, check, "warning").with_context(|| plant.to_owned())?;
            let fix = finding["fix"].as_str().context("no fix")?;
            let fix = fix.replace("ip link set UPLINK mtu BYTES", "ip link set eth1 mtu 1500");
            let fix = fix.rsplit_once(": ").map_or(fix.as_str(), |(_, command)| command);
            command::output(netns.command("sh").args(["-ec", fix]))?;
            expect_fine(lab, agents).with_context(|| format!("after {plant}; {fix}"))?;
        }
        Ok(())
    })
}

#[test]
fn programs_and_chains_of_others_are_found_and_ours_are_not() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        set_up(lab, agents)?;
        expect_fine(lab, agents)?;
        let netns = lab.node(NODE)?.netns();
        netns.output("tc", &["qdisc", "add", "dev", "eth0", "clsact"])?;
        netns.output("tc", &["filter", "add", "dev", "eth0", "ingress", "bpf", "bytecode", "1,6 0 0 0,"])?;
        let finding = expect_one(lab, agents, "other-programs", "warning")?;
        ensure!(finding["found"] == "eth0: a bpf filter (clsact ingress) at tc's hooks", "{finding}");
        netns.output("tc", &["qdisc", "del", "dev", "eth0", "clsact"])?;

        // Seen from another agent's pins, ours are somebody else's.
        let elsewhere = lab.node("a2")?.bpffs().display().to_string();
        let (_, findings) = doctor(lab, agents, &["--bpffs", &elsewhere])?;
        let found = findings.first().and_then(|one| one["found"].as_str()).unwrap_or_default();
        ensure!(
            found.contains("program from_uplink (tcx Ingress)") && found.contains("to_uplink"),
            "{findings:#?}"
        );

        for line in ["add table ip filter", "add chain ip filter cali-INPUT"] {
            netns.output("nft", &line.split(' ').collect::<Vec<_>>())?;
        }
        let finding = expect_one(lab, agents, "other-cni-chains", "warning")?;
        ensure!(
            finding["found"].as_str().is_some_and(|text| text.contains("ip filter cali-INPUT")),
            "{finding}"
        );
        Ok(())
    })
}

#[test]
fn what_keeps_the_agent_from_starting_is_an_error() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        set_up(lab, agents)?;
        let folder = lab.node(NODE)?.folder().display().to_string();
        let (code, findings) = doctor(lab, agents, &["--bpffs", &folder])?;
        ensure!(code == 1 && findings[0]["check"] == "bpffs", "{code}: {findings:#?}");
        ensure!(findings[0]["fix"] == format!("mount -t bpf bpf {folder}"), "{findings:#?}");

        agents.get(NODE)?.apply_text("nodes: 7\n")?;
        let (code, findings) = doctor(lab, agents, &[])?;
        let state =
            findings.iter().find(|finding| finding["check"] == "cluster-state").context("not found")?;
        let found = state["found"].as_str().unwrap_or_default();
        ensure!(code == 1 && found.contains("cluster.yaml:1:"), "{code}: {state}");

        let config = lab.node(NODE)?.folder().join("etc/agent.yaml");
        fs::write(&config, "node: a1\nxdp: sometimes\n")?;
        let (code, findings) = doctor(lab, agents, &[])?;
        let config = findings.iter().find(|finding| finding["check"] == "config").context("not found")?;
        let found = config["found"].as_str().unwrap_or_default();
        ensure!(code == 1 && found.contains("agent.yaml:2:"), "{code}: {config}");
        Ok(())
    })
}

#[test]
fn a_running_agent_is_asked_and_nothing_is_left_behind() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        set_up(lab, agents)?;
        agents.get_mut(NODE)?.restart()?;
        let pins = |lab: &Lab| -> Result<String> {
            command::output(Command::new("find").arg(lab.node(NODE)?.bpffs()))
        };
        let before = pins(lab)?;
        expect_fine(lab, agents)?;
        let (_, text) = agents.get(NODE)?.cli_with_code(&["doctor", "--all"])?;
        ensure!(text.contains("runs, synced, no problems"), "{text}");
        ensure!(pins(lab)? == before, "{}", pins(lab)?);
        Ok(())
    })
}
