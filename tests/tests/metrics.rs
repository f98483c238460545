//! Metrics and health as a scraper sees them: they follow what happens, their number does not grow with the cluster, and
//! nobody who asks can hurt the agent.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{self, Agent, Settings},
    command,
    lab::{Endpoint as _, Node, Topology},
    metrics::{Exposition, Reply, exchange, get},
    probe::Ping,
    state::{Encapsulation, State, StateNode, StatePod},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9470);
/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

fn enabled() -> Settings {
    Settings { metrics: Some("{listen: \"127.0.0.1:9470\"}"), ..Settings::default() }
}

fn ask(node: &Node, path: &str) -> Result<Reply> {
    get(node.netns(), SERVER, path)
}

fn scrape(node: &Node) -> Result<Exposition> {
    let reply = ask(node, "/metrics")?;
    ensure!(reply.status == 200, "{reply:?}");
    let kind = reply.content_type.as_deref();
    ensure!(kind == Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{kind:?}");
    Exposition::parse(&reply.body)
}

/// Waits until the series has a value that is as it should be.
fn value(node: &Node, name: &str, labels: &[(&str, &str)], is_it: impl Fn(f64) -> bool) -> Result<f64> {
    let attempt = || {
        let value = scrape(node)?.value(name, labels)?;
        ensure!(is_it(value), "it is {value}");
        Ok(value)
    };
    Ok(wait::until_ok(&format!("{name} {labels:?}"), PATIENCE, attempt)?.0)
}

/// Waits for this answer to `/readyz`.
fn readiness(node: &Node, status: u16, words: &str) -> Result<()> {
    let attempt = || {
        let reply = ask(node, "/readyz")?;
        ensure!(reply.status == status && reply.body.contains(words), "{reply:?}");
        Ok(())
    };
    wait::until_ok(&format!("readiness {status} with {words:?}"), PATIENCE, attempt).map(drop)
}

#[test]
fn metrics_follow_packets_and_routes() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &enabled(), &state)?;
        let (a1, node) = (agents.get("a1")?, lab.node("a1")?);
        ensure!(ask(node, "/healthz")? == text(200, "alive\n"), "{:?}", ask(node, "/healthz")?);
        readiness(node, 200, "ready\n")?;
        let lost = ask(node, "/else")?;
        ensure!(lost.status == 404 && lost.body.contains("/metrics"), "{lost:?}");

        let (before, status) = (scrape(node)?, a1.status()?);
        let version = status["version"].as_str().context("no version")?;
        ensure!(before.value("podroute_build_info", &[("version", version)])? == 1.0, "{version}");
        for kind in ["local", "direct", "ipip", "host", "unassigned"] {
            let routes = before.value("podroute_routes_in_use", &[("kind", kind)])?;
            ensure!(
                status["routes"][kind].as_f64() == Some(routes),
                "{kind}: {routes}, {}",
                status["routes"]
            );
        }
        let of_source = before.value("podroute_routes", &[("source", "file"), ("state", "used")])?;

        let ipip = [("hook", "from-pod"), ("outcome", "ipip"), ("ending", "forwarded")];
        let (packets, bytes) = ("podroute_datapath_packets_total", "podroute_datapath_bytes_total");
        let (sent, sent_bytes) = (before.value(packets, &ipip)?, before.value(bytes, &ipip)?);
        for _ in 0..3 {
            Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        }
        value(node, packets, &ipip, |now| now >= sent + 3.0)?;
        value(node, bytes, &ipip, |now| now >= sent_bytes + 3.0 * 98.0)?;

        let passes = before.value("podroute_apply_latency_seconds_count", &[])?;
        let changes = before.value("podroute_changes_total", &[("plane", "datapath")])?;
        let mut more = state.clone();
        more.node_mut("b1")?.pod_prefixes.push("198.18.1.0/24".parse()?);
        a1.apply(&more)?;
        let used = [("source", "file"), ("state", "used")];
        value(node, "podroute_routes", &used, |now| now == of_source + 1.0)?;
        value(node, "podroute_apply_latency_seconds_count", &[], |now| now > passes)?;
        value(node, "podroute_changes_total", &[("plane", "datapath")], |now| now > changes)?;

        // The same prefix on another node: it does not get it.
        more.node_mut("a2")?.pod_prefixes.push(lab.node("a1")?.pod_prefixes()[0]);
        a1.apply(&more)?;
        value(node, "podroute_conflicts", &[("kind", "duplicate-pod-prefix")], |now| now == 1.0)?;
        value(node, "podroute_routes", &[("state", "lost")], |now| now == 1.0)?;
        value(node, "podroute_events_total", &[("kind", "conflict-found")], |now| now == 1.0)?;
        readiness(node, 200, "ready\n")?;

        // A bad file changes nothing of what is in force.
        a1.apply_text("nodes: no list")?;
        value(node, "podroute_source_failed", &[("source", "file")], |now| now == 1.0)?;
        readiness(node, 200, "ready\n")
    })
}

