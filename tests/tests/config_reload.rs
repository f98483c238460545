//! The agent takes in another configuration while it runs: on SIGHUP, when the file changes, and when it is asked.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Settings},
    lab::{Endpoint as _, Lab, Pod, Topology},
    probe::{TcpFlow, UdpFlow},
    state::{Encapsulation, State},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Packets of every sort that a1 forwards.
struct Traffic(Vec<UdpFlow>, Vec<TcpFlow>);

impl Traffic {
    fn start(lab: &Lab) -> Result<Self> {
        let ends = |(from, to): &(&str, &str)| Ok::<_, anyhow::Error>((lab.pod(from)?, lab.pod(to)?));
        let pairs = [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-1", "a1-1")];
        let udp = pairs.iter().map(|pair| {
            let (from, to) = ends(pair)?;
            UdpFlow::start(from, to, to.address())
        });
        let tcp = pairs[1..3].iter().map(|pair| {
            let (from, to) = ends(pair)?;
            TcpFlow::start(from, to, to.address())
        });
        Ok(Self(udp.collect::<Result<_>>()?, tcp.collect::<Result<_>>()?))
    }

    fn stop(self) -> Result<()> {
        self.0.into_iter().try_for_each(|flow| flow.stop()?.expect_no_loss())?;
        self.1.into_iter().try_for_each(|flow| {
            // It has failed if anything of it was lost for good.
            let report = flow.stop()?;
            ensure!(report.bytes > 0, "{report}");
            Ok(())
        })
    }
}

fn wait_for_status(agent: &Agent, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
    wait::until(what, PATIENCE, || Ok(holds(&agent.status()?))).map(drop)
}

/// The texts of the events of this kind.
fn events(agent: &Agent, kind: &str) -> Result<Vec<String>> {
    let events = agent.json(&["events"])?;
    let events = events.as_array().context("no events")?;
    let texts = events.iter().filter(|event| event["kind"] == kind).map(|event| event["text"].to_string());
    Ok(texts.collect())
}

fn settings_named(changes: &Value) -> Vec<&str> {
    let changes = changes.as_array().map(Vec::as_slice).unwrap_or_default();
    changes.iter().filter_map(|change| change["setting"].as_str()).collect()
}

/// MTU of the pod's interface inside of it.
fn mtu_of(pod: &Pod) -> Result<u64> {
    let shown = pod.netns().output("ip", &["-json", "link", "show", "dev", Pod::INSIDE])?;
    let links: Value = serde_json::from_str(&shown)?;
    links[0]["mtu"].as_u64().with_context(|| format!("no MTU in {shown}"))
}

#[test]
fn what_can_change_at_once_does_and_no_packet_is_lost() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let (a1, node) = (agents.get_mut("a1")?, lab.node("a1")?);
        let pid = a1.pid()?;
        let traffic = Traffic::start(lab)?;
        // When the file changes.
        let mut settings = Settings {
            masquerade: Some("on"),
            source_check: Some("loose"),
            brake: Some("{share: 50, at-least: 7, release-after: 1h}"),
            audit_interval: Some("30s"),
            ..Settings::default()
        };
        a1.configure(&settings)?;
        wait_for_status(a1, "the masquerade table", |status| status["masquerade"]["in-place"] == true)?;
        let status = a1.status()?;
        ensure!(status["brake"]["share"] == 50 && status["brake"]["at-least"] == 7, "{}", status["brake"]);
        node.netns().output("nft", &["list", "table", "inet", "podroute"])?;
        // On SIGHUP, which may come while the change of the file is seen.
        settings = Settings { masquerade: Some("off"), log: Some("info,node_agent=trace"), ..settings };
        a1.configure(&settings)?;
        a1.signal(Signal::SIGHUP)?;
        wait_for_status(a1, "no masquerade table", |status| status["masquerade"]["in-place"] == false)?;
        ensure!(node.netns().output("nft", &["list", "table", "inet", "podroute"]).is_err(), "it is there");
        ensure!(a1.status()?["log"] == "info,node_agent=trace", "{}", a1.status()?["log"]);
        // When asked: it is in effect with the answer, whoever has seen the change first.
        settings = Settings { pod_mtu: Some("1400"), program_log: Some("error"), ..settings };
        a1.configure(&settings)?;
        a1.json(&["reload"])?;
        ensure!(mtu_of(lab.pod("a1-0")?)? == 1400, "{}", mtu_of(lab.pod("a1-0")?)?);
        ensure!(a1.status()?["program-log"] == "error", "{}", a1.status()?["program-log"]);
        traffic.stop()?;
        let told = events(a1, "config-reloaded")?.concat();
        for part in
            ["masquerade (from off to on)", "brake.share (from 30 to 50)", "pod-mtu (from auto to 1400)"]
        {
            ensure!(told.contains(part), "{part} is missing in {told}");
        }
        ensure!(a1.status()?["pid"] == pid && a1.pid()? == pid, "it is another process");
        ensure!(a1.problems()?.is_empty(), "{:?}", a1.problems());
        Ok(())
    })
}

