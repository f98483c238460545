//! The running agent has no more capabilities than it needs, and neither has what it starts.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::Settings,
    lab::Topology,
    state::{Encapsulation, State},
    story, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_PERFMON and CAP_BPF
/// (linux/capability.h).
const KEPT: u64 = 1 << 1 | 1 << 12 | 1 << 13 | 1 << 19 | 1 << 21 | 1 << 24 | 1 << 38 | 1 << 39;

fn field(status: &str, name: &str) -> Result<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {status}"))?.trim().to_owned())
}

fn capabilities(status: &str, set: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&field(status, set)?, 16)?)
}

#[test]
fn the_agent_keeps_only_the_capabilities_that_it_needs() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        way::expect(lab, agents, MODE, (lab.pod("a1-0")?, lab.pod("b1-0")?))?;
        // The machine may lack one of them itself.
        let own = fs::read_to_string("/proc/self/status")?;
        let tasks = format!("/proc/{}/task", agents.get("a1")?.pid()?);
        let threads = fs::read_dir(&tasks)?.collect::<Result<Vec<_>, _>>()?;
        ensure!(threads.len() > 1, "blocking work has threads of its own");
        for thread in threads {
            let status = fs::read_to_string(thread.path().join("status"))?;
            for set in ["CapEff", "CapPrm", "CapBnd"] {
                let (has, expected) = (capabilities(&status, set)?, KEPT & capabilities(&own, set)?);
                ensure!(has == expected, "{set} is {has:#x}, not {expected:#x}: {status}");
            }
            ensure!(capabilities(&status, "CapInh")? & !KEPT == 0, "{status}");
            ensure!(field(&status, "Umask")? == "0077", "{status}");
        }
        Ok(())
    })
}