fn text(status: u16, body: &str) -> Reply {
    let content_type = Some("text/plain; charset=utf-8".to_owned());
    Reply { status, content_type, body: body.to_owned() }
}

#[test]
fn an_agent_is_ready_once_it_is_in_step_and_says_why_not() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &enabled(), &state)?;
        let address = lab.node("a1")?.pod_address(12);
        let pod = lab.add_pod("a1", address)?;
        let node = lab.node("a1")?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        a1.apply_text("nodes: no list")?;
        a1.launch()?;
        readiness(node, 503, "not ready:\n- source file cannot be read: ")?;
        ensure!(ask(node, "/healthz")? == text(200, "alive\n"), "it lives");
        value(node, "podroute_ready", &[], |now| now == 0.0)?;
        value(node, "podroute_source_synced", &[("source", "file")], |now| now == 0.0)?;
        ensure!(scrape(node)?.all("podroute_source_last_sync_timestamp_seconds").is_empty(), "it never was");
        a1.apply(&state)?;
        readiness(node, 200, "ready\n")?;
        value(node, "podroute_ready", &[], |now| now == 1.0)?;
        value(node, "podroute_source_last_sync_timestamp_seconds", &[], |now| now > 1.6e9)?;

        a1.apply(&state.without_node("a1"))?;
        readiness(node, 503, "this node is not in the cluster state")?;
        a1.apply(&state)?;
        readiness(node, 200, "ready\n")?;

        // A change that fails: it counts by the sort of object that it is about.
        remount(node, "ro")?;
        let failed = (|| {
            let mut more = state.clone();
            more.pods.push(StatePod::of(&pod));
            a1.apply(&more)?;
            readiness(node, 503, "Read-only file system")?;
            value(node, "podroute_changes_pending", &[("object", "program")], |now| now >= 1.0)?;
            value(node, "podroute_reconcile_errors_total", &[("object", "program")], |now| now >= 1.0)
        })();
        remount(node, "rw")?;
        failed?;
        readiness(node, 200, "ready\n")?;
        value(node, "podroute_changes_pending", &[("object", "program")], |now| now == 0.0).map(drop)
    })
}

fn remount(node: &Node, mode: &str) -> Result<()> {
    let options = format!("remount,{mode}");
    command::output(Command::new("mount").args(["-o", &options]).arg(node.bpffs())).map(drop)
}

#[test]
fn a_cluster_of_500_nodes_has_the_series_of_one_of_three() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &enabled(), &state)?;
        let (a1, node) = (agents.get("a1")?, lab.node("a1")?);
        let few = scrape(node)?;
        let mut many = state;
        for index in 0..500_u32 {
            let address = |first: u32, offset: u32| Ipv4Addr::from(first + offset);
            many.nodes.push(StateNode {
                name: format!("n{index}"),
                addresses: vec![IpAddr::V4(address(0x0a00_0200, index))],
                pod_prefixes: vec![Ipv4Net::new_assert(address(0x1000_0000, index * 256), 24).into()],
            });
        }
        a1.apply(&many)?;
        value(node, "podroute_source_objects", &[("object", "node")], |now| now == 503.0)?;
        value(node, "podroute_routes_in_use", &[("kind", "ipip")], |now| now >= 500.0)?;
        let many = scrape(node)?;
        let news: Vec<_> = many.series().symmetric_difference(&few.series()).cloned().collect();
        ensure!(news.is_empty(), "{news:#?}");
        ensure!(many.families().all(|(name, _)| name.starts_with("podroute_")), "a name without the prefix");
        Ok(())
    })
}

