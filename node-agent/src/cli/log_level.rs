use clap::Subcommand;

use super::query::Query;
use crate::{
    api::{Request, Response},
    config::{LogFilterError, ProgramLog, log_filter},
};

/// Arguments of `node-agent log-level`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    of: Of,
    #[command(flatten)]
    query: Query,
}

#[derive(Debug, Subcommand)]
enum Of {
    /// Messages of the BPF programs
    Programs {
        /// off, error, warn, info, debug or trace
        level: ProgramLog,
    },
    /// The agent's own log
    Agent {
        /// A level, or TARGET=LEVEL, separated by commas
        #[arg(value_parser = parse_filter)]
        filter: String,
    },
}

fn parse_filter(text: &str) -> Result<String, LogFilterError> {
    log_filter(text).map(|_| text.to_owned())
}

/// Sets what the running agent logs; it holds until the agent stops.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let (request, text) = match args.of {
        Of::Programs { level } => (
            Request::ProgramLog { level },
            format!("the BPF programs' messages are logged up to level {level}\n"),
        ),
        Of::Agent { filter } => {
            let text = format!("the agent logs by the filter {filter}\n");
            (Request::AgentLog { filter }, text)
        }
    };
    // What has been set is the request itself.
    let take = |response| (response == Response::Done).then_some(&request);
    args.query.show(&request, take, |_| text).await
}
