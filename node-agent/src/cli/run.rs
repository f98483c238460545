use std::path::PathBuf;

use tracing::{Level, enabled, error};

use super::exit::Exit;
use crate::{app, privileges};

/// Arguments of `node-agent run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's configuration
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

/// Runs the agent until it is told to stop. Why it could not go on is in its log, in the form that the log has.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    // Before there is another thread: each has capabilities of its own.
    privileges::give_up()?;
    let ended = app::run(args.config).await;
    ended.map_err(|error| {
        if !enabled!(Level::ERROR) {
            return error;
        }
        error!("{error:#}");
        Exit::Logged.into()
    })
}
