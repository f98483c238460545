//! `node-agent top` on a terminal: it draws what passes and where to, and leaves the terminal as it was.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{
    Failure,
    agent::{Agent, Settings},
    lab::{Endpoint as _, Topology},
    probe::{Answer, Ping},
    process::Background,
    state::{Encapsulation, State},
    story,
    terminal::Terminal,
    wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the command line waits for an answer.
const ANSWER: Duration = Duration::from_secs(35);

fn start(terminal: &Terminal, agent: &Agent) -> Result<Background> {
    let mut command = agent.command_line(&["top"]);
    let top = terminal.spawn(&mut command)?;
    shows(terminal, "q quit")?;
    Ok(top)
}

/// Waits until a line has all these words, in their order.
fn shows(terminal: &Terminal, words: &str) -> Result<()> {
    let has_them = |line: &str| {
        let mut rest = line.split_whitespace();
        words.split_whitespace().all(|word| rest.any(|found| found.trim_matches('│') == word))
    };
    let shown = wait::until(&format!("{words:?}"), PATIENCE, || Ok(terminal.text().lines().any(has_them)));
    shown.map(drop).with_context(|| format!("the terminal shows\n{}", terminal.text()))
}

#[test]
fn top_draws_nodes_rates_and_drops_and_quits() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let mut terminal = Terminal::open()?;
        let mut top = start(&terminal, agents.get("a1")?)?;
        ensure!(terminal.is_taken()?, "it has not taken the terminal");
        shows(&terminal, "Node a1,")?;
        shows(&terminal, "State in step")?;
        shows(&terminal, "node a2 direct eth0")?;
        shows(&terminal, "node b1 ipip eth0 via 10.0.1.1, tunnel to 10.0.2.11")?;
        shows(&terminal, "pod default/a1-0 local")?;

        Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        shows(&terminal, "from-pod ipip")?;
        // An address of the node's own prefix that no pod has.
        let answer = Ping::to(lab.node("a1")?.pod_address(99))?.send(lab.pod("a1-0")?.netns())?;
        ensure!(!matches!(answer, Answer::Reply { .. }), "{answer:?}");
        shows(&terminal, "from-pod drop-unassigned")?;

        // A node that is gone is not drawn any more.
        agents.get("a1")?.apply(&state.without_node("b1"))?;
        let gone = || Ok(!terminal.text().contains("node b1"));
        wait::until("node b1 to go", PATIENCE, gone).with_context(|| terminal.text())?;

        terminal.type_keys("q")?;
        let status = top.wait(PATIENCE)?;
        ensure!(status.code() == Some(0), "it ended with {status}");
        wait::until_ok("the terminal as it was", PATIENCE, || terminal.is_restored()).map(drop)
    })
}

#[test]
fn top_leaves_the_terminal_as_it_was_however_it_ends() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        for ending in ["\u{3}", "\u{1b}", "SIGTERM"] {
            let mut terminal = Terminal::open()?;
            let mut top = start(&terminal, agents.get("a1")?)?;
            ensure!(terminal.is_taken()?, "it has not taken the terminal");
            match ending {
                "SIGTERM" => top.signal(Signal::SIGTERM)?,
                key => terminal.type_keys(key)?,
            }
            let status = top.wait(PATIENCE)?;
            ensure!(status.code() == Some(0), "{ending:?}: it ended with {status}");
            let restored = wait::until_ok("the terminal as it was", PATIENCE, || terminal.is_restored());
            restored.with_context(|| format!("after {ending:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn top_goes_on_while_the_agent_is_away_and_says_where_it_cannot_draw() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let mut terminal = Terminal::open()?;
        let mut top = start(&terminal, agents.get("a1")?)?;
        let a1 = agents.get_mut("a1")?;
        let pid = i32::try_from(a1.status()?["pid"].as_i64().context("no pid")?)?;
        // An agent that does not answer at all holds up no key.
        let mut second = Terminal::open()?;
        let mut waiting = start(&second, a1)?;
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
        thread::sleep(Duration::from_secs(2));
        let quit = second.type_keys("q").and_then(|()| waiting.wait(ANSWER / 2));
        kill(Pid::from_raw(pid), Signal::SIGCONT)?;
        ensure!(quit?.success(), "it failed");

        a1.kill(Signal::SIGKILL)?;
        shows(&terminal, "No answer: the agent at")?;
        // What it knew last stays to be seen.
        shows(&terminal, "node b1 ipip")?;
        a1.restart()?;
        shows(&terminal, "q quit")?;
        terminal.type_keys("q")?;
        ensure!(top.wait(PATIENCE)?.success(), "it failed");

        let (code, said) = a1.cli_with_code(&["top"])?;
        ensure!(
            code == 1 && said.contains("standard output is none: use `node-agent status`"),
            "{code}: {said}"
        );
        a1.kill(Signal::SIGTERM)?;
        let terminal = Terminal::open()?;
        let mut top = terminal.spawn(&mut a1.command_line(&["top"]))?;
        ensure!(top.wait(PATIENCE)?.code() == Some(1), "there is no agent");
        shows(&terminal, "node-agent: no agent at")?;
        terminal.is_restored()
    })
}