#[test]
fn what_needs_a_restart_stays_as_it_is_and_is_named() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let a1 = agents.get_mut("a1")?;
        let settings = Settings {
            attach: Some("clsact"),
            xdp: Some("transit"),
            log_format: Some("json"),
            audit_interval: Some("20s"),
            ..Settings::default()
        };
        let attached = a1.status()?["attachments"].clone();
        a1.configure(&settings)?;
        let answer = a1.json(&["reload"])?;
        ensure!(settings_named(&answer["needs-restart"]) == ["attach", "xdp", "log-format"], "{answer}");
        let status = a1.status()?;
        ensure!(status["config"]["needs-restart"] == answer["needs-restart"], "{}", status["config"]);
        ensure!(status["attachments"] == attached, "{}", status["attachments"]);
        let table = a1.cli(&["status"])?;
        ensure!(table.contains("3 settings need a restart") && table.contains("NEEDS A RESTART"), "{table}");
        let told = events(a1, "config-reloaded")?.concat();
        ensure!(
            told.contains("needs a restart: attach (from auto to clsact), xdp (from off to transit)"),
            "{told}"
        );
        // With the restart it is as the file says.
        a1.kill(Signal::SIGTERM)?;
        a1.restart()?;
        let status = a1.status()?;
        ensure!(
            status["config"]["needs-restart"].as_array().is_some_and(Vec::is_empty),
            "{}",
            status["config"]
        );
        Ok(())
    })
}

#[test]
fn invariant_8_a_bad_configuration_changes_nothing_and_is_told_with_file_line_field_and_value()
-> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let a1 = agents.get("a1")?;
        let bad = Settings {
            masquerade: Some("on"),
            audit_interval: Some("never"),
            source_check: Some("loose"),
            ..Settings::default()
        };
        a1.configure(&bad)?;
        let (code, said) = a1.cli_with_code(&["reload"])?;
        ensure!(code != 0, "{said}");
        let parts =
            ["agent.yaml:", "audit-interval: \"never\" is not a usable interval; allowed: 100ms to 1h"];
        let status = a1.status()?;
        let error = status["config"]["error"].as_str().context("the status has no error")?.to_owned();
        let (problems, told) = (a1.problems()?.concat(), events(a1, "config-refused")?.concat());
        for text in [&said, &error, &problems, &told.replace('\\', "")] {
            ensure!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
        ensure!(status["masquerade"]["on"] == false, "half of it was taken in");
        // The same when nobody asks.
        a1.configure(&Settings { audit_interval: Some("sometimes"), ..bad })?;
        wait_for_status(a1, "the other error", |status| {
            status["config"]["error"].as_str().is_some_and(|error| error.contains("\"sometimes\""))
        })?;
        a1.configure(&Settings::default())?;
        wait_for_status(a1, "no error", |status| {
            status["config"]["error"].is_null() && status["problems"].as_array().is_some_and(Vec::is_empty)
        })
    })
}

/// A configuration as Kubernetes mounts it: a link to a link to a folder, which is replaced.
struct ConfigMap {
    folder: PathBuf,
    text: String,
}

impl ConfigMap {
    /// Makes one out of the configuration that the agent has.
    fn replace(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).context("reading the configuration")?;
        let folder = file.parent().context("a file in no folder")?.to_owned();
        fs::remove_file(file).context("removing the configuration")?;
        let map = Self { folder, text };
        map.swap("..first", "")?;
        symlink("..data/agent.yaml", file).context("linking the configuration")?;
        Ok(map)
    }

    /// Puts the configuration with some more lines in place.
    fn swap(&self, version: &str, lines: &str) -> Result<()> {
        let (folder, next) = (self.folder.join(version), self.folder.join("..data_tmp"));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        fs::write(folder.join("agent.yaml"), format!("{}{lines}", self.text))
            .context("writing the version")?;
        symlink(version, &next).context("linking the version")?;
        fs::rename(&next, self.folder.join("..data")).context("swapping the version")
    }
}

#[test]
fn a_config_map_that_is_swapped_is_taken_in() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        let map = ConfigMap::replace(&lab.node("a1")?.folder().join("etc/agent.yaml"))?;
        a1.restart()?;
        for (version, lines) in [("..second", "masquerade: \"on\"\n"), ("..third", "")] {
            map.swap(version, lines)?;
            let on = !lines.is_empty();
            wait_for_status(a1, version, |status| status["masquerade"]["in-place"] == on)?;
        }
        ensure!(events(a1, "config-reloaded")?.len() == 2, "{:?}", events(a1, "config-reloaded"));
        Ok(())
    })
}

/// SIGHUP ends no agent that has not told its source's news yet, nor one that waits for its source.
#[test]
fn a_hang_up_while_the_agent_starts_does_not_end_it() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        a1.apply_text("nodes: no list")?;
        a1.launch()?;
        wait::until("the agent to answer", PATIENCE, || Ok(a1.status().is_ok()))?;
        a1.signal(Signal::SIGHUP)?;
        wait::until("the reload", PATIENCE, || Ok(!events(a1, "config-reloaded")?.is_empty()))?;
        a1.apply(&state)?;
        a1.wait_until_ready()
    })
}
