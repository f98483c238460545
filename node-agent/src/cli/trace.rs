mod line;
mod pcapng;

use std::{fs::File, io::BufWriter, net::IpAddr, path::PathBuf};

use anyhow::Context as _;
use node_ebpf_common::{Ending, Hook, Outcome, TRACE_SNAPLEN, TraceFilter};
use tokio::signal::unix::{SignalKind, signal};

use self::{line::line, pcapng::CaptureFile};
use super::{
    output,
    query::{Output, Query},
};
use crate::{
    api::{Trace, TraceEnd, TraceLine, TraceRequest, TraceRow},
    model::PodName,
};

/// Arguments of `node-agent trace`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Packets to and from this pod
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<PodName>,
    /// Packets with this address at an end, encapsulated or not, or at an end of the outer header
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Packets that end so; may be given more than once
    #[arg(long, value_name = "OUTCOME", value_parser = known_outcome, conflicts_with = "drops")]
    outcome: Vec<String>,
    /// Packets that are dropped
    #[arg(long)]
    drops: bool,
    /// Packets at this hook; may be given more than once
    #[arg(long, value_name = "HOOK", value_parser = known_hook)]
    hook: Vec<String>,
    /// End after so many packets
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Show one packet in so many, on each CPU
    #[arg(long, value_name = "NUMBER", default_value_t = TraceFilter::ALL.sample, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Most packets in a second on each CPU
    #[arg(long, value_name = "NUMBER", default_value_t = TraceFilter::ALL.rate, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Most bytes of each packet in JSON and in a file
    #[arg(long, value_name = "BYTES", default_value_t = TraceFilter::ALL.snaplen, value_parser = clap::value_parser!(u32).range(1..=TRACE_SNAPLEN as i64))]
    snaplen: u32,
    /// Write packets to a pcapng file, what became of each as its comment, instead of showing them
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    query: Query,
}

fn known_outcome(text: &str) -> Result<String, String> {
    known(text, &Outcome::ALL.map(Outcome::label))
}

fn known_hook(text: &str) -> Result<String, String> {
    known(text, &Hook::ALL.map(Hook::label))
}

fn known(text: &str, labels: &[&str]) -> Result<String, String> {
    match labels.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("allowed: {}", labels.join(", "))),
    }
}

/// Shows packets as they pass, until it is told to end.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let mut to = match &args.write {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            To::File(CaptureFile::new(BufWriter::new(file), args.snaplen)?)
        }
        None => To::Output(args.query.output),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut trace = Trace::begin(&args.query.socket, &request(&args)).await?;
    eprintln!("tracing; end it with Ctrl-C");
    let (mut shown, mut more) = (0, true);
    let end = loop {
        let line = tokio::select! {
            line = trace.next() => line?,
            _ = interrupt.recv() => { trace.enough(); continue }
            _ = terminate.recv() => { trace.enough(); continue }
        };
        match line {
            Some(TraceLine::Packet(row)) if more => {
                let read = to.put(&row)?;
                shown += 1;
                more = read && args.count.is_none_or(|count| shown < count);
                if !more {
                    trace.enough();
                }
            }
            // Was on its way already.
            Some(TraceLine::Packet(_)) => {}
            Some(TraceLine::End(end)) => break Some(end),
            None => break None,
        }
    };
    to.finish()?;
    eprint!("{}", summary(shown, end));
    Ok(())
}

fn request(args: &Args) -> TraceRequest {
    let drops = Outcome::ALL.into_iter().filter(|outcome| outcome.ending() == Ending::Dropped);
    let outcomes = match args.drops {
        true => drops.map(|outcome| outcome.label().to_owned()).collect(),
        false => args.outcome.clone(),
    };
    TraceRequest {
        pod: args.pod.clone(),
        ip: args.ip,
        outcomes,
        hooks: args.hook.clone(),
        sample: args.sample,
        rate: args.rate,
        snaplen: args.snaplen,
    }
}

/// Where packets go.
enum To {
    Output(Output),
    File(CaptureFile<BufWriter<File>>),
}

impl To {
    /// Puts a packet there. False if nobody reads it any more.
    fn put(&mut self, row: &TraceRow) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Output(Output::Table) => output::print_while_read(&(line(row) + "\n"))?,
            Self::Output(Output::Json) => output::print_while_read(&(serde_json::to_string(row)? + "\n"))?,
            Self::File(file) => file.put(row).map(|()| true)?,
        })
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Output(_) => Ok(()),
            Self::File(file) => file.finish(),
        }
    }
}

/// What was shown and what was not.
fn summary(shown: u64, end: Option<TraceEnd>) -> String {
    match end {
        Some(TraceEnd { limited, lost, missed }) => format!(
            "{shown} packets; {limited} more over the rate, {lost} lost in the kernel's buffer, {missed} lost on the way here\n"
        ),
        None => format!(
            "{shown} packets; the agent has ended, and the programs do not trace any more once it is back\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_shown_is_told() {
        let end = TraceEnd { limited: 3, lost: 2, missed: 1 };
        assert_eq!(
            summary(12, Some(end)),
            "12 packets; 3 more over the rate, 2 lost in the kernel's buffer, 1 lost on the way here\n"
        );
        assert!(summary(12, None).starts_with("12 packets; the agent has ended"));
    }

    #[test]
    fn names_are_checked_before_the_agent_is_asked() {
        assert_eq!(known_outcome("ipip"), Ok("ipip".to_owned()));
        assert!(known_outcome("dorp").unwrap_err().starts_with("allowed: local, direct, ipip"));
        assert!(known_hook("eth0").unwrap_err().starts_with("allowed: from-pod, from-uplink"));
    }
}