#[test]
fn nothing_listens_unless_it_is_enabled_and_a_port_that_is_taken_is_told() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let node = lab.node("a1")?;
        let a1 = agents.get_mut("a1")?;
        ensure!(listening(a1)? == 0, "it listens although nobody asked for it");
        a1.kill(Signal::SIGTERM)?;
        a1.configure(&enabled())?;
        a1.restart()?;
        ensure!(listening(a1)? == 1, "{} sockets listen", listening(a1)?);
        a1.kill(Signal::SIGTERM)?;

        let taken = node.netns().run(|| TcpListener::bind(SERVER))?.context("taking the port")?;
        a1.launch()?;
        let status = a1.wait_for_end(PATIENCE)?;
        ensure!(status.code() == Some(1), "it ended with {status}");
        let log = agent::log_tail(node, 3);
        ensure!(
            log.contains("cannot serve metrics and health at 127.0.0.1:9470: Address already in use"),
            "{log}"
        );
        ensure!(log.contains("metrics.listen"), "{log}");
        // What is in place goes on without the agent, and it starts once the port is free.
        Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        drop(taken);
        a1.restart()
    })
}

/// How many TCP sockets the agent listens on.
fn listening(agent: &Agent) -> Result<usize> {
    const LISTEN: &str = "0A";
    let process = format!("/proc/{}", agent.status()?["pid"]);
    let mut listening = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("{process}/net/{table}"))?;
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let inodes =
            fields.filter(|fields| fields.get(3) == Some(&LISTEN)).filter_map(|fields| Some(*fields.get(9)?));
        listening.extend(inodes.map(|inode| format!("socket:[{inode}]")));
    }
    ensure!(!listening.is_empty(), "there is no socket at all, not even the lab's own");
    let open =
        fs::read_dir(format!("{process}/fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(open.filter(|file| listening.contains(&*file.to_string_lossy())).count())
}

#[test]
fn who_asks_slowly_too_much_or_too_often_does_not_hurt() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &enabled(), &state)?;
        let (a1, node) = (agents.get("a1")?, lab.node("a1")?);

        let silent = (0..8).map(|_| Ok(node.netns().run(|| TcpStream::connect(SERVER))??));
        let silent = silent.collect::<Result<Vec<TcpStream>>>()?;
        scrape(node).context("beside clients that say nothing")?;
        let half = exchange(node.netns(), SERVER, b"GET /metrics HT")?;
        ensure!(half.is_empty() || half.starts_with("HTTP/1.1 408"), "half a request is closed: {half}");
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(7 * 1024));
        ensure!(exchange(node.netns(), SERVER, long.as_bytes())?.starts_with("HTTP/1.1 200"), "it fits");
        let post = exchange(node.netns(), SERVER, b"POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n")?;
        ensure!(post.starts_with("HTTP/1.1 405"), "{post}");
        drop(silent);

        let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        // That one of very many is refused is no matter.
                        asked.fetch_add(u64::from(scrape(node).is_ok()), Ordering::Relaxed);
                    }
                });
            }
            let meanwhile = (|| {
                wait::until("a flood", PATIENCE, || Ok(asked.load(Ordering::Relaxed) > 20))?;
                let mut more = state.clone();
                more.node_mut("b1")?.pod_prefixes.push("198.18.1.0/24".parse()?);
                a1.apply(&more)?;
                wait::until("a new route", PATIENCE, || leads(a1, "198.18.1.7"))?;
                wait::until("more of the flood", PATIENCE, || Ok(asked.load(Ordering::Relaxed) > 40))?;
                Ok(())
            })();
            stop.store(true, Ordering::Relaxed);
            meanwhile
        })
    })
}

fn leads(agent: &Agent, address: &str) -> Result<bool> {
    Ok(agent.json(&["lookup", address])?["kind"] == "ipip")
}
